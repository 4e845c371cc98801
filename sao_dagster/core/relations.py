"""Tables and views by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

RelationKey: TypeAlias = tuple[str, str, str]
"""Database, schema and name in lower case, as catalogs compare relations."""


@dataclass(frozen=True, order=True)
class Relation:
    """A table or view in the warehouse.

    >>> str(Relation("shop", "main", "orders"))
    '"shop"."main"."orders"'
    """

    database: str | None
    schema: str
    identifier: str

    def __str__(self) -> str:
        parts = [self.database, self.schema, self.identifier]
        return ".".join('"' + part.replace('"', '""') + '"' for part in parts if part is not None)

    @property
    def key(self) -> RelationKey:
        """The relation as catalogs compare it, without regard to case."""
        return ((self.database or "").lower(), self.schema.lower(), self.identifier.lower())
