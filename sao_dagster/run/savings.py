"""What runs have saved over some time: in all, by day, and by job. Seconds are estimates, net of deciding, and never below zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sao_dagster.core.reasons import Outcome
from sao_dagster.state.protocol import DecisionTotals, RunRecord

PERIODS = (7, 14, 30)
"""The days over which savings are added up, as in dbt's own pages."""


@dataclass(frozen=True)
class Savings:
    """What some runs did and saved together.

    Attributes:
        runs: How many they were.
        built: Models that were built.
        reused: Models that were reused.
        cut_off: Those of them that would have been built, had what is above them not come out as it was.
        tests_ran: Data tests that were run.
        tests_reused: Data tests whose verdict was reused.
        tests_proven: Data tests that were proven to pass.
        seconds: How long the runs took.
        seconds_saved: What was saved, net of the time that deciding took.
        seconds_saved_by_cut_off: What of it was saved by models that were cut off.
        seconds_saved_by_tests: What of it was saved by data tests.
    """

    runs: int = 0
    built: float = 0
    reused: float = 0
    cut_off: float = 0
    tests_ran: float = 0
    tests_reused: float = 0
    tests_proven: float = 0
    seconds: float = 0.0
    seconds_saved: float = 0.0
    seconds_saved_by_cut_off: float = 0.0
    seconds_saved_by_tests: float = 0.0

    @classmethod
    def of(cls, runs: Sequence[RunRecord]) -> Savings:
        """Return the sums of some runs; no part of what a run saved is more than all of it.

        >>> summary = {"reused": 2, "seconds_saved": 3.0, "seconds_saved_by_tests": 6.0}
        >>> at = datetime(2026, 3, 1)
        >>> run = RunRecord(run_id="r", environment="e", mode="force", started_at=at, finished_at=at, summary=summary)
        >>> Savings.of([run, run]).seconds_saved, Savings.of([run, run]).seconds_saved_by_tests
        (6.0, 6.0)
        """

        def of(run: RunRecord, key: str) -> float:
            return float(str(run.summary.get(key, 0)))

        def total(key: str) -> float:
            return round(sum((of(run, key) for run in runs), 0.0), 3)

        def part(key: str) -> float:
            return round(sum((min(of(run, key), of(run, "seconds_saved")) for run in runs), 0.0), 3)

        return cls(
            runs=len(runs),
            **{key: total(key) for key in ("built", "reused", "cut_off", "tests_ran", "tests_reused", "tests_proven")},
            seconds=total("seconds"),
            seconds_saved=total("seconds_saved"),
            seconds_saved_by_cut_off=part("seconds_saved_by_cut_off"),
            seconds_saved_by_tests=part("seconds_saved_by_tests"),
        )

    @property
    def share(self) -> float:
        """The share of the models that were reused, from 0 to 1."""
        return self.reused / (self.built + self.reused) if self.built + self.reused else 0.0


@dataclass(frozen=True)
class ModelSavings:
    """What became of one model or data test over some time, and what its reuses saved, by the times of its own last builds."""

    name: str
    built: int
    reused: int
    seconds: float
    seconds_saved: float


@dataclass(frozen=True)
class SavingsReport:
    """What was saved in one environment over some days, as it is shown.

    Attributes:
        environment: Where the runs built.
        periods: By number of days, the fewest first; the last is all of it.
        days: By day, oldest first; there is at least one.
        jobs: By job, the largest first.
        models: What models, seeds and data tests saved, the largest first.
    """

    environment: str
    periods: Mapping[int, Savings]
    days: Mapping[date, Savings]
    jobs: Mapping[str, Savings]
    models: Sequence[ModelSavings]

    @classmethod
    def of(
        cls, environment: str, runs: Sequence[RunRecord], totals: Iterable[DecisionTotals], now: datetime, days: int
    ) -> SavingsReport:
        """Return the report of the runs and decisions of the last days, as they are at a time (UTC)."""
        periods = over_periods(runs, now, sorted({days, *(each for each in PERIODS if each < days)}))
        return cls(environment, periods, by_day(runs, now, days), by_job(runs), by_model(totals))

    @property
    def whole(self) -> Savings:
        """All of it."""
        return self.periods[max(self.periods)]

    @property
    def savers(self) -> list[ModelSavings]:
        """Those models and data tests that saved anything, the largest first."""
        return [each for each in self.models if each.seconds_saved > 0]


def over_periods(runs: Iterable[RunRecord], now: datetime, periods: Sequence[int] = PERIODS) -> dict[int, Savings]:
    """Return by number of days what the runs of these last days saved."""
    kept = list(runs)
    return {days: Savings.of([run for run in kept if run.started_at >= now - timedelta(days=days)]) for days in periods}


def by_day(runs: Iterable[RunRecord], now: datetime, days: int) -> dict[date, Savings]:
    """Return by day of this machine's calendar what was saved, oldest first, days without a run too."""
    today = now.astimezone().date()
    found: dict[date, list[RunRecord]] = {today - timedelta(days=back): [] for back in range(days - 1, -1, -1)}
    for run in runs:
        found.setdefault(run.started_at.astimezone().date(), []).append(run)
    return {day: Savings.of(found[day]) for day in sorted(found)}


def by_job(runs: Iterable[RunRecord]) -> dict[str, Savings]:
    """Return by job what was saved, the largest first; runs of nobody stand under an empty name."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(run.job, []).append(run)
    sums = {job: Savings.of(each) for job, each in found.items()}
    return dict(sorted(sums.items(), key=lambda item: (-item[1].seconds_saved, item[0])))


def by_model(totals: Iterable[DecisionTotals]) -> list[ModelSavings]:
    """Return what each model, seed and data test did and saved, the largest first."""
    found: dict[str, ModelSavings] = {}
    for each in totals:
        last = found.get(each.name, ModelSavings(each.name, 0, 0, 0.0, 0.0))
        found[each.name] = ModelSavings(
            each.name,
            last.built + each.count * (each.outcome in (Outcome.BUILT.value, "ran")),
            last.reused + each.count * (each.outcome in (Outcome.REUSED.value, "proven")),
            last.seconds + each.seconds,
            last.seconds_saved + each.seconds_saved * (each.outcome == Outcome.REUSED.value),
        )
    return sorted(found.values(), key=lambda each: (-each.seconds_saved, each.name))
