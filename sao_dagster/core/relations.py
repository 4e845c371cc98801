"""Tables and views by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

RelationKey: TypeAlias = tuple[str, str, str]
"""Database, schema and name in lower case, as catalogs compare relations."""


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

    >>> str(Relation("shop", "main", "orders"))
    '"shop"."main"."orders"'
    >>> Relation("shop", "main", "orders") == Relation("shop", "main", "orders", quotes="`")
    True
    """

    database: str | None
    schema: str
    identifier: str
    quotes: str = field(default='"', compare=False, repr=False)

    def __str__(self) -> str:
        parts = [self.database, self.schema, self.identifier]
        return ".".join(quote(part, self.quotes) for part in parts if part is not None)

    @property
    def plain(self) -> str:
        """Its parts without quotes, as people and catalogs of metadata name it."""
        return ".".join(part for part in (self.database, self.schema, self.identifier) if part is not None)

    @property
    def key(self) -> RelationKey:
        """The relation without regard to case, as two catalogs can be compared.

        Relations of one schema whose names differ in case alone (which PostgreSQL and others can hold, in quotes) have one key: they
        are taken for one relation, and a project that would build both is refused.
        """
        return ((self.database or "").lower(), self.schema.lower(), self.identifier.lower())
