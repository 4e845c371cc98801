"""Facts about relations, and proofs that rest on them, as data: what is shown is what was used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.evidence import Evidence


class FactKind(str, Enum):
    """What a fact says of a relation.

    `unique` ignores rows in which one of the columns is null, as SQL's `unique` and dbt's test of that name do.
    """

    NOT_NULL = "not_null"
    UNIQUE = "unique"
    ACCEPTED_VALUES = "accepted_values"


@dataclass(frozen=True)
class Fact:
    """Something that holds for one content of one relation.

    Attributes:
        kind: What it says.
        relation: The model, seed or source that it is about.
        columns: Its columns, as they are called there.
        because: The data test that passed, or `content`, or `constraint`.
        version: The data version of the relation that it was found for; None where that is of no interest.
        values: What `accepted_values` accepts: texts as `str`, whole numbers as `int`.
    """

    kind: FactKind
    relation: str
    columns: tuple[str, ...]
    because: str
    version: DataVersion | None = None
    values: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        """Say it as people do: `unique(customers.customer_id)`.

        >>> str(Fact(FactKind.NOT_NULL, "orders", ("id",), "not_null_orders_id"))
        'not_null(orders.id)'
        """
        return f"{self.kind.value}({', '.join(f'{self.relation}.{column}' for column in self.columns)})"


@dataclass(frozen=True)
class Assertion:
    """What a passed data test says of the relation that it tests, if its settings leave no doubt.

    Attributes:
        kind: What it says.
        column: Of which column, as it is called in the warehouse.
        values: What `accepted_values` accepts.
    """

    kind: FactKind
    column: str
    values: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class ProofSettings:
    """Whether data tests are proven, and how far proofs are trusted.

    Attributes:
        enabled: Whether tests that are proven to pass are not run.
        verify_every: One of how many proven tests is run all the same; None for none of them.
        hashes_are_unique: Whether hashes of different texts are taken to be different.
    """

    enabled: bool = True
    verify_every: int | None = None
    hashes_are_unique: bool = False


@dataclass(frozen=True, eq=False)
class Proof:
    """Why something holds: a rule, and what the rule was applied to.

    Attributes:
        rule: The name of the rule; `sao_dagster.sql.inference.rules.RULES` says what it means.
        premises: What had to hold for it.
        fact: What it rests on, for the rule `fact`.
    """

    rule: str
    premises: tuple[Proof, ...] = ()
    fact: Fact | None = None

    def walk(self) -> Iterator[Proof]:
        """Yield this proof and all it rests on, each once, from the conclusion down."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            proof = waiting.pop(0)
            if id(proof) not in seen:
                seen.add(id(proof))
                yield proof
                waiting.extend(proof.premises)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The facts it rests on, in the order of use."""
        return tuple(dict.fromkeys(proof.fact for proof in self.walk() if proof.fact is not None))

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules it uses, from the conclusion down."""
        return tuple(dict.fromkeys(proof.rule for proof in self.walk()))

    def evidence(self) -> Evidence:
        """Return what it rests on and how, as plain data for people."""
        return {
            "facts": [
                {
                    "fact": str(fact),
                    "because": fact.because,
                    "version": None if fact.version is None else str(fact.version),
                }
                for fact in self.facts
                if fact.because != INFERRED
            ],
            "through": [str(fact) for fact in self.facts if fact.because == INFERRED],
            "rules": [rule for rule in self.rules if rule not in _SILENT],
        }


INFERRED = "sql"
"""Why a fact holds that follows from the SQL of the relation that it is about."""
_SILENT = {"fact", "given", "row", "determined", "equal", "key", "not_null_follows"}
