"""Runs of one project: what is planned is done."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.facts import Facts
from sao_dagster.core.messages import Message
from sao_dagster.core.plan import make_plan
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.selection import Selection
from sao_dagster.core.standing import StandingFailures
from sao_dagster.errors import StateError
from sao_dagster.run.adopt import Adoption, adoptable, record_adopted
from sao_dagster.run.context import Failures, RunContext
from sao_dagster.run.data_tests import TestSteps, source_ages
from sao_dagster.run.defer import InPlace
from sao_dagster.run.events import Event, Planned
from sao_dagster.run.lease_queue import LeaseQueue
from sao_dagster.run.materialize import NodeBuilds
from sao_dagster.run.observe import Observation
from sao_dagster.run.others import reaching
from sao_dagster.run.planner import NOTHING, Planner, Prepared
from sao_dagster.run.project_hooks import ProjectHooks
from sao_dagster.run.publish import published
from sao_dagster.run.report import RunResult, broken_sources, note_proven, outcomes, record_run
from sao_dagster.run.run import Run
from sao_dagster.run.run_facts import RunFacts
from sao_dagster.run.schedule import steps_of
from sao_dagster.run.settings import utc_now
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Session

TOGETHER = 500  # steps that are taken at once where they are built in one go


@dataclass(frozen=True, kw_only=True)
class Runner(Planner):
    """Plans and runs selections of one project, by settings."""

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
            ProjectErrors: The project as a whole has errors; nothing was built.
            StateError: The state cannot be reached.
            WarehouseError: The warehouse cannot be opened, or `on-run-start` failed: nothing was built or recorded.
        """
        running = self.events(selection, mode, run_id=run_id, on_message=on_event)
        while True:
            try:
                event = next(running)
            except StopIteration as stop:
                result: RunResult = stop.value
                return result
            if on_event is not None:
                on_event(event)

    def events(
        self,
        selection: Selection,
        mode: Mode = Mode.STATE_AWARE,
        *,
        run_id: str | None = None,
        within: Selection = NOTHING,
        on_message: Callable[[Message], None] | None = None,
    ) -> Generator[Event, None, RunResult]:
        """Run a selection, yielding events as they happen; returns the `RunResult`.

        Closing the iterator stops the run: statements are interrupted, and what was not recorded is not built.

        Args:
            selection: What to run.
            mode: How to decide.
            run_id: The id of the run; a new one where none is given.
            within: What the whole run is about, where this is one step of several, which take their turns by what the project declares: what
                comes before the selection by the catalog alone is run with it.
            on_message: Told at once what there is to say while the warehouse is opened, such as whom the run waits for: nothing can be
                yielded then. Without it, that is among the first events.
        """
        self.project.check()
        started = time.perf_counter()
        ready = self.reaching()
        run_id = run_id or str(uuid.uuid4())
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        this_thread = threading.get_ident()

        def tell(message: Message) -> None:
            is_ours = threading.get_ident() == this_thread  # which is at work then, and yields nothing
            (on_message if is_ours and on_message is not None else inbox.put)(message)

        with ready._opening(on_message=tell) as session:
            yield from _drain(inbox)
            opened = time.perf_counter()
            store: StateStore | None = None
            try:
                store = self.open_store()
                prepared = ready._prepared(selection, within, mode, session, store)
            except StateError as error:
                if not self.build_without_state:
                    raise
                yield Message(f"{error}; everything is built, and nothing is recorded")
                mode, store, seen = Mode.WITHOUT_STATE, None, Observation(facts=Facts())
                plan = make_plan(ready.project, selection, seen.facts, self.clock(), mode)
                prepared = Prepared(ready, selection, plan, seen, InPlace())
            hooks = ProjectHooks(self.project, session, run_id, utc_now())

            def begin(*, anew: bool) -> Prepared[Runner]:
                names = (*prepared.selection.nodes, *prepared.selection.tests)
                again = hooks.start(names, full_refresh=mode is Mode.FULL_REFRESH) or anew
                if store is None or not again:
                    return prepared
                # what was made ready, functions too, is what is going to be read
                return ready._prepared(selection, within, mode, session, store)

            def start(it: Prepared[Runner], earlier: Run | None = None) -> Run:
                in_place = it.in_place.versions
                return it.runner._start(
                    it.selection, mode, run_id, session, store, it.seen, hooks, inbox, in_place, earlier
                )

            # before anything else: if that fails, nothing is tested or recorded either
            if prepared.plan.to_make or prepared.tests_after(hooks):
                prepared = begin(anew=False)
                yield from _drain(inbox)
            plan, seen = prepared.plan, prepared.seen
            deciding = time.perf_counter() - opened
            started_at = prepared.runner.clock() - timedelta(seconds=time.perf_counter() - started)
            yield Planned(plan, seen)
            run = start(prepared)

            def result() -> RunResult:
                return RunResult(
                    run_id=run_id,
                    environment=prepared.runner.project.environment,
                    mode=mode,
                    started_at=started_at,
                    finished_at=prepared.runner.clock(),
                    models=tuple(each for each in run.models.values() if not each.repeats(run_id)),
                    tests=tuple(each for each in run.tests.values() if not each.repeats(run_id)),
                    seconds=time.perf_counter() - started,
                    deciding_seconds=deciding,
                    warnings=(
                        *plan.warnings,
                        *(text for each in run.models.values() for text in each.decision.warnings),
                    ),
                    broken_sources=broken_sources(self.project, prepared.selection),
                    cut_off=frozenset(
                        name
                        for name, each in run.models.items()
                        if each.decision.outcome is Outcome.REUSED
                        and not each.decision.makes
                        and (foreseen := plan.decisions.get(name)) is not None
                        and foreseen.evidence.get("tentative")
                    ),
                    job=self.job,
                    deferral=plan.deferral,
                )

            try:
                for check in source_ages(self.project, seen.loaded_at, prepared.runner.clock(), mode):
                    run.tests[check.test.name] = check
                    yield check
                while True:
                    yield from run.read_in_place(prepared.in_place)
                    left = run.left_of(prepared.selection)
                    if (yield from run.events(steps_of(prepared.runner.project, left), self._at_once)):
                        break
                    prepared = begin(anew=True)  # which no step that was taken needed
                    yield from _drain(inbox)
                    run = start(prepared, run)
                run.builds.finish(anything_done=bool(run.models))
                session.end_builds(outcomes(run.models.values(), run.tests.values()))
                yield from _drain(inbox)
            finally:  # also of a run that was stopped: what it did is worth knowing
                self._save()
                if store is not None:
                    done = result()
                    record_run(store, done)
                    note_proven(store, done)
                    self.publish(store, prepared.runner.project.environment)
        return result()

    def adopt(
        self, selection: Selection, *, dry_run: bool = False, on_message: Callable[[Message], None] | None = None
    ) -> Adoption:
        """Record relations that are there and have no record as built by the code of today from the inputs of today; return which.

        Args:
            selection: What it is about.
            dry_run: Whether nothing is recorded.
            on_message: Told at once whom it waits for.

        Raises:
            ProjectErrors: The project as a whole has errors.
            StateError: The state cannot be reached.
        """
        self.project.check()
        warehouse = reaching(self.project.others.values(), self.warehouse)
        with warehouse.session(read_only=dry_run, on_message=on_message) as session:
            store = self.open_store()
            runner = replace(self, warehouse=warehouse)._opened(selection, session, store)
            seen = runner.observe(selection, Mode.STATE_AWARE, session, store, runner.clock())
            found = adoptable(runner.project, selection, seen, session)
            if dry_run or not found.nodes:
                return found
            run_id = str(uuid.uuid4())
            hooks = ProjectHooks(self.project, session, run_id, utc_now())
            chosen = Selection(found.nodes, (), ())
            run = runner._start(chosen, Mode.STATE_AWARE, run_id, session, store, seen, hooks, queue.SimpleQueue())
            adoption = record_adopted(run.context, found)
            self.publish(store, runner.project.environment)
            return adoption

    def publish(self, store: StateStore, environment: str) -> None:
        """Let other projects know which models of an environment they may read, and where; written only where that is news."""
        store.publish(environment, published(self.project, lambda: store.builds(environment)))

    def _start(
        self,
        selection: Selection,
        mode: Mode,
        run_id: str,
        session: Session,
        store: StateStore | None,
        seen: Observation,
        hooks: ProjectHooks,
        inbox: queue.SimpleQueue[Any],
        in_place: Mapping[str, DataVersion] | None = None,
        earlier: Run | None = None,
    ) -> Run:
        """Return a run that is about to go: its facts are what was observed, and all its parts share one context.

        Where a part of it has gone before its start, it knows what became of that.
        """

        def observe_again(part: Selection) -> Observation:
            assert store is not None  # noqa: S101 - asked for by what the state says
            return self.observe(part, mode, session, store, self.clock())

        exclusive = self.warehouse.capabilities.exclusive
        run_facts = RunFacts(self.project, run_id, store, session, seen, observe_again, exclusive=exclusive)
        capabilities = self.warehouse.capabilities
        if self.materializer is not None:  # what another one builds is in no transaction that is known of
            capabilities = replace(capabilities, transactional_ddl=False)
        context = RunContext(
            project=self.project,
            run_id=run_id,
            mode=mode,
            settings=self,
            session=session,
            capabilities=capabilities,
            materializer=self.materializer or session.materializer(),
            store=store,
            leases=None
            if store is None
            else LeaseQueue(store, self.project.environment, run_id, self.lease_seconds, self.queue_seconds),
            hooks=hooks,
            run_facts=run_facts,
            offers=self._offers(seen, session, {}),
            emit=inbox.put,
            in_place=in_place or {},
            failures=Failures() if earlier is None else earlier.context.failures,
        )
        return Run(
            context=context,
            builds=NodeBuilds(context),
            data_tests=TestSteps(context, self._prover(session, lambda: run_facts.facts, seen)),
            intervals=self.project.graph.intervals(self.clock()),
            standing=StandingFailures.of(self.project, selection, seen.facts, mode).without(selection.tests),
            inbox=inbox,
            models={} if earlier is None else earlier.models,
            tests={} if earlier is None else earlier.tests,
        )

    @property
    def _at_once(self) -> int:
        """How many steps are taken at once."""
        threads = self.threads or self.warehouse.threads
        return max(threads, TOGETHER) if self.warehouse.capabilities.builds_together else threads


def _drain(inbox: queue.SimpleQueue[Any]) -> Iterator[Event]:
    while not inbox.empty():
        yield inbox.get()
