"""Whether the process that decides is older than the files of the project: Dagster's code servers read them once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from sao_dagster.core.evidence import describe_names
from sao_dagster.core.nodes import Model
from sao_dagster.dagster.project_view import DagsterProject


def with_outdated(dagster_project: DagsterProject, names: Iterable[str], why_not: str, log: logging.Logger) -> str:
    """Return why a tick requests nothing, after what is to be said where models were edited since; that is a warning in its log, too."""
    older = outdated(dagster_project, names)
    if older is None:
        return why_not
    log.warning(older)
    return f"{older}; {why_not}"


def outdated(dagster_project: DagsterProject, names: Iterable[str]) -> str | None:
    """Return what to say where models among some nodes were edited since the code location was loaded; None where none was."""
    read_at = dagster_project.opened.read_at
    files = []
    for name in names:
        file = dagster_project.sql_files.get(name)
        try:
            if file is None or os.stat(file).st_mtime <= read_at:  # noqa: PTH116 - of all models in each tick, where paths take longer than the files
                continue
            written = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        node = dagster_project.project.nodes[name]
        if isinstance(node, Model) and node.location is not None and written.strip() != node.raw_sql.strip():
            files.append(node.location.path)
    if not files:
        return None
    return (
        f"this code location was read before {describe_names(files)} was edited, and goes by what it read then; "
        f"reload it to build what the file says now"
    )
