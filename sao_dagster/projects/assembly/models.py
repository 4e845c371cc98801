"""Models on their way from a template to statements: rendered, inlined, fingerprinted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from sao_dagster.core.code_version import ATTACHED, PLACES, RELATION, SETTINGS, CodeVersion
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.nodes import Materialized, Model, Node, NodeError, Seed
from sao_dagster.core.policy import Expiry, Volatile, soonest
from sao_dagster.core.templates import Answers, Asking, CompiledSql, Compiler
from sao_dagster.errors import NeedsConnectionError, ProjectError, RenderError, SaoError
from sao_dagster.projects.assembly.drafts import Draft, Drafts, Template, TemplateCte
from sao_dagster.projects.config import NodeConfig, is_code
from sao_dagster.projects.declarations import CompiledDeclaration
from sao_dagster.projects.templates.answers import BeforeBuild, NotedAnswers, hour_of
from sao_dagster.projects.templates.render import Render
from sao_dagster.projects.templates.template_context import RenderSubject, RenderTrace, TemplateContext
from sao_dagster.projects.templates.template_run import OTHER_RUNS, PINNED, TemplateRun
from sao_dagster.sql.ctes import prepend_ctes
from sao_dagster.sql.fingerprint import sql_digest
from sao_dagster.sql.reads import names_text, undeclared_reads
from sao_dagster.sql.session import follows_process
from sao_dagster.sql.volatile import Origin, Volatility, differ_in_values, volatility
from sao_dagster.sql.volatile_functions import reads_session

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
        draft.pre_hooks, draft.post_hooks = templates = _hook_templates(draft)  # which stay, if they ask the warehouse
        if any(templates) or compiled is not None:
            hooks = Render(self.drafts.context, draft.subject, execute=True)
            try:
                draft.pre_hooks, draft.post_hooks = _statements(templates, compiled, hooks, self._later(draft))
            except NeedsConnectionError:
                draft.in_run = True
            finally:  # what they asked for counts, also where they ask the warehouse
                self._take(draft, hooks.trace)
        if compiled is not None:
            draft.sql, draft.incremental_sql = compiled.sql, compiled.incremental_sql
            draft.others, draft.by_time = compiled.others, compiled.asks_time
            draft.dynamic = compiled.asking is not None
            draft.in_run = draft.in_run or draft.dynamic or bool(draft.others)
        elif sql is not None:
            try:
                self._render(draft, sql)
            except NeedsConnectionError:
                draft.dynamic = draft.in_run = True
                draft.sql, draft.incremental_sql, draft.others = "", None, ()
        if not draft.dynamic and not draft.sql.strip() and draft.declared.csv is None:
            raise ProjectError(f"{draft.id} has no SQL", location=draft.declared.location)

    def _later(self, draft: Draft) -> Asking | None:
        """Return what hooks may ask that dbt renders later than they are here; None where dbt builds, and anything may be asked in its run."""
        declared = self.drafts.declared
        return BeforeBuild(None, draft.relation, declared.dialect) if declared.native else None

    def defer(self, draft: Draft) -> None:
        """Leave a model for the run that reads an ephemeral model which is left for it."""
        if not draft.dynamic and any(each.dynamic for each in self._ephemerals(draft)):
            draft.dynamic = draft.in_run = True
            draft.sql, draft.incremental_sql, draft.others = "", None, ()

    def _render(self, draft: Draft, sql: str) -> None:
        """Render a template in all the ways in which it may run."""

        def rendered(run: TemplateRun) -> tuple[str, str | None]:
            texts: list[str | None] = [None]
            for incremental in (True, False) if draft.materialized is Materialized.INCREMENTAL else (False,):
                pass_ = Render(self.drafts.context, draft.subject, execute=True, incremental=incremental, run=run)
                try:
                    texts.append(pass_.text(sql))
                finally:
                    self._take(draft, pass_.trace)
                    draft.by_time = draft.by_time or pass_.trace.asks_time
                    asks.append(pass_.trace.needs_run)
            return str(texts[-1]), texts[-2]

        asks: list[bool] = []
        draft.sql, draft.incremental_sql = rendered(PINNED)
        if any(asks):
            draft.in_run, draft.others = True, tuple(rendered(run) for run, _ in OTHER_RUNS)

    def _take(self, draft: Draft, trace: RenderTrace) -> None:
        """Add what a pass asked for to what was known; `execute` may show more than reading did."""
        draft.in_run = draft.in_run or trace.needs_run
        draft.trace.needs_connection = draft.trace.needs_connection or trace.needs_connection
        draft.trace.macros.update(trace.macros)
        draft.trace.settings.update(trace.settings)
        if trace.refs.keys() <= draft.trace.refs.keys() and trace.sources.keys() <= draft.trace.sources.keys():
            return  # reading showed all of it, and it was looked for then
        template = Template(draft.declared.sql or "", draft.declared.location)
        more = self.drafts.reads(trace, template, draft.referable)
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
            "access": draft.access,
            "version": declaration.version,
            "is_latest": declaration.is_latest,
            "patch_path": declaration.patch_path,
            "meta": config.meta,
            "config": plain_config(config),
            "resource_type": declaration.resource_type,
            "undeclared": draft.undeclared,
            "attached": config.attached(declaration.description, declaration.columns),
            "qualifier": declaration.qualifier,
            "unrendered": "" if declaration.compiled is None else declaration.compiled.unrendered,
        }

    def _node(self, draft: Draft) -> Node:
        """Return the node of a draft: a seed, or a model with its fingerprint, its volatility and, where it is rendered in each run, its compiler."""
        declaration, config = draft.declared, draft.config
        common = self._common(draft)
        common["policy"] = draft.policy
        if declaration.csv is not None:
            return Seed(
                **common,
                code=self._code(draft, {"sql": declaration.csv_digest}, (*draft.pre_hooks, *draft.post_hooks)),
                follows_process=bool(config.column_types),
                path=declaration.csv,
                compiler=TemplateCompiler(
                    self.drafts.context,
                    draft.subject,
                    "",
                    _hook_templates(draft),
                    draft.materialized,
                    (),
                    self.drafts.declared.dialect,
                )
                if draft.in_run
                else None,
                column_types=config.column_types,
                delimiter=config.delimiter,
                pre_hooks=draft.pre_hooks,
                post_hooks=draft.post_hooks,
            )
        if draft.materialized is Materialized.INCREMENTAL and self.drafts.declared.native:
            common["incremental_strategy"] = config.strategy()
        ephemerals = self._ephemerals(draft)
        compiled = self._inline(draft, ephemerals)
        found = self._volatility(draft, compiled, ephemerals)
        if declaration.language != "sql":
            parts = {"python": digest(compiled.sql)}
        elif draft.dynamic:
            parts = {
                "sql": digest(["template", self._template(draft)]),
                "macros": digest(
                    [self.drafts.macros_digest(templates_of(each), each.trace) for each in (draft, *ephemerals)]
                )
                if ephemerals
                else self.drafts.macros_digest(templates_of(draft), draft.trace),
            }
            compiled = replace(compiled, sql="", incremental_sql=None)  # it is that as long as the answers are
        else:
            sql_parts = [sql_digest(compiled.sql, self.drafts.declared.dialect, compiled.names)]
            if compiled.incremental_sql is not None:
                sql_parts.append(sql_digest(compiled.incremental_sql, self.drafts.declared.dialect, compiled.names))
            templates: list[Any] = [
                self._template(each) for each in (draft, *ephemerals) if self._decides_by_time(each)
            ]
            parts = {"sql": digest(sql_parts)}
            if draft.trace.needs_connection:  # a hook asks, and is rendered in each run
                templates.append(self.drafts.macros_digest(templates_of(draft), draft.trace))
            if templates:
                parts["macros"] = digest(templates)
        if declaration.compiled is not None and declaration.compiled.macros:
            parts["macros"] = declaration.compiled.macros
        draft.bare = _bare(draft, found)
        if draft.bare:
            self.drafts.bare.add(draft.id)
        statements = None  # where it is rendered in each run, or is no SQL, nobody knows what it depends on
        if declaration.language == "sql" and not draft.dynamic:
            statements = compiled.statements
        return Model(
            **common,
            code=self._code(draft, parts, statements),
            follows_process=statements is None or follows_process(statements),
            raw_sql=declaration.sql or compiled.sql,
            compiled=compiled,
            language=declaration.language,
            reads_session=statements is None or any(map(reads_session, statements)),
            asks=draft.dynamic,
            compiler=self._compiler(draft, ephemerals),
            expiry=found.expiry,
            volatile_columns=tuple(found.columns),
            volatile_reads=found.reads,
            unique_key=tuple(config.unique_key),
            incremental_predicates=tuple(config.incremental_predicates or config.predicates),
            merge_update_columns=tuple(config.merge_update_columns),
            merge_exclude_columns=tuple(config.merge_exclude_columns),
            on_schema_change=config.on_schema_change,
            full_refresh=config.full_refresh,
        )  # fmt: skip

    def _compiler(self, draft: Draft, ephemerals: tuple[Draft, ...]) -> Compiler | None:
        """Return what renders a model in each run; None where it is the same in all."""
        if draft.declared.compiled is not None and draft.declared.compiled.asking is not None:
            return draft.declared.compiled.asking
        if not draft.in_run and not any(each.others for each in ephemerals):
            return None
        return TemplateCompiler(
            self.drafts.context,
            draft.subject,
            draft.declared.sql or "",
            _hook_templates(draft),
            draft.materialized,
            self.drafts.template_ctes(ephemerals),
            self.drafts.declared.dialect,
            draft.declared.compiled,
            draft.policy.volatile,
            self.drafts.names(draft.depends_on, draft.id),
            self._known_reads(draft),
        )

    def _ephemerals(self, draft: Draft) -> tuple[Draft, ...]:
        """Return the ephemerals that stand in the query of a model; what is compiled already has them in its text."""
        is_inlined = draft.declared.compiled is None and draft.materialized is not Materialized.EPHEMERAL
        return self.drafts.ephemerals(draft.depends_on, draft.id) if is_inlined else ()

    def _volatility(self, draft: Draft, compiled: CompiledSql, ephemerals: tuple[Draft, ...]) -> Volatility:
        """Return what is volatile in all that may run when a model is built, but for its hooks."""
        dialect, below = self.drafts.declared.dialect, self.drafts.bare_below(draft.depends_on)
        by_config = Volatility(draft.config_expiry)
        is_unknown = draft.dynamic and not draft.sql
        if draft.declared.language != "sql" or is_unknown:  # which columns it reads is not known
            text = draft.declared.sql or "" if is_unknown else ""
            return volatility(text, dialect) + self.drafts.volatility_below(draft.depends_on) + by_config
        found = by_config
        for sql, incremental in ((compiled.sql, False), (compiled.incremental_sql, True)):
            if sql is not None:
                others = self._in_other_runs(draft, ephemerals, incremental=incremental)
                found += volatility(sql, dialect, below, others)
                if any(each.by_time for each in (draft, *ephemerals)) and all(other == sql for other, _ in others):
                    found += Volatility(Expiry.HOUR)  # it may differ at other times than these
        config = draft.config
        for condition in config.incremental_predicates or config.predicates or ():
            found += volatility(f"select 1 as one where {condition}", dialect)
        if not config.unique_key:
            return found
        decides = {name.lower() for name in config.unique_key}
        used = {name: origin for name, origin in found.columns.items() if name.lower() in decides}
        return found + Volatility(soonest(*(origin.expiry for origin in used.values())))

    def _in_other_runs(
        self, draft: Draft, ephemerals: tuple[Draft, ...], *, incremental: bool
    ) -> list[tuple[str, Expiry]]:
        """Return the query of a model as it is in `OTHER_RUNS`, with what a difference says; nothing where it is the same in all."""
        if not any(each.others for each in (draft, *ephemerals)):
            return []
        dialect = self.drafts.declared.dialect
        return [
            (
                prepend_ctes(
                    draft.sql_in(number, incremental=incremental) or "", self.drafts.ctes(ephemerals, number), dialect
                ),
                expiry,
            )
            for number, (_, expiry) in enumerate(OTHER_RUNS)
        ]

    def _decides_by_time(self, draft: Draft) -> bool:
        """Return whether a template asks for the time and gives more than other values then, so that a rendering does not show all of it."""
        if not draft.by_time or draft.dynamic:
            return False
        dialect = self.drafts.declared.dialect
        pairs = [
            (text, other)
            for others in draft.others
            for text, other in zip((draft.sql, draft.incremental_sql), others, strict=True)
            if text is not None and other is not None and text != other
        ]
        return not pairs or not all(differ_in_values(text, other, dialect) for text, other in pairs)

    def _code(self, draft: Draft, parts: dict[str, str], statements: Iterable[str] | None) -> CodeVersion:
        counted = {
            key: value for key, value in draft.code_config.items() if is_code(key) and value not in (None, [], {}, ())
        }
        counted["materialized"] = draft.materialized.value
        if draft.declared.built_with:
            counted["built_with"] = draft.declared.built_with
        counted["pre_hook"], counted["post_hook"] = list(draft.pre_hooks), list(draft.post_hooks)
        names = self.drafts.names(draft.depends_on, draft.id) if draft.pre_hooks or draft.post_hooks else {}
        for hooks in ("pre_hook", "post_hook"):
            counted[hooks] = [sql_digest(hook, self.drafts.declared.dialect, names) for hook in counted[hooks]]
        read = self.drafts.relations_read(draft.depends_on)
        # the text of a view, which the warehouse keeps, names where everything is that it reads
        is_view = draft.materialized is Materialized.VIEW
        place = [draft.relation.database, draft.relation.schema, draft.relation.identifier]
        settings = self.drafts.settings(statements)
        attached = draft.config.attached(draft.declared.description, draft.declared.columns)
        told = {SETTINGS: settings, ATTACHED: attached.digest, RELATION: digest([place, read if is_view else {}])}
        if not is_view:
            told[PLACES] = digest(read)
        return CodeVersion({**parts, "config": digest(counted), **told})

    def _inline(self, draft: Draft, ephemerals: tuple[Draft, ...]) -> CompiledSql:
        ctes = self.drafts.ctes(ephemerals)
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

    def _template(self, draft: Draft) -> list[Any]:
        """Return what counts of a template that is not known by what it gives: its text, and the ephemerals it reads."""
        below = self.drafts.ephemerals(draft.depends_on, draft.id) if draft.dynamic else ()
        inlined = [
            _code_lines(each.declared.sql or "")
            if each.dynamic
            else sql_digest(each.sql, self.drafts.declared.dialect, self.drafts.names(each.depends_on))
            for each in below
        ]
        return [_code_lines(draft.declared.sql or ""), inlined]

    @staticmethod
    def _known_reads(draft: Draft) -> frozenset[str] | None:
        """Return the ids of what a template may read without `ref` and `source`; None where its configuration says what it reads."""
        if draft.named is None:
            return None
        stable = (UndeclaredInput(InputKind.FUNCTION, name.lower()).id for name in draft.policy.stable_functions)
        return frozenset(each.id for each in draft.named).union(stable)

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
    ctes: tuple[TemplateCte, ...]
    dialect: str
    compiled: CompiledDeclaration | None = None
    volatile: Volatile = Volatile.AUTO
    names: Mapping[str, str] = field(default_factory=dict)
    known_reads: frozenset[str] | None = None

    def compile(self, asking: Asking, run_id: str, started_at: datetime, *, incremental: bool) -> CompiledSql:
        """Return the statements for this run; see `sao_dagster.core.templates.Compiler`."""
        run = TemplateRun(started_at, run_id)
        compiled = self.compiled
        got: tuple[tuple[str, str], ...] = ()
        if compiled is None:
            wanted = incremental and self.materialized is Materialized.INCREMENTAL
            noted = self._noting(asking, hour_of(started_at), plain_alone=False)
            again = self._query(noted, run, incremental=True) if wanted else None
            sql = self._query(noted, run, incremental=False)
            got = tuple(noted.noted)
        else:
            sql, again = compiled.sql, compiled.incremental_sql
        hooks = Render(self.context, self.subject, execute=True, asking=asking, run=run)
        before, after = _statements(self.hooks, compiled, hooks, BeforeBuild(asking, self.subject.this, self.dialect))
        return CompiledSql(sql=sql, incremental_sql=again, pre_hooks=before, post_hooks=after, got=got)

    def _noting(self, asking: Asking, hour: datetime, *, plain_alone: bool = True) -> NotedAnswers:
        this = self.subject.this if self.materialized is Materialized.INCREMENTAL else None
        return NotedAnswers(asking, this, self.dialect, self.volatile, hour, names=self.names, plain_alone=plain_alone)

    def answers(self, asking: Asking, now: datetime) -> Answers:
        """Return what the template asks of the warehouse and gets; see `sao_dagster.core.templates.Compiler`.

        A template that asks for the time sees that of the hour, so that it makes the model expire as SQL does that asks for it.
        """
        hour = hour_of(now)
        got: dict[str, str] = {}
        whole: list[Any] = []
        independent: list[Any] = []
        asked: dict[UndeclaredInput, None] = {}
        reads: dict[UndeclaredInput, None] = {}
        is_known, of_itself = True, False
        for incremental in (False, True) if self.materialized is Materialized.INCREMENTAL else (False,):
            noted = self._noting(asking, hour)
            try:
                sql = self._query(noted, TemplateRun(hour), incremental=incremental)
                whole += [noted.noted, sql_digest(sql, self.dialect) if noted.shows_all else ""]
                reads.update(dict.fromkeys(self._unknown_reads(sql)))
                is_known = is_known and not self._reads_itself(sql)
            except SaoError:  # whatever cannot be asked now is asked for the build
                is_known = False
            independent.append(noted.noted[: noted.independent])
            of_itself = of_itself or noted.independent is not None
            asked.update(noted.asked)
            got.update(noted.noted)
        version = DataVersion("answers/1", digest(whole)) if is_known and not reads else None
        return Answers(version, digest(independent), of_itself, tuple(asked), tuple(reads), got)

    def knowing(self, reads: Iterable[UndeclaredInput]) -> TemplateCompiler:
        """Return the same where more is known of what the query reads; see `sao_dagster.core.templates.AskingTemplate`."""
        return replace(self, known_reads=(self.known_reads or frozenset()).union(each.id for each in reads))

    def _reads_itself(self, sql: str) -> bool:
        """Return whether a query builds a table from what that holds, so that each build gives another one; an increment does that until it settles."""
        is_increment = self.materialized is Materialized.INCREMENTAL
        return not is_increment and names_text(sql, self.dialect, str(self.subject.this))

    def _unknown_reads(self, sql: str) -> list[UndeclaredInput]:
        """Return what a query names and was not found before it could be rendered; what is read there has no version."""
        if self.known_reads is None:
            return []
        named = undeclared_reads(sql, self.dialect, self.names)
        return [each for each in named if each.id not in self.known_reads]

    def _query(self, asking: Asking, run: TemplateRun, *, incremental: bool) -> str:
        """Return the query in a run, with the ephemerals that it reads."""
        ctes = tuple(each.rendered(self.context, run, asking) for each in self.ctes)
        rendering = Render(self.context, self.subject, execute=True, incremental=incremental, asking=asking, run=run)
        return prepend_ctes(rendering.text(self.template), ctes, self.dialect)


def templates_of(draft: Draft) -> str:
    """Return all text with Jinja that a draft is made of."""
    before, after = _hook_templates(draft)
    return " ".join((draft.declared.sql or "", *before, *after))


def _hook_templates(draft: Draft) -> Hooks:
    """Return the hooks of the configuration; none where the reader has compiled all of them."""
    compiled = draft.declared.compiled
    all_given = compiled is not None and compiled.pre_hooks is not None and compiled.post_hooks is not None
    return ((), ()) if all_given else draft.config.hooks


def _statements(templates: Hooks, compiled: CompiledDeclaration | None, hooks: Render, later: Asking | None) -> Hooks:
    """Return hooks as they were compiled, or else rendered, without those that render to nothing.

    Args:
        templates: The hooks.
        compiled: What the reader has compiled.
        hooks: Renders the first hook, which nothing precedes.
        later: What the others may ask, before which dbt executes something; None for the same as the first.
    """
    given = (None, None) if compiled is None else (compiled.pre_hooks, compiled.post_hooks)
    others = hooks if later is None else hooks.asking(later)
    found: list[tuple[str, ...]] = []
    for is_after, (texts, known) in enumerate(zip(templates, given, strict=True)):
        rendered = ((others if is_after or position else hooks).text(each) for position, each in enumerate(texts))
        found.append(tuple(text for each in rendered if (text := each.strip())) if known is None else known)
    return found[0], found[1]


def _bare(draft: Draft, found: Volatility) -> dict[str, Origin]:
    """Return the bare volatile columns of a model for what reads it: stored by a build, or made anew where it is a view."""
    if draft.materialized.holds_data:
        return dict.fromkeys(found.columns, Origin(tables=frozenset({draft.id})))
    if draft.policy.volatile is Volatile.IGNORE:
        return {}
    return {
        name: replace(origin, expiry=origin.expiry and draft.policy.expiry(origin.expiry))
        for name, origin in found.columns.items()
    }


def plain_config(config: NodeConfig) -> dict[str, Any]:
    """Return configuration as plain data, without what was not set."""
    return config.model_dump(mode="json", by_alias=True, exclude_unset=True)


LEADING_COMMENTS = re.compile(
    r"""\A(?: \s | --[ ](?:(?!\{[{%])[^\r\n])*(?=\r?\n|\Z) | /\*(?![+!])(?:(?! \*/ | /\* | \{[{%])[\s\S])*\*/ )*""",
    re.VERBOSE,
)
"""Comments of SQL before anything else, which no text can contain, and no hint; without templates in them."""


_LAST_LINE = re.compile(r"\s*(?:--[^'\"`\]$*{}]*)?")
"""A line that is empty or a comment, without a sign that ends a text, a name in quotes, another comment or a tag of Jinja."""


def _code_lines(text: str) -> str:
    r"""Return a template without Jinja comments, comments of SQL at its head and on lines at its end, and white space at the ends of its lines.

    A comment or white space further down may be part of a text, which what a template gives may have begun; so may be that at the ends of
    lines, where a quotation mark is open at one. A comment at the end that closes nothing is one in all that can be executed.

    >>> _code_lines("-- of\n/* them */ {# and #}\n select  /* x */ 1")
    'select  /* x */ 1'
    >>> _code_lines("-- {{ f() }}\n/*+ hint */ select 1")
    '-- {{ f() }}\n/*+ hint */ select 1'
    >>> _code_lines("{{ f() }}\n-- of them\n\n-- and others"), _code_lines("{{ f() }}\n-- it's open")
    ('{{ f() }}', "{{ f() }}\n-- it's open")
    >>> _code_lines("select 'a \n b'")
    "select 'a \n b'"
    """
    found = LEADING_COMMENTS.sub("", re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL))
    lines = found.split("\n")
    while len(lines) > 1 and _LAST_LINE.fullmatch(lines[-1]):
        lines.pop()
    found = "\n".join(lines)
    if "$" in found or any(line.count(mark) % 2 for line in lines for mark in "'\"`"):
        return found
    return "\n".join(stripped for line in lines if (stripped := line.strip()))
