"""Drafts: a project on its way, with all that is needed to put it together: drafts of models, what names lead to, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.nodes import Materialized, Source, is_source
from sao_dagster.core.project import Notice, unknown
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.errors import Location, ProjectError, SaoError
from sao_dagster.projects.config import NodeConfig
from sao_dagster.projects.declarations import Declarations, NodeDeclaration
from sao_dagster.projects.templates.render import RenderSubject, RenderTrace, Resolved, TemplateContext


@dataclass
class Draft:
    """A model or seed on its way."""

    declared: NodeDeclaration
    config: NodeConfig
    merged: dict[str, Any]
    trace: RenderTrace
    subject: RenderSubject
    relation: Relation
    materialized: Materialized
    depends_on: tuple[str, ...] = ()
    undeclared: tuple[UndeclaredInput, ...] = ()
    sql: str = ""
    incremental_sql: str | None = None
    pre_hooks: tuple[str, ...] = ()
    post_hooks: tuple[str, ...] = ()
    dynamic: bool = False

    @property
    def id(self) -> str:
        """The name in the project."""
        return self.declared.id


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
        self.errors = list(declared.errors)
        self.by_id: dict[str, Draft] = {}
        self.disabled: set[str] = set()
        self.texts: dict[str, str] = {}  # what SQL reads each node and source from; ephemerals have no relation

    def keep_those_that(self, step: Callable[[Draft], None]) -> None:
        """Take a step with every draft; those that fail it are noted and left out."""
        for draft in list(self.by_id.values()):
            if not self.attempt(step, draft):
                del self.by_id[draft.id]

    def leave_out_dependents(self) -> None:
        """Leave out what reads a model that has an error: nothing true can be said about it."""
        while True:
            broken = {
                draft.id: parent
                for draft in self.by_id.values()
                for parent in draft.depends_on
                if parent not in self.by_id and not is_source(parent)
            }
            if not broken:
                return
            for name, parent in broken.items():
                location = self.by_id.pop(name).declared.location
                self.notices.append(Notice(f"{name} is left out: it reads {parent}, which has an error", location))

    def attempt(self, action: Callable[..., object], *args: Any) -> bool:
        """Run a step; note the project's error if it has one, and return whether it went well."""
        try:
            action(*args)
        except SaoError as error:
            self.errors.append(error)
            return False
        return True

    def register(self) -> None:
        """Tell templates what every `ref` and `source` leads to."""
        seen: dict[RelationKey, Draft] = {}
        for draft in self.by_id.values():
            ephemeral = draft.materialized is Materialized.EPHEMERAL
            if not ephemeral and (other := seen.setdefault(draft.relation.key, draft)) is not draft:
                self.errors.append(
                    ProjectError(
                        f"{draft.id} and {other.id} would both be built as {draft.relation}; give one an alias or a schema",
                        location=draft.declared.location,
                    )
                )
            text = cte_name(draft.id) if ephemeral else str(draft.relation)
            if not ephemeral:
                self.texts[draft.id] = text
            resolved = Resolved(draft.id, draft.relation, text)
            declaration = draft.declared
            for package in (None, declaration.package):
                self.context.refs[package, declaration.name, declaration.version] = resolved
                if declaration.is_latest:
                    self.context.refs[package, declaration.name, None] = resolved
        for source in self.declared.sources:
            place = self.place_of(source)
            self.texts[source.id] = source.expression
            self.context.sources[source.source_name, source.table_name] = Resolved(source.id, place, source.expression)

    def place_of(self, source: Source) -> Relation:
        """Return the relation that templates see of a source; one of its name where it is read from files."""
        return source.relation or self.context.engine.relation(None, source.source_name, source.table_name)

    def reads(self, trace: RenderTrace, location: Location, name: str) -> tuple[str, ...]:
        """Return the ids that a template reads.

        Raises:
            UnknownNodeError: Something that is not there, or is disabled.
        """
        found: dict[str, None] = {}
        for key in trace.refs:
            resolved = self.context.refs.get(key)
            if resolved is None:
                package, wanted, version = key
                shown = wanted if version is None else f"{wanted} version {version}"
                if wanted in self.disabled:
                    raise ProjectError(f"{name} reads {shown!r}, which is disabled", location=location)
                where = f" in package {package!r}" if package else ""
                raise unknown(f"{name} reads ref({shown!r}){where}, which is not there", wanted, self.by_id, location)
            found[resolved.id] = None
        for source_name, table_name in trace.sources:
            resolved = self.context.sources.get((source_name, table_name))
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

    def known(self, ids: Iterable[str], location: Location, name: str) -> tuple[str, ...]:
        """Return ids that compiled SQL names, after looking that all of them are there.

        Raises:
            UnknownNodeError: One is not, or is disabled.
        """
        there = {**self.by_id, **{source.id: source for source in self.declared.sources}}
        for each in ids:
            if each in self.disabled:
                raise ProjectError(f"{name} reads {each!r}, which is disabled", location=location)
            if each not in there:
                raise unknown(f"{name} reads {each!r}, which is not there", each, there, location)
        return tuple(dict.fromkeys(ids))

    def relations_read(self, reads: Iterable[str]) -> dict[str, str]:
        """Return what SQL reads nodes and sources from, by id, with ephemerals replaced by what they read; sorted."""
        found: dict[str, str] = {}
        pending, seen = list(reads), set[str]()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self.texts:
                found[name] = self.texts[name]
            elif name in self.by_id:
                pending += self.by_id[name].depends_on
        return dict(sorted(found.items()))

    def names(self, reads: Iterable[str], this: str | None = None) -> dict[str, str]:
        """Return the ids of what a node reads, and its own, by what SQL reads them from."""
        ids = {text: name for name, text in reversed(self.relations_read(reads).items())}
        return {**ids, self.texts[this]: this} if this in self.texts else ids

    def ctes(self, draft: Draft) -> tuple[tuple[str, str], ...]:
        """Return the ephemerals that a model needs, each after those it uses."""
        found: dict[str, str] = {}

        def visit(name: str, path: tuple[str, ...]) -> None:
            each = self.by_id.get(name)
            if each is None or each.materialized is not Materialized.EPHEMERAL:
                return
            if name in path:
                raise ProjectError(
                    f"ephemeral models read each other in a circle: {' <- '.join((*path, name))}",
                    location=each.declared.location,
                )
            for parent in each.depends_on:
                visit(parent, (*path, name))
            found.setdefault(cte_name(name), each.sql)

        for parent in draft.depends_on if draft.declared.compiled is None else ():
            visit(parent, (draft.id,))
        return tuple(found.items())


def cte_name(name: str) -> str:
    """Return what an ephemeral model is called inside the queries that read it; dbt's way.

    >>> cte_name("base.v2")
    '__dbt__cte__base_v2'
    """
    return f"__dbt__cte__{name.replace('.', '_')}"
