"""Models on their way from a template to statements: rendered, inlined, fingerprinted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeAlias

from sao_dagster.core.hashing import digest
from sao_dagster.core.nodes import (
    RELATION,
    SETTINGS,
    Asking,
    CodeVersion,
    CompiledSql,
    Materialized,
    Model,
    Node,
    NodeError,
    Seed,
)
from sao_dagster.errors import NeedsConnectionError, ProjectError, RenderError, UnsupportedError
from sao_dagster.projects.assembly.drafts import Draft, Drafts, Template
from sao_dagster.projects.config import NodeConfig, is_code
from sao_dagster.projects.declarations import CompiledDeclaration
from sao_dagster.projects.templates.render import Render, RenderSubject, RenderTrace, TemplateContext, TimedExpression
from sao_dagster.sql.ctes import prepend_ctes
from sao_dagster.sql.fingerprint import sql_digest
from sao_dagster.sql.session import follows_process
from sao_dagster.sql.volatile import Volatility, volatility

Hooks: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
"""Statements, or their templates, before and after a build."""


@dataclass(frozen=True)
class ModelAssembly:
    """Makes models and seeds of drafts.

    Attributes:
        drafts: All drafts, with their references resolved.
    """

    drafts: Drafts

    def compile(self, draft: Draft) -> None:
        """Render a model as it runs; what asks the warehouse is left for the run."""
        compiled, sql = draft.declared.compiled, draft.declared.sql
        draft.pre_hooks, draft.post_hooks = _hook_templates(draft)  # which stay, if they ask the warehouse
        try:
            draft.pre_hooks, draft.post_hooks = self._hooks(draft, compiled)
            if compiled is None and sql is not None:
                self._render(draft, sql)
        except NeedsConnectionError:
            draft.dynamic, draft.trace.needs_run = compiled is None, True
            draft.sql, draft.incremental_sql = "", None
        if compiled is not None:
            draft.sql, draft.incremental_sql = compiled.sql, compiled.incremental_sql
        if draft.dynamic and draft.declared.csv is not None:
            message = "hooks of a seed cannot ask the warehouse while they are rendered"
            raise UnsupportedError(message, name=draft.id, location=draft.declared.location)
        if draft.dynamic and draft.materialized is Materialized.EPHEMERAL:
            message = "an ephemeral model cannot ask the warehouse while it is rendered; make it a view or a table"
            raise UnsupportedError(message, name=draft.id, location=draft.declared.location)
        if not draft.dynamic and not draft.sql.strip() and draft.declared.csv is None:
            raise ProjectError(f"{draft.id} has no SQL", location=draft.declared.location)

    def _hooks(self, draft: Draft, compiled: CompiledDeclaration | None) -> Hooks:
        """Return the statements before and after."""
        rendering = Render(self.drafts.context, draft.subject, execute=True)
        try:
            return _statements(_hook_templates(draft), compiled, rendering.text)
        finally:  # what they asked for counts, also where they ask the warehouse
            self._take(draft, rendering.trace)

    def _render(self, draft: Draft, sql: str) -> None:
        """Render a template in all the ways in which it may run."""
        if draft.materialized is Materialized.INCREMENTAL:
            again = Render(self.drafts.context, draft.subject, execute=True, incremental=True)
            draft.incremental_sql = again.text(sql)
            self._take(draft, again.trace)
        first = Render(self.drafts.context, draft.subject, execute=True)
        draft.sql = first.text(sql)
        self._take(draft, first.trace)

    def _take(self, draft: Draft, trace: RenderTrace) -> None:
        """Add what a pass asked for to what was known; `execute` may show more than reading did."""
        draft.trace.needs_run = draft.trace.needs_run or trace.needs_run
        draft.trace.needs_connection = draft.trace.needs_connection or trace.needs_connection
        draft.trace.macros.update(trace.macros)
        draft.trace.settings.update(trace.settings)
        template = Template(draft.declared.sql or "", draft.declared.location)
        more = self.drafts.reads(trace, template, draft.id)
        draft.depends_on = tuple(dict.fromkeys((*draft.depends_on, *more)))

    def node(self, draft: Draft) -> Node:
        """Return the node of a draft: as it is built, or as far as it is known what is wrong with it."""
        if draft.error is None:
            try:
                return self._node(draft)
            except Exception as error:  # noqa: BLE001 - a parser of SQL may raise anything; it is this model that cannot be read
                draft.error = NodeError.of(error, draft.declared.location)
        return self._broken(draft)

    def _broken(self, draft: Draft) -> Node:
        """Return the node of a broken draft, which is never built; its code is its text, so that an edit is another code."""
        declaration = draft.declared
        common = {**self._common(draft), "error": draft.error}
        code = CodeVersion({"broken": digest([declaration.sql, declaration.csv_digest, str(draft.error)])})
        if declaration.csv is not None:
            return Seed(**common, code=code, path=declaration.csv)
        return Model(**common, code=code, raw_sql=declaration.sql or "", compiled=CompiledSql(""))

    def _common(self, draft: Draft) -> dict[str, Any]:
        """Return what models and seeds have in common, whether they can be built or not."""
        declaration, config = draft.declared, draft.config
        return {
            "name": draft.id,
            "relation": draft.relation,
            "materialized": draft.materialized,
            "depends_on": draft.depends_on,
            "fqn": declaration.fqn,
            "location": declaration.location,
            "description": declaration.description,
            "columns": declaration.columns,
            "tags": tuple(dict.fromkeys(config.tags)),
            "owners": self._owners(config),
            "group": config.group,
            "meta": config.meta,
            "config": plain_config(config),
            "resource_type": declaration.resource_type,
            "undeclared": draft.undeclared,
        }

    def _node(self, draft: Draft) -> Node:
        """Return the node of a draft: a seed, or a model with its fingerprint, its volatility and, where it is rendered in each run, its compiler."""
        declaration, config = draft.declared, draft.config
        common = self._common(draft)
        common["policy"] = config.policy(lambda text: TimedExpression(self.drafts.context, draft.subject, text))
        if declaration.csv is not None:
            return Seed(
                **common,
                code=self._code(draft, {"sql": declaration.csv_digest}, (*draft.pre_hooks, *draft.post_hooks)),
                follows_process=bool(config.column_types),
                path=declaration.csv,
                column_types=config.column_types,
                delimiter=config.delimiter,
                pre_hooks=draft.pre_hooks,
                post_hooks=draft.post_hooks,
            )
        if draft.materialized is Materialized.INCREMENTAL:
            common["incremental_strategy"] = config.strategy()
        compiled = self._inline(draft)
        if declaration.language != "sql":
            parts, found = {"python": digest(compiled.sql)}, Volatility()
        elif draft.dynamic:
            parts = {
                "sql": digest(["template", _code_lines(declaration.sql or "")]),
                "macros": self._macros_digest(draft),
            }
            found = volatility(declaration.sql or "", self.drafts.declared.dialect)
        else:
            sql_parts = [sql_digest(compiled.sql, self.drafts.declared.dialect, compiled.names)]
            if compiled.incremental_sql is not None:
                sql_parts.append(sql_digest(compiled.incremental_sql, self.drafts.declared.dialect, compiled.names))
            parts = {"sql": digest(sql_parts)}
            if (
                declaration.compiled is not None and draft.trace.needs_connection
            ):  # a hook asks, and is rendered in each run
                parts["macros"] = self._macros_digest(draft)
            found = volatility(compiled.sql, self.drafts.declared.dialect)
        compiler = TemplateCompiler(
            self.drafts.context,
            draft.subject,
            declaration.sql or "",
            _hook_templates(draft),
            draft.materialized,
            self.drafts.ctes(draft),
            self.drafts.declared.dialect,
            declaration.compiled,
        )
        statements = None  # where it is rendered in each run, or is no SQL, nobody knows what it depends on
        if declaration.language == "sql" and not draft.dynamic:
            texts = (compiled.sql, compiled.incremental_sql, *compiled.pre_hooks, *compiled.post_hooks)
            statements = [each for each in texts if each is not None]
        return Model(
            **common,
            code=self._code(draft, parts, statements),
            follows_process=statements is None or follows_process(statements),
            raw_sql=declaration.sql or compiled.sql,
            compiled=compiled,
            language=declaration.language,
            compiler=compiler if draft.dynamic or draft.trace.needs_run else None,
            expiry=found.expiry,
            volatile_columns=found.columns,
            unique_key=tuple(config.unique_key),
            incremental_predicates=tuple(config.incremental_predicates or config.predicates),
            merge_update_columns=tuple(config.merge_update_columns),
            merge_exclude_columns=tuple(config.merge_exclude_columns),
            on_schema_change=config.on_schema_change,
            full_refresh=config.full_refresh,
        )  # fmt: skip

    def _code(self, draft: Draft, parts: dict[str, str], statements: Iterable[str] | None) -> CodeVersion:
        counted = {
            key: value for key, value in draft.merged.items() if is_code(key) and value not in (None, [], {}, ())
        }
        counted["materialized"] = draft.materialized.value
        counted["pre_hook"], counted["post_hook"] = list(draft.pre_hooks), list(draft.post_hooks)
        names = self.drafts.names(draft.depends_on, draft.id)
        for hooks in ("pre_hook", "post_hook"):
            counted[hooks] = [sql_digest(hook, self.drafts.declared.dialect, names) for hook in counted[hooks]]
        # the text of a view, which the warehouse keeps, names where everything is that it reads
        is_view = draft.materialized is Materialized.VIEW
        read = self.drafts.relations_read(draft.depends_on) if is_view else {}
        place = [draft.relation.database, draft.relation.schema, draft.relation.identifier]
        settings = self.drafts.settings(statements)
        return CodeVersion({**parts, "config": digest(counted), SETTINGS: settings, RELATION: digest([place, read])})

    def _inline(self, draft: Draft) -> CompiledSql:
        ctes = self.drafts.ctes(draft) if draft.materialized is not Materialized.EPHEMERAL else ()
        try:
            return CompiledSql(
                sql=prepend_ctes(draft.sql, ctes, self.drafts.declared.dialect),
                incremental_sql=None
                if draft.incremental_sql is None
                else prepend_ctes(draft.incremental_sql, ctes, self.drafts.declared.dialect),
                pre_hooks=draft.pre_hooks,
                post_hooks=draft.post_hooks,
                names=self.drafts.names(draft.depends_on, draft.id),
            )
        except RenderError as error:
            error.name, error.location = draft.id, draft.declared.location
            raise

    def _macros_digest(self, draft: Draft) -> str:
        """Return a digest of every macro that a template may reach, and of the settings it read."""
        registry = self.drafts.context.macros
        texts = {file.path: file.text for file in registry.reached(templates_of(draft), draft.trace.macros.values())}
        settings = {key: str(value) for key, value in draft.trace.settings.items()}
        return digest([sorted(texts.items()), settings])

    def _owners(self, config: NodeConfig) -> tuple[str, ...]:
        owner = config.meta.get("owner")
        listed = owner if isinstance(owner, list) else [owner] if owner else []
        owners = [*map(str, listed), *self.drafts.declared.group_owners.get(config.group or "", ())]
        return tuple(dict.fromkeys(owners))


@dataclass(frozen=True)
class TemplateCompiler:
    """Renders a model in its run, where its SQL, or one of its hooks, depends on the run or on the warehouse."""

    context: TemplateContext
    subject: RenderSubject
    template: str
    hooks: Hooks
    materialized: Materialized
    ctes: tuple[tuple[str, str], ...]
    dialect: str
    compiled: CompiledDeclaration | None = None

    def compile(self, asking: Asking, run_id: str) -> CompiledSql:
        """Return the statements for this run; see `sao_dagster.core.nodes.Compiler`."""
        now = datetime.now(timezone.utc)

        def rendered(text: str, *, incremental: bool = False) -> str:
            pass_ = Render(
                self.context,
                self.subject,
                execute=True,
                incremental=incremental,
                asking=asking,
                started_at=now,
                run_id=run_id,
            )
            return pass_.text(text)

        def query(*, incremental: bool = False) -> str:
            return prepend_ctes(rendered(self.template, incremental=incremental), self.ctes, self.dialect)

        compiled = self.compiled
        if compiled is None:
            again = query(incremental=True) if self.materialized is Materialized.INCREMENTAL else None
            sql = query()
        else:
            sql, again = compiled.sql, compiled.incremental_sql
        before, after = _statements(self.hooks, compiled, rendered)
        return CompiledSql(sql=sql, incremental_sql=again, pre_hooks=before, post_hooks=after)


def templates_of(draft: Draft) -> str:
    """Return all text with Jinja that a draft is made of."""
    before, after = _hook_templates(draft)
    return " ".join((draft.declared.sql or "", *before, *after))


def _hook_templates(draft: Draft) -> Hooks:
    """Return the hooks of the configuration; none where the reader has compiled all of them."""
    compiled = draft.declared.compiled
    all_given = compiled is not None and compiled.pre_hooks is not None and compiled.post_hooks is not None
    return ((), ()) if all_given else draft.config.hooks


def _statements(templates: Hooks, compiled: CompiledDeclaration | None, rendered: Callable[[str], str]) -> Hooks:
    """Return hooks as they were compiled, or else rendered, without those that render to nothing."""
    given = (None, None) if compiled is None else (compiled.pre_hooks, compiled.post_hooks)

    def statements(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(text for each in texts if (text := rendered(each).strip()))

    before, after = (
        statements(texts) if known is None else known for texts, known in zip(templates, given, strict=True)
    )
    return before, after


def plain_config(config: NodeConfig) -> dict[str, Any]:
    """Return configuration as plain data, without what was not set."""
    return config.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _code_lines(text: str) -> str:
    """Return a template without Jinja comments and with white space folded."""
    return " ".join(re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL).split())
