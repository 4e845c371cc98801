"""Data tests on their way from a declaration to a query: rendered, named, fingerprinted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from sao_dagster.core.code_version import CODE_SCHEME
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.nodes import DataTest, Materialized, NodeError, Source
from sao_dagster.core.policy import Expiry, Volatile
from sao_dagster.core.project import Notice, unknown
from sao_dagster.core.proofs import Assertion
from sao_dagster.core.templates import Answers, Asking, AskingTemplate, CompiledSql, RunTemplate
from sao_dagster.errors import Location, NeedsConnectionError, ProjectError, RenderError, SaoError
from sao_dagster.projects.assembly.access import Referable, check_group
from sao_dagster.projects.assembly.assertions import assertion_of
from sao_dagster.projects.assembly.drafts import Draft, Drafts, Template, TemplateCte
from sao_dagster.projects.assembly.undeclared import UndeclaredReads
from sao_dagster.projects.config import TestConfig, checked, unknown_keys
from sao_dagster.projects.declarations import TestDeclaration, merge_layers
from sao_dagster.projects.templates.answers import NotedAnswers, hour_of
from sao_dagster.projects.templates.relation_values import RelationValue
from sao_dagster.projects.templates.render import Render
from sao_dagster.projects.templates.template_context import RenderSubject, RenderTrace, TemplateContext
from sao_dagster.projects.templates.template_run import OTHER_RUNS, PINNED, TemplateRun, real_run
from sao_dagster.projects.templates.texts import BUILTINS
from sao_dagster.projects.test_entries import is_expression, names_of, verdict_settings
from sao_dagster.sql.ctes import prepend_ctes
from sao_dagster.sql.fingerprint import sql_digest
from sao_dagster.sql.reads import undeclared_reads
from sao_dagster.sql.session import follows_process
from sao_dagster.sql.shown_names import may_count_by_names
from sao_dagster.sql.text import embeddable, limited
from sao_dagster.sql.volatile import Volatility, volatility
from sao_dagster.sql.volatile_functions import reads_session


@dataclass(frozen=True)
class TestAssembly:
    """Makes data tests of declarations.

    Attributes:
        drafts: The models, as far as they are put together.
        position: The place of each node in the order of the graph.
        undeclared: Finds what tests read without saying so.
    """

    __test__ = False

    drafts: Drafts
    position: Mapping[str, int]
    undeclared: UndeclaredReads

    @cached_property
    def _sources(self) -> Mapping[str, Source]:
        return {source.id: source for source in self.drafts.declared.sources}

    @cached_property
    def _where_is_custom(self) -> bool:
        """Whether a macro of the project's takes the place of the one by which dbt puts `where` into a test."""
        macros = self.drafts.context.macros
        owners = (each for each in macros.packages() if each != BUILTINS)
        return any(name.endswith("get_where_subquery") for owner in owners for name in macros.names(owner))

    def tests(self) -> dict[str, DataTest]:
        """Return the tests of all declarations, or of a part of them, by name, without those that are disabled; two of one name are an error of the project."""
        found: dict[str, DataTest] = {}
        part = self.drafts.declared.part
        for declared in _told_apart(self.drafts.declared.tests):
            if part is not None and names_of(declared)[0] not in part.tests:
                continue
            test = self._made(declared)
            if test is None:
                continue
            if test.name in found:
                other = found[test.name].location
                message = f"there are two data tests called {test.name!r}; the other one is in {other}; give one a name"
                self.drafts.errors.append(ProjectError(message, location=declared.location))
            found[test.name] = replace(test, shared_name=declared.shared_name)
        own = {name for name, each in found.items() if each.fqn[:1] in ((), (self.drafts.declared.name,))}
        shared = Counter((each.tested, each.shared_name) for each in found.values())
        by_own = Counter((found[name].tested, found[name].shared_name) for name in own)
        return {  # two of one relation are told apart by their own names, but for that of the project itself beside those of packages
            name: each
            if shared[key := (each.tested, each.shared_name)] == 1 or (name in own and by_own[key] == 1)
            else replace(each, shared_name=None)
            for name, each in found.items()
        }

    def _made(self, declared: TestDeclaration) -> DataTest | None:
        """Return the test of a declaration, broken if it cannot be made; None where it or what it tests is disabled."""
        if declared.tested in self.drafts.disabled:
            return None
        error = declared.error
        if error is None:
            try:
                return self._test(declared)
            except Exception as raised:  # noqa: BLE001 - templates may raise anything; it is this test that is broken
                error = NodeError.of(raised, declared.location)
        name = names_of(declared)[0]
        is_known = declared.tested in self.drafts.by_id or declared.tested in self._sources
        reads = (str(declared.tested),) if is_known else ()
        return DataTest(
            name=name,
            kind=declared.kind,
            tested=declared.tested or name,
            column=declared.column,
            sql=declared.sql,
            reads=reads,
            version=digest(["broken", str(error)]),
            shares_statement=False,
            location=declared.location,
            description=declared.description,
            fqn=declared.fqn,
            error=error if reads else replace(error, is_opaque=True),
        )

    def _test(self, declared: TestDeclaration) -> DataTest | None:
        """Return the test of a declaration; None where it is disabled.

        Raises:
            ProjectError: It cannot be made.
        """
        configured = merge_layers(declared.defaults, declared.config)
        config = _checked(declared, configured)
        if not config.enabled:
            return None
        if self.drafts.declared.native:
            check_group(config.group, self.drafts.declared.group_owners)
        name, alias = names_of(declared)
        slips = unknown_keys(declared.config, TestConfig)
        self.drafts.notices += [Notice(message, declared.location, name) for message in slips]
        compiled = declared.compiled
        is_generic = declared.kind != "singular"
        template: TestTemplate | None = None
        in_run: RunTemplate | None = None
        now: tuple[TestConfig, TestTemplate] | None = None
        variants: list[tuple[str, Expiry]] = []
        trace = RenderTrace()
        if compiled is not None:
            sql, found = compiled.sql, self.drafts.known(compiled.depends_on, declared.location, name)
        else:
            template, sql = self._rendered(declared, configured, config, name, trace)
            by_clock = is_generic and trace.config_by_time
            own = merge_layers(declared.defaults, trace.config, declared.config)
            if is_generic and own != configured:  # its block says config(...); what is said where it is used goes over
                config, trace = _checked(declared, own), RenderTrace()
                if not config.enabled:
                    return None
                template, sql = self._rendered(declared, own, config, name, trace)
            if by_clock:
                now = self._as_of_now(declared, name, template)
                if not now[0].enabled:
                    return None
            found = self._found(declared, config, name, trace)
        reads = tuple(dict.fromkeys((*([declared.tested] if declared.tested else []), *found)))
        if not reads:
            message = f"the test {name} names no model by ref() or source(): it runs with the whole project, and is no asset check in Dagster"
            self.drafts.notices.append(Notice(message, declared.location))
        dialect = self.drafts.declared.dialect
        ephemerals = () if template is None else self.drafts.ephemerals(reads, name)
        asks: AskingTemplate | None = None
        others: tuple[UndeclaredInput, ...] = ()
        if template is not None and (trace.needs_connection or any(each.dynamic for each in ephemerals)):
            # its SQL is known in a run
            asks = in_run = replace(
                template, ctes=self.drafts.template_ctes(ephemerals), names=self.drafts.names(reads)
            )
            sql, code = declared.sql, self._template_digest(declared, config, trace, ephemerals)
            named, others = self.undeclared.divide(name, declared.location, self._read_by_conditions(config))
            reads = tuple(dict.fromkeys((*reads, *named)))
            volatile = self._volatility_if_asked(trace, reads)
        else:
            sql = _finished(sql, self.drafts.ctes(ephemerals), config.limit, dialect)
            if template is not None and (trace.needs_run or any(each.others for each in ephemerals)):
                in_run = template = replace(template, ctes=self.drafts.template_ctes(ephemerals))
                variants = [
                    (template.sql(run, self.drafts.ctes(ephemerals, n)), expiry)
                    for n, (run, expiry) in enumerate(OTHER_RUNS)
                ]
            elif compiled is not None:
                in_run, asks = compiled.in_run, compiled.asking
                variants = [(full, expiry) for (full, _), (_, expiry) in zip(compiled.others, OTHER_RUNS, strict=False)]
            names = self.drafts.names(reads)
            read = (*undeclared_reads(sql, dialect, names), *self._read_by_conditions(config))
            named, others = self.undeclared.divide(name, declared.location, dict.fromkeys(read))
            reads = tuple(dict.fromkeys((*reads, *named)))

            def failures(query: str) -> str:
                return f"select {config.fail_calc} as failures from ({embeddable(query)}\n) as dbt_internal_test"

            below = self.drafts.bare_below(reads)
            volatile = (
                Volatility()
                if not sql
                else volatility(
                    failures(sql), dialect, below, [(failures(other), expiry) for other, expiry in variants]
                )
            )
            asks_time = trace.asks_time if compiled is None else compiled.asks_time
            if asks_time and all(other == sql for other, _ in variants):
                volatile += Volatility(Expiry.HOUR)  # it may differ at other times than these
            if compiled is None or asks is None:
                code = sql_digest(sql, dialect, names)
            else:
                code = digest(["template", declared.sql, compiled.macros])
        if (conditions := _conditions(config)) is not None:
            volatile += Volatility(volatility(conditions, dialect).expiry)
        executed = config
        if now is not None:
            executed, real = now
            in_run = replace(real, ctes=self.drafts.template_ctes(ephemerals), names=self.drafts.names(reads))
            volatile += Volatility(Expiry.HOUR)
        stored, engine = None, self.drafts.context.engine
        if config.keeps_failures:
            schema = f"{self.drafts.declared.schema}_{config.schema_ or 'dbt_test__audit'}"
            database = config.database or self.drafts.declared.database
            stored = engine.relation(database, schema, config.alias or alias)
            self.drafts.refuse_long_names(stored, declared.location)
        counted = [code, verdict_settings(config)]
        known = None if asks is not None else [sql]
        if settings := self.drafts.settings(known):
            counted.append(settings)
        if asks is not None or may_count_by_names(sql, self.drafts.declared.dialect):
            counted.append([self.drafts.relations_read(reads)])
        started = self.drafts.started(known if compiled is None else [sql])
        return DataTest(
            name=name,
            kind=declared.kind,
            tested=declared.tested or self._tested(config, reads) or name,
            column=declared.column,
            sql=sql,
            template=in_run,
            asks=asks,
            reads=reads,
            version=digest([CODE_SCHEME, *counted]),
            severity=executed.severity,
            fail_calc=executed.fail_calc,
            warn_if=executed.warn_if,
            error_if=executed.error_if,
            where=executed.where,
            limit=executed.limit,
            shares_statement=config.shares_statement and engine.shares_test_statements and asks is None,
            asserts=self._asserts(declared, config, sql) if asks is None and now is None else None,
            follows_process=asks is not None or follows_process([sql]),
            expiry=volatile.expiry,
            volatile_reads=volatile.reads,
            store_failures=stored,
            store_failures_as=Materialized(config.store_failures_as or "table"),
            location=declared.location,
            description=declared.description,
            tags=tuple(config.tags),
            fqn=declared.fqn,
            undeclared=others,
            unrendered="" if compiled is None else compiled.unrendered,
            follows_start=bool(started),
            needs_start=any(each.names is not None or each.is_passing for each in started),
            reads_session=asks is not None or any(map(reads_session, (sql, _conditions(executed) or ""))),
        )

    def _tested(self, config: TestConfig, reads: tuple[str, ...]) -> str | None:
        """Return what a singular test belongs to: the node that its `meta.dagster.ref` names, as for dagster-dbt, or the last one that it reads."""
        about = config.meta.get("dagster")
        ref = about.get("ref") if isinstance(about, Mapping) else None
        if isinstance(ref, Mapping):
            version = ref.get("version")
            named = str(ref.get("name")) if version is None else f"{ref.get('name')}.v{version}"
            for each in (f"{ref.get('package')}.{named}", named):
                if each in reads:
                    return each
        return max(reads, key=lambda read: self.position.get(read, -1), default=None)

    def _read_by_conditions(self, config: TestConfig) -> tuple[UndeclaredInput, ...]:
        """Return what the conditions of a test read by its name: they may be any SQL."""
        conditions = _conditions(config)
        return () if conditions is None else undeclared_reads(conditions, self.drafts.declared.dialect)

    def _template_digest(
        self, declared: TestDeclaration, config: TestConfig, trace: RenderTrace, ephemerals: Iterable[Draft]
    ) -> str:
        """Return a digest of the template of a test whose SQL is not known before a run: its texts, and every macro that it may reach."""
        said = [declared.kind, declared.column, declared.sql, repr(sorted(declared.args.items())), config.where]
        macros = self.drafts.macros_digest(" ".join(map(str, said)), trace)
        below = [
            self.drafts.macros_digest(each.declared.sql or "", each.trace) + digest(each.declared.sql)
            if each.dynamic
            else sql_digest(each.sql, self.drafts.declared.dialect)
            for each in ephemerals
        ]
        return digest(["template", said, macros, below])

    def _volatility_if_asked(self, trace: RenderTrace, reads: Iterable[str]) -> Volatility:
        """Return the volatility of a test whose SQL is not known before a run: what it does in SQL is a part of its answers."""
        return Volatility(Expiry.HOUR if trace.needs_run else None) + self.drafts.volatility_below(reads)

    def _asserts(self, declared: TestDeclaration, config: TestConfig, sql: str) -> Assertion | None:
        """Return what the test says when it passes; None where settings or a macro of the user's own may change that."""
        draft = self.drafts.by_id.get(str(declared.tested))
        source = self._sources.get(str(declared.tested))
        if not config.is_default or declared.column is None or (draft is None) == (source is None):
            return None
        if draft is not None and draft.materialized is Materialized.EPHEMERAL:
            return None
        relation = source.expression if source is not None else str(draft.relation) if draft is not None else ""
        return assertion_of(declared.kind, declared.column, declared.args, relation, sql, self.drafts.declared.dialect)

    def _rendered(
        self,
        declared: TestDeclaration,
        configured: Mapping[str, Any],
        config: TestConfig,
        name: str,
        trace: RenderTrace,
    ) -> tuple[TestTemplate, str]:
        """Return the template of a test, and its query for fingerprints; what that asks for is noted in a trace."""
        if declared.kind == "singular":
            template = self._template(str(declared.name), declared, configured, config, source=declared.sql)
        else:
            template = self._generic(declared, configured, config, name)
        try:
            return template, template.body(PINNED, trace)
        except RenderError:
            self._found(declared, config, name, trace)  # says more, if it was that
            raise

    def _found(self, declared: TestDeclaration, config: TestConfig, name: str, trace: RenderTrace) -> tuple[str, ...]:
        """Return the ids that a test reads; it belongs to the group of what it tests, or else to its own.

        Raises:
            SaoError: Something is not there, or it may not read it.
        """
        tested = self.drafts.by_id.get(str(declared.tested))
        reader = Referable(
            name=name,
            unique_id=f"test.{declared.package}.{name}",
            package=declared.package,
            group=config.group if tested is None else tested.config.group,
        )
        return self.drafts.reads(trace, Template(declared.sql, declared.location), reader)

    def _as_of_now(
        self, declared: TestDeclaration, name: str, template: TestTemplate
    ) -> tuple[TestConfig, TestTemplate]:
        """Return configuration and template of a generic test whose block configures it by the clock; fingerprints see a time that is pinned."""
        self.drafts.context.configures_by_time = True
        trace = RenderTrace()
        template.body(real_run(), trace)
        own = merge_layers(declared.defaults, trace.config, declared.config)
        config = _checked(declared, own)
        return config, self._generic(declared, own, config, name)

    def _template(
        self, name: str, declared: TestDeclaration, configured: Mapping[str, Any], config: TestConfig, **more: Any
    ) -> TestTemplate:
        subject = RenderSubject(
            name=name, path=declared.location.path, package=declared.package, config=configured, resource_type="test"
        )
        dialect = self.drafts.declared.dialect
        return TestTemplate(self.drafts.context, subject, declared.location, config.limit, dialect, **more)

    def _generic(
        self, declared: TestDeclaration, configured: Mapping[str, Any], config: TestConfig, name: str
    ) -> TestTemplate:
        """Return the template of a generic test: its macro, with the tested relation and its arguments."""
        tested = str(declared.tested)
        package, _, bare = declared.kind.rpartition(".")
        found = next(
            (
                owner
                for owner in ((package,) if package else (declared.package, self.drafts.context.project_name, BUILTINS))
                if self.drafts.context.macros.find(owner, f"test_{bare}")
            ),
            None,
        )
        if found is None:
            known = sorted(
                key.removeprefix("test_")
                for owner in self.drafts.context.macros.packages()
                for key in self.drafts.context.macros.names(owner)
                if key.startswith("test_")
            )
            raise unknown(
                f"there is no generic test called {declared.kind!r}; there are {', '.join(known)}",
                bare,
                dict.fromkeys(known),
                declared.location,
            )
        source = self._sources.get(tested)
        draft = self.drafts.by_id.get(tested)
        engine = self.drafts.context.engine
        if source is not None:
            model = RelationValue(self.drafts.place_of(source), engine, source.expression)
        elif draft is not None and draft.materialized is Materialized.EPHEMERAL:
            model = RelationValue(draft.relation, engine, self.drafts.cte(tested), "cte")
        elif draft is not None:
            model = RelationValue(draft.relation, engine)
        else:
            raise unknown(
                f"the test {name} is about {tested!r}, which is not there",
                tested,
                self.drafts.by_id,
                declared.location,
            )
        args = dict(declared.args)
        if declared.column is not None:
            args["column_name"] = declared.column
        filters = bool(config.where) or self._where_is_custom
        macro = (found, f"test_{bare}")
        return self._template(name, declared, configured, config, macro=macro, model=model, filters=filters, args=args)


@dataclass(frozen=True)
class TestTemplate:
    """A data test before it is rendered; see `sao_dagster.core.templates.RunTemplate`.

    Attributes:
        context: The project.
        subject: What is rendered.
        location: Where it is written.
        limit: How many failing rows are looked for.
        dialect: sqlglot's name of the dialect.
        source: The template of a singular test.
        macro: The package and the macro of a generic test.
        model: What it is about.
        filters: Whether that is a part of its rows, by a `where` or by a macro of the project's own.
        args: Its arguments; texts may be templates.
        ctes: The ephemerals that it reads.
        names: Ids of what it reads, by how SQL names that.
        known_reads: What it reads besides, as far as that was found.
    """

    __test__ = False

    context: TemplateContext
    subject: RenderSubject
    location: Location
    limit: int | None
    dialect: str
    source: str = ""
    macro: tuple[str, str] | None = None
    model: RelationValue | None = None
    filters: bool = False
    args: Mapping[str, Any] = field(default_factory=dict)
    ctes: tuple[TemplateCte, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    known_reads: frozenset[UndeclaredInput] = frozenset()

    def compile(self, asking: Asking, run_id: str, started_at: datetime) -> CompiledSql:
        """Return the query for a run."""
        noted = self._noting(asking, hour_of(started_at), plain_alone=False)
        return CompiledSql(self._in_run(TemplateRun(started_at, run_id), noted), got=tuple(noted.noted))

    def answers(self, asking: Asking, now: datetime) -> Answers:
        """Return what the template asks and gets; see `sao_dagster.core.templates.AskingTemplate`.

        What depends on the time in the SQL that follows makes it another one each hour; what is read there without being known, none.
        """
        hour = hour_of(now)
        noted = self._noting(asking, hour)
        try:
            sql = self._in_run(TemplateRun(hour), noted)
        except SaoError:  # the run says what is wrong
            return Answers(asked=tuple(noted.asked))
        named = undeclared_reads(sql, self.dialect, self.names)
        if reads := tuple(each for each in named if each not in self.known_reads):
            return Answers(asked=tuple(noted.asked), reads=reads)
        until = hour.isoformat() if volatility(sql, self.dialect).is_volatile else ""
        follows = sql_digest(sql, self.dialect, self.names) if noted.shows_all else ""
        version = DataVersion("answers/1", digest([noted.noted, follows, until]))
        return Answers(version, asked=tuple(noted.asked), got=dict(noted.noted))

    def _noting(self, asking: Asking, hour: datetime, *, plain_alone: bool = True) -> NotedAnswers:
        names, auto = self.names, Volatile.AUTO
        return NotedAnswers(asking, None, self.dialect, auto, hour, names=names, plain_alone=plain_alone)

    def knowing(self, reads: Iterable[UndeclaredInput]) -> TestTemplate:
        """Return the same where more is known of what the query reads; see `sao_dagster.core.templates.AskingTemplate`."""
        return replace(self, known_reads=self.known_reads.union(reads))

    def _in_run(self, run: TemplateRun, asking: Asking) -> str:
        ctes = tuple(each.rendered(self.context, run, asking) for each in self.ctes)
        return self.sql(run, ctes, asking)

    def sql(self, run: TemplateRun, ctes: tuple[tuple[str, str], ...], asking: Asking | None = None) -> str:
        """Return the query as a run sees it, with the ephemerals that it reads."""
        return _finished(self.body(run, RenderTrace(), asking), ctes, self.limit, self.dialect)

    def body(self, run: TemplateRun, trace: RenderTrace, asking: Asking | None = None) -> str:
        """Return the query without ephemerals, nothing where it asks and nobody answers; what is asked for on the way is noted in a trace."""

        def rendering(*, execute: bool) -> Render:
            found = Render(self.context, self.subject, execute=execute, run=run, asking=asking)
            found.trace = trace
            return found

        try:
            return self._rendered(rendering(execute=True))
        except NeedsConnectionError:
            self._rendered(
                rendering(execute=False)
            )  # as dbt reads a template: what it names after it has asked is noted, too
            return ""

    def _rendered(self, rendering: Render) -> str:
        model = self.model
        if self.macro is None or model is None:
            return rendering.text(self.source)
        if self.filters:
            config = dict(self.subject.config)
            if config.get("where"):
                config["where"] = rendering.text(str(config["where"]))
            filtering = rendering.within(self.subject.package, config)
            filtered = str(filtering.call_macro("get_where_subquery", model)).strip()
            model = RelationValue(model.relation, self.context.engine, filtered)
        args = {key: self._argument(rendering, key, value) for key, value in self.args.items()}
        package, macro = self.macro
        return str(rendering.within(package).call_macro(macro, model, **args))

    def _argument(self, rendering: Render, key: str, value: Any) -> Any:
        """Return an argument of a generic test, with the texts in it rendered: natively, so that `ref` gives a relation.

        Raises:
            RenderError: It fails, with the place of the test.
        """
        if isinstance(value, Mapping):
            return {name: self._argument(rendering, "", each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._argument(rendering, "", each) for each in value]
        if not isinstance(value, str) or key == "column_name":
            return value
        text = f"{{{{ {value} }}}}" if is_expression(value) else value
        try:
            return rendering.native(text) if "{" in text else text
        except RenderError as error:
            error.location = self.location
            raise


def _conditions(config: TestConfig) -> str | None:
    """Return a query that asks the conditions of a test; None where they are those that every test has."""
    calc, defaults = config.fail_calc, TestConfig()
    if (calc, config.warn_if, config.error_if) == (defaults.fail_calc, defaults.warn_if, defaults.error_if):
        return None
    return f"select 1 as one where {calc} {config.warn_if} or {calc} {config.error_if}"


def _finished(sql: str, ctes: tuple[tuple[str, str], ...], limit: int | None, dialect: str) -> str:
    return limited(prepend_ctes(embeddable(sql), ctes, dialect), limit)


def _checked(declared: TestDeclaration, settings: Mapping[str, Any]) -> TestConfig:
    """Return the configuration of a test, checked; keys that are not known are for its own use, or for somebody else's."""
    known = {field.alias or name for name, field in TestConfig.model_fields.items()}
    settings = {key: value for key, value in settings.items() if key in known}
    config: TestConfig = checked(TestConfig, settings, declared.name or declared.kind, declared.location)
    return config


def _told_apart(tests: Iterable[TestDeclaration]) -> list[TestDeclaration]:
    """Return tests of which those that have one name and other arguments have names of their own, by a digest of these, as ids of dbt's."""
    named: dict[str, list[TestDeclaration]] = {}
    for each in tests:
        named.setdefault(names_of(each)[0], []).append(each)
    found: list[TestDeclaration] = []
    for name, same in named.items():
        said = [digest([each.kind, each.tested, each.column, repr(sorted(each.args.items()))])[:10] for each in same]
        generic = len(set(said)) > 1 and all(each.kind != "singular" for each in same)
        found += [
            replace(each, name=f"{name}_{own}", shared_name=name) if generic else each
            for each, own in zip(same, said, strict=True)
        ]
    return found
