"""Jinja in YAML that is read before the project is known: `profiles.yml`, `selectors.yml`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from sao_dagster.errors import ProjectError
from sao_dagster.projects.templates.texts import has_jinja


def rendered(value: Any, path: str, variables: Mapping[str, Any], **shown: Any) -> Any:
    """Return a value of YAML with all templates in it rendered; Jinja is loaded where there is one.

    Args:
        value: Mappings, lists, texts and so on.
        path: The file, for errors.
        variables: What `var` gives.
        shown: What else templates see, by name.

    Raises:
        RenderError: One is not Jinja, or fails.
    """
    if isinstance(value, Mapping):
        return {key: rendered(each, path, variables, **shown) for key, each in value.items()}
    if isinstance(value, list):
        return [rendered(each, path, variables, **shown) for each in value]
    if not isinstance(value, str) or not has_jinja(value):
        return value
    from sao_dagster.projects.templates.functions import FUNCTIONS, modules
    from sao_dagster.projects.templates.jinja import render_native

    clock = modules(lambda: datetime.now(timezone.utc))
    names = {**FUNCTIONS, "env_var": _env_var, "var": _Variables(variables), "modules": clock, **shown}
    return render_native(value, path, names)


class _Variables:
    """`var`, where only what is given is known."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __call__(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def has_var(self, name: str) -> bool:
        return name in self._values


def _env_var(name: str, default: str | None = None) -> str:
    value = os.environ.get(name, default)
    if value is None:
        raise ProjectError(f"the environment variable {name} is not set, and env_var gives no default")
    return value
