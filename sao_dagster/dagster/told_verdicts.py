"""What a Dagster instance is told of verdicts of data tests that no run of it has reported, by the checks that show them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

import dagster as dg

from sao_dagster.core.decide_test import TestDecision, TestOutcome
from sao_dagster.core.facts import Facts
from sao_dagster.core.hashing import digest
from sao_dagster.core.plan import decide_data_test
from sao_dagster.core.reasons import Mode
from sao_dagster.core.records import TestRecord, Verdict
from sao_dagster.dagster.automation import target_of
from sao_dagster.dagster.check_results import CheckReports, check_result
from sao_dagster.dagster.project_view import DRY_RUN, CheckOfTests, DagsterProject
from sao_dagster.dagster.told_before import ToldBefore, unfinished
from sao_dagster.dagster.told_builds import ToldBuilds
from sao_dagster.run.data_tests import result_without_run
from sao_dagster.run.events import TestResult

LONGEST = 255  # characters of a name in the state
TOGETHER = (
    50  # checks that are looked up in Dagster's log at once: what a run plans after that look is hidden by what is told
)


@dataclass(frozen=True)
class Untold:
    """A check that Dagster may show otherwise than its data tests have said.

    Attributes:
        check: The check.
        token: What is kept once Dagster knows it.
    """

    check: CheckOfTests
    token: str


@dataclass
class ToldVerdicts:
    """What one Dagster instance knows of the verdicts in one environment; what is kept of that is read when this is made.

    A verdict is told once for each build that it is about: Dagster takes a check for not evaluated when its asset is materialized.

    Attributes:
        builds: What the instance knows of builds; these are told first.
    """

    builds: ToldBuilds
    _before: ToldBefore = field(init=False)

    def __post_init__(self) -> None:
        """Read what is kept."""
        store = self._edge.opened.store
        self._before = ToldBefore(store, self.builds.instance, self.builds.environment, "dagster_verdicts")

    @property
    def _edge(self) -> DagsterProject:
        return self.builds.dagster_project

    def note(
        self, reports: CheckReports, run_id: str, before: Mapping[str, TestRecord], now: Mapping[str, TestRecord]
    ) -> None:
        """Note the checks that a step of a run has reported itself, and keep that; not where somebody else has a newer verdict already.

        Args:
            reports: What the step has reported.
            run_id: Its run.
            before: The verdicts that there were when it began.
            now: Those that there are.
        """
        for check in [self._edge.checks_of_tests[key] for key in reports.reported if key in self._edge.checks_of_tests]:
            own = [name for name in check.tests if name not in reports.proven]
            if all(name not in now or now[name].run_id == run_id or now[name] == before.get(name) for name in own):
                self._before.note(_kept_as(check), self._token(check, now, reports.proven))
        self._before.keep()

    def catch_up(
        self, facts: Facts, now: datetime, give_up: float, proven: Mapping[str, TestDecision] | None = None
    ) -> int:
        """Report what Dagster does not know as runless evaluations of checks; return how many are left for later, at most.

        What runs of this instance have asked, or are going to, they report themselves: while they go, that is neither told nor counted.
        Nor is a verdict told that is about something else than what is there, or than what Dagster was told of it.

        Args:
            facts: What is known now.
            now: The time (UTC), as decisions are taken.
            give_up: When to leave the rest for later, on the monotonic clock.
            proven: The data tests that are proven to pass, with their proofs.
        """
        untold = list(self._untold(facts.test_records, proven or {}))
        if not untold:
            return 0
        with self._before.alone() as alone:
            if not alone:
                return len(untold)
            rest = iter(untold)
            ready = ((each, found) for each in rest if (found := self._results(each.check, facts, now, proven or {})))
            left = 0
            while not left and (batch := list(islice(ready, TOGETHER))):
                left = self._tell(batch, give_up)
            self._before.keep()
            return left + sum(1 for _ in rest)

    def _tell(self, batch: Sequence[tuple[Untold, list[TestResult]]], give_up: float) -> int:
        """Report what is not in Dagster's log; return how many checks there was no time for."""
        instance = self.builds.instance
        latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [each.check.key for each, _ in batch]
        )
        entries = [
            each.asset_entry for each in instance.get_asset_records([each.check.key.asset_key for each, _ in batch])
        ]
        about = {each.asset_key: each.last_materialization_record for each in entries}
        asking = {each.run_id for each in latest.values() if not isinstance(each.evaluation, dg.AssetCheckEvaluation)}
        asked = {each.record.run_id for _, found in batch for each in found if each.record is not None}
        going = unfinished(instance, {*asking, *asked} - {""})
        for position, (each, found) in enumerate(batch):
            runs = {result.record.run_id for result in found if result.record is not None}
            shown, target = latest.get(each.check.key), about.get(each.check.key.asset_key)
            if going.intersection(runs) or (shown is not None and shown.run_id in going):
                continue
            if not _is_logged(shown, target, found):
                if time.monotonic() > give_up:
                    return len(batch) - position
                instance.report_runless_asset_event(self._event(each.check.key, found, target))
            self._before.note(_kept_as(each.check), each.token)
        return 0

    def _event(self, key: dg.AssetCheckKey, results: list[TestResult], target: Any) -> dg.AssetCheckEvaluation:
        """Return a check as Dagster is told it outside of a run, about the last materialization of its asset."""
        result = check_result(key, results)
        assert result is not None  # noqa: S101 - all of the results have a verdict
        return dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=result.passed,
            metadata={name: self._without_link(value) for name, value in result.metadata.items()},
            target_materialization_data=target_of(target),
            severity=result.severity,
            description=result.description,
        )

    def _without_link(self, value: dg.MetadataValue[Any]) -> dg.MetadataValue[Any]:
        """Return a value; a run of which the instance has no page is named, and leads nowhere."""
        if isinstance(value, dg.DagsterRunMetadataValue) and not self.builds.instance.has_run(value.run_id):
            return dg.MetadataValue.text(value.run_id)
        return value

    def _results(
        self, check: CheckOfTests, facts: Facts, now: datetime, proven: Mapping[str, TestDecision]
    ) -> list[TestResult]:
        """Return what is known of the tests of a check; nothing where Dagster has to wait for it, or where that does not say what the check says."""
        project = self._edge.project
        build = facts.records.get(check.tested)
        if build is not None and not self.builds.knows(check.tested, build, facts.version(project, check.tested)):
            return []
        found = [result for name in check.tests if (result := self._result(name, facts, now, proven)) is not None]
        is_whole = len(found) == len(check.tests)
        return found if is_whole or any(each.verdict is not Verdict.PASS for each in found) else []

    def _result(self, name: str, facts: Facts, now: datetime, proven: Mapping[str, TestDecision]) -> TestResult | None:
        """Return what a data test says of what is there, as a run says it that need not ask; None where that is not known."""
        project = self._edge.project
        test, record = project.tests[name], facts.test_records.get(name)
        if name in proven:
            return result_without_run(test, proven[name], None)
        if record is None or test.error is not None or record.version != facts.test_version(test):
            return None
        versions = facts.versions_tested(project, test)
        if record.inputs.get(test.tested) != versions.get(test.tested):
            return None
        decision = decide_data_test(
            project,
            test,
            facts,
            now=now,
            mode=Mode.STATE_AWARE,
            versions=versions,
            blocked_by=(),
            prove=lambda: None,
        )
        if decision.outcome is TestOutcome.REUSED:
            return result_without_run(test, decision, record)
        return TestResult(test=test, decision=decision, verdict=record.verdict, failures=record.failures, record=record)

    def _untold(self, records: Mapping[str, TestRecord], proven: Mapping[str, TestDecision]) -> Iterator[Untold]:
        """Yield the checks of which the instance was told something else, or nothing; mostly there are none."""
        for check in self._edge.checks_of_tests.values():
            token = self._token(check, records, proven)
            if not self._before.knows(_kept_as(check), token) and token:
                yield Untold(check, token)

    def _token(self, check: CheckOfTests, records: Mapping[str, TestRecord], proven: Collection[str]) -> str:
        """Return what tells the verdicts of a check, and the build that they are about, from all others; empty where there are none."""
        given = [
            "proven" if name in proven else record.given if (record := records.get(name)) is not None else ""
            for name in check.tests
        ]
        return f"{' '.join(given)} {self.builds.last(check.tested)}" if any(given) else ""


def _kept_as(check: CheckOfTests) -> str:
    """Return under which name is kept what was told of a check; the state has room for names of that length."""
    return check.name if len(check.name) <= LONGEST else digest(check.name)


def _is_logged(shown: Any, target: Any, results: Sequence[TestResult]) -> bool:
    """Return whether the latest result of a check in Dagster's log is about the last materialization of its asset, and no older than the verdicts.

    Args:
        shown: The latest execution of the check, as Dagster records it; None where there is none.
        target: The last materialization of its asset; None where there is none.
        results: What its data tests say.
    """
    evaluation = None if shown is None else shown.evaluation
    if not isinstance(evaluation, dg.AssetCheckEvaluation) or shown.event is None:
        return False
    outcome = evaluation.metadata.get("sao/outcome")
    if outcome is not None and outcome.value == DRY_RUN:
        return False
    about = evaluation.target_materialization_data
    if target is not None and (about is None or about.storage_id != target.storage_id):
        return False
    return all(each.record is None or each.record.run_at.timestamp() <= shown.event.timestamp for each in results)
