"""Histories of failing tests on sources, tables, views and ephemerals: nothing below is built in any run while the failure stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sao_dagster import Column, SqlProject, select
from sao_dagster.core.decide_test import TestOutcome
from sao_dagster.core.nodes import DataTest, Materialized, Severity
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode, Outcome, Reason
from sao_dagster.core.records import Verdict
from sao_dagster.core.selection import Selection
from sao_dagster.errors import WarehouseError
from sao_dagster.run.report import RunResult
from tests.oracle.machine import picks
from tests.oracle.on_postgres import PostgresHistory
from tests.oracle.specs import SHAPES
from tests.oracle.with_tests import TestedHistory


class StandingHistory(TestedHistory):
    """As `TestedHistory`, with fewer tests, some over two relations, and runs of tests alone, without tests, and of nodes that ask none."""

    __test__ = False

    shapes: ClassVar[Mapping[str, str]] = {name: SHAPES[name] for name in ("filter", "shift", "union", "join", "star")}
    kinds: ClassVar[tuple[str, ...]] = ("table", "view", "ephemeral", "table", "incremental")

    def prepare(self) -> None:
        self.failed: dict[str, Any] = {}  # what a test had read when it failed, by its name
        self.part: Callable[[Selection], Selection] = lambda whole: whole

    def columns(self) -> dict[str, Column]:
        return {"id": Column(data_tests=("unique",)), "k": Column(data_tests=({"not_null": {"severity": "warn"}},))}

    def declare(self, opened: SqlProject) -> None:
        for name, spec in self.specs.items():
            first, last = spec.parents[0], spec.parents[-1]
            if first != last:
                sides = [f"select id from {{{{ {each} }}}}" for each in map(self._reference, (first, last))]
                opened.test(f"between_{name}", f"{sides[0]} except {sides[1]}")

    @staticmethod
    def _reference(name: str) -> str:
        return f"source('raw', '{name}')" if name.startswith("s") else f"ref('{name}')"

    # ------------------------------------------------------------------ runs

    def select(self, project: Project, include: str | None) -> Selection:
        return self.part(select(project, include))

    @rule(pick=picks, below=st.booleans())
    def run_tests_alone(self, pick: int, below: bool) -> None:
        self._run_part(lambda each: Selection((), each.tests, ()), pick, below)

    @rule(pick=picks, below=st.booleans())
    def run_without_tests(self, pick: int, below: bool) -> None:
        self._run_part(Selection.without_tests, pick, below)

    @rule(pick=picks, below=st.booleans())
    def run_nodes_alone(self, pick: int, below: bool) -> None:
        """As Dagster does with what has something to do, where no test has."""
        self._run_part(lambda each: replace(each, tests=()), pick, below)

    def _run_part(self, part: Callable[[Selection], Selection], pick: int, below: bool) -> None:
        whole, self.part = self.part, part
        self._run(self._pick(pick).name + ("+" if below else ""), Mode.STATE_AWARE)
        self.part = whole

    # ------------------------------------------------------------------ the oracle

    def before(self, project: Project) -> None:
        self.states = {test.name: self._state_of(project, test) for test in project.tests.values()}

    def _state_of(self, project: Project, test: DataTest) -> Any:
        """All that a test reads, through views."""
        seen = []
        for read in test.reads:
            node = project.nodes.get(read)
            if node is not None and not node.materialized.holds_data:
                built = self.oracle.built.get(read)
                seen.append(
                    (
                        read,
                        self._inputs_of_rows(project, read),
                        built.meaning if built else self._meaning(project, read),
                    )
                )
            else:
                seen.append((read, self._content(project, read), self._types(project, read)))
        return seen

    def _inputs_of_rows(self, project: Project, name: str) -> Any:
        inputs = project.graph.inputs(name)
        built = [self.oracle.built[view].meaning if view in self.oracle.built else None for view in inputs.views]
        return [(read, self._content(project, read), self._types(project, read)) for read in inputs.data], built

    def after(self, result: RunResult) -> None:
        super().after(result)
        project, selection = self._project().project, self.last_selection
        graph, aware = project.graph, result.mode is Mode.STATE_AWARE
        now = {test.name: self._state_of(project, test) for test in project.tests.values()}
        asked = {each.test.name: each for each in result.tests}
        standing = [
            project.tests[name]
            for name, failed in self.failed.items()
            if name in project.tests and name not in asked and failed == self.states[name] == now[name]
        ]
        failing = [each.test for each in result.tests if each.blocks]
        holding = [*failing, *(standing if aware and selection.gated else ())]
        outcomes = {each.name: each.decision for each in result.models}
        for name, decision in outcomes.items():
            above = [test for test in holding if graph.is_below_all(name, test.reads)]
            if above:
                assert decision.outcome in (Outcome.SKIPPED, Outcome.FAILED), (decision, [each.name for each in above])
            if decision.outcome is Outcome.SKIPPED:
                self._check_skipped(project, name, outcomes, [test.name for test in above])
        for each in result.tests:
            tested = project.nodes.get(each.test.tested or "")
            if (
                tested is not None
                and tested.materialized is Materialized.EPHEMERAL
                and each.test.reads == (tested.name,)
            ):
                above = [test.name for test in failing if graph.is_below_all(tested.name, test.reads)]
                assert not above or each.decision.outcome is TestOutcome.SKIPPED, (each.test.name, each.decision, above)
        for name, each in asked.items():
            if each.test.severity is Severity.ERROR and each.verdict is Verdict.FAIL:
                self.failed[name] = now[name]
            elif each.verdict is not None:
                self.failed.pop(name, None)

    def _check_skipped(self, project: Project, name: str, outcomes: Mapping[str, Any], above: list[str]) -> None:
        """What is skipped says for which failure, which there is."""
        decision = outcomes[name]
        assert decision.reason is Reason.UPSTREAM_FAILED
        stopped = {each for each, other in outcomes.items() if other.outcome in (Outcome.SKIPPED, Outcome.FAILED)}
        named = {*decision.evidence.get("tests", ()), *decision.evidence.get("standing", ())}
        if named:
            assert named >= set(above) or stopped, (decision, above)
            for test in named:
                sql = project.tests[test].sql
                try:
                    failures = sum(self.oracle.query(sql).values())
                except WarehouseError:  # what cannot be asked has not passed
                    continue
                assert failures, f"{name} is held back by {test}, which passes"
        else:
            assert stopped.intersection(project.graph.read(name)) or any(
                self.specs[each].broken for each in project.graph.ancestors([name]) if each in self.specs
            ), decision


class StandingOnPostgres(PostgresHistory, StandingHistory):
    """The same there."""

    __test__ = False
