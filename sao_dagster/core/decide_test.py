"""One data test: facts in, decision out. A verdict stands while nothing that it is about has changed."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from sao_dagster.core.decide import Mode
from sao_dagster.core.hashing import JSON
from sao_dagster.core.nodes import DataTest, Severity
from sao_dagster.core.proofs import Proof
from sao_dagster.core.records import TestRecord, Verdict


class TestOutcome(str, Enum):
    """What becomes of a data test in a run."""

    __test__ = False

    RAN = "ran"
    REUSED = "reused"
    PROVEN = "proven"
    SKIPPED = "skipped"


class TestReason(str, Enum):
    """Why a data test was run, reused, proven or skipped. The values are stored; they are never renamed."""

    __test__ = False

    UPSTREAM_FAILED = "upstream_failed"
    FORCED = "forced"
    NEVER_RUN = "never_run"
    TEST_CHANGED = "test_changed"
    FAILED_BEFORE = "failed_before"
    INPUT_UNKNOWN = "input_unknown"
    NEW_DATA = "new_data"
    VOLATILE_EXPIRED = "volatile_expired"
    NO_NEW_DATA = "no_new_data"
    PROVEN = "proven"
    PROOF_VERIFIED = "proof_verified"

    @property
    def meaning(self) -> str:
        """One sentence for people; the reference in `docs/reasons.md` is made from it."""
        return _MEANINGS[self]


_MEANINGS = {
    TestReason.UPSTREAM_FAILED: "Something it reads failed or was skipped in this run.",
    TestReason.FORCED: "The run was told to run everything it selects.",
    TestReason.NEVER_RUN: "There is no verdict in this environment.",
    TestReason.TEST_CHANGED: "The test, or its settings, differ from the one that was run.",
    TestReason.FAILED_BEFORE: "The last verdict was a failure; a failure is never reused.",
    TestReason.INPUT_UNKNOWN: "The version of a relation it reads could not be read; what is unknown is run.",
    TestReason.NEW_DATA: "A relation it reads differs from what the last verdict was about.",
    TestReason.VOLATILE_EXPIRED: "Its SQL depends on the time, and the last verdict has expired.",
    TestReason.NO_NEW_DATA: "Same test, same content of every relation it reads: the verdict stands.",
    TestReason.PROVEN: "It must pass: that follows from the SQL of its model and from what is known of what the model was built from.",
    TestReason.PROOF_VERIFIED: "It is proven to pass, and run all the same to verify the proof.",
}


@dataclass(frozen=True, kw_only=True)
class TestDecision:
    """What was decided about one data test, and why."""

    __test__ = False

    test: str
    outcome: TestOutcome
    reason: TestReason
    evidence: Mapping[str, JSON] = field(default_factory=dict)


def decide_test(
    test: DataTest,
    *,
    now: datetime,
    record: TestRecord | None,
    versions: Mapping[str, str | None],
    pending: frozenset[str] = frozenset(),
    blocked_by: tuple[str, ...] = (),
    mode: Mode = Mode.STATE_AWARE,
    prove: Callable[[], Proof | None] = lambda: None,
    verify: bool = False,
) -> TestDecision:
    """Return whether to run a data test or not, since its last verdict stands or it is proven to pass; and why.

    Args:
        test: The test.
        now: The time of the decision (UTC).
        record: Its last verdict in this environment.
        versions: Current data version of every relation it reads; None where it cannot be read.
        pending: Relations that are going to be built before the test, in a plan.
        blocked_by: Relations that failed or were skipped in this run.
        mode: Whether the run goes by the state at all.
        prove: Returns why the test must pass, if that can be proven; asked only where it would be run otherwise.
        verify: Whether to run it even if it is proven to pass.
    """

    def ran(reason: TestReason, **evidence: JSON) -> TestDecision:
        return TestDecision(test=test.name, outcome=TestOutcome.RAN, reason=reason, evidence=evidence)

    if blocked_by:
        return TestDecision(
            test=test.name,
            outcome=TestOutcome.SKIPPED,
            reason=TestReason.UPSTREAM_FAILED,
            evidence={"inputs": list(blocked_by)},
        )
    if mode is not Mode.STATE_AWARE:
        return ran(TestReason.FORCED)

    def unless_proven(reason: TestReason, **evidence: JSON) -> TestDecision:
        proof = None if test.expiry is not None else prove()
        if proof is None:
            return ran(reason, **evidence)
        shown: dict[str, JSON] = {**proof.evidence(), "instead_of": reason.value}
        if verify:
            return ran(TestReason.PROOF_VERIFIED, **shown)
        return TestDecision(test=test.name, outcome=TestOutcome.PROVEN, reason=TestReason.PROVEN, evidence=shown)

    if record is None:
        if not pending.isdisjoint(test.reads):
            return ran(TestReason.NEVER_RUN)
        return unless_proven(TestReason.NEVER_RUN)
    if record.version != test.version:
        return ran(TestReason.TEST_CHANGED)
    if not record.verdict.stands:
        return ran(TestReason.FAILED_BEFORE, verdict=record.verdict.value, failures=record.failures)
    if unknown := [name for name in test.reads if name not in pending and versions.get(name) is None]:
        return ran(TestReason.INPUT_UNKNOWN, unknown=unknown)
    changed = [name for name in test.reads if name in pending or versions[name] != record.inputs.get(name)]
    if changed:
        foreseen: dict[str, JSON] = {"tentative": True} if set(changed) <= pending else {}
        if not pending.isdisjoint(changed):
            return ran(TestReason.NEW_DATA, inputs=changed, **foreseen)
        return unless_proven(TestReason.NEW_DATA, inputs=changed)
    if test.expiry is not None and test.expiry.after(record.run_at) <= now:
        return ran(TestReason.VOLATILE_EXPIRED, expired_at=test.expiry.after(record.run_at).isoformat())
    return TestDecision(
        test=test.name,
        outcome=TestOutcome.REUSED,
        reason=TestReason.NO_NEW_DATA,
        evidence={"run_id": record.run_id, "run_at": record.run_at.isoformat()},
    )


_OPERATORS = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CONDITION = re.compile(r"\s*(=|==|!=|<>|<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)\s*")


def parse_condition(text: str) -> tuple[str, float]:
    """Return the operator and the number of a `warn_if` or `error_if`.

    Raises:
        ValueError: The text is not a comparison with a number.

    >>> parse_condition(">10")
    ('>', 10.0)
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"a condition is a comparison with a number, such as '>10', got {text!r}")
    return match[1], float(match[2])


def verdict_of(test: DataTest, failures: int) -> Verdict:
    """Return what a number of failures means for a test, as dbt defines it.

    `error_if` is asked first and only where the severity is `error`; `warn_if` next.
    https://docs.getdbt.com/reference/resource-configs/severity

    >>> late = DataTest(name="t", kind="unique", tested="m", sql="", reads=(), version="", error_if=">10")
    >>> [verdict_of(late, n).value for n in (0, 5, 11)]
    ['pass', 'warn', 'fail']
    """

    def holds(condition: str) -> bool:
        symbol, bound = parse_condition(condition)
        return bool(_OPERATORS[symbol](failures, bound))

    if test.severity is Severity.ERROR and holds(test.error_if):
        return Verdict.FAIL
    return Verdict.WARN if holds(test.warn_if) else Verdict.PASS
