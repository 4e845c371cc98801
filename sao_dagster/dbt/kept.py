"""Whether dbt was asked about a project before. That is asked of each project, so nothing else of this package is loaded for it."""

from __future__ import annotations

from pathlib import Path

from sao_dagster.projects.cache import kept_file


def place_of(root: Path, target: str) -> Path:
    """Return the file of what dbt said of a project for a target."""
    return kept_file(root, target, "dbt")


def was_prepared(root: Path, target: str) -> bool:
    """Return whether dbt was asked about a project before."""
    return place_of(root, target).is_file()
