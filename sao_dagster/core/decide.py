"""One model: facts in, decision out.

The rows of the truth table are asked from the top; the first that holds decides. There is one way to `reused`: what
builds whatever the data has been asked and said no, and then nothing is new, or what is new is held back. Whatever
is unknown builds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from sao_dagster.core.elsewhere import Offer, Refusal
from sao_dagster.core.evidence import Evidence
from sao_dagster.core.facts import Observed
from sao_dagster.core.reasons import Mode, Outcome, Reason
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.situation import ResolvedPolicy, Situation
from sao_dagster.core.truth_table import TRUTH_TABLE, Kind, TruthTable


class Trace(NamedTuple):
    """How a decision came about.

    Attributes:
        said: What each row said, from the top down to the one that decided; None where its question did not arise.
        new: The reasons to build for which something new was found; None where that was not asked.
    """

    said: tuple[bool | None, ...] = ()
    new: tuple[Reason, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about one model, with the reason and what it rests on.

    Attributes:
        model: The name.
        outcome: `built` and `reused` as foreseen or done, `skipped` below a failure, `failed` after an error.
        reason: Why.
        evidence: The facts behind it, as plain data; times are ISO 8601 in UTC, durations are seconds.
        warnings: What should be looked at although the outcome is good.
        trace: What the rows said, to draw it; empty where no row was asked. It is neither stored nor compared.
        offer: What is taken from another environment in place of a build; likewise.
    """

    model: str
    outcome: Outcome
    reason: Reason
    evidence: Evidence = field(default_factory=Evidence)
    warnings: tuple[str, ...] = ()
    trace: Trace = field(default=Trace(), compare=False, repr=False)
    offer: Offer | None = field(default=None, compare=False, repr=False)

    @property
    def makes(self) -> bool:
        """Whether something is made in the warehouse: it is built, or taken from another environment."""
        return self.outcome is Outcome.BUILT or self.offer is not None

    def taken_from(self, offer: Offer) -> Decision:
        """Return the decision to take what is to be built from another environment, which has it."""
        row = TRUTH_TABLE.by_reason[Reason.SAME_ELSEWHERE]
        return Decision(
            model=self.model,
            outcome=row.kind.outcome,
            reason=row.reason,
            evidence={
                "environment": offer.environment,
                "relation": str(offer.relation),
                "run_id": offer.record.run_id,
                "built_at": offer.record.built_at.isoformat(),
                "instead_of": self.reason.value,
            },
            warnings=self.warnings,
            trace=self.trace,
            offer=offer,
        )

    def not_taken(self, refusals: Sequence[Refusal]) -> Decision:
        """Return the decision to build, with why what is to be built is not taken from other environments; as it is where none was asked."""
        if not refusals:
            return self
        return replace(self, evidence={**self.evidence, "not_taken": [each.evidence() for each in refusals]})


_BELOW_ALL_THAT_MUST = (Kind.NOTHING, Kind.HELD, Kind.NEW)  # whose rows are asked only after what is new


def decide(
    model: str,
    *,
    now: datetime,
    policy: ResolvedPolicy,
    record: BuildRecord | None,
    seen: Observed,
    mode: Mode = Mode.STATE_AWARE,
    table: TruthTable = TRUTH_TABLE,
) -> Decision:
    """Return what to do with one model, and why.

    Args:
        model: Its name.
        now: The time of the decision (UTC).
        policy: Its resolved policy.
        record: Its last successful build in this environment.
        seen: What is there now.
        mode: Whether the run goes by the state at all.
        table: The rows to ask.

    >>> from datetime import timezone
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    >>> decision = decide("orders", now=noon, policy=ResolvedPolicy(), record=None, seen=Observed(code={}))
    >>> decision.reason
    <Reason.NEVER_BUILT: 'never_built'>
    >>> decision.trace.said
    (False, False, False, False, True)
    """
    return _decided(model, Situation(now, policy, record, seen, mode, table.signs), table)


class KeptDecisions:
    """Decisions of one project that hold at any time, each with all that it was taken from: the last one of each model.

    `decide` follows from nothing but what it is given. So where all of that is equal, so is the decision; one that has asked for the time is
    taken anew whenever it is asked for.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[object, ...], Decision]] = {}

    def decide(
        self,
        model: str,
        *,
        now: datetime,
        policy: ResolvedPolicy,
        record: BuildRecord | None,
        seen: Observed,
        mode: Mode = Mode.STATE_AWARE,
    ) -> Decision:
        """Return what `decide` does.

        >>> from datetime import timezone
        >>> kept, noon = KeptDecisions(), datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
        >>> first, again = (kept.decide("a", now=noon, policy=ResolvedPolicy(), record=None, seen=Observed(code={})) for _ in "12")
        >>> first is again
        True
        """
        taken_from = (policy, record, seen, mode)
        known = self._known.get(model)
        if known is not None and known[0] == taken_from:
            return known[1]
        situation = Situation(now, *taken_from, TRUTH_TABLE.signs)
        decision = _decided(model, situation, TRUTH_TABLE)
        if situation.holds_at_any_time:
            self._known[model] = (taken_from, decision)
        return decision


def _decided(model: str, situation: Situation, table: TruthTable) -> Decision:
    """Return the decision of the first row that holds."""
    said: list[bool | None] = []
    for row in table.rows:
        holds = row.holds(situation)
        said.append(holds)
        if holds:
            break
    else:
        raise AssertionError(f"no row holds for {model}")
    return Decision(
        model=model,
        outcome=row.kind.outcome,
        reason=row.reason,
        evidence=row.evidence(situation),
        warnings=() if row.warning is None else tuple(filter(None, (row.warning(situation),))),
        trace=Trace(tuple(said), tuple(situation.new) if row.kind in _BELOW_ALL_THAT_MUST else None),
    )
