"""Data tests on their way from a declaration to a query: rendered, named, fingerprinted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sao_dagster.core.hashing import digest
from sao_dagster.core.nodes import CODE_SCHEME, DataTest, Materialized, NodeError, Source, is_source
from sao_dagster.core.project import unknown
from sao_dagster.core.proofs import Assertion
from sao_dagster.errors import Location, NeedsConnectionError, ProjectError, RenderError, UnsupportedError
from sao_dagster.projects.assembly.assertions import assertion_of
from sao_dagster.projects.assembly.drafts import Drafts, Template
from sao_dagster.projects.assembly.undeclared import UndeclaredReads
from sao_dagster.projects.config import TestConfig, checked
from sao_dagster.projects.declarations import TestDeclaration
from sao_dagster.projects.templates.context_objects import RelationValue
from sao_dagster.projects.templates.jinja import BUILTINS
from sao_dagster.projects.templates.render import Render, RenderSubject, RenderTrace
from sao_dagster.projects.test_entries import default_names, is_expression, verdict_settings
from sao_dagster.sql.ctes import prepend_ctes
from sao_dagster.sql.fingerprint import sql_digest
from sao_dagster.sql.reads import undeclared_reads
from sao_dagster.sql.session import follows_process
from sao_dagster.sql.text import embeddable
from sao_dagster.sql.volatile import volatility


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

    def tests(self) -> dict[str, DataTest]:
        """Return the tests of all declarations by name, without those that are disabled; two of one name are an error of the project."""
        found: dict[str, DataTest] = {}
        for declared in self.drafts.declared.tests:
            test = self._made(declared)
            if test is None:
                continue
            if test.name in found:
                other = found[test.name].location
                message = f"there are two data tests called {test.name!r}; the other one is in {other}; give one a name"
                self.drafts.errors.append(ProjectError(message, location=declared.location))
            found[test.name] = test
        return found

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
        name = _names(declared)[0]
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
        config: TestConfig = checked(TestConfig, declared.config, declared.name or declared.kind, declared.location)
        if not config.enabled:
            return None
        name, alias = _names(declared)
        compiled = declared.compiled
        is_generic = declared.kind != "singular"
        if compiled is not None:
            sql, found = compiled.sql, self.drafts.known(compiled.depends_on, declared.location, name)
        else:
            sql, trace = self._generic(declared, config, name) if is_generic else self._singular(declared)
            found = self.drafts.reads(trace, Template(declared.sql, declared.location), name)
        reads = tuple(dict.fromkeys((*([declared.tested] if declared.tested else []), *found)))
        if not reads:
            raise ProjectError(
                f"the test {name} reads nothing; name what it is about with ref() or source()",
                location=declared.location,
            )
        ctes = {cte: text for read in reads if compiled is None for cte, text in self._ephemeral_of(read)}
        sql = prepend_ctes(embeddable(sql), tuple(ctes.items()), self.drafts.declared.dialect)
        names = self.drafts.names(reads)
        named, others = self.undeclared.divide(
            name, declared.location, undeclared_reads(sql, self.drafts.declared.dialect, names)
        )
        reads = tuple(dict.fromkeys((*reads, *named)))
        if config.limit is not None:
            sql = f"select * from ({sql}\n) as dbt_internal_test limit {config.limit}"
        dialect = self.drafts.declared.dialect
        stored, engine = None, self.drafts.context.engine
        if config.keeps_failures:
            schema = f"{self.drafts.declared.schema}_{config.schema_ or 'dbt_test__audit'}"
            database = config.database or self.drafts.declared.database
            stored = engine.relation(database, schema, config.alias or alias)
            self.drafts.refuse_long_names(stored, declared.location)
        counted = [sql_digest(sql, dialect, names), verdict_settings(config)]
        if settings := self.drafts.settings([sql]):
            counted.append(settings)
        return DataTest(
            name=name,
            kind=declared.kind,
            tested=declared.tested or max(reads, key=lambda read: self.position.get(read, -1)),
            column=declared.column,
            sql=sql,
            reads=reads,
            version=digest([CODE_SCHEME, *counted]),
            severity=config.severity,
            fail_calc=config.fail_calc,
            warn_if=config.warn_if,
            error_if=config.error_if,
            where=config.where,
            limit=config.limit,
            shares_statement=config.shares_statement and engine.shares_test_statements,
            asserts=self._asserts(declared, config, sql),
            follows_process=follows_process([sql]),
            expiry=volatility(sql, self.drafts.declared.dialect).expiry,
            store_failures=stored,
            store_failures_as=Materialized(config.store_failures_as or "table"),
            location=declared.location,
            description=declared.description,
            tags=tuple(config.tags),
            fqn=declared.fqn,
            undeclared=others,
        )

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

    def _ephemeral_of(self, name: str) -> tuple[tuple[str, str], ...]:
        draft = self.drafts.by_id.get(name)
        if draft is None or draft.materialized is not Materialized.EPHEMERAL:
            return ()
        own = (self.drafts.cte(name), draft.sql)
        return (*self.drafts.ctes(draft), own)

    def _singular(self, declared: TestDeclaration) -> tuple[str, RenderTrace]:
        name = str(declared.name)
        subject = RenderSubject(name=name, path=declared.location.path, package=declared.package, resource_type="test")
        rendering = Render(self.drafts.context, subject, execute=True)
        try:
            return rendering.text(declared.sql), rendering.trace
        except NeedsConnectionError as error:
            raise _asks(name, declared) from error
        except RenderError:
            self.drafts.reads(
                rendering.trace, Template(declared.sql, declared.location), name
            )  # says more, if it was that
            raise

    def _generic(self, declared: TestDeclaration, config: TestConfig, name: str) -> tuple[str, RenderTrace]:
        """Return the SQL of a generic test, rendered by its macro with the tested relation and its arguments, and what that asked for."""
        tested = str(declared.tested)
        subject = RenderSubject(name=name, path=declared.location.path, package=declared.package, resource_type="test")
        rendering = Render(self.drafts.context, subject, execute=True)
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
        if source is not None:
            model = RelationValue(self.drafts.place_of(source), source.expression)
        elif draft is not None and draft.materialized is Materialized.EPHEMERAL:
            model = RelationValue(draft.relation, self.drafts.cte(tested))
        elif draft is not None:
            model = RelationValue(draft.relation)
        else:
            raise unknown(
                f"the test {name} is about {tested!r}, which is not there",
                tested,
                self.drafts.by_id,
                declared.location,
            )
        if config.where:
            where = rendering.text(config.where)
            model = RelationValue(model.relation, f"(select * from {model} where {where}) dbt_subquery")
        args = {key: self._argument(rendering, value, declared.location) for key, value in declared.args.items()}
        if declared.column is not None:
            args["column_name"] = declared.column
        try:
            inside = Render(self.drafts.context, replace(subject, package=found), execute=True)
            text = str(inside.call_macro(f"test_{bare}", model, **args))
        except NeedsConnectionError as error:
            raise _asks(name, declared) from error
        rendering.trace.refs.update(inside.trace.refs)
        rendering.trace.sources.update(inside.trace.sources)
        return text, rendering.trace

    def _argument(self, rendering: Render, value: Any, location: Location) -> Any:
        """Return an argument of a generic test, rendered where it is an expression.

        Raises:
            RenderError: It fails, with the place of the test.
        """
        if not isinstance(value, str):
            return value
        try:
            return rendering.value(value) if is_expression(value) else rendering.text(value) if "{{" in value else value
        except RenderError as error:
            error.location = location
            self.drafts.reads(rendering.trace, Template("", location), rendering.subject.name)
            raise


def _names(declared: TestDeclaration) -> tuple[str, str]:
    """Return the name of a test, and what a relation with its failures is called."""
    if declared.name is not None:
        return declared.name, declared.name
    kind, tested = declared.kind, str(declared.tested).removeprefix("source:").replace(".", "_")
    if is_source(str(declared.tested)):
        kind = f"source_{kind}"
    return default_names(kind, tested, declared.column, declared.args)


def _asks(name: str, declared: TestDeclaration) -> UnsupportedError:
    return UnsupportedError(
        f"the test {name} asks the warehouse while it is rendered, which is not supported; write it as one query",
        location=declared.location,
    )
