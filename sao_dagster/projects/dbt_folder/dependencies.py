"""`dependencies.yml`: the other projects whose models a project reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sao_dagster.errors import Location, ProjectError
from sao_dagster.projects.config import listed
from sao_dagster.projects.yaml_files import load_yaml

FILE = "dependencies.yml"


def project_dependencies(root: Path) -> dict[str, Location]:
    """Return the projects that a folder's `dependencies.yml` names, with where it does; packages are not among them.

    Raises:
        ProjectError: An entry has no name.
    """
    path = root / FILE
    if not path.is_file():
        return {}
    loaded = load_yaml(path, FILE)
    values = loaded.values if isinstance(loaded.values, Mapping) else {}
    found: dict[str, Location] = {}
    for number, entry in enumerate(listed(values.get("projects"))):
        place = loaded.location("projects", number)
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not name:
            raise ProjectError("a project is named by its name, as in `- name: core`", location=place)
        found.setdefault(name, place)
    return found
