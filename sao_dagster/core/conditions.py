"""A decision as a tree of conditions with their results, drawn from its trace: what the rows of the truth table said.

The root holds where something is made: the model is built, or taken from another environment. Below it stand what builds whatever the data, and what is new with all that
may hold it back. A condition that was not asked, because a row above it had decided or its question did not arise, has
no result. Which conditions there are, what they are called and where they stand is in the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sao_dagster.core.decide import Decision
from sao_dagster.core.explain import explain
from sao_dagster.core.reasons import Outcome
from sao_dagster.core.situation import ResolvedPolicy
from sao_dagster.core.truth_table import TRUTH_TABLE, Kind, Row, TruthTable

Operator = Literal["and", "or", "not", "identity"]


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes:
        name: The same for the same condition of every model.
        label: What it says, for people; short, since Dagster cuts labels off. The sentence is in `because`.
        holds: Its result; None where it was not asked.
        operator: How it follows from its children.
    """

    name: str
    label: str
    holds: bool | None
    operator: Operator = "identity"
    children: tuple[Condition, ...] = ()

    @classmethod
    def of(cls, name: str, label: str, operator: Literal["and", "or", "not"], *children: Condition) -> Condition:
        """Return the condition that follows from others; it was not asked where none of them was.

        >>> Condition.of("b", "b", "not", Condition("a", "a", True)).holds
        False
        """
        asked = [child.holds for child in children if child.holds is not None]
        result = {"and": all(asked), "or": any(asked), "not": not any(asked)}[operator]
        return cls(name, label, result if asked else None, operator, children)

    def walk(self) -> Iterator[Condition]:
        """Yield this condition and all below it, from the top.

        >>> [each.name for each in Condition("a", "a", True, "not", (Condition("b", "b", False),)).walk()]
        ['a', 'b']
        """
        yield self
        for child in self.children:
            yield from child.walk()


def conditions_of(
    decision: Decision, policy: ResolvedPolicy, left_out: str | None = None, table: TruthTable = TRUTH_TABLE
) -> Condition:
    """Return the conditions of a model's decision, with their results.

    Args:
        decision: What was decided, with its trace.
        policy: What holds for the model; conditions that it does not set are left out.
        left_out: Why a build that is due is not requested just now, in words: "waits for ...", "given up: ...".
        table: The rows that were asked.

    >>> from datetime import datetime, timezone
    >>> from sao_dagster.core.decide import decide
    >>> from sao_dagster.core.facts import Observed
    >>> now, policy = datetime(2026, 1, 1, tzinfo=timezone.utc), ResolvedPolicy()
    >>> tree = conditions_of(decide("m", now=now, policy=policy, record=None, seen=Observed(code={})), policy)
    >>> tree.label, tree.holds
    ('built: never built', True)
    >>> [(each.name, each.label, each.holds) for each in tree.children]
    [('because', 'never built here before', True), ('whatever_the_data', 'whatever the data', True), ('new_data_due', 'news that nothing holds back', None)]
    """
    builds = decision.makes
    because = Condition("because", explain(decision, table), builds)
    label = f"{decision.outcome.value}: {decision.reason.value.replace('_', ' ')}"
    if decision.outcome in (Outcome.SKIPPED, Outcome.FAILED):
        return Condition.of("state_aware", label, "or", because)
    leaves = _leaves(decision, policy, table)
    must = [leaf for row, leaf in leaves if row.kind in (Kind.RUN, Kind.MUST)]
    new = [leaf for row, leaf in leaves if row.kind is Kind.NEW]
    not_held = [
        Condition.of(row.opposite.replace(" ", "_"), row.opposite, "not", leaf)
        for row, leaf in leaves
        if row.kind is Kind.HELD
    ]
    whatever = Condition.of("whatever_the_data", Kind.MUST.words, "or", *must)
    something = Condition.of("new_data", Kind.NEW.words, "or", *new)
    due = Condition.of("new_data_due", "news that nothing holds back", "and", something, *not_held)
    tree = Condition.of("state_aware", label, "or", because, whatever, due)
    if left_out is None or not builds:
        return tree
    free = Condition.of(
        "requested", "nothing keeps it from being requested", "not", Condition("left_out", left_out, True)
    )
    return Condition.of("state_aware", left_out, "and", tree, free)


def _leaves(decision: Decision, policy: ResolvedPolicy, table: TruthTable) -> list[tuple[Row, Condition]]:
    """Return the rows with what they said of a decision; a row of what may be new, whether there is something.

    Left out is what the policy does not set, unless it holds.
    """
    said, new = decision.trace
    found = []
    for index, row in enumerate(table):
        if row.kind is Kind.NEW:
            holds = None if new is None else row.reason in new
        else:
            holds = said[index] if index < len(said) else None
        if holds or row.shown_for(policy):
            label = row.label_for(policy, decision.evidence)
            found.append((row, Condition(row.name or row.reason.value, label, holds)))
    return found
