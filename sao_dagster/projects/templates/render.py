"""Renders models, tests, hooks and expressions with the names that dbt gives them.

An `TemplateContext` knows the project: macros, variables, target, and what `ref` and `source` lead to. A `Render` is one
pass over one template. It notes what the template asked for, because that is what the graph and the fingerprint
are made of: which nodes it reads, how it is configured, and whether its text depends on the run or on the
warehouse.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from jinja2.utils import missing

from sao_dagster.core.relations import Relation
from sao_dagster.core.templates import Asking
from sao_dagster.errors import NeedsConnectionError, RenderError
from sao_dagster.projects.templates.adapter import Adapter, result_of
from sao_dagster.projects.templates.calls import CONFIG_DEFAULTS, BoundMacro, ConfigCalls, PackageMacros, VarCalls
from sao_dagster.projects.templates.context_objects import (
    ONLY_IN_DBT,
    Exceptions,
    Flags,
    NamesInContext,
    Namespace,
    OnlyInDbt,
    ResultTable,
)
from sao_dagster.projects.templates.functions import FUNCTIONS, modules
from sao_dagster.projects.templates.jinja import (
    MacroReturn,
    evaluate,
    guarded,
    render,
    render_native,
)
from sao_dagster.projects.templates.plain import PLAIN_NAMES, PlainTemplate, plain_template
from sao_dagster.projects.templates.relation_values import RelationValue
from sao_dagster.projects.templates.template_context import RenderSubject, RenderTrace, TemplateContext
from sao_dagster.projects.templates.template_run import PINNED, TemplateRun
from sao_dagster.projects.templates.texts import BUILTINS, MacroFile

T = TypeVar("T")
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
        return self._done(template, PlainTemplate.text)

    def note(self, template: str) -> None:
        """Note what a template asks for and configures, as `text` does; what it gives is not needed."""
        self._done(template, PlainTemplate.call)

    def _done(self, template: str, do: Callable[[PlainTemplate, Mapping[str, Any]], T]) -> T | str:
        """Do with a template what is to be done where it is text and calls; else return it, rendered."""
        plain = plain_template(template)
        if plain is not None and not self._replaced(self.subject.package, plain.names):
            calls = self.trace.config_calls
            try:
                return do(plain, {name: self._plain(name) for name in plain.names})
            except Exception:  # noqa: BLE001 - what is called may raise anything, and does so again
                self.trace.config_calls = calls
        variables = self.variables(self.subject.package)
        return render(template, self.subject.path, variables, self.subject.name, reads=not self._execute)

    def native(self, template: str) -> Any:
        """Return the value of a text of YAML; see `render_native`."""
        return render_native(template, self.subject.path, self.variables(self.subject.package), self.subject.name)

    def value(self, expression: str) -> Any:
        """Return the value of an expression."""
        return evaluate(expression, self.subject.path, self.variables(self.subject.package), self.subject.name)

    def within(self, package: str, config: Mapping[str, Any] | None = None) -> Render:
        """Return the same pass for a template of another package, or with another configuration; what that asks for is noted here too."""
        inside = self._copy()
        inside.subject = replace(
            self.subject, package=package, config=self.subject.config if config is None else config
        )
        return inside

    def asking(self, asking: Asking) -> Render:
        """Return the same pass with another warehouse to ask; what is asked for is noted here too."""
        found = self._copy()
        found._asking = asking
        return found

    def _copy(self) -> Render:
        copied = copy(self)
        for name in ("_fixed", "_adapter", "_bound"):  # their functions are those of the render that they were made for
            copied.__dict__.pop(name, None)
        return copied

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

    def variables(self, package: str) -> dict[str, Any]:
        """Return what templates of a package see."""
        return {**self._fixed, **self._own(package), "__lookup__": lambda name: self._lookup(package, name)}

    def _own(self, package: str) -> dict[str, Any]:
        """Return the macros that take the place of dbt's names, such as a `ref` of the project's; dbt's are under `builtins`."""
        found: dict[str, Any] = {}
        for (owner, name), file in self._replaced(package, self._fixed.keys()).items():
            self.trace.macros[owner, name] = file
            found[name] = BoundMacro(self, file, name)
        return found

    def _replaced(self, package: str, names: AbstractSet[str]) -> dict[tuple[str, str], MacroFile]:
        """Return the macros of a package and of the project that have one of some names."""
        owners = dict.fromkeys((self.context.project_name, package))
        known = {owner: self.context.macros.names(owner) for owner in owners if owner != BUILTINS}
        return {(owner, name): macros[name] for owner, macros in known.items() for name in names & macros.keys()}

    def _plain(self, name: str) -> Any:
        """Return what one of `PLAIN_NAMES` means."""
        match name:
            case "ref":
                return self._ref
            case "source":
                return self._source
            case "config":
                return ConfigCalls(self)
            case "var":
                return VarCalls(self)
            case "env_var":
                return self._env_var
        this = self.subject.this or self.context.engine.relation(None, "unresolved", self.subject.name)
        return self._relation(this, self.subject.this_text)

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        """The names that cost nothing to provide and whose use need not be trace."""
        subject = self.subject
        names = {
            **{name: self._plain(name) for name in PLAIN_NAMES},
            "is_incremental": self._is_incremental,
            "execute": self._execute,
            "target": Namespace("target", self.context.target),
            "adapter": self._adapter,
            "api": Namespace("api", {"Relation": self._adapter.Relation, "Column": self._adapter.Column}),
            "exceptions": Exceptions(self._warn),
            "run_query": self._adapter.query,
            "statement": self._statement,
            "load_result": self._results.get,
            "store_result": self._store_result,
            "store_raw_result": self._store_result,
            "return": _return,
            "log": self._log,
            "print": lambda message: self._log(message, info=True),
            "write": lambda payload: "",
            "render": self.text,
            **FUNCTIONS,
            "flags": Flags(self.context.target, full_refresh=self._full_refresh),
            "schema": self.context.target.get("schema"),
            "database": self.context.target.get("database", self.context.target.get("dbname")),
            "env": Namespace("target", self.context.target),
            "dbt_metadata_envs": {},
            "pre_hooks": None,
            "post_hooks": None,
            "sql": None,
            "project_name": self.context.project_name,
            "model": Namespace(
                "model",
                {
                    "name": subject.name,
                    "alias": subject.this.identifier if subject.this else subject.name,
                    "schema": subject.this.schema if subject.this else None,
                    "database": subject.this.database if subject.this else None,
                    "config": {**CONFIG_DEFAULTS.get(subject.resource_type, {}), **subject.config},
                    "unique_id": f"{subject.resource_type}.{subject.package}.{subject.name}",
                    "resource_type": subject.resource_type,
                    "package_name": subject.package,
                    "original_file_path": subject.path,
                },
            ),
            "doc": self._doc,
        }  # fmt: skip
        return {**names, "builtins": Namespace("builtins", names)}

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
        if name in ONLY_IN_DBT:
            return OnlyInDbt(f"`{name}` in a template")
        macro = self._macro(package, name)
        if macro is not missing:
            return macro
        if name == BUILTINS or name in self.context.macros.packages():
            return PackageMacros(self, name)
        return missing

    def _clock(self) -> datetime:
        self.trace.asks_time = True
        return self._run.started_at

    def _macro(self, package: str, name: str) -> Any:
        for owner in dict.fromkeys((package, self.context.project_name if package != BUILTINS else package, BUILTINS)):
            found = self.macro_of(owner, name)
            if found is not None:
                return found
        return missing

    def macro_of(self, package: str, name: str) -> BoundMacro | None:
        """Return a macro of a package, to be called; None where it is not there."""
        file = self.context.macros.find(package, name)
        if file is None:
            return None
        self.trace.macros[package, name] = file
        return BoundMacro(self, file, name)

    def bound(self, file: MacroFile, name: str) -> Callable[..., Any]:
        """Return a macro that sees what templates of its package see; it is bound to that once in a pass, since that takes time."""
        key = (file.package, name)
        if key not in self._bound:
            self._bound[key] = self.context.macros.bind(file, name, self.variables(file.package))
        return self._bound[key]

    @cached_property
    def _bound(self) -> dict[tuple[str, str], Callable[..., Any]]:
        return {}

    @property
    def executes(self) -> bool:
        """Whether names are resolved; not so while the project is read."""
        return self._execute

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
        found = self.context.resolve_ref(*key, self.subject.package)
        if found is None:
            if self._execute:
                raise RenderError(f"ref({', '.join(map(repr, args))}) leads nowhere")
            return self._relation(self.context.engine.relation(None, "unresolved", str(name)))
        return self._relation(found.relation, found.text)

    def _source(self, *args: str) -> RelationValue:
        if len(args) != 2:
            raise RenderError(f"source takes the name of a source and that of its table; got {args}")
        source_name, table_name = args
        self.trace.sources[source_name, table_name] = None
        found = self.context.resolve_source(source_name, table_name, self.subject.package)
        if found is None:
            if self._execute:
                raise RenderError(f"source({source_name!r}, {table_name!r}) leads nowhere")
            return self._relation(self.context.engine.relation(None, source_name, table_name))
        return self._relation(found.relation, found.text)

    def _relation(self, relation: Relation, text: str | None = None) -> RelationValue:
        return RelationValue(relation, self.context.engine, text)

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
        text = f"{self.subject.name}: {str(message).strip()}"
        if self._execute and text not in self.context.warned:
            self.context.warned.add(text)
            _logger.warning("%s", text)
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

    def _statement(
        self,
        name: str | None = None,
        fetch_result: bool = False,
        caller: Callable[[], str] | None = None,
        **_: Any,
    ) -> str:
        if caller is None:
            raise RenderError("statement is used as a block: {% call statement('name', fetch_result=True) %}")
        if not self._execute:  # as in dbt: what is in the block is not even rendered
            self.trace.needs_connection = True
            return ""
        rows = self._adapter.query(caller())
        if name and rows is not None:
            self._results[name] = result_of(rows if fetch_result else ResultTable((), []))
        return ""

    def _store_result(self, name: str, response: Any = None, agate_table: Any = None, **_: Any) -> str:
        self._results[name] = result_of(agate_table or ResultTable((), []))
        return ""

    @cached_property
    def _adapter(self) -> Adapter:
        kind = str(self.context.target.get("type", ""))
        return Adapter(self.context.engine, kind, self.context.database, self._ask, self._dispatch)

    def _dispatch(self, macro_name: str, macro_namespace: str | None = None, packages: Any = None) -> BoundMacro:
        """Return the macro for the engine: as https://docs.getdbt.com/reference/dbt-jinja-functions/dispatch has it.

        In a namespace that is a package, or has a search order, all that one package has comes before the next one; elsewhere, and for
        dbt's own macros, a macro for the engine comes before the default, wherever they are.
        """
        prefixes = [f"{self.context.target.get('type', 'default')}__", "default__"]
        namespace = macro_namespace or ""
        known = self.context.search_order.get(namespace)
        if known is None and namespace != BUILTINS and namespace in self.context.macros.packages():
            known = (self.context.project_name, namespace)
        own = tuple(each for each in (self.subject.package, self.context.project_name) if each != BUILTINS)
        order = dict.fromkeys((*(known or own), BUILTINS))  # also where a test of dbt's is rendered
        if known is None:
            tries = [(package, prefix + macro_name) for prefix in prefixes for package in order]
        else:
            tries = [(package, prefix + macro_name) for package in order for prefix in prefixes]
        for package, name in tries:
            if (found := self.macro_of(package, name)) is not None:
                return found
        tried = ", ".join(prefix + macro_name for prefix in prefixes)
        raise RenderError(
            f"no macro for dispatch of {macro_name!r}: looked for {tried} in {', '.join(map(str, order))}"
        )


def _return(value: Any = None) -> Any:
    raise MacroReturn(value)
