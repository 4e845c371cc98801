"""What the evaluator leaves out of its requests: what nothing came of for the same cause, and what cannot succeed yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.evidence import describe_names, timeless
from sao_dagster.core.facts import Facts
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.messages import counted
from sao_dagster.core.nodes import is_source
from sao_dagster.core.plan import Plan
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord, TestRecord
from sao_dagster.dagster.project_view import CODE_TAG, PLAN_TAG
from sao_dagster.run.missing import missing_sources
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Catalog

OVER = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def causes_of(project: Project, plan: Plan, facts: Facts) -> dict[str, str]:
    """Return by node to build and test to run a digest of why: the same for as long as a further attempt is the same attempt.

    It changes with the code, with the versions of what is read, and with each build and each verdict that stands. So what is
    requested again under the same cause is what nothing came of: it failed, was skipped, or the run that was asked did not do it.
    """

    def versions(names: Collection[str]) -> JSON:
        return {name: _text(facts.version(project, name)) for name in names}

    def done(record: BuildRecord | TestRecord | None) -> JSON:
        return None if record is None else record.run_id

    causes: dict[str, str] = {}
    for name in plan.to_make:  # in the order of the graph, so that what is built first is a part of the cause
        decision, reads = plan.decisions[name], project.graph.inputs(name)
        above: JSON = {each: causes[each] for each in (*reads.data, *reads.views) if each in causes}
        why: list[JSON] = [decision.reason.value, timeless(decision.evidence), project.nodes[name].code.version]
        causes[name] = digest([*why, versions(reads.data), done(facts.records.get(name)), above])
    for name in plan.to_record:
        test, chosen, record = project.tests[name], plan.tests[name], facts.test_records.get(name)
        above = {each: causes[each] for each in test.reads if each in causes}
        why = [chosen.reason.value, timeless(chosen.evidence), test.version]
        stands = record if record is not None and record.verdict.stands else None
        causes[name] = digest([*why, versions(test.reads), done(stands), above])
    return causes


def waiting_for_sources(project: Project, plan: Plan, facts: Facts, catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """Return by node to build the sources that it cannot be built without and that are not there, its own or those of what it reads."""
    missing = missing_sources(project, catalog)
    found: dict[str, tuple[str, ...]] = {}
    for name in plan.to_make if missing else ():
        reads = project.graph.inputs(name)
        above: dict[str, None] = dict.fromkeys(each for each in reads.data if is_source(each) and each in missing)
        for parent in (*reads.data, *reads.views):
            if parent in found and (parent not in facts.records or plan.decisions[name].evidence.get("tentative")):
                above.update(dict.fromkeys(found[parent]))
        if above:
            found[name] = tuple(above)
    return found


@dataclass(frozen=True)
class GivenUp:
    """What is not requested any more until something changes.

    Attributes:
        tried: The nodes and tests that were requested as often as may be.
        by_other_code: Those for which a run went by other code than the evaluator's process has read.
    """

    tried: frozenset[str] = frozenset()
    by_other_code: frozenset[str] = frozenset()

    def words(self, most: int) -> dict[str, str]:
        """Return by node and test why it is not requested, for its tree of conditions.

        Args:
            most: How often the same work is requested.
        """
        given_up = (
            f"given up: nothing came of {counted(most, 'run')}; requested again when its code or what it reads changes"
        )
        elsewhere = "given up: its run went by other code than this code location; reload the older of the two"
        return {**dict.fromkeys(self.tried, given_up), **dict.fromkeys(self.by_other_code, elsewhere)}

    def sentences(self, most: int) -> Iterator[str]:
        """Yield why these are not requested.

        Args:
            most: How often the same work is requested.
        """
        if self.by_other_code:
            yield (
                f"nothing came of the run for {describe_names(sorted(self.by_other_code))}, which went by other code than this code location has "
                f"read; reload the one of the two that is older, the location or what executes its runs"
            )
        if self.tried:
            yield (
                f"nothing came of {counted(most, 'run')} for {describe_names(sorted(self.tried))}, which are requested again when their code or what they "
                f"read changes"
            )


@dataclass(frozen=True)
class Attempts:
    """The runs that were requested for the same causes as are due now.

    A request has a digest of its causes as a tag. Under which of them a node was requested is kept beside the state, where losing it
    means another attempt; what counts is the runs that came of it and are over. (A request that was only looked at is no attempt.)

    Attributes:
        store: The shared state.
        environment: The environment.
        evaluator: The name of the evaluator.
        most: How often the same work is requested.
        causes: Why each node and test is due now.
        code: What the evaluator's process has read of the project, as `DagsterProject.code` has it.
        read_at: When it has read that, in seconds since the epoch.
    """

    store: StateStore
    environment: str
    evaluator: str
    most: int
    causes: Mapping[str, str]
    code: str
    read_at: float

    @property
    def _scope(self) -> str:
        return f"asked by {self.evaluator}"

    def given_up(self, instance: dg.DagsterInstance) -> GivenUp:
        """Return the nodes and tests that are not requested any more, and for which nothing has changed since.

        One run that succeeded by other code than this process has read is enough: the next one would do the same. What such a run did before
        this process read the project says nothing of what a run would do now.
        """
        requests = self._requests
        wanted = {mark for marks in requests.values() for mark in marks}
        if not wanted:
            return GivenUp()
        over = dg.RunsFilter(tags={PLAN_TAG: sorted(wanted)}, statuses=list(OVER))
        runs: Counter[str] = Counter()
        elsewhere: set[str] = set()
        for record in instance.get_run_records(over, limit=self.most * len(wanted)):
            run, tags = record.dagster_run, record.dagster_run.tags
            if not run.is_success or tags.get(CODE_TAG, self.code) == self.code:
                runs[tags[PLAN_TAG]] += 1
            elif record.create_timestamp.timestamp() > self.read_at:
                elsewhere.add(tags[PLAN_TAG])
        tried = {name for name, marks in requests.items() if sum(runs[mark] for mark in marks) >= self.most}
        other = {name for name, marks in requests.items() if not elsewhere.isdisjoint(marks)}
        return GivenUp(frozenset(tried - other), frozenset(other))

    def mark(self, requested: Collection[str]) -> str:
        """Return the tag of a request for some nodes and tests."""
        return digest({name: self.causes[name] for name in sorted(requested)})

    def note(self, requested: Collection[str]) -> None:
        """Note that some nodes and tests are requested, under the tag of that request."""
        mark = self.mark(requested)
        before = self._requests
        told = {
            name: " ".join([self.causes[name], *dict.fromkeys((*before.get(name, ()), mark))])
            for name in requested
            if mark not in before.get(name, ())
        }
        self.store.keep_shown(self.environment, self._scope, told)

    @cached_property
    def _requests(self) -> Mapping[str, tuple[str, ...]]:
        """The tags under which each node and test was requested for the cause that it has now."""
        found = {}
        for name, told in self.store.shown(self.environment, self._scope).items():
            cause, *marks = told.split()
            if cause == self.causes.get(name):
                found[name] = tuple(marks)
        return found


def _text(version: DataVersion | None) -> str | None:
    return None if version is None else str(version)
