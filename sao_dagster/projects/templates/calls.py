"""What templates call that is bound to one render: macros, `config` and `var`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jinja2.utils import missing

from sao_dagster.errors import RenderError, UnsupportedError
from sao_dagster.projects.templates.jinja import MacroReturn, render
from sao_dagster.projects.templates.template_context import RenderSubject, RenderTrace, TemplateContext
from sao_dagster.projects.templates.texts import MacroFile


class Rendering(Protocol):
    """The render that a call belongs to; see `Render`."""

    context: TemplateContext
    subject: RenderSubject
    trace: RenderTrace

    @property
    def executes(self) -> bool:
        """Whether names are resolved."""

    def variables(self, package: str) -> dict[str, Any]:
        """Return what templates of a package see."""

    def macro_of(self, package: str, name: str) -> BoundMacro | None:
        """Return a macro of a package."""

    def bound(self, file: MacroFile, name: str) -> Callable[..., Any]:
        """Return a macro that sees what templates of its package see."""


CONFIG_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "test": {
        "severity": "ERROR", "fail_calc": "count(*)", "warn_if": "!= 0", "error_if": "!= 0", "where": None, "limit": None,
        "store_failures": None, "store_failures_as": None, "enabled": True, "alias": None, "schema": "dbt_test__audit", "database": None,
        "tags": [], "meta": {}, "group": None, "materialized": "test",
    },
    "model": {
        "materialized": "view", "enabled": True, "alias": None, "schema": None, "database": None, "tags": [], "meta": {}, "group": None,
        "incremental_strategy": None, "unique_key": None, "on_schema_change": "ignore", "full_refresh": None, "persist_docs": {},
        "column_types": {}, "grants": {}, "access": "protected", "event_time": None, "lookback": 1, "batch_size": None, "begin": None,
        "on_configuration_change": "apply", "pre_hook": [], "post_hook": [], "quoting": {}, "packages": [],
        "contract": {"enforced": False, "alias_types": True}, "docs": {"show": True, "node_color": None},
    },
}  # fmt: skip
"""What `config.get` gives for a key of dbt's own that is not set, whatever default the template names: dbt's own default."""


class BoundMacro:
    """A macro of a file, called with the names of a render."""

    def __init__(self, owner: Rendering, file: MacroFile, name: str) -> None:
        self._owner = owner
        self._file = file
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the macro returns, or its text."""
        try:
            return self._owner.bound(self._file, self._name)(*args, **kwargs)
        except MacroReturn as returned:
            return returned.value


class PackageMacros:
    """`dbt_utils.star(...)`: the macros of one package."""

    def __init__(self, owner: Rendering, package: str) -> None:
        self._owner = owner
        self._package = package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # which the sandbox refuses as an attribute, and then takes as an item
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        """Return a macro, to be called.

        Raises:
            UnsupportedError: It is not there.
        """
        found = self._owner.macro_of(self._package, name)
        if found is None:
            raise UnsupportedError(f"the macro {self._package}.{name} is not there")
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """Return a macro, or a default where it is not there."""
        found = self._owner.macro_of(self._package, name)
        return default if found is None else found


class ConfigCalls:
    """`config(...)` and `config.get(...)`."""

    def __init__(self, owner: Rendering) -> None:
        self._owner = owner

    def __call__(self, *args: Mapping[str, Any], **kwargs: Any) -> str:
        """Note configuration of the node; later calls go over earlier ones."""
        trace = self._owner.trace
        trace.config_by_time = trace.config_by_time or trace.asks_time
        trace.config_calls += 1
        for each in (*args, kwargs):
            trace.config.update(each)
        return ""

    def get(self, name: str, default: Any = None, validator: Any = None) -> Any:
        """Return a value; where it is not set, dbt's own default for a key that dbt knows, and `default` for others."""
        found = self._found(name)
        return default if found is missing else found

    def require(self, name: str, validator: Any = None) -> Any:
        """Return a value that has to be set."""
        found = self._found(name)
        if (found is missing or found is None) and self._owner.executes:
            raise RenderError(f"the template requires the config {name!r}")
        return None if found is missing else found

    def meta_get(self, name: str, default: Any = None, validator: Any = None) -> Any:
        """Return a value of `meta`."""
        return (self.get("meta") or {}).get(name, default)

    def meta_require(self, name: str, validator: Any = None) -> Any:
        """Return a value of `meta` that has to be set."""
        found = self.meta_get(name)
        if found is None and self._owner.executes:
            raise RenderError(f"the template requires the meta {name!r}")
        return found

    def set(self, name: str, value: Any) -> str:
        """Set a value, as a call does."""
        self._owner.trace.config[name] = value
        return ""

    def persist_relation_docs(self) -> bool:
        """Return whether the description of the model is kept in the warehouse."""
        return bool((self.get("persist_docs") or {}).get("relation", False))

    def persist_column_docs(self) -> bool:
        """Return whether the descriptions of columns are kept in the warehouse."""
        return bool((self.get("persist_docs") or {}).get("columns", False))

    def _found(self, name: str) -> Any:
        subject, said = self._owner.subject, self._owner.trace.config
        for known in (subject.config, said, CONFIG_DEFAULTS.get(subject.resource_type, {})):
            if known.get(name, missing) is not missing:
                return known[name]
        return missing


class VarCalls:
    """`var('name', default)`; a text may be a template, as in dbt."""

    def __init__(self, owner: Rendering) -> None:
        self._owner = owner

    def __call__(self, name: str, default: Any = missing) -> Any:
        """Return the value of a variable."""
        value = self._find(name)
        if value is missing:
            value = default
        elif isinstance(value, str) and "{" in value:
            subject = self._owner.subject
            value = render(value, subject.path, self._owner.variables(subject.package), subject.name)
        if value is missing:
            if not self._owner.executes:
                return None  # as dbt reads a project; it may be disabled, or not come so far
            raise RenderError(f"the variable {name!r} has no value; set it under `vars` or give `var` a default")
        self._owner.trace.settings[f"var:{name}"] = value
        return value

    def has_var(self, name: str) -> bool:
        """Return whether a variable has a value."""
        return self._find(name) is not missing

    def _find(self, name: str) -> Any:
        variables = self._owner.context.variables
        scoped = variables.get(self._owner.subject.package)
        if isinstance(scoped, Mapping) and name in scoped:
            return scoped[name]
        return variables.get(name, missing)
