"""Drafts: a project on its way, with all that is needed to put it together: drafts of models, what names lead to, and what went wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.nodes import Access, Materialized, NodeError, Source
from sao_dagster.core.others import OtherProject, ProjectModel
from sao_dagster.core.policy import NO_POLICY, Expiry, RefreshPolicy, soonest
from sao_dagster.core.project import unknown
from sao_dagster.core.relations import Relation, RelationKey, quote
from sao_dagster.core.templates import Asking
from sao_dagster.errors import Location, ProjectError
from sao_dagster.projects.assembly.access import Referable, refuse_reference
from sao_dagster.projects.config import NodeConfig, no_config
from sao_dagster.projects.declarations import Declarations, NodeDeclaration, error_in
from sao_dagster.projects.templates.render import Render
from sao_dagster.projects.templates.template_context import RenderSubject, RenderTrace, Resolved, TemplateContext
from sao_dagster.projects.templates.template_run import TemplateRun
from sao_dagster.sql.hooks import Filling
from sao_dagster.sql.session import SessionEffect, effects_on
from sao_dagster.sql.volatile import Bare, Volatility


@dataclass(frozen=True)
class Template:
    """A text with Jinja, and where it is written.

    Attributes:
        text: The text.
        location: The file it is all of, or the place of which nothing nearer is known.
    """

    text: str
    location: Location

    def place_of_call(self, function: str, *args: str) -> Location:
        """Return the line on which a function is called with these texts; the place of the whole where that is in no line of it.

        >>> Template("select * from {{ ref('orders') }}", Location("models/m.sql")).place_of_call("ref", "orders")
        Location(path='models/m.sql', line=1)
        """
        quoted = r"\s*,\s*".join(rf"['\"]{re.escape(each)}['\"]" for each in args)
        found = re.search(rf"\b{function}\s*\([^)]*?{quoted}", self.text)
        if found is None:
            return self.location
        return Location(self.location.path, self.text.count("\n", 0, found.end()) + 1)


@dataclass
class Draft:
    """A model or seed on its way; a broken one goes no further than the step that it failed, and stays as that left it.

    Attributes:
        dynamic: Whether its SQL asks the warehouse while it is rendered, so that it is not known before a run.
        in_run: Whether its SQL or its hooks are rendered in each run, since they ask the warehouse or for something of the run.
        others: Its SQL, in full and for an incremental build, as it is in `OTHER_RUNS`; empty where it is the same in all.
        by_time: Whether its template asks for the time.
        code_config: The configuration that counts for the code version: the time in it is pinned.
        config_expiry: When its configuration stops being true by itself.
        named: What its SQL reads without `ref` and `source`, as far as that is known before a run; None where its configuration says it.
        bare: Its columns that hold nothing but a volatile value, as what reads it has to take them.
        access: Who may read it.
        id: The name in the project.
    """

    declared: NodeDeclaration
    subject: RenderSubject
    relation: Relation
    materialized: Materialized
    config: NodeConfig = field(default_factory=no_config)
    policy: RefreshPolicy = NO_POLICY
    merged: dict[str, Any] = field(default_factory=dict)
    trace: RenderTrace = field(default_factory=RenderTrace)
    error: NodeError | None = None
    depends_on: tuple[str, ...] = ()
    undeclared: tuple[UndeclaredInput, ...] = ()
    named: tuple[UndeclaredInput, ...] | None = None
    sql: str = ""
    incremental_sql: str | None = None
    pre_hooks: tuple[str, ...] = ()
    post_hooks: tuple[str, ...] = ()
    dynamic: bool = False
    in_run: bool = False
    others: tuple[tuple[str, str | None], ...] = ()
    by_time: bool = False
    code_config: dict[str, Any] = field(default_factory=dict)
    config_expiry: Expiry | None = None
    bare: Bare = field(default_factory=dict)
    access: Access = Access.PROTECTED
    id: str = field(init=False)

    def __post_init__(self) -> None:
        """Take over its name, which is asked for everywhere."""
        self.id = self.declared.id

    @property
    def unique_id(self) -> str:
        """What dbt calls it."""
        return f"{self.declared.resource_type}.{self.declared.package}.{self.declared.plain_id}"

    @property
    def referable(self) -> Referable:
        """What it is to those who read it, and to those it reads."""
        declared, group = self.declared, self.config.group
        return Referable(
            name=self.id, unique_id=self.unique_id, package=declared.package, group=group, access=self.access
        )

    def sql_in(self, other: int | None, *, incremental: bool = False) -> str | None:
        """Return its SQL as it is in one of `OTHER_RUNS`; for None as it counts for fingerprints."""
        full, again = (self.sql, self.incremental_sql) if other is None or not self.others else self.others[other]
        return again if incremental else full


@dataclass(frozen=True)
class TemplateCte:
    """An ephemeral model in the query that reads it: its SQL, or its template where it is rendered in each run.

    Attributes:
        name: What it is called in the query.
        text: The SQL or the template.
        subject: What is rendered; None for SQL.
    """

    name: str
    text: str
    subject: RenderSubject | None = None

    def rendered(self, context: TemplateContext, run: TemplateRun, asking: Asking | None) -> tuple[str, str]:
        """Return name and SQL in a run."""
        if self.subject is None:
            return self.name, self.text
        return self.name, Render(context, self.subject, execute=True, asking=asking, run=run).text(self.text)


class Drafts:
    """What all steps of the assembly work on.

    Args:
        declared: What was declared.
        context: What templates can see.
    """

    def __init__(self, declared: Declarations, context: TemplateContext) -> None:
        self.declared = declared
        self.context = context
        self.notices = list(declared.notices)
        self.errors = list(declared.errors)  # of the project as a whole; those of drafts are theirs
        self.by_id: dict[str, Draft] = {}
        self.disabled: set[str] = set()
        self.effects: tuple[SessionEffect, ...] = ()  # what `on-run-start` leaves behind
        self.fillings: tuple[Filling, ...] = ()  # and what it puts into tables
        self.texts: dict[str, str] = {}  # what SQL reads each node and source from; ephemerals have no relation
        self.ephemeral: set[str] = set()  # the ids of those that have none
        self.bare: set[str] = set()  # the ids of those that have bare volatile columns
        self.read_elsewhere: dict[str, ProjectModel] = {}  # the models of other projects that are read, by id
        self.settled = {} if declared.part is None else declared.part.known  # what those read that are known already

    def take(self, step: Callable[[Draft], None]) -> None:
        """Take a step with every draft that is not known already; one that fails it is broken, and no further step is taken with it."""
        for draft in self.by_id.values():
            if draft.error is None and draft.id not in self.settled:
                draft.error = error_in(step, draft, location=draft.declared.location)

    def in_order(self) -> list[Draft]:
        """Return all drafts, each after those it reads as far as they do not read each other in a circle."""
        found: dict[str, Draft] = {}
        begun = set[str]()
        for start in self.by_id:
            pending = [start]
            while pending:
                name = pending[-1]
                waits = [each for each in self.by_id[name].depends_on if each in self.by_id and each not in begun]
                begun.add(name)
                pending += waits
                if not waits:
                    found.setdefault(pending.pop(), self.by_id[name])
        return list(found.values())

    def bare_below(self, reads: Iterable[str]) -> dict[RelationKey, Bare]:
        """Return the bare volatile columns of the relations that are read, ephemerals looked through."""
        if not self.bare:
            return {}
        drafts = (self.by_id[name] for name in self.relations_read(reads) if name in self.bare)
        return {draft.relation.key: draft.bare for draft in drafts}

    def volatility_below(self, reads: Iterable[str]) -> Volatility:
        """Return what is volatile in a query that reads nobody knows which columns of some relations: all that is there."""
        origins = [origin for bare in self.bare_below(reads).values() for origin in bare.values()]
        tables = {table for origin in origins for table in origin.tables}
        return Volatility(soonest(*(origin.expiry for origin in origins)), reads=tuple(sorted(tables)))

    def macros_digest(self, template: str, trace: RenderTrace) -> str:
        """Return a digest of every macro that a template may reach, and of the settings that it read."""
        texts = {file.path: file.text for file in self.context.macros.reached(template, trace.macros.values())}
        settings = {key: str(value) for key, value in trace.settings.items()}
        return digest([sorted(texts.items()), settings])

    def register(self) -> None:
        """Tell templates what every `ref` and `source` leads to."""
        seen: dict[RelationKey, Draft] = {}
        for draft in self.by_id.values():
            ephemeral = draft.materialized is Materialized.EPHEMERAL
            placed = not ephemeral and draft.error is None
            if placed and (other := seen.setdefault(draft.relation.key, draft)) is not draft:
                self.errors.append(
                    ProjectError(
                        f"{draft.id} and {other.id} would both be built as {draft.relation}; give one an alias or a schema",
                        location=draft.declared.location,
                    )
                )
            if placed:
                where = draft.declared.location
                draft.error = error_in(self.refuse_long_names, draft.relation, where, location=where)
            text = self.cte(draft.id) if ephemeral else str(draft.relation)
            if ephemeral:
                self.ephemeral.add(draft.id)
            else:
                self.texts[draft.id] = text
            resolved = Resolved(draft.id, draft.relation, text)
            declaration = draft.declared
            for version in dict.fromkeys((declaration.version, *([None] if declaration.is_latest else []))):
                self.context.add_ref(declaration.package, declaration.name, version, resolved)
        for source in self.declared.sources:
            if source.id in self.texts:
                first = next(each for each in self.declared.sources if each.id == source.id)
                message = f"there are two sources called {source.id.removeprefix('source:')!r}; the other one is in {first.location}"
                self.errors.append(ProjectError(message, location=source.location))
            leads_to = Resolved(source.id, self.place_of(source), source.expression)
            self.texts[source.id] = source.expression
            package = source.fqn[0] if source.fqn else self.declared.name
            self.context.add_source(package, source.source_name, source.table_name, leads_to)

    def refuse_long_names(self, relation: Relation, location: Location) -> None:
        """Refuse a relation whose name the engine would cut off, and take for that of another one.

        Raises:
            ProjectError: It would.
        """
        long = self.context.engine.cut_off(relation)
        if long is not None:
            raise ProjectError(
                f"{long!r} has {len(long.encode())} bytes, and of the name of a relation only {self.context.engine.longest_name} are kept "
                f"there; give it a shorter alias or schema",
                location=location,
            )

    def place_of(self, source: Source) -> Relation:
        """Return the relation that templates see of a source; one of its name where it is read from files."""
        return source.relation or self.context.engine.relation(None, source.source_name, source.table_name)

    def reads(self, trace: RenderTrace, at: Template, reader: Referable) -> tuple[str, ...]:
        """Return the ids that a template reads, after `check`."""
        self.check(trace, at, reader)
        return self.found(trace, reader.package)

    def check(self, trace: RenderTrace, at: Template, reader: Referable) -> None:
        """Look whether all that a template reads is there, and may be read; what it reads of other projects is noted.

        Raises:
            UnknownNodeError: Something that is not there.
            ProjectError: Something that is disabled, or that it may not read.
        """
        name = reader.name
        self._all_read_elsewhere(trace, at, reader)
        for key in trace.refs:
            package, wanted, version = key
            if package is not None and package in self.declared.others:
                continue
            found = self.context.resolve_ref(*key, reader.package)
            if found is not None:
                read = self.by_id[found.id].referable
                # of other packages dbt has said it, which knows their `restrict-access`
                if read.package == reader.package:
                    refuse_reference(reader, read, partial(at.place_of_call, "ref", wanted))
                continue
            shown = wanted if version is None else f"{wanted} version {version}"
            location = at.place_of_call("ref", wanted)
            if wanted in self.disabled:
                raise ProjectError(f"{name} reads {shown!r}, which is disabled", location=location)
            several = self.context.packages.get((wanted, version), ()) if package is None else ()
            if several:
                message = f"{name} reads ref({shown!r}), which several packages have ({', '.join(several)}); name one: ref({several[0]!r}, {wanted!r})"
                raise ProjectError(message, location=location)
            where = f" in package {package!r}" if package else ""
            message = f"{name} reads ref({shown!r}){where}, which is not there"
            if package and package != self.declared.name:
                message += f"; if {package} is another project, name it under `projects` in dependencies.yml"
            raise unknown(message, wanted, {} if package else self.by_id, location)
        for source_name, table_name in trace.sources:
            if self.context.resolve_source(source_name, table_name, reader.package):
                continue
            known = {f"{source.source_name}.{source.table_name}": source for source in self.declared.sources}
            message = f"{name} reads source({source_name!r}, {table_name!r}), which is not there"
            location = at.place_of_call("source", source_name, table_name)
            raise unknown(message, f"{source_name}.{table_name}", known, location)

    def _all_read_elsewhere(self, trace: RenderTrace, at: Template, reader: Referable) -> None:
        """Note all models of other projects that a template reads, also where it may not read one of them: it is below the others all the same.

        Raises:
            ProjectError: The first that is not there, or that it may not read.
        """
        errors = []
        for package, wanted, version in trace.refs:
            if package is not None and package in self.declared.others:
                try:
                    self._read_elsewhere(self.declared.others[package], wanted, version, at, reader)
                except ProjectError as error:
                    errors.append(error)
        if errors:
            raise errors[0]

    def _read_elsewhere(
        self, other: OtherProject, wanted: str, version: str | None, at: Template, reader: Referable
    ) -> None:
        """Note that a template reads a model of another project.

        Raises:
            UnknownNodeError: There is no such model.
            ProjectError: It is not public.
        """
        source = other.input(wanted, version)
        if source is not None:
            error = source.error and replace(source.error, location=at.place_of_call("ref", other.name, wanted))
            self.read_elsewhere.setdefault(source.id, replace(source, error=error))
            self.texts[source.id] = source.expression
            return
        place = partial(at.place_of_call, "ref", other.name, wanted)
        found = other.find(wanted, version)
        if found is None:
            shown = f"'{wanted}'" if version is None else f"'{wanted}' with version '{version}'"
            message = f"Node {reader.unique_id} depends on a node named {shown} in package or project '{other.name}' which was not found"
            known = {each.name: each for each in other.models if each.name != wanted}
            raise unknown(message, wanted, known, place())
        read = Referable(
            name=found.id, unique_id=found.unique_id, package=other.name, group=found.group, access=found.access
        )
        refuse_reference(reader, read, place)
        message = f"where {found.unique_id} is, as {other.environment} says it, is no name of a relation"
        raise ProjectError(message, location=place())

    def found(self, trace: RenderTrace, reader: str) -> tuple[str, ...]:
        """Return the ids that a template of a package reads, without what is not there."""
        refs = [self.context.resolve_ref(*key, reader) for key in trace.refs]
        sources = [self.context.resolve_source(*key, reader) for key in trace.sources]
        return tuple(dict.fromkeys(each.id for each in (*refs, *sources) if each is not None))

    def known(self, ids: Iterable[str], location: Location, name: str) -> tuple[str, ...]:
        """Return ids that compiled SQL names, after looking that all of them are there.

        Raises:
            UnknownNodeError: One is not, or is disabled.
        """
        there = set(self.there(ids))
        for each in ids:
            if each in self.disabled:
                raise ProjectError(f"{name} reads {each!r}, which is disabled", location=location)
            if each not in there:
                known = dict.fromkeys((*self.by_id, *(source.id for source in self.declared.sources)))
                raise unknown(f"{name} reads {each!r}, which is not there", each, known, location)
        return tuple(dict.fromkeys(ids))

    def there(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Return those of some ids that are nodes or sources."""
        sources = {source.id for source in self.declared.sources}
        return tuple(dict.fromkeys(each for each in ids if each in self.by_id or each in sources))

    def started(self, statements: Iterable[str] | None) -> Sequence[SessionEffect]:
        """Return what `on-run-start` sets or defines for some SQL, or for any where None."""
        return self.effects if statements is None or not self.effects else effects_on(self.effects, statements)

    def settings(self, statements: Iterable[str] | None) -> str:
        """Return the digest of that; empty where it is nothing."""
        found = self.started(statements)
        return digest([each.digest for each in found]) if found else ""

    def relations_read(self, reads: Iterable[str]) -> dict[str, str]:
        """Return what SQL reads nodes and sources from, by id, with ephemerals replaced by what they read; sorted."""
        texts, found = self.texts, dict[str, str]()
        pending, seen = list(reads), set[str]()
        while pending:
            name = pending.pop()
            if name in texts:
                found[name] = texts[name]
            elif name in self.by_id and name not in seen:
                seen.add(name)
                pending += self.by_id[name].depends_on
        return dict(sorted(found.items()))

    def names(self, reads: Iterable[str], this: str | None = None) -> dict[str, str]:
        """Return the ids of what a node reads, and its own, by what SQL reads them from."""
        ids = {text: name for name, text in reversed(self.relations_read(reads).items())}
        return {**ids, self.texts[this]: this} if this in self.texts else ids

    def cte(self, name: str) -> str:
        """Return what SQL reads an ephemeral model from; quoted, which dbt does not do, where it has to be."""
        text = cte_name(name)
        return text if re.fullmatch(r"\w+", text) else quote(text, self.context.engine.quotes)

    def ctes(self, ephemerals: Iterable[Draft], other: int | None = None) -> tuple[tuple[str, str], ...]:
        """Return ephemerals as common table expressions, as they are in one of `OTHER_RUNS` or for fingerprints."""
        return tuple((self.cte(each.id), each.sql_in(other) or "") for each in ephemerals)

    def template_ctes(self, ephemerals: Iterable[Draft]) -> tuple[TemplateCte, ...]:
        """Return ephemerals as they are rendered in a run."""
        return tuple(
            TemplateCte(self.cte(each.id), each.declared.sql or "", each.subject)
            if each.others or each.dynamic
            else TemplateCte(self.cte(each.id), each.sql)
            for each in ephemerals
        )

    def ephemerals(self, reads: Iterable[str], reader: str) -> tuple[Draft, ...]:
        """Return the ephemerals that are needed to read some nodes, each after those it uses."""
        if not self.ephemeral:
            return ()
        found: dict[str, Draft] = {}

        def visit(name: str, path: tuple[str, ...]) -> None:
            each = self.by_id[name] if name in self.ephemeral else None
            if each is None or each.error is not None:
                return
            if name in path:
                raise ProjectError(
                    f"ephemeral models read each other in a circle: {' <- '.join((*path, name))}",
                    location=each.declared.location,
                )
            for parent in each.depends_on:
                visit(parent, (*path, name))
            found.setdefault(name, each)

        for parent in reads:
            visit(parent, (reader,))
        return tuple(found.values())


def cte_name(name: str) -> str:
    """Return what an ephemeral model is called inside the queries that read it; dbt's way.

    >>> cte_name("base.v2")
    '__dbt__cte__base_v2'
    """
    return f"__dbt__cte__{name.replace('.', '_')}"
