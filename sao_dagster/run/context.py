"""What all parts of one run share while it goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.facts import HeldBack
from sao_dagster.core.nodes import DataTest
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode
from sao_dagster.run.elsewhere import Offers
from sao_dagster.run.events import Event
from sao_dagster.run.lease_queue import LeaseQueue
from sao_dagster.run.project_hooks import ProjectHooks
from sao_dagster.run.run_facts import RunFacts
from sao_dagster.run.settings import RunSettings
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Capabilities, Materializer, Session


class Failures:
    """What failed in a run, and what that holds back; used by several threads."""

    def __init__(self) -> None:
        self._nodes: set[str] = set()
        self._tests: list[DataTest] = []
        self._lock = threading.Lock()

    def add_node(self, name: str) -> None:
        """Note that a node failed or was skipped: what reads it is skipped, and so are its tests."""
        with self._lock:
            self._nodes.add(name)

    def add_test(self, test: DataTest) -> None:
        """Note that an `error` test failed: what is below all that it reads is skipped."""
        with self._lock:
            self._tests.append(test)

    def holding_node(self, project: Project, name: str, standing: Iterable[DataTest]) -> HeldBack:
        """Return what holds back a node: the relations it reads that failed, and the tests above it that did.

        Args:
            project: The project.
            name: The node.
            standing: The tests above it that failed before this run, and were not asked in it.
        """
        graph = project.graph
        with self._lock:
            failed = tuple(each for each in graph.read(name) if each in self._nodes)
            tests = [test for test in self._tests if graph.is_below_all(name, test.reads)]
        tests.sort(key=lambda test: (test.tested, test.name))
        before = [test for test in standing if test not in tests]
        return HeldBack(
            failed=failed,
            tested=tuple(dict.fromkeys(test.tested for test in (*tests, *before))),
            tests=tuple(test.name for test in tests),
            standing=tuple(test.name for test in before),
        )

    def holding_test(self, project: Project, test: DataTest) -> tuple[str, ...]:
        """Return what holds back a data test; see `Project.stopped_among`."""
        with self._lock:
            return project.stopped_among(test.reads, self._nodes, self._tests)


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """One run: what it is about, what it works with, and what it knows.

    Attributes:
        project: What there is to build.
        run_id: Its id.
        mode: How it decides.
        settings: How it goes.
        session: The warehouse, open.
        capabilities: What the warehouse can do, with who builds.
        materializer: Who builds.
        store: The shared state; None for a run without.
        leases: Its leases; None for a run without state.
        hooks: The project's own statements before the first build and after the last.
        run_facts: What it knows.
        offers: What other environments have of what is to be built.
        in_place: What is read there and nothing was made of, by model: what it held when that was decided.
        failures: What failed in it.
        emit: Takes what is to be told to whoever watches; from any thread.
        stopping: Set when it ends, so that nothing is waited for any more.
    """

    project: Project
    run_id: str
    mode: Mode
    settings: RunSettings
    session: Session
    capabilities: Capabilities
    materializer: Materializer
    store: StateStore | None
    leases: LeaseQueue | None
    hooks: ProjectHooks
    run_facts: RunFacts
    offers: Offers
    emit: Callable[[Event], None]
    in_place: Mapping[str, DataVersion] = field(default_factory=dict)
    failures: Failures = field(default_factory=Failures)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def started_at(self) -> datetime:
        """When it began by the real clock (UTC), as templates see it."""
        return self.hooks.started_at

    def now(self) -> datetime:
        """Return the time (UTC)."""
        return self.settings.clock()
