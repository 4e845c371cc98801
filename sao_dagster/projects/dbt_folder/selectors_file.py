"""`selectors.yml`: selections that have a name. What they select is in `sao_dagster.core.selectors`, and is asked when they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sao_dagster.core.selectors import Selector
from sao_dagster.errors import ProjectError
from sao_dagster.projects.templates.texts import has_jinja
from sao_dagster.projects.yaml_files import LoadedYaml, load_yaml

FILES = ("selectors.yml", "selectors.yaml")


def read_selectors(root: Path, target: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Selector]:
    """Return the selectors of a project by name; none where there is no such file.

    Args:
        root: The project's folder.
        target: What Jinja shows as `target`; whether a selector is the default may depend on it.
        variables: What `var` gives.

    Raises:
        ProjectError: The file is not understood; names the line.
    """
    name = next((each for each in FILES if (root / each).is_file()), None)
    if name is None:
        return {}
    loaded = load_yaml(root / name, name)
    listed = loaded.values.get("selectors") if isinstance(loaded.values, Mapping) else None
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
        is_default = _is_default(entry.get("default", False), loaded, target, variables)
        found[called] = Selector(called, entry["definition"], is_default, where)
    return found


def _is_default(value: Any, loaded: LoadedYaml, target: Mapping[str, Any], variables: Mapping[str, Any]) -> bool:
    if isinstance(value, str) and has_jinja(value):
        from sao_dagster.projects.templates.functions import FUNCTIONS  # Jinja, where there is some
        from sao_dagster.projects.templates.jinja import render_native

        value = render_native(value, loaded.path, {**FUNCTIONS, "target": target, "var": variables.get})
    return value is True or str(value).strip().lower() == "true"
