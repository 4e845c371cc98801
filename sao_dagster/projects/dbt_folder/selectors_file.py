"""`selectors.yml`: selections that have a name. What they select is in `sao_dagster.core.selectors`, and is asked when they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sao_dagster.core.selectors import Selector
from sao_dagster.errors import ProjectError
from sao_dagster.projects.yaml_files import load_yaml
from sao_dagster.projects.yaml_jinja import rendered

FILES = ("selectors.yml", "selectors.yaml")


def read_selectors(root: Path, target: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Selector]:
    """Return the selectors of a project by name; none where there is no such file.

    Args:
        root: The project's folder.
        target: What Jinja shows as `target`.
        variables: What `var` gives.

    Raises:
        ProjectError: The file is not understood; names the line.
    """
    name = next((each for each in FILES if (root / each).is_file()), None)
    if name is None:
        return {}
    loaded = load_yaml(root / name, name)
    values = rendered(loaded.values, name, variables, target=target)
    listed = values.get("selectors") if isinstance(values, Mapping) else None
    if not isinstance(listed, list):
        raise ProjectError("it has a list called selectors", location=loaded.location())
    found: dict[str, Selector] = {}
    for number, entry in enumerate(listed):
        where = loaded.location("selectors", number)
        if not isinstance(entry, Mapping) or "name" not in entry or "definition" not in entry:
            raise ProjectError("a selector has a name and a definition", location=where)
        called = str(entry["name"])
        if called in found:
            raise ProjectError(f"there are two selectors called {called!r}", location=where)
        is_default = str(entry.get("default", False)).strip().lower() == "true"
        found[called] = Selector(called, entry["definition"], is_default, where)
    return found
