"""What happens while a run goes on, for each model when its turn comes.

Decide again with what is known now; wait where another run builds it; build in one transaction; take the data version of what
was built; record it with the versions of the inputs as they were read *before* the build; then its data tests. A crash
before the record leaves the old record, so the model is built again at worst.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from sao_dagster.core.decide import Decision, Mode, Outcome, Reason
from sao_dagster.core.decide_test import TestDecision, TestOutcome, TestReason, decide_test
from sao_dagster.core.explain import describe_refuted
from sao_dagster.core.facts import Facts
from sao_dagster.core.hashing import digest
from sao_dagster.core.nodes import CompiledSql, DataTest, Model, Node, Seed, is_source
from sao_dagster.core.plan import decide_node, node_facts
from sao_dagster.core.records import BuildRecord, Lease, TestRecord, Verdict
from sao_dagster.core.selection import Selection
from sao_dagster.errors import LeaseLostError, LeaseTimeoutError, SaoError
from sao_dagster.run.data_tests import TestAnswer, run_tests
from sao_dagster.run.events import Event, Message, ModelResult, Started, TestResult, freshness_test
from sao_dagster.run.lease_queue import LeaseQueue, Queued
from sao_dagster.run.observe import Observation, kept_sql
from sao_dagster.run.prove import Prover
from sao_dagster.run.run_facts import RunFacts, data_version, schema_version
from sao_dagster.run.schedule import RunStep, steps_of
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Session

if TYPE_CHECKING:
    from sao_dagster.run.runner import Runner

QUEUE_PAUSE = 0.3  # seconds between two looks at a model that another run builds


@dataclass(frozen=True)
class _Queued:
    """A step whose model another run builds just now; it is taken again a little later."""

    step: RunStep


@dataclass
class Run:
    """One run while it goes: scheduling, turns at models, builds, tests. What it knows is in `RunFacts`."""

    runner: Runner
    selection: Selection
    mode: Mode
    run_id: str
    session: Session
    store: StateStore | None
    seen: Observation
    observed_at: datetime
    models: dict[str, ModelResult] = field(default_factory=dict)
    tests: dict[str, TestResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.project = self.runner.project
        self.run_facts = RunFacts(self.project, self.run_id, self.store, self.session, self.seen, self._observe)
        self.prover = Prover(self.project, self.session, lambda: self.run_facts.facts, self.seen.catalog)
        self.intervals = self.project.graph.intervals(self.observed_at)
        self.broken: set[str] = (
            set()
        )  # nodes that failed or were skipped: what reads them is skipped, and so are their tests
        self.failed_tests: list[DataTest] = []  # those that hold back what is below all that they read
        self.lock = threading.Lock()
        self.done: queue.SimpleQueue[RunStep | _Queued | Event | BaseException] = queue.SimpleQueue()
        self.leases = (
            None
            if self.store is None
            else LeaseQueue(
                self.store, self.project.environment, self.run_id, self.runner.lease_seconds, self.runner.queue_seconds
            )
        )
        self.stopping = threading.Event()
        self.hooks_ran = False
        self.side_effects = bool(self.project.on_run_start or self.project.on_run_end)

    # ------------------------------------------------------------------ scheduling

    def events(self) -> Iterator[Event]:
        """Take all steps, as many at once as there are threads."""
        yield from self._source_ages()
        waits = {step: set(needed) for step, needed in steps_of(self.project, self.selection).items()}
        followers: dict[RunStep, list[RunStep]] = {}
        for step, needed in waits.items():
            for each in needed:
                followers.setdefault(each, []).append(step)
        threads = self.runner.threads or int(self.runner.warehouse.target.get("threads", 4))
        pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="sao")
        try:
            for step, needed in waits.items():
                if not needed:
                    pool.submit(self._take, step)
            remaining = len(waits)
            queued: dict[RunStep, float] = {}  # when to look again, on the monotonic clock
            while remaining:
                try:
                    item = self.done.get(timeout=QUEUE_PAUSE if queued else None)
                except queue.Empty:
                    item = None
                for step in [each for each, due in queued.items() if due <= time.monotonic()]:
                    del queued[step]
                    pool.submit(self._take, step)
                if item is None:
                    continue
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, _Queued):
                    queued[item.step] = time.monotonic() + QUEUE_PAUSE
                    continue
                if not isinstance(item, RunStep):
                    yield item
                    continue
                remaining -= 1
                for follower in followers.get(item, ()):
                    waits[follower].discard(item)
                    if not waits[follower]:
                        pool.submit(self._take, follower)
        finally:
            self.stopping.set()
            self.session.interrupt()
            pool.shutdown(wait=True, cancel_futures=True)
            if self.leases is not None:
                self.leases.close()

    def _take(self, step: RunStep) -> None:
        """Take one step, on a thread of the pool."""
        if self.stopping.is_set():
            return
        try:
            if step.tests:
                self._test(step)
            elif not self._node(step.node):
                self.done.put(_Queued(step))
                return
            self.done.put(step)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that runs the run
            self.done.put(error)

    # ------------------------------------------------------------------ models and seeds

    def _node(self, name: str) -> bool:
        """Decide about a node, and build it if that is due; return False where another run builds it just now.

        A node that was waited for is observed and decided again: usually it is reused then.
        """
        now = self.runner.clock()
        node = self.project.nodes[name]
        self.run_facts.sync(name, exact=self.leases is not None and self.leases.is_waiting(name))
        decision = self._decide(name, now)
        lease: Lease | None = None
        if decision.outcome is Outcome.BUILT:
            try:
                turn = self.leases.ask(name) if self.leases is not None else None
            except LeaseTimeoutError as error:
                self._failed(node, decision, error, now)
                return True
            if isinstance(turn, Queued):
                if turn.message is not None:
                    self.done.put(Message(turn.message))
                return False
            lease = turn.lease if turn is not None else None
            self.run_facts.sync(name, exact=True)
            if self.store is not None and (self.run_facts.is_outdated(name) or (turn is not None and turn.waited)):
                self.run_facts.refresh(name)
            decision = self._decide(name, now)
        elif self.leases is not None:
            self.leases.leave(name)
        return self._settle(node, decision, lease, now)

    def _settle(self, node: Node, decision: Decision, lease: Lease | None, now: datetime) -> bool:
        """Do what was decided, with the lease in hand; return False where the lease was lost and it is to be asked again."""
        name = node.name
        facts = self.run_facts.facts
        record = facts.records.get(name)
        seconds = 0.0
        if decision.outcome is Outcome.BUILT:
            self.done.put(Started(name, decision.reason))
            try:
                record, seconds = self._build(name, facts, lease)
            except LeaseLostError as error:
                self.done.put(Message(f"{error}; it is decided again"))
                self.run_facts.taint(name)
                return False
            except SaoError as error:
                if self.stopping.is_set():
                    return True
                self._failed(node, decision, error, now)
                self._give_back(lease)
                return True
        else:
            self._give_back(lease)
        self._conclude(node, decision, record, seconds, now)
        return True

    def _give_back(self, lease: Lease | None) -> None:
        if lease is not None and self.leases is not None:
            self.leases.release(lease)

    def _failed(self, node: Node, decision: Decision, error: SaoError, now: datetime) -> None:
        file = str(error.location or node.location) if error.location or node.location else None
        failed = Decision(
            model=node.name,
            outcome=Outcome.FAILED,
            reason=Reason.BUILD_ERROR,
            evidence={"error": error.message, "because": decision.reason.value, "file": file},
            warnings=decision.warnings,
        )
        self._conclude(node, failed, self.run_facts.facts.records.get(node.name), 0.0, now)

    def _conclude(
        self, node: Node, decision: Decision, record: BuildRecord | None, seconds: float, now: datetime
    ) -> None:
        name = node.name
        result = ModelResult(
            decision=decision,
            relation=str(node.relation),
            record=record,
            data_version=self.run_facts.version(name),
            seconds=seconds,
            decided_at=now,
        )
        with self.lock:
            if decision.outcome in (Outcome.SKIPPED, Outcome.FAILED):
                self.broken.add(name)
            self.models[name] = result
        self.done.put(result)

    def _decide(self, name: str, now: datetime) -> Decision:
        graph = self.project.graph
        with self.lock:
            blocked = [each for each in graph.read(name) if each in self.broken]
            blocked += [each.tested for each in self.failed_tests if graph.is_below_all(name, each.reads)]
        return decide_node(
            self.project,
            name,
            self.run_facts.facts,
            now=now,
            mode=self.mode,
            intervals=self.intervals,
            blocked_by=tuple(dict.fromkeys(blocked)),
        )

    def _observe(self, name: str) -> Facts:
        """Observe what a node reads, and its relation."""
        assert self.store is not None  # noqa: S101 - asked for by what the state says
        only = Selection((name,), (), ())
        return self.runner.observe(only, self.mode, self.session, self.store, self.runner.clock()).facts

    def _build(self, name: str, facts: Facts, lease: Lease | None) -> tuple[BuildRecord, float]:
        node = self.project.nodes[name]
        before = node_facts(self.project, name, facts)
        self.run_facts.begin(node)
        observed_at = self.runner.clock()
        self._start_hooks()
        self.session.ensure_schemas([node.relation])
        if isinstance(node, Seed):
            built = self.session.load_seed(node)
        else:
            assert isinstance(node, Model)  # noqa: S101 - nodes are models or seeds
            compiled = node.compiled if node.compiler is None else node.compiler.compile(self._ask, self.run_id)
            wanted = node.full_refresh if node.full_refresh is not None else self.mode is Mode.FULL_REFRESH
            read = (*before.inputs, *before.definitions)
            reads = [self.project.nodes[each].relation for each in read if not is_source(each)]
            built = self.session.build(node, compiled, full_refresh=wanted, reads=reads)
        counted = data_version if node.materialized.holds_data else schema_version
        kept = kept_sql(node.compiled if isinstance(node, Model) else CompiledSql(""))
        record = BuildRecord(
            model=name,
            relation=str(node.relation),
            code_version=node.code.version,
            code_parts=dict(node.code.parts),
            definition=facts.definition_if_built(node),
            sql_id=digest(kept),
            inputs=self.run_facts.versions_read(before.inputs, built, counted, self.stopping),
            definitions=self.run_facts.versions_read(
                before.definitions, built, lambda each: each.definition, self.stopping
            ),
            data_version=built.data_version,
            columns=built.columns,
            rows=built.rows,
            observed_at=observed_at,
            built_at=self.runner.clock(),
            seconds=built.seconds,
            run_id=self.run_id,
            build_id=built.build_id,
        )
        if self.store is not None:
            self.store.record_build(self.project.environment, record, kept, lease)
            if self.leases is not None and lease is not None:
                self.leases.released(lease)
        self.run_facts.add_build(node, record, built)
        if (isinstance(node, Model) and node.compiler is not None) or node.hooks:
            self.side_effects = True
        return record, built.seconds

    def _ask(self, sql: str) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        rows = self.session.query(sql)
        return rows.columns, rows.rows

    # ------------------------------------------------------------------ data tests

    def _test(self, step: RunStep) -> None:
        now = self.runner.clock()
        with self.lock:
            broken = frozenset(self.broken)
        facts = self.run_facts.facts
        to_run: dict[str, TestDecision] = {}
        versions: dict[str, dict[str, str | None]] = {}
        for test in step.tests:
            versions[test.name] = {read: self.run_facts.version(read) for read in test.reads}
            decision = decide_test(
                test,
                now=now,
                record=facts.test_records.get(test.name),
                versions=versions[test.name],
                blocked_by=tuple(read for read in test.reads if read in broken),
                mode=self.mode,
                prove=partial(self.prover.prove, test),
                verify=self._verifies(test),
            )
            if decision.outcome is TestOutcome.RAN:
                to_run[test.name] = decision
            else:
                self._report(test, decision, facts.test_records.get(test.name))
        if not to_run:
            return
        records = []
        for answer in run_tests(self.session, step.name, [self.project.tests[name] for name in to_run]):
            if self.stopping.is_set():
                return
            records.append(self._test_record(answer, versions[answer.test.name], now))
            self._answer(answer, to_run[answer.test.name])
        if self.store is not None:
            self.run_facts.sync(step.node, exact=True)
            kept = [each for each in records if self._is_about(each, versions[each.test])]
            self.store.record_tests(self.project.environment, kept)
            self.run_facts.add_verdicts(kept)

    def _verifies(self, test: DataTest) -> bool:
        """Return whether a proof of a test is verified in this run: one in so many, by chance, or all."""
        every = self.project.proofs.verify_every
        return self.runner.verify_proofs or (
            every is not None and int(digest([self.run_id, test.name])[:12], 16) % every == 0
        )

    def _is_about(self, record: TestRecord, before: Mapping[str, str | None]) -> bool:
        """Return whether no other run has built anew what a test was reading; else nobody knows what its verdict is about."""
        return all(
            self.run_facts.version(read) == version for read, version in before.items()
        ) and self.run_facts.is_as_recorded(before)

    def _report(self, test: DataTest, decision: TestDecision, record: TestRecord | None) -> None:
        reused = record if decision.outcome is TestOutcome.REUSED else None
        proven = decision.outcome is TestOutcome.PROVEN
        result = TestResult(
            test=test,
            decision=decision,
            verdict=reused.verdict if reused else Verdict.PASS if proven else None,
            failures=reused.failures if reused else 0 if proven else None,
            record=reused,
        )
        self._finish_test(result)

    def _answer(self, answer: TestAnswer, decision: TestDecision) -> None:
        refuted = decision.reason is TestReason.PROOF_VERIFIED and answer.verdict in (Verdict.FAIL, Verdict.WARN)
        if refuted:
            decision = replace(decision, evidence={**decision.evidence, "refuted": True})
            self.done.put(Message(describe_refuted(answer.test, decision)))
        result = TestResult(
            test=answer.test,
            decision=decision,
            verdict=answer.verdict,
            failures=answer.failures,
            statement=answer.statement,
            seconds=answer.seconds,
            sample=answer.sample,
            error=answer.error,
        )
        self._finish_test(result)

    def _finish_test(self, result: TestResult) -> None:
        with self.lock:
            self.tests[result.test.name] = result
            if result.blocks:
                self.failed_tests.append(result.test)
        self.done.put(result)

    def _test_record(self, answer: TestAnswer, versions: dict[str, str | None], now: datetime) -> TestRecord:
        return TestRecord(
            test=answer.test.name,
            version=answer.test.version,
            inputs={read: version for read, version in versions.items() if version is not None},
            verdict=answer.verdict,
            failures=answer.failures,
            run_at=now,
            seconds=answer.seconds,
            run_id=self.run_id,
        )

    def _source_ages(self) -> Iterator[Event]:
        """Check the age of sources that have limits; neither limit holds anything back."""
        now = self.runner.clock()
        for name, newest in sorted(self.seen.loaded_at.items()):
            source = self.project.sources[name]
            if not source.has_age_limit:
                continue
            age = now - newest
            late = source.error_after is not None and age > source.error_after
            aging = source.warn_after is not None and age > source.warn_after
            check = freshness_test(source)
            result = TestResult(
                test=check,
                decision=TestDecision(
                    test=check.name,
                    outcome=TestOutcome.RAN,
                    reason=TestReason.FORCED if self.mode is not Mode.STATE_AWARE else TestReason.NEW_DATA,
                    evidence={"loaded_at": newest.isoformat(), "age_seconds": age.total_seconds()},
                ),
                verdict=Verdict.FAIL if late else Verdict.WARN if aging else Verdict.PASS,
                failures=int(late or aging),
            )
            self.tests[check.name] = result
            yield result

    # ------------------------------------------------------------------ hooks of the project

    def _start_hooks(self) -> None:
        """Run `on-run-start` once, before the first build of this run."""
        with self.lock:
            if self.hooks_ran:
                return
            self.hooks_ran = True
            for statement in self.project.on_run_start:
                self.session.execute(statement)

    def keep_contents(self) -> None:
        """Keep what is known of contents under the stamp that the warehouse has now, for the next observation.

        Not where statements of the user's own ran, which may have changed anything.
        """
        if self.store is None or (self.side_effects and self.models):
            return
        stamp = self.session.stamp()
        if stamp is not None:
            self.store.keep_contents(self.project.environment, stamp, self.run_facts.contents)

    def finish_hooks(self) -> None:
        """Run `on-run-end`, if anything was built."""
        if self.hooks_ran:
            for statement in self.project.on_run_end:
                self.session.execute(statement)
