"""What undeclared inputs come down to: the relations that names mean, and all that functions read, at any depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.relations import Relation
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.made_functions import MadeFunctions
from sao_dagster.warehouses.protocol import FunctionInfo, Session

V = TypeVar("V")


@dataclass
class Reached:
    """Follows undeclared inputs in an open warehouse; what was looked up once is kept.

    Attributes:
        session: The warehouse, open.
        dialect: Sqlglot's name of its dialect.
        relations: Which relations tables turned out to be.
        functions: What the catalog has of functions, by name; None for those that are not there or not understood.
        read_by: What functions read, by name.
    """

    session: Session
    dialect: str
    relations: dict[UndeclaredInput, Relation] = field(default_factory=dict)
    functions: dict[str, FunctionInfo | None] = field(default_factory=dict)
    read_by: dict[str, tuple[UndeclaredInput, ...]] = field(default_factory=dict)

    def all_of(self, wanted: Iterable[UndeclaredInput]) -> list[UndeclaredInput]:
        """Return inputs, and all that the functions among them read; what the tables among these are is in `relations` then."""
        reached: dict[UndeclaredInput, None] = {}
        pending = list(wanted)
        while pending:
            reached.update(dict.fromkeys(pending))
            names = sorted({each.name for each in pending if each.kind is InputKind.FUNCTION})
            new = [name for name in names if name not in self.functions]
            known = self.session.functions(new) if new else {}
            self.functions.update({name: known.get(name) for name in new})
            self.read_by.update({name: self._read_by(name) for name in new})
            pending = [each for name in names for each in self.read_by[name] if each not in reached]
        if tables := [each for each in reached if each.kind is InputKind.TABLE]:
            self.relations.update(self.session.resolved(tables))
        return list(reached)

    def is_file(self, read: UndeclaredInput) -> bool:
        """Return whether an input is files: named in a table function, or as a table is."""
        named = read.kind is InputKind.TABLE and dialect_named(self.dialect).is_file(read.name)
        return read.kind is InputKind.FILE or (named and read not in self.relations)

    def parts_of(
        self, read: UndeclaredInput, leaves: Mapping[UndeclaredInput, V | None]
    ) -> tuple[dict[str, str], dict[str, V]] | None:
        """Return what an input is made of: definitions by the names of functions, and what is known by the ids of all else; None where any is not known.

        Args:
            read: One of those that were followed.
            leaves: What is known of what is no function, such as versions.
        """
        definitions: dict[str, str] = {}
        below: dict[str, V] = {}
        pending = [read]
        while pending:
            each = pending.pop()
            if each.kind is not InputKind.FUNCTION:
                known = leaves.get(each)
                if known is None:
                    return None
                below[each.id] = known
            elif each.name not in definitions:
                info = self.functions.get(each.name)
                if info is None:
                    return None
                definitions[each.name] = info.definition
                pending += self.read_by[each.name]
        return definitions, below

    @cached_property
    def _made(self) -> MadeFunctions:
        """What somebody made: the whole catalog of functions is gone through for it."""
        return self.session.made_functions()

    def _read_by(self, function: str) -> tuple[UndeclaredInput, ...]:
        from sao_dagster.sql.reads import undeclared_reads  # the parser, where a function is read

        info = self.functions[function]
        queries = info.queries if info is not None else ()
        found = dict.fromkeys(each for query in queries for each in undeclared_reads(query, self.dialect))
        redefined = (each for query in queries for each in self._made.called_by(query, self.dialect))
        found.update(dict.fromkeys(each for each in redefined if each.name != function))
        return tuple(found)
