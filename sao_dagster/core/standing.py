"""Failures that stand: `error` tests that failed before and would fail again, and the models that they hold back.

A run that asks such a test knows by its own verdict what it holds back. One that does not (a part of the project, or exactly what
has something to do) would otherwise build on data that are known to be bad.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime

from sao_dagster.core.decide_test import TestSituation
from sao_dagster.core.facts import Facts
from sao_dagster.core.nodes import DataTest, Severity
from sao_dagster.core.others import FailureElsewhere
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode
from sao_dagster.core.records import Verdict
from sao_dagster.core.selection import Selection


@dataclass(frozen=True)
class StandingFailures:
    """The tests whose failure may stand, above what is selected.

    Attributes:
        project: The project.
        tests: The tests, in the order of the project.
        elsewhere: Those of other projects.
    """

    project: Project
    tests: tuple[DataTest, ...]
    elsewhere: tuple[FailureElsewhere, ...] = ()

    @classmethod
    def of(
        cls, project: Project, selection: Selection, facts: Facts, mode: Mode = Mode.STATE_AWARE
    ) -> StandingFailures:
        """Return those that a run over a selection has to ask about; none where it does not go by verdicts of the past.

        They are above the nodes of the selection, or above ephemerals that its data tests are about.
        """
        if mode is not Mode.STATE_AWARE or not selection.gated:
            return cls(project, ())
        failed = (
            test
            for name, record in sorted(facts.test_records.items())
            if record.verdict is Verdict.FAIL
            and (test := project.tests.get(name)) is not None
            and test.severity is Severity.ERROR
        )
        below = project.graph.is_below_all
        read = (each for name in selection.tests for each in project.tests[name].reads)
        held = dict.fromkeys((*selection.nodes, *filter(project.is_ephemeral, read)))
        tests = tuple(test for test in failed if any(below(node, test.reads) for node in held))
        return cls(project, tests, project.failures)

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.tests or self.elsewhere)

    def without(self, tests: Collection[str]) -> StandingFailures:
        """Return them without those of some names: tests that are asked in the run, so that it knows itself."""
        return replace(self, tests=tuple(test for test in self.tests if test.name not in tests))

    def elsewhere_above(self, name: str) -> tuple[FailureElsewhere, ...]:
        """Return the tests of other projects that hold back a node: those that read only what is above it."""
        if not self.elsewhere:
            return ()
        above = self.project.graph.sources_above((name,))
        return tuple(each for each in self.elsewhere if each.holds(above))

    def above(
        self, name: str, facts: Facts, now: datetime, pending: AbstractSet[str] = frozenset()
    ) -> tuple[DataTest, ...]:
        """Return the tests that hold back a node: those that read only what is above it, and would fail again.

        Args:
            name: The node.
            facts: What is known.
            now: The time (UTC).
            pending: What is going to be built first, in a plan; who knows what a test of it will say.
        """
        below = self.project.graph.is_below_all
        above = tuple(test for test in self.tests if below(name, test.reads))
        return replace(self, tests=above).failing(facts, now, pending)

    def failing(self, facts: Facts, now: datetime, pending: AbstractSet[str]) -> tuple[DataTest, ...]:
        """Return the tests that would fail again; see `above`."""
        return tuple(test for test in self.tests if self._stands(test, facts, now, pending))

    def _stands(self, test: DataTest, facts: Facts, now: datetime, pending: AbstractSet[str]) -> bool:
        versions, expiry = facts.versions_tested(self.project, test), self.project.graph.test_expiry(test)
        touched = frozenset(read for read in test.reads if self.project.graph.is_made_of(read, pending))
        record, version = facts.test_records.get(test.name), facts.test_version(test)
        return TestSituation(test, now, record, versions, expiry, facts.zone, touched, version=version).stands_as_failed
