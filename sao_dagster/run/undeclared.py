"""The versions of undeclared inputs: what their names mean is looked up, and what functions read is followed to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.nodes import Model, Node
from sao_dagster.core.policy import Expiry, soonest
from sao_dagster.core.project import Project
from sao_dagster.core.relations import Relation
from sao_dagster.sql.builtin_functions import builtin_functions
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.reads import called_functions, undeclared_reads
from sao_dagster.sql.volatile import volatility
from sao_dagster.warehouses.protocol import FunctionInfo, Session
from sao_dagster.warehouses.shared.files import version_of_files


def with_redefined(project: Project, session: Session) -> Project:
    """Return a project in which functions of the user's own that are called like the engine's own are inputs of what calls them."""
    own = builtin_functions(project.dialect)
    redefined = session.made_functions() & own.keys() if own is not None else frozenset()
    if not redefined:
        return project

    def added(known: tuple[UndeclaredInput, ...], *texts: str | None) -> tuple[UndeclaredInput, ...]:
        called = {name for text in texts if text for name in called_functions(text, project.dialect)}
        found = (UndeclaredInput(InputKind.FUNCTION, name) for name in sorted(called & redefined))
        return tuple(dict.fromkeys((*known, *found)))

    def of_node(node: Node) -> Node:
        if not isinstance(node, Model) or node.language != "sql" or node.policy.inputs is not None:
            return node
        found = added(node.undeclared, node.compiled.sql or node.raw_sql, node.compiled.incremental_sql)
        kept = tuple(each for each in found if each in node.undeclared or each.name not in node.policy.stable_functions)
        return node if kept == node.undeclared else replace(node, undeclared=kept)

    nodes = {name: of_node(node) for name, node in project.nodes.items()}
    tests = {name: replace(test, undeclared=added(test.undeclared, test.sql)) for name, test in project.tests.items()}
    return replace(project, nodes=nodes, tests=tests)


@dataclass
class UndeclaredVersions:
    """Reads the versions of undeclared inputs as they are now.

    Attributes:
        session: The warehouse, open.
        dialect: Sqlglot's name of its dialect.
        root: The project's folder, which paths are compared from.
        read: Returns the content versions of relations.
        now: The time (UTC).
        relations: Which relations tables turned out to be.
    """

    session: Session
    dialect: str
    root: str
    read: Callable[[Iterable[Relation]], Mapping[Relation, DataVersion | None]]
    now: datetime
    relations: dict[UndeclaredInput, Relation] = field(default_factory=dict)
    _functions: dict[str, FunctionInfo | None] = field(default_factory=dict)
    _reads: dict[str, tuple[UndeclaredInput, ...]] = field(default_factory=dict)  # by function

    def of(self, inputs: Iterable[UndeclaredInput]) -> dict[str, DataVersion | None]:
        """Return versions by id; None for what cannot be told."""
        wanted = list(dict.fromkeys(inputs))
        reached = self._reached(wanted)
        tables = [each for each in reached if each.kind is InputKind.TABLE]
        if tables:
            self.relations.update(self.session.resolved(tables))
        contents = self.read({self.relations[each] for each in tables if each in self.relations})
        leaves: dict[UndeclaredInput, DataVersion | None] = {}
        for each in reached:
            if each in self.relations:
                leaves[each] = contents.get(self.relations[each])
            elif each.kind is InputKind.FILE or (
                each.kind is InputKind.TABLE and dialect_named(self.dialect).is_file(each.name)
            ):
                leaves[each] = version_of_files((each.name,), self.root)
            elif each.kind is not InputKind.FUNCTION:
                leaves[each] = None
        return {
            each.id: self._of_function(each, leaves) if each.kind is InputKind.FUNCTION else leaves[each]
            for each in wanted
        }

    def _reached(self, wanted: Iterable[UndeclaredInput]) -> list[UndeclaredInput]:
        """Return inputs, and all that the functions among them read, at any depth."""
        reached: dict[UndeclaredInput, None] = {}
        pending = list(wanted)
        while pending:
            reached.update(dict.fromkeys(pending))
            names = sorted({each.name for each in pending if each.kind is InputKind.FUNCTION})
            new = [name for name in names if name not in self._functions]
            known = self.session.functions(new) if new else {}
            self._functions.update({name: known.get(name) for name in new})
            self._reads.update({name: self._read_by(name) for name in new})
            pending = [each for name in names for each in self._reads[name] if each not in reached]
        return list(reached)

    @cached_property
    def _made(self) -> frozenset[str]:
        """The functions that somebody made: the whole catalog of functions is gone through for them."""
        return self.session.made_functions()

    def _read_by(self, function: str) -> tuple[UndeclaredInput, ...]:
        info = self._functions.get(function)
        queries = info.queries if info is not None else ()
        found = dict.fromkeys(each for query in queries for each in undeclared_reads(query, self.dialect))
        called = {name for query in queries for name in called_functions(query, self.dialect)}
        own = builtin_functions(self.dialect) or {}
        if called & own.keys():
            redefined = (self._made & called & own.keys()) - {function}
            found.update(dict.fromkeys(UndeclaredInput(InputKind.FUNCTION, name) for name in sorted(redefined)))
        return tuple(found)

    def _of_function(
        self, function: UndeclaredInput, leaves: Mapping[UndeclaredInput, DataVersion | None]
    ) -> DataVersion | None:
        """Return a version of all that a function does and reads; of one that changes by itself, one for the time being."""
        definitions: dict[str, str] = {}
        below: dict[str, str] = {}
        expiries = []
        pending = [function]
        while pending:
            each = pending.pop()
            if each.kind is not InputKind.FUNCTION:
                version = leaves.get(each)
                if version is None:
                    return None
                below[each.id] = str(version)
            elif each.name not in definitions:
                info = self._functions.get(each.name)
                if info is None:
                    return None
                definitions[each.name] = info.definition
                changing = [volatility(query, self.dialect) for query in info.queries]
                expiries += [info.expiry, *(Expiry.HOUR if found.columns else found.expiry for found in changing)]
                pending += self._reads[each.name]
        expiry = soonest(*expiries)
        until = None if expiry is None else expiry.after(self.now).isoformat()
        return DataVersion("function/1", digest([sorted(definitions.items()), sorted(below.items()), until]))
