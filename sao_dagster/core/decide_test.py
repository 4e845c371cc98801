"""One data test: facts in, decision out. A verdict stands while nothing that it is about has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from enum import Enum
from functools import cached_property

from sao_dagster.core.code_version import CODE_SCHEME
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.evidence import OTHER_SCHEME, Evidence, InputSchemes, describe_names, describe_unknown
from sao_dagster.core.inputs import is_function, is_made_here
from sao_dagster.core.nodes import DataTest, Severity
from sao_dagster.core.policy import Expiry
from sao_dagster.core.proofs import Proof
from sao_dagster.core.reasons import Mode
from sao_dagster.core.records import TestRecord, Verdict
from sao_dagster.core.verdicts import VerdictOffer


class TestOutcome(str, Enum):
    """What becomes of a data test in a run."""

    __test__ = False

    RAN = "ran"
    REUSED = "reused"
    PROVEN = "proven"
    SKIPPED = "skipped"


class TestReason(str, Enum):
    """Why a data test was run, reused, proven or skipped: one for each row of `TEST_ROWS`, which says what it means.

    The values are stored; they are never renamed.
    """

    __test__ = False

    UPSTREAM_FAILED = "upstream_failed"
    FORCED = "forced"
    TEST_CHANGED = "test_changed"
    FAILED_BEFORE = "failed_before"
    INPUT_UNKNOWN = "input_unknown"
    PROOF_VERIFIED = "proof_verified"
    PROVEN = "proven"
    NEVER_RUN = "never_run"
    NEW_DATA = "new_data"
    VOLATILE_EXPIRED = "volatile_expired"
    NO_NEW_DATA = "no_new_data"
    SAME_ELSEWHERE = "same_elsewhere"


@dataclass(frozen=True, kw_only=True)
class TestDecision:
    """What was decided about one data test, and why.

    Attributes:
        test: Its name.
        outcome: What becomes of it.
        reason: Why.
        evidence: The facts behind it, as plain data.
        offer: The verdict of another environment that is taken in place of a run; it is neither stored nor compared.
    """

    __test__ = False

    test: str
    outcome: TestOutcome
    reason: TestReason
    evidence: Evidence = field(default_factory=Evidence)
    offer: VerdictOffer | None = field(default=None, compare=False, repr=False)

    def taken_from(self, offer: VerdictOffer) -> TestDecision:
        """Return the decision to take the verdict of a test that is to be run from another environment, which has it."""
        row = TEST_ROWS_BY_REASON[TestReason.SAME_ELSEWHERE]
        return TestDecision(
            test=self.test,
            outcome=row.outcome,
            reason=row.reason,
            evidence={
                "environment": offer.environment,
                "run_id": offer.record.same_as_run or offer.record.run_id,
                "run_at": offer.record.run_at.isoformat(),
                "instead_of": self.reason.value,
            },
            offer=offer,
        )


@dataclass(frozen=True)
class TestSituation:
    """One data test at the time of a decision; each fact is worked out once, when it is first asked.

    Attributes:
        test: The test.
        now: The time of the decision (UTC).
        record: Its last verdict in this environment.
        versions: Current data version of every relation it reads; None where it cannot be read.
        expiry: When a verdict about it stops standing by itself.
        zone: The time zone of the warehouse's session; None where it is not known.
        pending: Relations that are going to be built before the test, in a plan.
        blocked_by: Relations that failed or were skipped in this run.
        mode: Whether the run goes by the state at all.
        prove: Returns why the test must pass, if that can be proven.
        verify: Whether to run it even if it is proven to pass.
        version: Its fingerprint, with the settings that it would run under.
    """

    __test__ = False

    test: DataTest
    now: datetime
    record: TestRecord | None
    versions: Mapping[str, DataVersion | None]
    expiry: Expiry | None = None
    zone: tzinfo | None = timezone.utc
    pending: frozenset[str] = frozenset()
    blocked_by: tuple[str, ...] = ()
    mode: Mode = Mode.STATE_AWARE
    prove: Callable[[], Proof | None] = lambda: None
    verify: bool = False
    version: str = field(kw_only=True)

    @property
    def last(self) -> TestRecord:
        """The last verdict, where there is one."""
        if self.record is None:
            raise AssertionError("there is no verdict to compare with")
        return self.record

    @cached_property
    def unknown(self) -> Evidence | None:
        """The relations whose version cannot be read, or not be compared, as evidence; None if there are none."""
        names: list[str] = []
        schemes: list[InputSchemes] = []
        for name in self.test.inputs:
            now, recorded = self.versions.get(name), self.last.inputs.get(name)
            if name in self.pending:
                continue
            if now is None:
                names.append(name)
            elif recorded is not None and not now.comparable(recorded):
                names.append(name)
                schemes.append({"input": name, "old": recorded.scheme, "new": now.scheme})
        found: Evidence = {"unknown": names}
        if self.test.unrendered and any(is_made_here(name) for name in names):
            found["unrendered"] = self.test.unrendered
        return ({**found, "schemes": schemes} if schemes else found) if names else None

    @cached_property
    def changed(self) -> list[str]:
        """The relations that differ from what its last verdict was about."""
        known, pending, inputs = self.last.inputs, self.pending, self.test.inputs
        gone = [name for name in known if is_function(name) and name not in inputs]
        return [name for name in inputs if name in pending or self.versions.get(name) != known.get(name)] + gone

    @property
    def news(self) -> Evidence:
        """The relations that differ, as evidence."""
        found: Evidence = {"inputs": self.changed}
        return {**found, "tentative": True} if self.pending.issuperset(self.changed) else found

    @cached_property
    def proven(self) -> Evidence | None:
        """The evidence that it must pass, if only missing or changed rows would make it run; or None.

        Nothing is proven of what is going to be built first, nor of what depends on the time.
        """
        if self.expiry is not None or (self.record is not None and not self.changed):
            return None
        if not self.pending.isdisjoint(self.test.reads if self.record is None else self.changed):
            return None
        proof = self.prove()
        if proof is None:
            return None
        instead_of = TestReason.NEVER_RUN if self.record is None else TestReason.NEW_DATA
        return {**proof.evidence(), "instead_of": instead_of.value}

    @property
    def expired(self) -> Evidence | None:
        """The evidence that its last verdict has expired, or None."""
        if self.expiry is None:
            return None
        at = self.expiry.expired_at(self.last.run_at, self.now, self.zone)
        return None if at is None else {"expired_at": at.isoformat()}

    @property
    def stands_as_failed(self) -> bool:
        """Whether it failed as an `error` the last time, and would fail again: same test, same content of all that it reads.

        A test that could not be run said nothing about the data, so that does not stand.
        """
        return (
            self.record is not None
            and self.test.severity is Severity.ERROR
            and self.last.verdict is Verdict.FAIL
            and self.last.version == self.version
            and self.unknown is None
            and not self.changed
            and self.expired is None
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TestRow:
    """One row of the truth table of data tests.

    Attributes:
        reason: Its name, which is stored.
        outcome: What becomes of the test.
        meaning: What holds, in a sentence for the documentation.
        holds: Whether it decides, asked where no row above it does.
        evidence: The facts behind a decision of it.
        sentence: What is said of a decision of it.
        elsewhere: Of a row that runs: whether a verdict of another environment may be taken instead.
    """

    __test__ = False

    reason: TestReason
    outcome: TestOutcome
    meaning: str
    holds: Callable[[TestSituation], bool]
    evidence: Callable[[TestSituation], Evidence] = lambda it: {}
    sentence: Callable[[Evidence], str]
    elsewhere: bool = False


def _proof(evidence: Evidence) -> str:
    """Return what a proof rests on, in words."""
    because = list(dict.fromkeys(each["because"] for each in evidence.get("facts", ())))
    return f"proven from the SQL{' and ' + describe_names(because) if because else ' alone'}"


TEST_ROWS = (
    TestRow(
        reason=TestReason.UPSTREAM_FAILED,
        outcome=TestOutcome.SKIPPED,
        meaning="Something it reads failed or was skipped in this run.",
        holds=lambda it: bool(it.blocked_by),
        evidence=lambda it: {"inputs": list(it.blocked_by)},
        sentence=lambda evidence: f"{describe_names(evidence.get('inputs', ()))} failed",
    ),
    TestRow(
        reason=TestReason.FORCED,
        outcome=TestOutcome.RAN,
        meaning="The run was told to run everything it selects.",
        holds=lambda it: it.mode is not Mode.STATE_AWARE,
        sentence=lambda evidence: "the run runs all it selects",
    ),
    TestRow(
        reason=TestReason.TEST_CHANGED,
        outcome=TestOutcome.RAN,
        meaning="The test, or its settings, differ from the one that was run.",
        holds=lambda it: it.record is not None and it.last.version != it.version,
        evidence=lambda it: {"parts": ["scheme"]} if it.last.code_scheme != CODE_SCHEME else {},
        sentence=lambda evidence: OTHER_SCHEME if evidence.get("parts") else "the test changed",
        elsewhere=True,
    ),
    TestRow(
        reason=TestReason.FAILED_BEFORE,
        outcome=TestOutcome.RAN,
        meaning="The last verdict was a failure; a failure is never reused.",
        holds=lambda it: it.record is not None and not it.last.verdict.stands,
        evidence=lambda it: {"verdict": it.last.verdict.value, "failures": it.last.failures},
        sentence=lambda evidence: "its last verdict was a failure",
    ),
    TestRow(
        reason=TestReason.INPUT_UNKNOWN,
        outcome=TestOutcome.RAN,
        meaning="The version of a relation it reads could not be read, or not be compared with the recorded one; what is unknown is run.",
        holds=lambda it: it.record is not None and it.unknown is not None,
        evidence=lambda it: it.unknown or {},
        sentence=describe_unknown,
        elsewhere=True,
    ),
    TestRow(
        reason=TestReason.PROOF_VERIFIED,
        outcome=TestOutcome.RAN,
        meaning="It is proven to pass, and run all the same to verify the proof.",
        holds=lambda it: it.verify and it.proven is not None,
        evidence=lambda it: it.proven or {},
        sentence=lambda evidence: f"{_proof(evidence)}; run to verify that",
    ),
    TestRow(
        reason=TestReason.PROVEN,
        outcome=TestOutcome.PROVEN,
        meaning="It must pass: that follows from the SQL of its model and from what is known of what the model was built from.",
        holds=lambda it: it.proven is not None,
        evidence=lambda it: it.proven or {},
        sentence=_proof,
    ),
    TestRow(
        reason=TestReason.NEVER_RUN,
        outcome=TestOutcome.RAN,
        meaning="There is no verdict in this environment.",
        holds=lambda it: it.record is None,
        sentence=lambda evidence: "never run here before",
        elsewhere=True,
    ),
    TestRow(
        reason=TestReason.NEW_DATA,
        outcome=TestOutcome.RAN,
        meaning="A relation it reads differs from what the last verdict was about.",
        holds=lambda it: bool(it.changed),
        evidence=lambda it: it.news,
        sentence=lambda evidence: (
            f"news from {describe_names(evidence['inputs'])}" if evidence.get("inputs") else "looked at in every run"
        ),
        elsewhere=True,
    ),
    TestRow(
        reason=TestReason.VOLATILE_EXPIRED,
        outcome=TestOutcome.RAN,
        meaning="Its SQL, or that of a view it reads, depends on the time, and the last verdict has expired.",
        holds=lambda it: it.expired is not None,
        evidence=lambda it: it.expired or {},
        sentence=lambda evidence: "its SQL depends on the time; the last verdict expired",
        elsewhere=True,
    ),
    TestRow(
        reason=TestReason.NO_NEW_DATA,
        outcome=TestOutcome.REUSED,
        meaning="Same test, same content of every relation it reads: the verdict stands.",
        holds=lambda it: True,
        evidence=lambda it: {"run_id": it.last.run_id, "run_at": it.last.run_at.isoformat()},
        sentence=lambda evidence: "nothing it reads changed",
    ),
    TestRow(
        reason=TestReason.SAME_ELSEWHERE,
        outcome=TestOutcome.REUSED,
        meaning="It was to be run, and has passed in another environment (`reuse_from`) on the same content of all that it reads.",
        holds=lambda it: False,
        sentence=lambda evidence: f"it passed in {evidence['environment']} on the same content",
    ),
)
"""The truth table of data tests: read from the top, the first row that holds decides. `same_elsewhere` is what is made of a decision to run where
another environment has the verdict already (`core.verdicts`)."""
TEST_ROWS_BY_REASON = {row.reason: row for row in TEST_ROWS}


def decide_test(
    test: DataTest,
    *,
    now: datetime,
    record: TestRecord | None,
    versions: Mapping[str, DataVersion | None],
    expiry: Expiry | None = None,
    zone: tzinfo | None = timezone.utc,
    pending: frozenset[str] = frozenset(),
    blocked_by: tuple[str, ...] = (),
    mode: Mode = Mode.STATE_AWARE,
    prove: Callable[[], Proof | None] = lambda: None,
    verify: bool = False,
    version: str | None = None,
) -> TestDecision:
    """Return whether to run a data test or not, since its last verdict stands or it is proven to pass; and why.

    The arguments are the facts of a `TestSituation`; the version is the test's own where no settings are known. A proof is asked for only where the test would be run otherwise.
    """
    situation = TestSituation(
        test,
        now,
        record,
        versions,
        expiry,
        zone,
        pending,
        blocked_by,
        mode,
        prove,
        verify,
        version=version or test.version,
    )
    row = next(row for row in TEST_ROWS if row.holds(situation))
    return TestDecision(test=test.name, outcome=row.outcome, reason=row.reason, evidence=row.evidence(situation))


def verdict_of(severity: Severity, *, should_warn: bool, should_error: bool) -> Verdict:
    """Return what the answers to `warn_if` and `error_if` mean, as dbt defines it: that to `error_if` counts only for errors.

    https://docs.getdbt.com/reference/resource-configs/severity

    >>> verdict_of(Severity.WARN, should_warn=True, should_error=True).value
    'warn'
    """
    if should_error and severity is Severity.ERROR:
        return Verdict.FAIL
    return Verdict.WARN if should_warn else Verdict.PASS
