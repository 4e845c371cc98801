"""What a query is known to give, proven and as data: nothing of it needs the parser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sao_dagster.core.proofs import Assertion, Fact, FactKind, Proof
from sao_dagster.sql.inference.dependencies import Value
from sao_dagster.sql.inference.types import Kind, Type


@dataclass(frozen=True)
class TableFacts:
    """A relation that a query reads.

    Attributes:
        columns: Names and types, in order, as the warehouse has them.
        facts: What holds for its content.
        derived: What holds for it, too, since it follows from the SQL of the relation itself.
        derived_from: What that was derived from; see `Proven.key`.
    """

    columns: tuple[tuple[str, str], ...]
    facts: tuple[Fact, ...] = ()
    derived: tuple[tuple[Fact, Proof], ...] = ()
    derived_from: str = ""


@dataclass(frozen=True)
class Proven:
    """What was proven of the output of a query.

    Attributes:
        names: Its columns, as `Properties.names`.
        types: Their types, as far as they are known.
        claims: All that is proven of columns whose name is theirs alone; see `Properties.claims`.
        key: A digest of all that it follows from, but for this package and the parser; empty where nobody asks for it.
    """

    names: tuple[str, ...]
    types: tuple[Type, ...]
    claims: tuple[tuple[Fact, Proof], ...]
    key: str = ""

    def proof_of(self, wanted: Assertion) -> Proof | None:
        """Return why a data test must pass; None where that is not proven."""
        if self.names.count(wanted.column) != 1:
            return None
        columns = (wanted.column,)
        found = next((each for each in self.claims if each[0].kind is wanted.kind and each[0].columns == columns), None)
        if found is None:
            return None
        fact, proof = found
        if wanted.kind is FactKind.ACCEPTED_VALUES:
            accepted = accepted_domain(wanted.values, self.types[self.names.index(wanted.column)])
            if not (accepted or frozenset()).issuperset(fact.values):
                return None
        return proof


def accepted_domain(values: Sequence[str | int], found: Type) -> frozenset[Value] | None:
    """Return the values that `accepted_values` accepts, as values of a column of a type; None where that is not certain.

    >>> accepted_domain(["1", "2"], Type(Kind.INTEGER)) == {1, 2}, accepted_domain([1], Type(Kind.TEXT))
    (True, None)
    """
    if found.kind is Kind.TEXT and all(isinstance(value, str) for value in values):
        return frozenset(values)
    if found.kind is Kind.INTEGER and all(isinstance(value, int) or _WHOLE.fullmatch(value) for value in values):
        return frozenset(map(int, values))
    if found.kind is Kind.BOOLEAN and all(value in ("true", "false") for value in values):
        return frozenset(values)
    return None


_WHOLE = re.compile(r"-?\d{1,18}")


_WHOLE = re.compile(r"-?\d{1,18}")
