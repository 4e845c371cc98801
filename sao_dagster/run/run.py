"""One run: steps are taken in their order, as many at once as there are threads; and a node's turn, from top to bottom.

At its turn a node is decided with what is known now. Where it is to be built, its lease is taken, what other runs have done
is learnt, and it is decided again; the second decision counts. Then it is built and recorded (`materialize`), and its data
tests are a step of their own (`data_tests`).
"""

from __future__ import annotations

import queue
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

from sao_dagster.core.decide import Decision
from sao_dagster.core.elsewhere import Difference, Refusal
from sao_dagster.core.messages import Message
from sao_dagster.core.nodes import Node, NodeError
from sao_dagster.core.plan import decide_node, failed
from sao_dagster.core.policy import BuildAfter
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.records import BuildRecord, Lease
from sao_dagster.core.selection import Selection
from sao_dagster.core.standing import StandingFailures
from sao_dagster.errors import (
    ChangedRelationError,
    DisturbedBuildError,
    InputBuiltError,
    LeaseLostError,
    LeaseTimeoutError,
    StalledError,
    words_of,
)
from sao_dagster.run.context import RunContext
from sao_dagster.run.data_tests import TestSteps
from sao_dagster.run.defer import InPlace
from sao_dagster.run.events import Event, ModelResult, Started, TestResult
from sao_dagster.run.lease_queue import Queued
from sao_dagster.run.materialize import NodeBuilds
from sao_dagster.run.schedule import RunStep, describe_steps

QUEUE_PAUSE = 0.3  # seconds between two looks at a model that another run builds


@dataclass(frozen=True)
class _Done:
    """A step was taken."""

    step: RunStep


@dataclass(frozen=True)
class _Waits:
    """A step whose model another run builds just now; it is taken again a little later."""

    step: RunStep


@dataclass(frozen=True)
class _Begins:
    """A step that may be taken only after the start of the run, which has not been."""

    step: RunStep


@dataclass
class Run:
    """One run while it goes, or the part of it before its start, or after.

    Attributes:
        context: What its parts share.
        builds: Builds nodes.
        data_tests: Runs data tests.
        intervals: The `build_after` of each node that has one, at the time the run began.
        standing: The tests that failed before and are not asked in the run.
        inbox: What the threads of the run tell: events, what became of steps, and errors that end it.
        models: What became of nodes.
        tests: What became of data tests.
    """

    context: RunContext
    builds: NodeBuilds
    data_tests: TestSteps
    intervals: Mapping[str, BuildAfter]
    standing: StandingFailures
    inbox: queue.SimpleQueue[Event | _Done | _Waits | _Begins | BaseException]
    models: dict[str, ModelResult] = field(default_factory=dict)
    tests: dict[str, TestResult] = field(default_factory=dict)

    # ------------------------------------------------------------------ scheduling

    def left_of(self, selection: Selection) -> Selection:
        """Return what of a selection has not been taken."""
        nodes = tuple(name for name in selection.nodes if name not in self.models)
        return replace(selection, nodes=nodes, tests=tuple(name for name in selection.tests if name not in self.tests))

    def read_in_place(self, in_place: InPlace) -> Iterator[ModelResult]:
        """Note and tell what is read in other environments, and was not told."""
        for each in in_place.results(self.context.now()):
            if each.name not in self.models:
                self.models[each.name] = each
                yield each

    def events(self, steps: Mapping[RunStep, tuple[RunStep, ...]], threads: int) -> Generator[Event, None, bool]:
        """Take all steps, each after those it waits for; yield what happens, and return whether all were taken.

        Where one may be taken only after the start of the run, those that are being taken are the last.

        Args:
            steps: The steps, each with those it waits for.
            threads: How many are taken at once.

        Raises:
            StalledError: Nothing is going, no other run is waited for, and steps are left; names them.
        """
        waits = {step: set(needed) for step, needed in steps.items()}
        followers: dict[RunStep, list[RunStep]] = {}
        for step, needed in waits.items():
            for each in needed:
                followers.setdefault(each, []).append(step)
        pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="sao")
        going: set[RunStep] = set()
        begins = False  # whether the start of the run is due
        self.context.session.watch_steps(lambda: len(going))

        def begin(steps: Collection[RunStep]) -> None:
            if begins:
                return
            going.update(steps)  # all of them before the first one goes, for whoever waits for all
            for step in steps:
                pool.submit(self._take, step)

        try:
            begin([step for step, needed in waits.items() if not needed])
            queued: dict[RunStep, float] = {}  # when to look again, on the monotonic clock
            while waits and not (begins and not going):
                if not going and not queued:  # nothing is left that could ever say anything
                    raise StalledError(
                        f"the run does not go on; what is left waits for itself: {describe_steps(waits)}"
                    )
                item = self._next(QUEUE_PAUSE if queued else None)
                due = [step for step, when in queued.items() if when <= time.monotonic()]
                for step in due:
                    del queued[step]
                begin(due)
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, _Begins):
                    begins = True
                    going.discard(item.step)
                elif isinstance(item, _Waits):
                    going.discard(item.step)
                    queued[item.step] = time.monotonic() + QUEUE_PAUSE
                elif isinstance(item, _Done):
                    del waits[item.step]
                    for follower in followers.get(item.step, ()):
                        waits[follower].discard(item.step)
                    begin([each for each in followers.get(item.step, ()) if not waits[each]])
                    going.discard(item.step)  # after what follows has begun
                elif item is not None:
                    yield item
            return not waits
        finally:
            self.context.stopping.set()
            if going:
                self.context.session.interrupt()
            pool.shutdown(wait=True, cancel_futures=True)
            if self.context.leases is not None:
                self.context.leases.close()

    def _next(self, seconds: float | None) -> Event | _Done | _Waits | _Begins | BaseException | None:
        """Return what a thread tells next; None where nothing comes in time."""
        try:
            return self.inbox.get(timeout=seconds)
        except queue.Empty:
            return None

    def _take(self, step: RunStep) -> None:
        """Take one step, on a thread of the pool."""
        if self.context.stopping.is_set():
            return
        try:
            if not step.tests:
                self.inbox.put(self._turn(step.node)(step))
            elif (results := self.data_tests.take(step)) is None:
                self.inbox.put(_Begins(step))
            else:
                self.tests.update({result.test.name: result for result in results})
                self.inbox.put(_Done(step))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that runs the run
            self.inbox.put(error)

    # ------------------------------------------------------------------ a node's turn

    def _turn(self, name: str) -> type[_Done | _Waits | _Begins]:
        """Decide about a node, and build it if that is due; return what became of its step.

        Where another run builds it just now it waits: it is looked at and decided again then, and usually reused.
        """
        run, leases, facts = self.context, self.context.leases, self.context.run_facts
        now, node = run.now(), run.project.nodes[name]
        facts.sync(name, exact=leases is not None and leases.is_waiting(name))
        facts.refresh_stale(Selection((name,), tuple(test.name for test in self.standing.tests), ()))
        decision = self._decide(name, now)
        if not decision.makes:
            if leases is not None:
                leases.leave(name)
            self._conclude(node, decision, now)
            return _Done
        if not run.hooks.have_begun:
            return _Begins
        lease: Lease | None = None
        if leases is not None:
            try:
                granted = leases.acquire(name)
            except LeaseTimeoutError as error:
                self._conclude(node, failed(node, NodeError.of(error, node.location), decision), now)
                return _Done
            if isinstance(granted, Queued):
                if granted.message is not None:
                    run.emit(Message(granted.message))
                return _Waits
            lease = granted.lease
            facts.sync(name, exact=True)
            if facts.is_outdated(name) or granted.waited or facts.watch.has_moved(name):
                facts.refresh(name)
            decision = self._decide(name, now)
        if decision.makes:
            return _Done if self._build(node, decision, lease, now) else _Waits
        self._release(lease)
        self._conclude(node, decision, now)
        return _Done

    def _decide(self, name: str, now: datetime, *, alone: bool = False) -> Decision:
        """Decide about a node; a run that builds all does that once, though several of its steps need it, or one is tried again.

        Args:
            name: The node.
            now: The time (UTC).
            alone: Whether nothing is taken from other environments.
        """
        run = self.context
        run.run_facts.ask(run.project.nodes[name], now)
        record = run.run_facts.facts.records.get(name)
        is_built = record is not None and record.run_id == run.run_id
        return decide_node(
            run.project,
            name,
            run.run_facts.facts,
            now=now,
            mode=Mode.STATE_AWARE if is_built else run.mode,
            intervals=self.intervals,
            held=run.failures.holding_node(
                run.project, name, self.standing.above(name, run.run_facts.facts, now)
            ).and_elsewhere(self.standing.elsewhere_above(name)),
            offers=(lambda node: ()) if alone else run.offers.of,
        )

    def _build(self, node: Node, decision: Decision, lease: Lease | None, now: datetime) -> bool:
        """Build a node with the lease in hand, or take it from elsewhere; return False where the lease was lost, so that it is decided again.

        What cannot be taken from elsewhere after all is built.
        """
        run = self.context
        run.emit(Started(node.name, decision.reason))
        started = time.perf_counter()
        try:
            record = self.builds.build(node.name, run.run_facts.facts, lease, decision.offer)
        except InputBuiltError as error:
            run.emit(Message(f"{error}; {node.name} is decided again"))
            run.run_facts.outdate(node.name)
            self._release(lease)
            return False
        except LeaseLostError as error:
            run.emit(Message(f"{error}; it is decided again"))
            run.run_facts.taint(node.name)
            return False
        except DisturbedBuildError as error:
            run.emit(Message(f"{error}; {node.name} is built again"))
            run.run_facts.taint(node.name)
            run.run_facts.outdate(node.name)
            self._release(lease)
            return False
        except Exception as error:  # noqa: BLE001 - whoever builds may raise anything; it is this node that failed
            if decision.offer is not None and not run.stopping.is_set():
                where = f"{decision.offer.relation} of {decision.offer.environment}"
                run.emit(Message(f"{node.name} is built here, since {where} cannot be taken: {words_of(error)}"))
                altered = isinstance(error, ChangedRelationError)
                refusal = Refusal(
                    environment=decision.offer.environment,
                    difference=Difference.ALTERED if altered else Difference.REFUSED,
                    names=() if altered else (words_of(error).splitlines()[0],),
                )
                return self._build(node, self._decide(node.name, now, alone=True).not_taken([refusal]), lease, now)
            if not run.stopping.is_set():
                self._conclude(node, failed(node, NodeError.of(error, node.location), decision), now)
                self._release(lease)
            return True
        took = record.seconds if decision.offer is None else time.perf_counter() - started
        self._conclude(node, decision, now, built=record, seconds=took)
        return True

    def _release(self, lease: Lease | None) -> None:
        if lease is not None and self.context.leases is not None:
            self.context.leases.release(lease)

    def _conclude(
        self, node: Node, decision: Decision, now: datetime, built: BuildRecord | None = None, seconds: float = 0.0
    ) -> None:
        """Note and tell what became of a node."""
        run = self.context
        result = ModelResult(
            decision=decision,
            relation=str(node.relation),
            record=built or run.run_facts.facts.records.get(node.name),
            data_version=run.run_facts.version(node.name),
            seconds=seconds,
            decided_at=now,
        )
        if decision.outcome in (Outcome.SKIPPED, Outcome.FAILED):
            run.failures.add_node(node.name)
        self.models[node.name] = result
        run.emit(result)
