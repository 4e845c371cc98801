"""What a query gives, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass, field

from sao_dagster.sql.inference.dependencies import RowFacts


@dataclass
class Output:
    """What a query gives.

    Attributes:
        names: Of its columns, in order.
        ids: Their numbers.
        rows: What is known.
        open: Whether it has columns that are not known.
        copies: Columns of the query around it that it uses, with their numbers in it.
        used: Whether a common table expression was read already.
    """

    names: list[str]
    ids: list[int]
    rows: RowFacts
    open: bool = False
    copies: dict[int, int] = field(default_factory=dict)
    used: bool = False

    @property
    def correlated(self) -> bool:
        """Whether it depends on the row of the query around it."""
        return bool(self.copies)
