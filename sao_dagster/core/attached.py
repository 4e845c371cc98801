"""What hangs on a relation beside its content: descriptions that are kept in the warehouse, rights, and indexes."""

from __future__ import annotations

from dataclasses import dataclass

from sao_dagster.core.hashing import digest


@dataclass(frozen=True)
class Index:
    """An index.

    Attributes:
        columns: The columns, in order, as SQL writes them.
        unique: Whether no two rows may have the same values.
        kind: How it is made, such as `btree` or `hash`; None for the engine's default.
    """

    columns: tuple[str, ...]
    unique: bool = False
    kind: str | None = None


@dataclass(frozen=True)
class Attached:
    """What is to hang on a relation.

    Attributes:
        comment: The description of the relation; None where it is not kept.
        column_comments: Columns with their descriptions; none where they are not kept.
        grants: Rights, each with who has it; None where rights are left alone.
        indexes: The indexes of a table.

    >>> Attached().digest == "", Attached(comment="all orders").digest == Attached(comment="orders").digest
    (True, False)
    """

    comment: str | None = None
    column_comments: tuple[tuple[str, str], ...] = ()
    grants: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    indexes: tuple[Index, ...] = ()

    @property
    def digest(self) -> str:
        """A fingerprint of the descriptions and rights, empty where nothing is kept; indexes count as configuration."""
        kept = (self.comment, self.column_comments, self.grants)
        return "" if kept == (None, (), None) else digest(repr(kept))


NOTHING = Attached()
"""What hangs on a relation of which nothing is said."""
