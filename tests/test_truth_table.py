"""The truth tables as data: every reason is a row, every row is met, and one more row is all that a new reason needs."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from itertools import product

import pytest

from sao_dagster.core.code_version import CODE_SCHEME
from sao_dagster.core.conditions import conditions_of
from sao_dagster.core.decide import Decision, Trace
from sao_dagster.core.decide_test import TEST_ROWS, TestDecision, TestReason, decide_test
from sao_dagster.core.evidence import KEYS, Evidence, keys_in, timeless
from sao_dagster.core.explain import explain, explain_test
from sao_dagster.core.nodes import DataTest
from sao_dagster.core.policy import BuildAfter, Expiry, Period, RefreshPolicy, UpdatesOn
from sao_dagster.core.proofs import Fact, FactKind, Proof
from sao_dagster.core.reasons import Mode, Outcome, Reason
from sao_dagster.core.records import TestRecord, Verdict
from sao_dagster.core.situation import ResolvedPolicy
from sao_dagster.core.truth_table import TRUTH_TABLE, Kind, Row, TruthTable
from tests.situations import NOON, OTHER, V1, V2, Case, cases, seen_as
from tests.test_docs import kinds_table, reasons_page, truth_table

IN_A_MOMENT = NOON + timedelta(seconds=20)


def test_every_reason_is_one_row() -> None:
    assert [row.reason for row in TRUTH_TABLE] == list(Reason)
    assert [row.reason for row in TEST_ROWS] == list(TestReason)


def test_the_rows_are_in_the_order_that_makes_a_reuse_right() -> None:
    """Nothing is reused before all that builds whatever the data was asked, and what no row knows builds."""
    kinds = [row.kind for row in TRUTH_TABLE]
    assert kinds == sorted(kinds, key=lambda kind: min(list(Kind).index(kind), list(Kind).index(Kind.HELD)))
    assert kinds.count(Kind.NOTHING) == 1
    *_, otherwise, elsewhere, error = TRUTH_TABLE
    assert (otherwise.kind, elsewhere.kind, error.kind) == (Kind.NEW, Kind.ELSEWHERE, Kind.ERROR)
    assert otherwise.holds(None) is True, "otherwise: asked last, and asks nothing"  # type: ignore[arg-type]
    for row in TRUTH_TABLE:
        assert (row.sign is not None) is (row.kind is Kind.NEW), row.reason
        assert bool(row.opposite) is (row.kind is Kind.HELD), row.reason


def unmet(table: TruthTable) -> set[Reason]:
    """Return the reasons that no case gives; `build_error` is given by a run alone, and `same_elsewhere` where there is another environment."""
    reasons = {row.reason for row in table if row.kind not in (Kind.ERROR, Kind.ELSEWHERE)}
    return reasons - {case.decision(table=table).reason for case in cases()}


def test_every_row_is_met() -> None:
    assert unmet(TRUTH_TABLE) == set(), "make a case for each row in tests/situations.py"


def test_all_evidence_is_in_the_table_of_keys() -> None:
    for case in cases():
        decision = case.decision()
        assert KEYS.keys() >= {*keys_in(decision.evidence)}, decision
        assert explain(decision)


def test_what_moves_with_the_clock_is_known_as_that() -> None:
    """A decision that is the same a moment later is the same work."""
    for case in cases():
        now, later = case.decision(), case.decision(IN_A_MOMENT)
        if now.reason is later.reason:
            assert timeless(now.evidence) == timeless(later.evidence), now


def test_a_trace_says_what_was_asked() -> None:
    trace = Case(seen=seen_as(code={"sql": "2"})).decision().trace
    assert trace == Trace((False,) * 8 + (True,), None), "the data was not looked at"
    trace = Case(seen=seen_as(inputs={"a": V2, "b": None})).decision().trace
    assert trace.new == (Reason.INPUT_UNKNOWN, Reason.NEW_DATA)
    assert trace.said[-3:] == (False, None, True), "no tolerance for what is unknown"


def test_a_trace_makes_no_decision_another_one() -> None:
    decision = Case().decision()
    assert decision == Decision(
        model="m", outcome=Outcome.REUSED, reason=Reason.NO_NEW_DATA, evidence=decision.evidence
    )


# ------------------------------------------------------------------ a new reason: one row


class Imagined(str, Enum):
    """What a new member of `Reason` would be."""

    TOO_OLD = "too_old"


TOO_OLD = Row(
    reason=Imagined.TOO_OLD,  # type: ignore[arg-type]
    kind=Kind.NEW,
    meaning="Its last build is older than `max_age`.",
    sign=lambda it: (
        {"age_seconds": (it.now - it.built.built_at).total_seconds()}
        if it.policy.configured.max_age is not None and it.now - it.built.built_at > it.policy.configured.max_age
        else None
    ),
    holds=lambda it: Imagined.TOO_OLD in it.new and not it.inputs_suffice,
    evidence=lambda it: it.findings,
    sentence=lambda evidence: f"it is {evidence['age_seconds'] / 60:.0f} min old",
    label="it is too old",
    shown_for=lambda policy: policy.configured.max_age is not None,
)
WITH_TOO_OLD = TruthTable((*TRUTH_TABLE.rows[:-3], TOO_OLD, *TRUTH_TABLE.rows[-3:]))
OLD = RefreshPolicy(max_age=timedelta(minutes=30))


def test_a_new_reason_decides_by_its_row_alone() -> None:
    case = Case(ResolvedPolicy(configured=OLD))
    assert case.decision().reason is Reason.NO_NEW_DATA
    decision = case.decision(table=WITH_TOO_OLD)
    assert (decision.outcome, decision.reason.value) == (Outcome.BUILT, "too_old"), "it is no longer nothing new"
    assert explain(decision, WITH_TOO_OLD) == "it is 60 min old"
    assert Case().decision(table=WITH_TOO_OLD).reason is Reason.NO_NEW_DATA


def test_a_new_reason_to_build_is_held_back_by_the_interval_and_by_nothing_else() -> None:
    news = seen_as(inputs={"a": V2, "b": V1}, changed_since={"a": NOON})
    patient = RefreshPolicy(max_age=OLD.max_age, updates_on=UpdatesOn.ALL, lag_tolerance=timedelta(days=1))
    assert Case(ResolvedPolicy(configured=patient), news).decision().reason is Reason.WITHIN_TOLERANCE
    assert Case(ResolvedPolicy(configured=patient), news).decision(table=WITH_TOO_OLD).reason is Imagined.TOO_OLD
    held = Case(ResolvedPolicy(configured=OLD, build_after=BuildAfter(4, Period.HOUR))).decision(table=WITH_TOO_OLD)
    assert held.reason is Reason.WITHIN_INTERVAL


def test_a_new_reason_is_in_the_tree_for_those_who_set_it() -> None:
    policy = ResolvedPolicy(configured=OLD)
    for now, holds in ((NOON, True), (NOON - timedelta(minutes=50), False)):
        tree = conditions_of(Case(policy).decision(now, WITH_TOO_OLD), policy, table=WITH_TOO_OLD)
        assert [each.holds for each in tree.walk() if each.label == "it is too old"] == [holds]
        assert tree.holds is holds
    tree = conditions_of(Case().decision(table=WITH_TOO_OLD), ResolvedPolicy(), table=WITH_TOO_OLD)
    assert "too_old" not in {each.name for each in tree.walk()}


def test_a_new_reason_is_in_the_documentation() -> None:
    assert "| `too_old` | Its last build is older than `max_age`. |" in reasons_page(WITH_TOO_OLD)
    assert "| 17 | Its last build is older than `max_age`. | `too_old` | `built` |" in truth_table(WITH_TOO_OLD)
    assert "`interval_elapsed`, `unsettled`, `too_old`, `new_data`" in kinds_table(WITH_TOO_OLD)


def test_a_row_without_a_case_is_noticed() -> None:
    assert unmet(WITH_TOO_OLD) == {Imagined.TOO_OLD}, "no case sets `max_age`"


# ------------------------------------------------------------------ data tests


def test_a_verdict_from_the_future_has_expired() -> None:
    test = DataTest(name="t", kind="unique", tested="m", sql="", reads=("a",), version="1")
    record = verdict_at(NOON + timedelta(hours=2))
    assert [
        decide_test(test, now=at, record=record, versions={"a": V1}, expiry=Expiry.DAY).reason
        for at in (NOON + timedelta(hours=3), NOON)
    ] == [TestReason.NO_NEW_DATA, TestReason.VOLATILE_EXPIRED]


def verdict_at(time: datetime) -> TestRecord:
    """Return a verdict of that time about one relation."""
    return TestRecord(
        test="t",
        version="1",
        code_scheme=CODE_SCHEME,
        inputs={"a": V1},
        verdict=Verdict.PASS,
        failures=0,
        run_at=time,
        seconds=1.0,
        run_id="r",
    )


def test_every_row_of_data_tests_is_met() -> None:
    proof = Proof("grouped", (Proof("fact", fact=Fact(FactKind.UNIQUE, "r", ("c",), "content", V1)),))
    decisions: list[tuple[TestDecision, TestDecision]] = []
    for (version, scheme), a, b, verdict, expiry, pending, blocked, mode, proven, verify in product(
        (("1", CODE_SCHEME), ("2", CODE_SCHEME), ("2", CODE_SCHEME - 1)),
        (V1, V2, OTHER, None),
        (V1, V2),
        (None, Verdict.PASS, Verdict.FAIL),
        (None, Expiry.HOUR),
        (frozenset(), frozenset("a"), frozenset("ab")),
        ((), ("a",)),
        (Mode.STATE_AWARE, Mode.FORCE),
        (None, proof),
        (False, True),
    ):
        test = DataTest(name="t", kind="unique", tested="m", sql="", reads=("a", "b"), version=version)
        record = verdict and TestRecord(
            test="t",
            version="1",
            code_scheme=scheme,
            inputs={"a": V1, "b": V1},
            verdict=verdict,
            failures=0,
            run_at=NOON - timedelta(hours=1),
            seconds=1.0,
            run_id="r",
        )
        now, later = (
            decide_test(
                test,
                now=at,
                record=record,
                versions={"a": a, "b": b},
                expiry=expiry,
                pending=pending,
                blocked_by=blocked,
                mode=mode,
                prove=lambda proven=proven: proven,
                verify=verify,
            )
            for at in (NOON, IN_A_MOMENT)
        )
        decisions.append((now, later))
    assert {now.reason for now, _ in decisions} == set(TestReason) - {TestReason.SAME_ELSEWHERE}
    for now, later in decisions:
        assert KEYS.keys() >= {*keys_in(now.evidence)}, now
        assert timeless(now.evidence) == timeless(later.evidence)
        assert explain_test(now)


@pytest.mark.parametrize("text", [key.meaning for key in KEYS.values()])
def test_every_key_of_evidence_has_a_sentence(text: str) -> None:
    assert text.endswith(".")


def test_times_and_ages_move_with_the_clock() -> None:
    evidence: Evidence = {"expired_at": "2026-01-01", "age_seconds": 1.0, "window": "4 h"}
    assert timeless(evidence) == {"window": "4 h"}
