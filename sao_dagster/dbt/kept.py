"""Where what dbt said of a project is kept. It is asked for of each project, so nothing else of this package is loaded for it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from sao_dagster.projects.cache import FOLDER


def kept_file(root: Path, target: str) -> Path:
    """Return the file of what dbt said of a project for a target."""
    return root / FOLDER / f"{quote(target, safe='')}.dbt"


def was_prepared(root: Path, target: str) -> bool:
    """Return whether dbt was asked about a project before."""
    return kept_file(root, target).is_file()
