"""Reports the results of data tests as asset checks, one for each test or one for several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg

from sao_dagster.core.decide_test import TestOutcome, TestReason
from sao_dagster.core.records import TestRecord, Verdict
from sao_dagster.dagster.metadata import because, check_metadata, tests_table
from sao_dagster.dagster.project_view import DagsterProject
from sao_dagster.run.events import TestResult

_SEVERE = (Verdict.FAIL, Verdict.ERROR)


@dataclass
class CheckReports:
    """Collects the results of tests until a check can be reported.

    Attributes:
        dagster_project: The project in Dagster.
        selected: The checks that this step reports.
        waiting: Results by check that is not complete yet.
        reported: The checks that were reported.
        proven: The data tests that were proven to pass.
    """

    dagster_project: DagsterProject
    selected: frozenset[dg.AssetCheckKey]
    waiting: dict[dg.AssetCheckKey, list[TestResult]] = field(default_factory=dict)
    reported: list[dg.AssetCheckKey] = field(default_factory=list)
    proven: set[str] = field(default_factory=set)

    def add(self, result: TestResult) -> Iterator[dg.AssetCheckResult]:
        """Take a result; yield the check that is complete with it, if one is."""
        key = self.dagster_project.check_keys.get(result.test.name)
        if key is None or key not in self.selected:
            return
        results = self.waiting.setdefault(key, [])
        results.append(result)
        if result.decision.outcome is TestOutcome.PROVEN:
            self.proven.add(result.test.name)
        if len(results) == len(self.dagster_project.tests[key]):
            report = check_result(key, self.waiting.pop(key))
            if report is not None:
                self.reported.append(key)
                yield report


def check_result(key: dg.AssetCheckKey, results: Sequence[TestResult]) -> dg.AssetCheckResult | None:
    """Return the check of some tests; None where some have no verdict and no other failed, for then nobody knows."""
    bad = [each for each in results if each.verdict is not None and each.verdict is not Verdict.PASS]
    if not bad and any(each.verdict is None for each in results):
        return None
    severe = any(each.verdict in _SEVERE for each in bad)
    if len(results) == 1:
        (result,) = results
        description = result.error or _in_words(result)
        metadata = check_metadata(result)
    else:
        counts = {outcome: sum(each.decision.outcome is outcome for each in results) for outcome in TestOutcome}
        counted = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
        failed = f"; failed: {', '.join(each.test.name for each in bad)}" if bad else ""
        description = f"{len(results)} data tests: {counted}{failed}"
        metadata = {
            "sao/tests": tests_table(results),
            "sao/failures": sum(each.failures or 0 for each in results),
            **{f"sao/{outcome.value}": count for outcome, count in counts.items()},
        }
        for each in bad:
            metadata |= {f"{name}: {each.test.name}": value for name, value in _sample(each).items()}
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=not bad,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


def _in_words(result: TestResult) -> str:
    """Return what a test says, and then how that came about, and when it was really run last."""
    found = f"{result.failures} failure{'' if result.failures == 1 else 's'}"
    said = {Verdict.PASS: "Passed", Verdict.WARN: f"Warns of {found}"}.get(
        result.verdict or Verdict.FAIL, found.capitalize()
    )
    if result.is_earlier:
        return (
            f"Could not be run: {because(result)}" if result.verdict is Verdict.ERROR else f"{said}: {because(result)}"
        )
    outcome, why = result.decision.outcome, because(result)
    if result.decision.offer is not None:
        return f"{said}: reused, {why} at {result.decision.offer.record.run_at:%Y-%m-%d %H:%M} UTC"
    if outcome is TestOutcome.REUSED and result.record is not None:
        return f"{said}: reused, {why} since it was run at {result.record.run_at:%Y-%m-%d %H:%M} UTC"
    if result.decision.reason is TestReason.FAILED_BEFORE and result.verdict is Verdict.PASS:
        return f"{said}: ran again, since the verdict before was no pass"
    return f"{said}: {why}" if outcome is TestOutcome.PROVEN else f"{said}: {outcome.value}, {why}"


def _sample(result: TestResult) -> dict[str, object]:
    found = check_metadata(result)
    return {name: found[name] for name in ("sao/failing_rows", "sao/error") if name in found}


def repeat(key: dg.AssetCheckKey, records: list[TestRecord]) -> dg.AssetCheckResult | None:
    """Return the last verdicts again, so that a dry run does not hide them; None where there are none.

    A check that is planned and not reported would show as skipped. Nothing is run, so nothing is blocked either:
    a failure is repeated with the severity of a warning.
    """
    if not records:
        return None
    passed = all(each.verdict is Verdict.PASS for each in records)
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Dry run: the last verdict was {'pass' if passed else 'a failure'}, and is repeated here",
        metadata={
            "sao/outcome": "dry-run",
            "sao/failures": sum(each.failures for each in records),
            "sao/from_run": dg.MetadataValue.dagster_run(records[0].run_id),
        },
    )
