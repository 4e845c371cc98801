"""Renders models, tests, hooks and expressions with the names that dbt gives them.

An `TemplateContext` knows the project: macros, variables, target, and what `ref` and `source` lead to. A `Render` is one
pass over one template. It notes what the template asked for, because that is what the graph and the fingerprint
are made of: which nodes it reads, how it is configured, and whether its text depends on the run or on the
warehouse.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

import yaml
from jinja2.utils import missing

from sao_dagster.core.nodes import Asking
from sao_dagster.core.relations import quote
from sao_dagster.errors import NeedsConnectionError, RenderError, UnsupportedError
from sao_dagster.projects.templates.context_objects import (
    ColumnValue,
    NamesInContext,
    Namespace,
    OnlyInDbt,
    RelationValue,
    ResultTable,
    lenient,
    modules,
    raise_compiler_error,
)
from sao_dagster.projects.templates.jinja import (
    BUILTINS,
    MacroFile,
    MacroReturn,
    evaluate,
    guarded,
    render,
)
from sao_dagster.projects.templates.plain import plain_template
from sao_dagster.projects.templates.template_context import RenderSubject, RenderTrace, TemplateContext
from sao_dagster.projects.templates.template_run import PINNED, TemplateRun

_logger = logging.getLogger("sao_dagster.templates")
_SECRET = "DBT_ENV_SECRET"  # noqa: S105 - the prefix by which dbt marks secrets


class Render:
    """One pass over one template.

    Args:
        context: The project.
        subject: What is rendered.
        execute: Whether names are resolved; False while the project is read, when only the asking counts.
        incremental: What `is_incremental()` says.
        asking: The warehouse; None where there is no connection.
        run: The run that it sees; pinned for fingerprints.
        full_refresh: What `flags.FULL_REFRESH` says.
    """

    def __init__(
        self,
        context: TemplateContext,
        subject: RenderSubject,
        *,
        execute: bool,
        incremental: bool = False,
        asking: Asking | None = None,
        run: TemplateRun = PINNED,
        full_refresh: bool = False,
    ) -> None:
        self.context = context
        self.subject = subject
        self.trace = RenderTrace()
        self._execute = execute
        self._incremental = incremental
        self._asking = asking
        self._run = run
        self._full_refresh = full_refresh
        self._results: dict[str, Any] = {}

    def text(self, template: str) -> str:
        """Return a template, rendered; by Jinja where it is more than calls, or where one of these fails and Jinja knows the place."""
        plain = plain_template(template)
        if plain is not None and not self._replaced(self.subject.package, plain.names):
            calls = self.trace.config_calls
            try:
                return plain.text(self._plain)
            except Exception:  # noqa: BLE001 - what is called may raise anything, and does so again
                self.trace.config_calls = calls
        return render(template, self.subject.path, self._variables(self.subject.package), self.subject.name)

    def value(self, expression: str) -> Any:
        """Return the value of an expression."""
        return evaluate(expression, self.subject.path, self._variables(self.subject.package), self.subject.name)

    def within(self, package: str, config: Mapping[str, Any] | None = None) -> Render:
        """Return the same pass for a template of another package, or with another configuration; what that asks for is noted here too."""
        inside = copy(self)
        inside.subject = replace(
            self.subject, package=package, config=self.subject.config if config is None else config
        )
        for name in ("_plain", "_fixed", "_adapter"):  # their functions are those of the render that they were made for
            inside.__dict__.pop(name, None)
        return inside

    def call_macro(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a macro as if a template of the subject did; the package's own come first, then dbt's.

        Raises:
            LookupError: There is no such macro.
            RenderError: It fails.
        """
        macro = self._macro(self.subject.package, name)
        if macro is missing:
            raise LookupError(name)
        return guarded(lambda: macro(*args, **kwargs), self.subject.path, self.subject.name)

    # ------------------------------------------------------------------ names

    def _variables(self, package: str) -> dict[str, Any]:
        return {**self._fixed, **self._own(package), "__lookup__": lambda name: self._lookup(package, name)}

    def _own(self, package: str) -> dict[str, Any]:
        """Return the macros that take the place of dbt's names, such as a `ref` of the project's; dbt's are under `builtins`."""
        found: dict[str, Any] = {}
        for (owner, name), file in self._replaced(package, self._fixed.keys()).items():
            self.trace.macros[owner, name] = file
            found[name] = _BoundMacro(self, file, name)
        return found

    def _replaced(self, package: str, names: AbstractSet[str]) -> dict[tuple[str, str], MacroFile]:
        """Return the macros of a package and of the project that have one of some names."""
        owners = dict.fromkeys((self.context.project_name, package))
        known = {owner: self.context.macros.names(owner) for owner in owners if owner != BUILTINS}
        return {(owner, name): macros[name] for owner, macros in known.items() for name in names & macros.keys()}

    @cached_property
    def _plain(self) -> dict[str, Any]:
        """The names that templates use in which nothing is decided."""
        this = self.subject.this or self.context.engine.relation(None, "unresolved", self.subject.name)
        return {
            "ref": self._ref,
            "source": self._source,
            "config": _Config(self),
            "var": _Var(self),
            "env_var": self._env_var,
            "this": RelationValue(this, self.subject.this_text),
        }

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        """The names that cost nothing to provide and whose use need not be trace."""
        subject = self.subject
        return {
            **self._plain,
            "is_incremental": self._is_incremental,
            "execute": self._execute,
            "target": Namespace("target", self.context.target),
            "adapter": self._adapter,
            "api": Namespace("api", {"Relation": Namespace("api.Relation", {"create": self._create_relation}), "Column": self._column}),
            "exceptions": Namespace("exceptions", {
                "raise_compiler_error": raise_compiler_error, "warn": self._warn, "raise_not_implemented": raise_compiler_error,
            }),
            "run_query": self._run_query,
            "statement": self._statement,
            "load_result": self._results.get,
            "return": _return,
            "log": self._log,
            "print": lambda message: self._log(message, info=True),
            "fromjson": lenient(json.loads),
            "tojson": lambda value, default=None, sort_keys=False: json.dumps(value, sort_keys=sort_keys, default=str),
            "fromyaml": lenient(yaml.safe_load),
            "toyaml": lambda value, default=None, sort_keys=False: yaml.safe_dump(value, sort_keys=sort_keys),
            "set": lambda value, default=None: set(value),
            "zip": lambda *values, default=None: list(zip(*values, strict=False)),
            "flags": Namespace("flags", {"FULL_REFRESH": self._full_refresh, "WHICH": "build", "full_refresh": self._full_refresh}),
            "project_name": self.context.project_name,
            "dbt_version": "1.11.0",
            "model": Namespace(
                "model",
                {
                    "name": subject.name,
                    "alias": subject.this.identifier if subject.this else subject.name,
                    "schema": subject.this.schema if subject.this else None,
                    "database": subject.this.database if subject.this else None,
                    "config": dict(subject.config),
                    "unique_id": f"{subject.resource_type}.{subject.package}.{subject.name}",
                    "resource_type": subject.resource_type,
                    "package_name": subject.package,
                    "original_file_path": subject.path,
                },
            ),
            "builtins": Namespace("builtins", {"ref": self._ref, "source": self._source, "config": _Config(self), "var": _Var(self)}),
            "doc": self._doc,
        }  # fmt: skip

    def _lookup(self, package: str, name: str) -> Any:
        """Return a name that depends on the run, or a macro; Jinja's `missing` for anything else."""
        if name == "run_started_at":
            return self._clock()
        if name == "invocation_id":
            self.trace.asks_run_id = True
            return self._run.run_id
        if name == "context":
            return NamesInContext(
                lambda each: self._fixed[each] if each in self._fixed else self._lookup(package, each)
            )
        if name == "modules":
            return modules(self._clock)
        if name == "graph":
            return OnlyInDbt("the variable `graph`")
        macro = self._macro(package, name)
        if macro is not missing:
            return macro
        if name == BUILTINS or name in self.context.macros.packages():
            return _PackageMacros(self, name)
        return missing

    def _clock(self) -> datetime:
        self.trace.asks_time = True
        return self._run.started_at

    def _macro(self, package: str, name: str) -> Any:
        for owner in (package, BUILTINS):
            file = self.context.macros.find(owner, name)
            if file is not None:
                self.trace.macros[owner, name] = file
                return _BoundMacro(self, file, name)
        return missing

    # ------------------------------------------------------------------ what the graph is made of

    def _ref(self, *args: str, **kwargs: Any) -> RelationValue:
        version = kwargs.pop("version", kwargs.pop("v", None))
        if kwargs or not 1 <= len(args) <= 2:
            raise RenderError(
                f"ref takes a name, or a package and a name, and optionally version=; got {args}{kwargs or ''}"
            )
        package, name = (None, args[0]) if len(args) == 1 else args
        key = (package, str(name), None if version is None else str(version))
        self.trace.refs[key] = None
        found = self.context.resolve_ref(*key)
        if found is None:
            if self._execute:
                raise RenderError(f"ref({', '.join(map(repr, args))}) leads nowhere")
            return RelationValue(self.context.engine.relation(None, "unresolved", str(name)))
        return RelationValue(found.relation, found.text)

    def _source(self, source_name: str, table_name: str) -> RelationValue:
        self.trace.sources[source_name, table_name] = None
        found = self.context.sources.get((source_name, table_name))
        if found is None:
            if self._execute:
                raise RenderError(f"source({source_name!r}, {table_name!r}) leads nowhere")
            return RelationValue(self.context.engine.relation(None, source_name, table_name))
        return RelationValue(found.relation, found.text)

    def _env_var(self, name: str, default: str | None = None) -> str:
        if name.startswith(_SECRET):
            raise RenderError(f"{name} is a secret; secrets belong into profiles.yml and never into SQL")
        self.context.environment_read[name] = os.environ.get(name)
        value = os.environ.get(name, default)
        if value is None:
            raise RenderError(f"the environment variable {name} is not set, and env_var gives no default")
        self.trace.settings[f"env_var:{name}"] = value
        return value

    def _is_incremental(self) -> bool:
        return self._execute and self._incremental

    def _log(self, message: Any, info: bool = False) -> str:
        if self._execute:
            _logger.log(logging.INFO if info else logging.DEBUG, "%s: %s", self.subject.name, message)
        return ""

    def _warn(self, message: Any, *_: Any) -> str:
        if self._execute:
            _logger.warning("%s: %s", self.subject.name, message)
        return ""

    def _doc(self, *args: str) -> str:
        name = args[-1]
        if name not in self.context.descriptions:
            raise RenderError(f"there is no docs block called {name!r}")
        return self.context.descriptions[name]

    # ------------------------------------------------------------------ what needs the warehouse

    def _ask(self) -> Asking | None:
        """Return the warehouse; None while the project is read, when only the asking counts.

        Raises:
            NeedsConnectionError: There is no connection in this pass.
        """
        self.trace.needs_connection = True
        if not self._execute:
            return None
        if self._asking is None:
            raise NeedsConnectionError("this template asks the warehouse while it is rendered")
        return self._asking

    def _run_query(self, sql: str) -> ResultTable | None:
        asking = self._ask()
        if asking is None:
            return None
        answer = asking.query(str(sql))
        return ResultTable(answer.columns, answer.rows)

    def _statement(
        self,
        name: str | None = None,
        fetch_result: bool = False,
        caller: Callable[[], str] | None = None,
        **_: Any,
    ) -> str:
        if caller is None:
            raise RenderError("statement is used as a block: {% call statement('name', fetch_result=True) %}")
        result = self._run_query(caller())
        if name and result is not None:
            rows = result if fetch_result else ResultTable((), [])
            self._results[name] = Namespace("result", {"table": rows, "data": [tuple(row) for row in rows]})
        return ""

    @cached_property
    def _adapter(self) -> Namespace:
        return Namespace(
            "adapter",
            {
                "dispatch": self._dispatch,
                "quote": lambda name: quote(str(name), self.context.engine.quotes),
                "type": lambda: self.context.target.get("type", ""),
                "get_relation": self._get_relation,
                "get_columns_in_relation": self._get_columns,
                "check_schema_exists": self._schema_exists,
            },
        )

    def _dispatch(self, macro_name: str, macro_namespace: str | None = None, packages: Any = None) -> Any:
        root = self.context.project_name
        default = (root, macro_namespace) if macro_namespace else (self.subject.package, root)
        order = [*self.context.search_order.get(macro_namespace or "", default), BUILTINS]
        prefixes = [f"{self.context.target.get('type', 'default')}__", "default__"]
        for package in dict.fromkeys(order):
            for prefix in prefixes:
                file = self.context.macros.find(str(package), prefix + macro_name)
                if file is not None:
                    self.trace.macros[str(package), prefix + macro_name] = file
                    return _BoundMacro(self, file, prefix + macro_name)
        tried = ", ".join(prefix + macro_name for prefix in prefixes)
        raise RenderError(
            f"no macro for dispatch of {macro_name!r}: looked for {tried} in {', '.join(map(str, order))}"
        )

    def _create_relation(
        self,
        database: str | None = None,
        schema: str = "",
        identifier: str = "",
        type: str | None = None,  # noqa: A002 - dbt's name
    ) -> RelationValue:
        return RelationValue(self.context.engine.relation(database, schema, identifier), kind=type)

    def _column(self, name: str, data_type: str) -> ColumnValue:
        return ColumnValue(name, data_type, quotes=self.context.engine.quotes)

    def _get_columns(self, relation: RelationValue) -> list[ColumnValue]:
        asking = self._ask()
        if asking is None:
            return []
        found = asking.columns_of(str(relation) if relation.is_written else relation.relation)
        return [self._column(name, kind) for name, kind in found]

    def _get_relation(
        self, database: str | None = None, schema: str = "", identifier: str = ""
    ) -> RelationValue | None:
        asking = self._ask()
        relation = self.context.engine.relation(database or self.context.database, schema, identifier)
        kind = None if asking is None else asking.kind_of(relation)
        return None if kind is None else self._create_relation(database, schema, identifier, kind)

    def _schema_exists(self, database: str | None, schema: str) -> bool:
        asking = self._ask()
        return asking is not None and asking.has_schema(database, schema)


class _BoundMacro:
    """A macro of a file, called with the names of a render."""

    def __init__(self, owner: Render, file: MacroFile, name: str) -> None:
        self._owner = owner
        self._file = file
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        variables = self._owner._variables(self._file.package)
        macro = self._owner.context.macros.bind(self._file, self._name, variables)
        try:
            return macro(*args, **kwargs)
        except MacroReturn as returned:
            return returned.value


class _PackageMacros:
    """`dbt_utils.star(...)`: the macros of one package."""

    def __init__(self, owner: Render, package: str) -> None:
        self._owner = owner
        self._package = package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        file = self._owner.context.macros.find(self._package, name)
        if file is None:
            raise UnsupportedError(f"the macro {self._package}.{name} is not there")
        self._owner.trace.macros[self._package, name] = file
        return _BoundMacro(self._owner, file, name)


class _Config:
    """`config(...)` and `config.get(...)`."""

    def __init__(self, owner: Render) -> None:
        self._owner = owner

    def __call__(self, *args: Mapping[str, Any], **kwargs: Any) -> str:
        trace = self._owner.trace
        trace.config_by_time = trace.config_by_time or trace.asks_time
        trace.config_calls += 1
        for each in (*args, kwargs):
            trace.config.update(each)
        return ""

    def get(self, name: str, default: Any = None, validator: Any = None) -> Any:
        value = self._owner.subject.config.get(name, self._owner.trace.config.get(name))
        return default if value is None else value

    def require(self, name: str, validator: Any = None) -> Any:
        value = self.get(name)
        if value is None and self._owner._execute:
            raise RenderError(f"the template requires the config {name!r}")
        return value

    def set(self, name: str, value: Any) -> str:
        self._owner.trace.config[name] = value
        return ""

    def persist_relation_docs(self) -> bool:
        return False


class _Var:
    """`var('name', default)`."""

    def __init__(self, owner: Render) -> None:
        self._owner = owner

    def __call__(self, name: str, default: Any = missing) -> Any:
        value = self._find(name)
        if value is missing:
            value = default
        if value is missing:
            raise RenderError(f"the variable {name!r} has no value; set it under `vars` or give `var` a default")
        self._owner.trace.settings[f"var:{name}"] = value
        return value

    def has_var(self, name: str) -> bool:
        return self._find(name) is not missing

    def _find(self, name: str) -> Any:
        variables = self._owner.context.variables
        scoped = variables.get(self._owner.subject.package)
        if isinstance(scoped, Mapping) and name in scoped:
            return scoped[name]
        return variables.get(name, missing)


def _return(value: Any = None) -> Any:
    raise MacroReturn(value)
