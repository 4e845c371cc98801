"""Tables and views by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

RelationKey: TypeAlias = tuple[str, str, str]
"""Database, schema and name, as the engine compares them."""


def folded(name: str) -> str:
    """Return a name in lower case, as engines fold names: letters beyond ASCII stay as they are.

    >>> folded("Straße Ä")
    'straße Ä'
    """
    return name.lower() if name.isascii() else "".join(each.lower() if each.isascii() else each for each in name)


def quote(name: str, quotes: str = '"') -> str:
    """Return a name as a quoted identifier.

    Args:
        name: The name.
        quotes: The character around it, or the opening and the closing one; the closing one is doubled in the name.

    >>> print(quote("orders"), quote('5" pipes'), quote("orders", "`"), quote("a]b", "[]"))
    "orders" "5"" pipes" `orders` [a]]b]
    """
    closing = quotes[-1]
    return quotes[0] + name.replace(closing, closing * 2) + closing


@dataclass(frozen=True, order=True)
class Relation:
    """A table or view in the warehouse.

    Attributes:
        database: Its database; None for the one that is connected to.
        schema: Its schema.
        identifier: Its name there.
        quotes: How SQL quotes its parts, see `quote`; no part of what it is, so relations are equal whatever it says.
        folds: Whether the engine compares quoted names without regard to case; likewise.
        written: How SQL names it, where that is not by its parts in quotes; likewise.

    >>> str(Relation("shop", "main", "orders"))
    '"shop"."main"."orders"'
    >>> Relation("shop", "main", "orders") == Relation("shop", "main", "orders", quotes="`")
    True
    """

    database: str | None
    schema: str
    identifier: str
    quotes: str = field(default='"', compare=False, repr=False)
    folds: bool = field(default=True, compare=False, repr=False)
    written: str | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self._sql

    @cached_property
    def _sql(self) -> str:
        if self.written is not None:
            return self.written
        parts = [self.database, self.schema, self.identifier]
        return ".".join(quote(part, self.quotes) for part in parts if part is not None)

    @property
    def plain(self) -> str:
        """Its parts without quotes, as people and catalogs of metadata name it."""
        return ".".join(part for part in (self.database, self.schema, self.identifier) if part is not None)

    @cached_property
    def key(self) -> RelationKey:
        """The relation as the engine compares it with others.

        >>> Relation("Shop", "main", "Orders").key, Relation("Shop", "main", "Orders", folds=False).key
        (('shop', 'main', 'orders'), ('Shop', 'main', 'Orders'))
        """
        parts = (self.database or "", self.schema, self.identifier)
        return (folded(parts[0]), folded(parts[1]), folded(parts[2])) if self.folds else parts
