"""Puts declarations together: configuration settled, references resolved, SQL rendered, fingerprints taken.

Every format ends here, so a model means the same wherever it was written. What is wrong with one model is
noted and the rest goes on; `Project.errors` has it all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sao_dagster.core.hashing import digest
from sao_dagster.core.models import (
    CodeVersion,
    CompiledSql,
    DataTest,
    Materialized,
    Model,
    Node,
    Notice,
    Project,
    Query,
    Relation,
    Seed,
    is_source,
    unknown,
)
from sao_dagster.errors import (
    Location,
    NeedsConnectionError,
    ProjectError,
    RenderError,
    SaoError,
    UnsupportedError,
)
from sao_dagster.projects.config import NodeConfig, TestConfig, checked, parse_config
from sao_dagster.projects.data_tests import default_name, is_expression, verdict_settings
from sao_dagster.projects.declarations import Declarations, NodeDeclaration, TestDeclaration, merge_layers
from sao_dagster.projects.engine import BUILTINS, Engine, Noted, Render, Resolved, Subject, TimedExpression
from sao_dagster.projects.jinja import MacroFile
from sao_dagster.projects.snapshot import cached_assembly
from sao_dagster.projects.values import Namespace, RelationValue
from sao_dagster.sql.ctes import prepend_ctes
from sao_dagster.sql.fingerprint import sql_digest
from sao_dagster.sql.volatile import volatility

# Configuration that cannot change the stored result, or is counted as another part of the code version.
_NOT_CODE = frozenset(
    {
        "enabled", "tags", "meta", "group", "docs", "access", "description", "freshness", "state", "volatile",
        "inherit_from_children", "on_test_failure", "schema", "database", "alias", "persist_docs", "full_refresh",
        "query_tag", "labels", "static_analysis", "severity", "store_failures", "grants", "event_time",
    }
)  # fmt: skip
_CTE = "__dbt__cte__"


def assemble(declared: Declarations) -> Project:
    """Return the project that the declarations mean; what has not changed since the last time is not done again."""
    return cached_assembly(declared, _assemble, also=repr(_builtin_macros()))


def _assemble(declared: Declarations) -> tuple[Project, dict[str, str | None]]:
    assembly = _Assembly(declared)
    return assembly.project(), assembly.engine.environment_read


@dataclass
class _Draft:
    """A model or seed on its way."""

    declared: NodeDeclaration
    config: NodeConfig
    merged: dict[str, Any]
    noted: Noted
    subject: Subject
    relation: Relation
    materialized: Materialized
    depends_on: tuple[str, ...] = ()
    sql: str = ""
    incremental_sql: str | None = None
    pre_hooks: tuple[str, ...] = ()
    post_hooks: tuple[str, ...] = ()
    dynamic: bool = False
    macro_files: dict[str, MacroFile] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.declared.id


class _Assembly:
    def __init__(self, declared: Declarations) -> None:
        self.declared = declared
        self.notices = list(declared.notices)
        self.errors = list(declared.errors)
        self.engine = Engine(
            project_name=declared.name,
            macro_files=(*_builtin_macros(), *declared.macro_files),
            variables=declared.variables,
            target=declared.target,
            search_order=declared.search_order,
            descriptions=declared.descriptions,
        )
        self.drafts: dict[str, _Draft] = {}
        self.disabled: set[str] = set()
        self._relations: dict[tuple[Any, ...], Relation] = {}

    def project(self) -> Project:
        for file in self.declared.macro_files:
            if file.package == self.declared.name:
                self._noting(self.engine.macros.check, file)
        for declaration in self.declared.nodes:
            self._noting(self._draft, declaration)
        self._register()
        self._keep_those_that(self._resolve)
        self._keep_those_that(self._compile)
        self._leave_out_dependents()
        nodes: dict[str, Node] = {}
        for draft in self.drafts.values():
            self._noting(self._finish, draft, nodes)
        sources = {source.id: source for source in self.declared.sources}
        skeleton = Project(
            name=self.declared.name,
            environment=self.declared.environment,
            dialect=self.declared.dialect,
            root=self.declared.root,
            nodes=nodes,
            sources=sources,
            tests={},
        )
        position: dict[str, int] = {}
        if self._noting(lambda: skeleton.graph.order):
            position = {name: index for index, name in enumerate(skeleton.graph.order)}
        tests: dict[str, DataTest] = {}
        for each in self.declared.tests:
            self._noting(self._test, each, position, tests)
        return replace(
            skeleton,
            tests=tests,
            on_run_start=self._operations(self.declared.on_run_start, "on-run-start"),
            on_run_end=self._operations(self.declared.on_run_end, "on-run-end"),
            notices=tuple(self.notices),
            errors=tuple(self.errors),
        )

    def _keep_those_that(self, step: Callable[[_Draft], None]) -> None:
        """Take a step with every draft; those that fail it are noted and left out."""
        for draft in list(self.drafts.values()):
            if not self._noting(step, draft):
                del self.drafts[draft.id]

    def _leave_out_dependents(self) -> None:
        """Leave out what reads a model that has an error: nothing true can be said about it."""
        while True:
            broken = {
                draft.id: parent
                for draft in self.drafts.values()
                for parent in draft.depends_on
                if parent not in self.drafts and not is_source(parent)
            }
            if not broken:
                return
            for name, parent in broken.items():
                location = self.drafts.pop(name).declared.location
                self.notices.append(Notice(f"{name} is left out: it reads {parent}, which has an error", location))

    def _noting(self, action: Callable[..., object], *args: Any) -> bool:
        """Run a step; note the project's error if it has one, and return whether it went well."""
        try:
            action(*args)
        except SaoError as error:
            self.errors.append(error)
            return False
        return True

    # ------------------------------------------------------------------ configuration and names

    def _draft(self, declaration: NodeDeclaration) -> None:
        name, path = declaration.id, declaration.location.path
        subject = Subject(
            name=declaration.name,
            path=path,
            package=declaration.package,
            config=merge_layers(*declaration.layers),
            resource_type="model" if declaration.sql is not None else "seed",
        )
        noted = Noted()
        layers = list(declaration.layers)
        if declaration.sql is not None:
            reading = Render(self.engine, subject, execute=False)
            reading.text(declaration.sql)
            noted = reading.noted
            layers.append(noted.config)
        merged = merge_layers(*layers)
        config = parse_config(merged, name, declaration.location)
        if not config.enabled:
            self.disabled.add(name)
            return
        if name in self.drafts:
            other = self.drafts[name].declared.location
            raise ProjectError(
                f"there are two models or seeds called {name!r}; the other one is in {other}",
                location=declaration.location,
            )
        try:
            config.refuse_unsupported()
            default = Materialized.VIEW if declaration.sql is not None else Materialized.SEED
            materialized = config.materialization(default) if declaration.sql is not None else Materialized.SEED
        except SaoError as error:
            error.name, error.location = name, error.location or declaration.location
            raise
        for key in config.without_effect():
            self.notices.append(Notice(f"{name}: the config {key!r} has no effect here", declaration.location))
        self.drafts[name] = _Draft(
            declared=declaration,
            config=config,
            merged=merged,
            noted=noted,
            subject=subject,
            relation=self._relation(declaration, config),
            materialized=materialized,
        )

    def _relation(self, declaration: NodeDeclaration, config: NodeConfig) -> Relation:
        """Return where a node lives, by the project's own naming macros if it has any."""
        target = self.declared.target
        if not self._naming_is_custom:
            schema = str(target["schema"])
            schema = schema if config.schema_ is None else f"{schema}_{config.schema_.strip()}"
            return Relation(
                config.database or target["database"],
                schema,
                config.alias or _alias(declaration),
            )
        node = Namespace(
            "node",
            {
                "name": declaration.name,
                "version": declaration.version,
                "package_name": declaration.package,
                "fqn": list(declaration.fqn),
                "config": config.model_dump(by_alias=True, mode="json"),
                "resource_type": "model" if declaration.sql is not None else "seed",
                "path": declaration.location.path,
                "original_file_path": declaration.location.path,
            },
        )
        subject = Subject(name=declaration.id, path=declaration.location.path, package=self.engine.project_name)
        naming = Render(self.engine, subject, execute=True)

        def named(macro: str, value: str | None) -> str:
            return str(naming.call_macro(macro, value, node)).strip()

        return Relation(
            named("generate_database_name", config.database),
            named("generate_schema_name", config.schema_),
            named("generate_alias_name", config.alias),
        )

    @property
    def _naming_is_custom(self) -> bool:
        own = self.engine.macros.names(self.engine.project_name)
        return any(
            name.endswith(("generate_schema_name", "generate_alias_name", "generate_database_name")) for name in own
        )

    def _register(self) -> None:
        """Tell the engine what every `ref` and `source` leads to."""
        seen: dict[tuple[str, str, str], _Draft] = {}
        for draft in self.drafts.values():
            ephemeral = draft.materialized is Materialized.EPHEMERAL
            if not ephemeral and (other := seen.setdefault(draft.relation.key, draft)) is not draft:
                self.errors.append(
                    ProjectError(
                        f"{draft.id} and {other.id} would both be built as {draft.relation}; give one an alias or a schema",
                        location=draft.declared.location,
                    )
                )
            text = f"{_CTE}{draft.id.replace('.', '_')}" if ephemeral else str(draft.relation)
            resolved = Resolved(draft.id, draft.relation, text)
            declaration = draft.declared
            for package in (None, declaration.package):
                self.engine.refs[package, declaration.name, declaration.version] = resolved
                if declaration.is_latest:
                    self.engine.refs[package, declaration.name, None] = resolved
        for source in self.declared.sources:
            where = source.relation or Relation(None, source.source_name, source.table_name)
            self.engine.sources[source.source_name, source.table_name] = Resolved(source.id, where, source.expression)

    def _resolve(self, draft: _Draft) -> None:
        draft.depends_on = self._reads(draft.noted, draft.declared.location, draft.id)
        draft.subject = replace(draft.subject, this=draft.relation, config=_plain(draft.config))

    def _reads(self, noted: Noted, location: Location, name: str) -> tuple[str, ...]:
        """Return the ids that a template reads.

        Raises:
            UnknownNodeError: Something that is not there, or is disabled.
        """
        found: dict[str, None] = {}
        for key in noted.refs:
            resolved = self.engine.refs.get(key)
            if resolved is None:
                package, wanted, version = key
                shown = wanted if version is None else f"{wanted} version {version}"
                if wanted in self.disabled:
                    raise ProjectError(f"{name} reads {shown!r}, which is disabled", location=location)
                where = f" in package {package!r}" if package else ""
                raise unknown(f"{name} reads ref({shown!r}){where}, which is not there", wanted, self.drafts, location)
            found[resolved.id] = None
        for source_name, table_name in noted.sources:
            resolved = self.engine.sources.get((source_name, table_name))
            if resolved is None:
                known = {f"{source.source_name}.{source.table_name}": source for source in self.declared.sources}
                wanted = f"{source_name}.{table_name}"
                raise unknown(
                    f"{name} reads source({source_name!r}, {table_name!r}), which is not there",
                    wanted,
                    known,
                    location,
                )
            found[resolved.id] = None
        return tuple(found)

    # ------------------------------------------------------------------ SQL

    def _compile(self, draft: _Draft) -> None:
        """Render a model as it runs; what asks the warehouse is left for the run."""
        pre, post = draft.config.hooks
        sql = draft.declared.sql
        try:
            hooks = Render(self.engine, draft.subject, execute=True)
            draft.pre_hooks = tuple(text for hook in pre if (text := hooks.text(hook).strip()))
            draft.post_hooks = tuple(text for hook in post if (text := hooks.text(hook).strip()))
            self._take(draft, hooks.noted)
            if sql is None:
                return
            if draft.materialized is Materialized.INCREMENTAL:
                again = Render(self.engine, draft.subject, execute=True, incremental=True)
                draft.incremental_sql = again.text(sql)
                self._take(draft, again.noted)
            first = Render(self.engine, draft.subject, execute=True)
            draft.sql = first.text(sql)
            self._take(draft, first.noted)
        except NeedsConnectionError:
            draft.dynamic = True
            draft.sql, draft.incremental_sql = "", None
        if draft.dynamic and draft.materialized is Materialized.EPHEMERAL:
            raise UnsupportedError(
                "an ephemeral model cannot ask the warehouse while it is rendered; make it a view or a table",
                name=draft.id,
                location=draft.declared.location,
            )
        if not draft.dynamic and not draft.sql.strip():
            raise ProjectError(f"{draft.id} has no SQL", location=draft.declared.location)

    def _take(self, draft: _Draft, noted: Noted) -> None:
        """Add what a pass asked for to what was known; `execute` may show more than reading did."""
        draft.noted.needs_run = draft.noted.needs_run or noted.needs_run
        draft.noted.needs_connection = draft.noted.needs_connection or noted.needs_connection
        draft.noted.macros.update(noted.macros)
        draft.noted.settings.update(noted.settings)
        more = self._reads(noted, draft.declared.location, draft.id)
        draft.depends_on = tuple(dict.fromkeys((*draft.depends_on, *more)))

    def _finish(self, draft: _Draft, nodes: dict[str, Node]) -> None:
        nodes[draft.id] = self._node(draft)

    def _node(self, draft: _Draft) -> Node:
        declaration, config = draft.declared, draft.config
        common: dict[str, Any] = {
            "name": draft.id,
            "relation": draft.relation,
            "materialized": draft.materialized,
            "depends_on": draft.depends_on,
            "policy": config.policy(lambda text: TimedExpression(self.engine, draft.subject, text)),
            "fqn": declaration.fqn,
            "location": declaration.location,
            "description": declaration.description,
            "columns": declaration.columns,
            "tags": tuple(dict.fromkeys(config.tags)),
            "owners": self._owners(config),
            "group": config.group,
            "meta": config.meta,
            "config": _plain(config),
        }
        if declaration.csv is not None:
            return Seed(
                **common,
                code=self._code(draft, {"sql": declaration.csv_digest}),
                path=declaration.csv,
                column_types=config.column_types,
                delimiter=config.delimiter,
                pre_hooks=draft.pre_hooks,
                post_hooks=draft.post_hooks,
            )
        if draft.materialized is Materialized.INCREMENTAL:
            common["incremental_strategy"] = config.strategy()
        compiled = self._inline(draft)
        if draft.dynamic:
            parts = {
                "sql": digest(["template", _code_lines(declaration.sql or "")]),
                "macros": self._macros_digest(draft),
            }
            found = volatility(declaration.sql or "", self.declared.dialect)
        else:
            sql_parts = [sql_digest(compiled.sql, self.declared.dialect)]
            if compiled.incremental_sql is not None:
                sql_parts.append(sql_digest(compiled.incremental_sql, self.declared.dialect))
            parts = {"sql": digest(sql_parts)}
            found = volatility(compiled.sql, self.declared.dialect)
        compiler = TemplateCompiler(
            self.engine,
            draft.subject,
            declaration.sql or "",
            config.hooks,
            draft.materialized,
            self._ctes(draft),
            self.declared.dialect,
        )
        return Model(
            **common,
            code=self._code(draft, parts),
            raw_sql=declaration.sql or "",
            compiled=compiled,
            compiler=compiler if draft.dynamic or draft.noted.needs_run else None,
            expiry=found.expiry,
            volatile_columns=found.columns,
            unique_key=tuple(config.unique_key),
            incremental_predicates=tuple(config.incremental_predicates or config.predicates),
            merge_update_columns=tuple(config.merge_update_columns),
            merge_exclude_columns=tuple(config.merge_exclude_columns),
            on_schema_change=config.on_schema_change,
            full_refresh=config.full_refresh,
        )  # fmt: skip

    def _code(self, draft: _Draft, parts: dict[str, str]) -> CodeVersion:
        counted = {
            key: value
            for key, value in draft.merged.items()
            if key not in _NOT_CODE and value not in (None, [], {}, ())
        }
        counted["materialized"] = draft.materialized.value
        counted["pre_hook"], counted["post_hook"] = list(draft.pre_hooks), list(draft.post_hooks)
        for hooks in ("pre_hook", "post_hook"):
            counted[hooks] = [sql_digest(hook, self.declared.dialect) for hook in counted[hooks]]
        return CodeVersion({**parts, "config": digest(counted), "relation": digest(list(draft.relation.key))})

    def _ctes(self, draft: _Draft) -> tuple[tuple[str, str], ...]:
        """Return the ephemerals that a model needs, each after those it uses."""
        found: dict[str, str] = {}

        def visit(name: str, path: tuple[str, ...]) -> None:
            each = self.drafts.get(name)
            if each is None or each.materialized is not Materialized.EPHEMERAL:
                return
            if name in path:
                raise ProjectError(
                    f"ephemeral models read each other in a circle: {' <- '.join((*path, name))}",
                    location=each.declared.location,
                )
            for parent in each.depends_on:
                visit(parent, (*path, name))
            found.setdefault(f"{_CTE}{name.replace('.', '_')}", each.sql)

        for parent in draft.depends_on:
            visit(parent, (draft.id,))
        return tuple(found.items())

    def _inline(self, draft: _Draft) -> CompiledSql:
        ctes = self._ctes(draft) if draft.materialized is not Materialized.EPHEMERAL else ()
        try:
            return CompiledSql(
                sql=prepend_ctes(draft.sql, ctes, self.declared.dialect),
                incremental_sql=None
                if draft.incremental_sql is None
                else prepend_ctes(draft.incremental_sql, ctes, self.declared.dialect),
                pre_hooks=draft.pre_hooks,
                post_hooks=draft.post_hooks,
            )
        except RenderError as error:
            error.name, error.location = draft.id, draft.declared.location
            raise

    def _macros_digest(self, draft: _Draft) -> str:
        """Return a digest of every macro that a template may reach, and of the settings it read.

        Names are followed through the text of the macro files, which errs on the side of too many.
        """
        registry = self.engine.macros
        packages = list(registry.packages())
        pending = list({file.path: file for file in draft.noted.macros.values()}.values())
        texts = {file.path: file.text for file in pending}
        names = set(re.findall(r"\w+", draft.declared.sql or ""))
        while True:
            more = [
                file
                for name in names
                for package in packages
                if (file := registry.find(package, name)) and file.path not in texts
            ]
            pending += more
            if not pending:
                break
            texts.update({file.path: file.text for file in pending})
            names = {name for file in pending for name in re.findall(r"\w+", file.text)}
            pending = []
        settings = {key: str(value) for key, value in draft.noted.settings.items()}
        return digest([sorted(texts.items()), settings])

    def _owners(self, config: NodeConfig) -> tuple[str, ...]:
        owner = config.meta.get("owner")
        listed = owner if isinstance(owner, list) else [owner] if owner else []
        owners = [*map(str, listed), *self.declared.group_owners.get(config.group or "", ())]
        return tuple(dict.fromkeys(owners))

    def _operations(self, templates: Iterable[str], name: str) -> tuple[str, ...]:
        subject = Subject(
            name=name, path="dbt_project.yml", package=self.engine.project_name, resource_type="operation"
        )
        found: list[str] = []
        for template in templates:
            self._noting(
                lambda text: found.append(Render(self.engine, subject, execute=True).text(text).strip()), template
            )
        return tuple(text for text in found if text)

    # ------------------------------------------------------------------ data tests

    def _test(self, declared: TestDeclaration, position: Mapping[str, int], tests: dict[str, DataTest]) -> None:
        config: TestConfig = checked(TestConfig, declared.config, declared.name or declared.kind, declared.location)
        if not config.enabled or declared.tested in self.disabled:
            return
        if declared.kind == "singular":
            name, sql, noted = self._singular(declared)
        else:
            if declared.tested not in self.drafts and not is_source(str(declared.tested)):
                return  # its model has an error of its own
            name, sql, noted = self._generic(declared, config)
        noted_reads = self._reads(noted, declared.location, name)
        reads = tuple(dict.fromkeys(([declared.tested] if declared.tested else []) + list(noted_reads)))
        if not reads:
            raise ProjectError(
                f"the test {name} reads nothing; name what it is about with ref() or source()",
                location=declared.location,
            )
        ctes = {cte: text for read in reads for cte, text in self._ephemeral_of(read)}
        sql = prepend_ctes(sql.strip().rstrip(";"), tuple(ctes.items()), self.declared.dialect)
        if config.limit is not None:
            sql = f"select * from ({sql}) as dbt_internal_test limit {config.limit}"
        if name in tests:
            other = tests[name].location
            raise ProjectError(
                f"there are two data tests called {name!r}; the other one is in {other}; give one a name",
                location=declared.location,
            )
        stored = None
        if config.keeps_failures:
            schema = f"{self.declared.target['schema']}_{config.schema_ or 'dbt_test__audit'}"
            stored = Relation(config.database or self.declared.target["database"], schema, config.alias or name)
        tests[name] = DataTest(
            name=name,
            kind=declared.kind,
            tested=declared.tested or max(reads, key=lambda read: position.get(read, -1)),
            column=declared.column,
            sql=sql,
            reads=reads,
            version=digest([sql_digest(sql, self.declared.dialect), verdict_settings(config)]),
            severity=config.severity,
            fail_calc=config.fail_calc,
            warn_if=config.warn_if,
            error_if=config.error_if,
            where=config.where,
            limit=config.limit,
            default_config=config.is_default,
            expiry=volatility(sql, self.declared.dialect).expiry,
            store_failures=stored,
            store_failures_as=Materialized(config.store_failures_as or "table"),
            location=declared.location,
            description=declared.description,
            tags=tuple(config.tags),
            fqn=declared.fqn,
        )

    def _ephemeral_of(self, name: str) -> tuple[tuple[str, str], ...]:
        draft = self.drafts.get(name)
        if draft is None or draft.materialized is not Materialized.EPHEMERAL:
            return ()
        own = (f"{_CTE}{name.replace('.', '_')}", draft.sql)
        return (*self._ctes(draft), own)

    def _singular(self, declared: TestDeclaration) -> tuple[str, str, Noted]:
        name = str(declared.name)
        subject = Subject(name=name, path=declared.location.path, package=declared.package, resource_type="test")
        rendering = Render(self.engine, subject, execute=True)
        try:
            return name, rendering.text(declared.sql), rendering.noted
        except NeedsConnectionError as error:
            raise _asks(name, declared) from error

    def _generic(self, declared: TestDeclaration, config: TestConfig) -> tuple[str, str, Noted]:
        tested = str(declared.tested)
        kind = f"source_{declared.kind}" if is_source(tested) else declared.kind
        about = tested.removeprefix("source:").replace(".", "_")
        name = declared.name or default_name(kind, about, declared.column, declared.args)
        subject = Subject(name=name, path=declared.location.path, package=declared.package, resource_type="test")
        rendering = Render(self.engine, subject, execute=True)
        package, _, bare = declared.kind.rpartition(".")
        found = next(
            (
                owner
                for owner in ((package,) if package else (declared.package, self.engine.project_name, BUILTINS))
                if self.engine.macros.find(owner, f"test_{bare}")
            ),
            None,
        )
        if found is None:
            known = sorted(
                key.removeprefix("test_")
                for owner in self.engine.macros.packages()
                for key in self.engine.macros.names(owner)
                if key.startswith("test_")
            )
            raise unknown(
                f"there is no generic test called {declared.kind!r}; there are {', '.join(known)}",
                bare,
                dict.fromkeys(known),
                declared.location,
            )
        source = next((each for each in self.declared.sources if each.id == tested), None)
        draft = self.drafts.get(tested)
        if source is not None:
            model = RelationValue(
                source.relation or Relation(None, source.source_name, source.table_name), source.expression
            )
        elif draft is not None and draft.materialized is Materialized.EPHEMERAL:
            model = RelationValue(draft.relation, f"{_CTE}{tested.replace('.', '_')}")
        elif draft is not None:
            model = RelationValue(draft.relation)
        else:
            raise unknown(
                f"the test {name} is about {tested!r}, which is not there",
                tested,
                self.drafts,
                declared.location,
            )
        if config.where:
            where = rendering.text(config.where)
            model = RelationValue(model.relation, f"(select * from {model} where {where}) as dbt_subquery")
        args = {key: self._argument(rendering, value) for key, value in declared.args.items()}
        if declared.column is not None:
            args["column_name"] = declared.column
        try:
            inside = Render(self.engine, replace(subject, package=found), execute=True)
            text = str(inside.call_macro(f"test_{bare}", model, **args))
        except NeedsConnectionError as error:
            raise _asks(name, declared) from error
        except (TypeError, RenderError) as error:
            raise RenderError(f"the test {name} cannot be rendered: {error}", location=declared.location) from error
        rendering.noted.refs.update(inside.noted.refs)
        rendering.noted.sources.update(inside.noted.sources)
        return name, text, rendering.noted

    def _argument(self, rendering: Render, value: Any) -> Any:
        if isinstance(value, str) and is_expression(value):
            return rendering.value(value)
        if isinstance(value, str) and "{{" in value:
            return rendering.text(value)
        return value


def _asks(name: str, declared: TestDeclaration) -> UnsupportedError:
    return UnsupportedError(
        f"the test {name} asks the warehouse while it is rendered, which is not supported; write it as one query",
        location=declared.location,
    )


@dataclass(frozen=True)
class TemplateCompiler:
    """Renders a model in its run, where its SQL depends on the run or on the warehouse."""

    engine: Engine
    subject: Subject
    template: str
    hooks: tuple[tuple[str, ...], tuple[str, ...]]
    materialized: Materialized
    ctes: tuple[tuple[str, str], ...]
    dialect: str

    def compile(self, query: Query, run_id: str) -> CompiledSql:
        """Return the statements for this run; see `sao_dagster.core.models.Compiler`."""
        from datetime import datetime, timezone

        now = datetime.now(timezone.utc)

        def rendered(text: str, *, incremental: bool = False) -> str:
            pass_ = Render(
                self.engine,
                self.subject,
                execute=True,
                incremental=incremental,
                query=query,
                started_at=now,
                run_id=run_id,
            )
            return pass_.text(text)

        before, after = self.hooks
        again = None
        if self.materialized is Materialized.INCREMENTAL:
            again = prepend_ctes(rendered(self.template, incremental=True), self.ctes, self.dialect)
        return CompiledSql(
            sql=prepend_ctes(rendered(self.template), self.ctes, self.dialect),
            incremental_sql=again,
            pre_hooks=tuple(text for hook in before if (text := rendered(hook).strip())),
            post_hooks=tuple(text for hook in after if (text := rendered(hook).strip())),
        )


@lru_cache(maxsize=1)
def _builtin_macros() -> tuple[MacroFile, ...]:
    folder = Path(__file__).parent / "macros"
    return tuple(
        MacroFile(BUILTINS, f"dbt/{file.name}", file.read_text(encoding="utf-8"))
        for file in sorted(folder.glob("*.sql"))
    )


def _alias(declaration: NodeDeclaration) -> str:
    """Return the name of a relation whose model has no alias, as dbt makes it."""
    version = f"_v{declaration.version.replace('.', '_')}" if declaration.version is not None else ""
    return declaration.name + version


def _plain(config: NodeConfig) -> dict[str, Any]:
    """Return configuration as plain data, without what was not set."""
    return config.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _code_lines(text: str) -> str:
    """Return a template without Jinja comments and with white space folded."""
    return " ".join(re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL).split())
