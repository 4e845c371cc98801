"""Whether the process that decides is older than the files of the project: Dagster's code servers read them once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sao_dagster.core.evidence import describe_names
from sao_dagster.core.nodes import Model
from sao_dagster.dagster.project_view import DagsterProject


def outdated(dagster_project: DagsterProject, names: Iterable[str]) -> str | None:
    """Return what to say where models among some nodes were edited since the code location was loaded; None where none was."""
    root = Path(dagster_project.project.root)
    files = []
    for name in names:
        node = dagster_project.project.nodes[name]
        if not isinstance(node, Model) or node.location is None or not node.location.path.endswith(".sql"):
            continue
        file = root / node.location.path
        try:
            if file.stat().st_mtime <= dagster_project.opened.read_at:
                continue
            is_same = file.read_text(encoding="utf-8").strip() == node.raw_sql.strip()
        except (OSError, UnicodeDecodeError):
            continue
        if not is_same:
            files.append(node.location.path)
    if not files:
        return None
    return (
        f"this code location was read before {describe_names(files)} was edited, and goes by what it read then; "
        f"reload it to build what the file says now"
    )
