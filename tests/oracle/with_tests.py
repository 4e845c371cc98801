"""Histories of projects whose models and sources have data tests: each verdict that was not run for is what a run gives."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sao_dagster import Column
from sao_dagster.core.decide_test import TestOutcome, verdict_of
from sao_dagster.core.reasons import Outcome
from sao_dagster.core.records import Verdict
from sao_dagster.core.standing import StandingFailures
from sao_dagster.run.report import RunResult
from tests.oracle.machine import History
from tests.oracle.specs import SOURCES


class TestedHistory(History):
    """As `History`, with tests that pass and fail as the data change."""

    __test__ = False

    outcomes: ClassVar[Counter[TestOutcome]] = Counter()

    def columns(self) -> dict[str, Column]:
        return {
            "id": Column(data_tests=("unique", "not_null")),
            "k": Column(data_tests=("not_null", {"accepted_values": {"values": [0, 1, 2], "quote": False}})),
            "v": Column(data_tests=({"not_null": {"severity": "warn"}}, {"unique": {"severity": "warn"}})),
        }

    @rule(source=st.sampled_from(SOURCES), column=st.sampled_from(["id", "k", "v"]))
    def insert_null(self, source: str, column: str) -> None:
        values = {"id": "20", "k": "1", "v": "5", column: "null"}
        self.oracle.execute(
            f"insert into raw.{source} (id, k, v) values ({values['id']}, {values['k']}, {values['v']})"
        )

    @rule(source=st.sampled_from(SOURCES))
    def mend(self, source: str) -> None:
        """Make the tests of a source pass."""
        self.put(f"raw.{source}", "select i::int as id, (i % 3)::int as k, i::int as v from generate_series(0, 5) t(i)")

    def after(self, result: RunResult) -> None:
        """Run every test whose verdict was reused or proven, and look whether the plan had foreseen what became of all."""
        self._check_foreseen(result)
        for each in result.tests:
            self.outcomes[each.decision.outcome] += 1
            if each.decision.outcome not in (TestOutcome.REUSED, TestOutcome.PROVEN):
                continue
            failures = sum(self.oracle.query(each.test.sql).values())
            found = verdict_of(each.test.severity, should_warn=failures != 0, should_error=failures != 0)
            assert each.verdict is found, (each.test.name, each.decision, failures)
            assert each.failures == failures
            assert each.decision.outcome is not TestOutcome.PROVEN or each.verdict is Verdict.PASS

    def _check_foreseen(self, result: RunResult) -> None:
        """What a plan cannot know is what comes of a build, what fails that did not fail before, and what is proven from a verdict of the run."""
        project, selection = self._project().project, self.last_selection
        plan, facts = self.planned.plan, self.planned.seen.facts
        makes, stood = {*plan.to_make}, StandingFailures.of(project, selection, facts, result.mode)
        failing = {test.name for test in stood.failing(facts, self.now, makes)}
        surprises = [each.test.name for each in result.tests if each.blocks and each.test.name not in failing]
        surprises += [each.name for each in result.models if each.decision.outcome is Outcome.FAILED]
        assert plan.tests.keys() == {each.test.name for each in result.tests}
        for each in result.tests:
            foreseen, became = plan.tests[each.test.name].outcome, each.decision.outcome
            is_touched = any(project.graph.is_made_of(read, makes) for read in each.test.reads)
            if became is TestOutcome.SKIPPED:
                assert foreseen is became or surprises, each.decision
            elif became is TestOutcome.PROVEN:
                # a view that was gone is known to be what the proof goes through once it is there
                through = each.decision.evidence.get("through", ())
                is_through = any(f"({name}." in step for name in makes for step in through)
                assert (
                    foreseen is became or is_touched or is_through or any(other.statement for other in result.tests)
                ), each.decision
            else:
                assert foreseen is became or is_touched, (plan.tests[each.test.name], each.decision)
