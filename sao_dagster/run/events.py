"""What happens in a run, as events while it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.decide import Decision
from sao_dagster.core.decide_test import TestDecision, TestOutcome
from sao_dagster.core.hashing import JSON
from sao_dagster.core.messages import Message
from sao_dagster.core.nodes import DataTest, Source
from sao_dagster.core.plan import Plan
from sao_dagster.core.reasons import Outcome, Reason
from sao_dagster.core.records import BuildRecord, TestRecord, Verdict
from sao_dagster.run.observe import Observation


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What became of one model.

    Attributes:
        decision: The decision that counted, or the failure.
        relation: Where the model is.
        record: The build that stands: the new one, or the one that is reused; None if there is none.
        data_version: The version of its content now; None where it is not known.
        seconds: How long the build, or taking it from elsewhere, took; 0 where nothing was made.
        decided_at: When (UTC).
    """

    decision: Decision
    relation: str
    record: BuildRecord | None
    data_version: DataVersion | None
    seconds: float
    decided_at: datetime

    @property
    def name(self) -> str:
        """The model."""
        return self.decision.model

    @property
    def seconds_saved(self) -> float:
        """For a reuse, how long the build that stands took: an estimate of what was saved."""
        is_reused = self.decision.outcome is Outcome.REUSED and self.record is not None
        return max(0.0, self.record.seconds - self.seconds) if is_reused and self.record is not None else 0.0

    def repeats(self, run_id: str) -> bool:
        """Return whether it was built in this very run: by another step of it, or before that was tried again."""
        is_reused = self.decision.outcome is Outcome.REUSED and not self.decision.makes
        return is_reused and self.record is not None and self.record.run_id == run_id


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """What became of one data test.

    Attributes:
        test: The test.
        decision: Whether it ran, and why.
        verdict: What it says; None for a test that was skipped.
        failures: How many failures it counted.
        statement: The statement it was part of; None where none was run.
        seconds: Its share of the time of that statement.
        sample: Some failing rows.
        error: Why it could not be run.
        record: The verdict that stands, for a reuse; or that of an earlier run, see `is_earlier`.
    """

    __test__ = False

    test: DataTest
    decision: TestDecision
    verdict: Verdict | None
    failures: int | None
    statement: str | None = None
    seconds: float = 0.0
    sample: tuple[Mapping[str, JSON], ...] = ()
    error: str | None = None
    record: TestRecord | None = None

    @property
    def blocks(self) -> bool:
        """Whether it stops what is below its model."""
        return self.verdict in (Verdict.FAIL, Verdict.ERROR)

    @property
    def is_earlier(self) -> bool:
        """Whether it is the verdict of an earlier run, told again, of a test that a run now would ask again: one that failed, for one."""
        return self.record is not None and self.decision.outcome is TestOutcome.RAN

    def repeats(self, run_id: str) -> bool:
        """Return whether the verdict that stands is of this very run: of another step of it, or from before that was tried again."""
        is_reused = self.decision.outcome is TestOutcome.REUSED and self.decision.offer is None
        return is_reused and self.record is not None and self.record.run_id == run_id


@dataclass(frozen=True)
class Planned:
    """The plan that the run starts from; decisions are taken again at each model's turn.

    Attributes:
        plan: The plan.
        seen: What it was made from.
    """

    plan: Plan
    seen: Observation


@dataclass(frozen=True)
class Started:
    """The build of a model has begun."""

    model: str
    reason: Reason


Event: TypeAlias = Message | Planned | Started | ModelResult | TestResult


def freshness_test(source: Source) -> DataTest:
    """Return the check of a source's age as a data test, so that it is reported with the others."""
    name = f"source_freshness_{source.source_name}_{source.table_name}"
    return DataTest(name=name, kind="source_freshness", tested=source.id, sql="", reads=(source.id,), version="")
