"""Which column a name means: the sources of a `from`, columns merged by `using`, and what `*` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from sao_dagster.sql.dialects import dialect_named


class NotUnderstoodError(Exception):
    """Part of a query is not understood; nothing is claimed of what it gives."""


def read_only(node: exp.Expr, *known: str) -> None:
    """Refuse a node with parts that nobody looks at, which may change what it means.

    Raises:
        NotUnderstoodError: It has such parts.
    """
    unknown = [name for name, value in node.args.items() if value and name not in known]
    if unknown:
        raise NotUnderstoodError(f"{type(node).__name__.lower()} with {', '.join(unknown)}")


def name_of(identifier: exp.Expr | str | None, dialect: str) -> str:
    """Return a name as the dialect compares it.

    >>> name_of(exp.to_identifier("Id", quoted=True), "duckdb"), name_of(exp.to_identifier("Id", quoted=True), "postgres")
    ('id', 'Id')
    """
    if identifier is None:
        return ""
    text = identifier if isinstance(identifier, str) else identifier.name
    quoted = isinstance(identifier, exp.Identifier) and bool(identifier.args.get("quoted"))
    return dialect_named(dialect).compared(text, quoted=quoted)


@dataclass
class NamedRelation:
    """One relation of a `from`, under its alias.

    Attributes:
        alias: Its name; empty where it has none.
        columns: Names and numbers, in order.
        open: Whether it may have columns that are not known.
        unknown: Numbers given to those, by name.
    """

    alias: str
    columns: list[tuple[str, int]]
    open: bool = False
    unknown: dict[str, int] = field(default_factory=dict)

    def find(self, name: str) -> set[int]:
        """Return the columns of that name."""
        return {column for each, column in self.columns if each == name}


@dataclass
class Names:
    """All that a `from` brings.

    Attributes:
        sources: In order.
        merged: Columns that `using` made of two, by name.
        star: What `*` stands for.
    """

    sources: list[NamedRelation] = field(default_factory=list)
    merged: dict[str, int] = field(default_factory=dict)
    star: list[tuple[str, int]] = field(default_factory=list)

    @classmethod
    def of(cls, source: NamedRelation) -> Names:
        """Return the names of one relation."""
        return cls([source], {}, list(source.columns))

    @property
    def open(self) -> bool:
        """Whether there may be columns that are not known."""
        return any(source.open for source in self.sources)

    @property
    def ids(self) -> frozenset[int]:
        """The numbers of all columns."""
        found = {column for source in self.sources for _, column in source.columns}
        return frozenset(found | set(self.merged.values()))

    def find(self, name: str) -> set[int]:
        """Return the columns that a name without a table may mean."""
        if name in self.merged:
            return {self.merged[name]}
        return {column for source in self.sources for column in source.find(name)}

    def may_have(self, table: str) -> bool:
        """Return whether a relation, or any where none is named, has a column that has the name that an engine made up for it."""
        return any(source.find("") for source in self.sources if not table or source.alias == table)

    def source(self, alias: str) -> NamedRelation | None:
        """Return the relation of that alias."""
        return next((source for source in reversed(self.sources) if source.alias == alias), None)

    def joined(self, other: Names, merged: Mapping[str, int], *, merged_first: bool) -> Names:
        """Return the names of a join.

        Args:
            other: The right side.
            merged: What `using` merges.
            merged_first: Whether `*` gives merged columns first, as the SQL standard has it, or in the place of the left one.
        """
        left = [(name, merged.get(name, column)) for name, column in self.star]
        right = [(name, column) for name, column in other.star if name not in merged]
        if merged_first and merged:
            left = [*merged.items(), *((name, column) for name, column in left if name not in merged)]
        return Names(self.sources + other.sources, {**self.merged, **other.merged, **merged}, left + right)
