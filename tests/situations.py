"""Situations of one model as data: every policy with every news, each also with everything that comes before the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import product
from typing import Any

from sao_dagster.core.code_version import CODE_SCHEME
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.decide import Decision, decide
from sao_dagster.core.facts import Existence, HeldBack, Observed, Unsettled
from sao_dagster.core.policy import BuildAfter, Expiry, OnTestFailure, Period, RefreshPolicy, UpdatesOn
from sao_dagster.core.reasons import Mode
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.situation import ResolvedPolicy
from sao_dagster.core.truth_table import TRUTH_TABLE, TruthTable

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
V1, V2, OTHER = DataVersion("content", "1"), DataVersion("content", "2"), DataVersion("other", "1")
RECORD = BuildRecord(
    model="m",
    relation="m",
    code_version="c",
    code_scheme=CODE_SCHEME,
    code_parts={"sql": "1"},
    definition="c",
    sql_id="",
    inputs={"a": V1, "b": V1},
    definitions={},
    data_version=V1,
    columns=(),
    rows=1,
    observed_at=NOON - timedelta(hours=1),
    built_at=NOON - timedelta(hours=1),
    seconds=1.0,
    run_id="r",
)
BEFORE_THE_DATA: tuple[dict[str, Any], ...] = (  # what is asked above the data, one case for each
    {},
    *({"mode": mode} for mode in Mode),
    {"record": None},
    {"held": HeldBack(failed=("a",))},
    {"held": HeldBack(tested=("a",), tests=("t",))},
    {"held": HeldBack(tested=("a",), standing=("t",))},
    {"exists": Existence.NO},
    {"altered": True},
    {"is_unknown": True},
    {"shows_other": True},
    {"code": {"sql": "2"}},
    {"code_scheme": CODE_SCHEME + 1},
    {"code": {"sql": "2"}, "harmless": frozenset({"sql"})},
    {"definitions": {"v": "2"}},
    {"definitions": {"v": "2"}, "pending": frozenset({"a", "v"})},
    {"test_failed": True},
    {"unsettled": Unsettled.PART},
    {"unsettled": Unsettled.NOT_UNDERSTOOD},
    {"inputs": {}},
)


def seen_as(**facts: Any) -> Observed:
    """Return what is seen of a model of which nothing changed, but for some facts."""
    return Observed(**{"code": {"sql": "1"}, "exists": Existence.YES, "inputs": {"a": V1, "b": V1}, **facts})


@dataclass(frozen=True)
class Case:
    """A situation, to be decided at any time and by any table."""

    policy: ResolvedPolicy = field(default_factory=ResolvedPolicy)
    seen: Observed = field(default_factory=seen_as)
    record: BuildRecord | None = RECORD
    mode: Mode = Mode.STATE_AWARE

    def decision(self, now: datetime = NOON, table: TruthTable = TRUTH_TABLE) -> Decision:
        return decide("m", now=now, policy=self.policy, record=self.record, seen=self.seen, mode=self.mode, table=table)


def policies() -> Iterator[ResolvedPolicy]:
    """Yield every combination of what a policy may set and a row may ask for."""
    for interval, tolerance, updates_on, expiry, on_failure in product(
        (None, BuildAfter(4, Period.HOUR), BuildAfter(1, Period.MINUTE)),
        (None, timedelta(minutes=1), timedelta(hours=2)),
        UpdatesOn,
        (None, Expiry.HOUR, Expiry.DAY),
        OnTestFailure,
    ):
        configured = RefreshPolicy(
            build_after=interval,
            lag_tolerance=tolerance,
            updates_on=updates_on,
            on_test_failure=on_failure,
        )
        yield ResolvedPolicy(configured=configured, build_after=interval, expiry=expiry)


def cases() -> Iterator[Case]:
    """Yield some twelve thousand situations."""
    since = {"a": NOON - timedelta(minutes=5), "b": NOON - timedelta(minutes=7)}
    for policy, a, b, before in product(policies(), (V1, V2, OTHER, None), (V1, V2), BEFORE_THE_DATA):
        given = {"inputs": {"a": a, "b": b}, "changed_since": since, **before}
        record = given.pop("record", RECORD)
        mode = given.pop("mode", Mode.STATE_AWARE)
        yield Case(policy, seen_as(**given), record, mode)
