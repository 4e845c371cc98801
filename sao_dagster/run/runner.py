"""Plans and runs of one project."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from sao_dagster.core.decide import Mode
from sao_dagster.core.facts import Facts
from sao_dagster.core.plan import Plan, make_plan
from sao_dagster.core.project import Project
from sao_dagster.core.selection import Selection
from sao_dagster.errors import ProjectErrors, StateError
from sao_dagster.gc_pause import no_collection
from sao_dagster.run.events import Event, Message, Planned
from sao_dagster.run.observe import Observation, observe
from sao_dagster.run.prove import Prover
from sao_dagster.run.report import RunResult
from sao_dagster.run.run import Run
from sao_dagster.state.protocol import DecisionRecord, RunRecord, StateStore
from sao_dagster.warehouses.protocol import Session, Warehouse

OBSERVE_SECONDS = 60.0
LEASE_SECONDS = 60.0
QUEUE_SECONDS = 3600.0


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Plans and runs selections of one project.

    Attributes:
        project: What there is to build.
        warehouse: Where to build it.
        open_store: Opens the shared state.
        clock: Tells the time (UTC).
        threads: How many steps go on at once; None for the warehouse's own setting.
        observe_seconds: The time for reading data versions before a plan.
        verify: Whether the content of built relations is compared with what was built, to notice foreign changes.
        build_without_state: Whether a run whose state cannot be reached builds everything, rather than fail.
        lease_seconds: After what time without a sign of life a model may be taken over from a run.
        queue_seconds: How long a model waits for another run that builds it.
        verify_proofs: Whether data tests that are proven to pass are run all the same.
    """

    project: Project
    warehouse: Warehouse
    open_store: Callable[[], StateStore]
    clock: Callable[[], datetime] = _now
    threads: int | None = None
    observe_seconds: float = OBSERVE_SECONDS
    verify: bool = True
    build_without_state: bool = False
    lease_seconds: float = LEASE_SECONDS
    queue_seconds: float = QUEUE_SECONDS
    verify_proofs: bool = False

    def plan(
        self, selection: Selection, mode: Mode = Mode.STATE_AWARE, *, wait_seconds: float | None = None
    ) -> tuple[Plan, Observation]:
        """Return what a run would do now, and what that was decided from. Builds nothing.

        Raises:
            StateError: The state cannot be read.
            WarehouseBusyError: The warehouse is held by another process for longer than `wait_seconds`.
        """
        with no_collection(), self.warehouse.session(read_only=True, wait_seconds=wait_seconds) as session:
            store = self.open_store()
            return self._by_the_clock_of(store)._plan(selection, mode, session, store)

    def _by_the_clock_of(self, store: StateStore) -> Runner:
        """Return the runner with the store's time, on which all machines agree, unless it was given a time of its own."""
        if self.clock is not _now:
            return self
        ahead = store.now() - _now()
        return replace(self, clock=lambda: _now() + ahead)

    def _plan(self, selection: Selection, mode: Mode, session: Session, store: StateStore) -> tuple[Plan, Observation]:
        now = self.clock()
        seen = self.observe(selection, mode, session, store, now)
        prover = Prover(self.project, session, lambda: seen.facts, seen.catalog)
        return make_plan(self.project, selection, seen.facts, now, mode, prover.prove), seen

    def observe(
        self, selection: Selection, mode: Mode, session: Session, store: StateStore, now: datetime
    ) -> Observation:
        """Return what is known of a selection now, by the settings of this runner; see `observe.observe`."""
        return observe(
            self.project,
            selection,
            store=store,
            session=session,
            now=now,
            budget_seconds=self.observe_seconds,
            verify=self.verify and mode is Mode.STATE_AWARE,
        )

    def run(
        self,
        selection: Selection,
        mode: Mode = Mode.STATE_AWARE,
        *,
        run_id: str | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> RunResult:
        """Run a selection to its end and return what it did.

        Raises:
            ProjectErrors: The project has errors; nothing was built.
            StateError: The state cannot be reached.
            WarehouseError: The warehouse cannot be opened.
        """
        running = self.events(selection, mode, run_id=run_id)
        while True:
            try:
                event = next(running)
            except StopIteration as stop:
                result: RunResult = stop.value
                return result
            if on_event is not None:
                on_event(event)

    def events(
        self, selection: Selection, mode: Mode = Mode.STATE_AWARE, *, run_id: str | None = None
    ) -> Generator[Event, None, RunResult]:
        """Run a selection, yielding events as they happen; returns the `RunResult`.

        Closing the iterator stops the run: statements are interrupted, and what was not recorded is not built.
        """
        if self.project.errors:
            raise ProjectErrors(self.project.errors)
        started = time.perf_counter()
        run_id = run_id or uuid.uuid4().hex
        messages: queue.SimpleQueue[Event] = queue.SimpleQueue()
        with self.warehouse.session(on_wait=lambda text: messages.put(Message(text))) as session:
            yield from _drain(messages)
            opened = time.perf_counter()
            store: StateStore | None = None
            runner = self
            try:
                store = self.open_store()
                runner = self._by_the_clock_of(store)
                plan, seen = runner._plan(selection, mode, session, store)
            except StateError as error:
                if not self.build_without_state:
                    raise
                yield Message(f"{error}; everything is built, and nothing is recorded")
                mode, store, seen = Mode.WITHOUT_STATE, None, Observation(facts=Facts())
                plan = make_plan(self.project, selection, seen.facts, self.clock(), mode)
            deciding = time.perf_counter() - opened
            started_at = runner.clock() - timedelta(seconds=time.perf_counter() - started)
            yield Planned(plan, seen)
            run = Run(runner, selection, mode, run_id, session, store, seen, runner.clock())

            def result() -> RunResult:
                return RunResult(
                    run_id=run_id,
                    environment=self.project.environment,
                    mode=mode,
                    started_at=started_at,
                    finished_at=runner.clock(),
                    models=tuple(run.models.values()),
                    tests=tuple(run.tests.values()),
                    seconds=time.perf_counter() - started,
                    deciding_seconds=deciding,
                    warnings=(
                        *plan.warnings,
                        *(text for each in run.models.values() for text in each.decision.warnings),
                    ),
                )

            try:
                yield from run.events()
                run.finish_hooks()
                run.keep_contents()
            finally:  # also of a run that was stopped: what it did is worth knowing
                if store is not None:
                    record_run(store, result())
        return result()


def _drain(messages: queue.SimpleQueue[Event]) -> Iterator[Event]:
    while not messages.empty():
        yield messages.get()


def record_run(store: StateStore, result: RunResult) -> None:
    """Keep a run, its summary and its decisions."""
    store.record_run(
        RunRecord(
            run_id=result.run_id,
            environment=result.environment,
            mode=result.mode.value,
            started_at=result.started_at,
            finished_at=result.finished_at,
            summary=result.summary(),
        ),
        [
            DecisionRecord(
                model=each.name,
                outcome=each.decision.outcome.value,
                reason=each.decision.reason.value,
                evidence=each.decision.evidence,
                decided_at=each.decided_at,
                seconds=each.seconds,
                seconds_saved=each.seconds_saved,
            )
            for each in result.models
        ]
        + [
            DecisionRecord(
                model=each.test.name,
                outcome=each.decision.outcome.value,
                reason=each.decision.reason.value,
                evidence={**each.decision.evidence, "verdict": each.verdict.value if each.verdict else None},
                decided_at=result.started_at,
                seconds=each.seconds,
                seconds_saved=each.record.seconds if each.record else 0.0,
            )
            for each in result.tests
        ],
    )
