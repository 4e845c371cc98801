"""What happens while a run goes on, for each model when its turn comes.

Decide again with what is known now; wait where another run builds it; build in one transaction; take the data version of what
was built; record it with the versions of the inputs as they were read *before* the build; then its data tests. A crash
before the record leaves the old record, so the model is built again at worst.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sao_dagster.checks.run import TestAnswer, run_tests
from sao_dagster.core.decide import Decision, Mode, Outcome, Reason
from sao_dagster.core.hashing import digest
from sao_dagster.core.models import CompiledSql, DataTest, Model, Node, Seed, is_source
from sao_dagster.core.plan import Facts, decide_node, observe_node
from sao_dagster.core.records import BuildRecord, Existence, Lease, TestRecord, Verdict
from sao_dagster.core.selection import Selection
from sao_dagster.core.verdicts import TestDecision, TestOutcome, TestReason, decide_test
from sao_dagster.errors import LeaseLostError, LeaseTimeoutError, SaoError
from sao_dagster.observe import Observation, content_key, kept_sql
from sao_dagster.results import (
    Event,
    Message,
    ModelResult,
    Started,
    TestResult,
    freshness_test,
)
from sao_dagster.state.base import StateStore
from sao_dagster.tasks import Task, tasks_for
from sao_dagster.turns import Queued, Turns
from sao_dagster.warehouses.base import Built, Session, schema_token

if TYPE_CHECKING:
    from sao_dagster.runner import Runner

RECORD_SECONDS, RECORD_PAUSE = 3.0, 0.02  # how long, and how often, to look for the record of a build that was read
QUEUE_PAUSE = 0.3  # seconds between two looks at a model that another run builds
CATCH_UP_SECONDS = 0.2  # how old the state may be that a reuse rests on; a build always looks again


@dataclass(frozen=True)
class _Queued:
    """A step whose model another run builds just now; it is taken again a little later."""

    task: Task


@dataclass
class Run:
    """One run while it goes: scheduling, turns at models, builds, tests. Its facts are copies of its own, kept up to date by `_catch_up` and `_learn`."""

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
        seen = self.seen.facts
        self._records = dict(seen.records)
        self._exists = dict(seen.exists)
        self._altered = dict(seen.altered)
        self._versions = dict(seen.versions)
        self._schemas = dict(seen.schemas)
        self._history = dict(seen.history)
        self._contents = dict(self.seen.contents)
        self._mark = self.seen.mark
        self._caught_up = time.monotonic()
        self._equivalent = set(seen.equivalent)
        self.facts = replace(
            seen,
            records=self._records,
            exists=self._exists,
            altered=self._altered,
            versions=self._versions,
            schemas=self._schemas,
            history=self._history,
            equivalent=self._equivalent,
        )
        self.intervals = self.project.graph.intervals(self.observed_at)
        self.broken: dict[str, None] = {}  # nodes and sources whose dependents are skipped
        self.untrusted: dict[str, None] = {}  # those whose tests are skipped too
        self.lock = threading.Lock()
        self.done: queue.SimpleQueue[Task | _Queued | Event | BaseException] = queue.SimpleQueue()
        self.turns = (
            None
            if self.store is None
            else Turns(
                self.store, self.project.environment, self.run_id, self.runner.lease_seconds, self.runner.queue_seconds
            )
        )
        # what was built without the right to: the record of another run does not speak of it, so only a build makes it right
        self.spoiled: set[str] = set()
        self._outdated: set[str] = set()  # what another run has built since it was observed here
        self.stopping = threading.Event()
        self.hooks_ran = False
        self.side_effects = bool(self.project.on_run_start or self.project.on_run_end)

    # ------------------------------------------------------------------ scheduling

    def events(self) -> Iterator[Event]:
        """Take all steps, as many at once as there are threads."""
        yield from self._source_ages()
        waits = {task: set(needed) for task, needed in tasks_for(self.project, self.selection).items()}
        followers: dict[Task, list[Task]] = {}
        for task, needed in waits.items():
            for each in needed:
                followers.setdefault(each, []).append(task)
        threads = self.runner.threads or int(self.runner.warehouse.target.get("threads", 4))
        pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="sao")
        try:
            for task, needed in waits.items():
                if not needed:
                    pool.submit(self._take, task)
            remaining = len(waits)
            queued: dict[Task, float] = {}  # when to look again, on the monotonic clock
            while remaining:
                try:
                    item = self.done.get(timeout=QUEUE_PAUSE if queued else None)
                except queue.Empty:
                    item = None
                for task in [each for each, due in queued.items() if due <= time.monotonic()]:
                    del queued[task]
                    pool.submit(self._take, task)
                if item is None:
                    continue
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, _Queued):
                    queued[item.task] = time.monotonic() + QUEUE_PAUSE
                    continue
                if not isinstance(item, Task):
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
            if self.turns is not None:
                self.turns.close()

    def _take(self, task: Task) -> None:
        """Take one step, on a thread of the pool."""
        if self.stopping.is_set():
            return
        try:
            if task.tests:
                self._test(task)
            elif not self._node(task.node):
                self.done.put(_Queued(task))
                return
            self.done.put(task)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that runs the run
            self.done.put(error)

    # ------------------------------------------------------------------ models and seeds

    def _node(self, name: str) -> bool:
        """Decide about a node, and build it if that is due; return False where another run builds it just now.

        A node that was waited for is observed and decided again: usually it is reused then.
        """
        now = self.runner.clock()
        node = self.project.nodes[name]
        self._catch_up(name, exact=self.turns is not None and self.turns.is_waiting(name))
        decision = self._decide(name, now)
        lease: Lease | None = None
        if decision.outcome is Outcome.BUILT:
            try:
                turn = self.turns.ask(name) if self.turns is not None else None
            except LeaseTimeoutError as error:
                assert self.turns is not None  # noqa: S101 - it has timed out
                self.turns.forgo(name)
                self._failed(node, decision, error, now)
                return True
            if isinstance(turn, Queued):
                if turn.message is not None:
                    self.done.put(Message(turn.message))
                return False
            lease = turn.lease if turn is not None else None
            self._catch_up(name, exact=True)
            if name in self._outdated or (turn is not None and turn.waited):
                self._look_again(name)
            decision = self._decide(name, now)
        elif self.turns is not None:
            self.turns.forgo(name)
        return self._settle(node, decision, lease, now)

    def _settle(self, node: Node, decision: Decision, lease: Lease | None, now: datetime) -> bool:
        """Do what was decided, with the lease in hand; return False where the lease was lost and it is to be asked again."""
        name = node.name
        facts = self.facts
        record = facts.records.get(name)
        seconds = 0.0
        if decision.outcome is Outcome.BUILT:
            self.done.put(Started(name, decision.reason))
            try:
                record, seconds = self._build(name, facts, lease)
            except LeaseLostError as error:
                self.done.put(Message(f"{error}; it is decided again"))
                with self.lock:
                    self.spoiled.add(name)
                    self._records.pop(name, None)
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
        if lease is not None and self.turns is not None:
            self.turns.give_back(lease)

    def _failed(self, node: Node, decision: Decision, error: SaoError, now: datetime) -> None:
        file = str(error.location or node.location) if error.location or node.location else None
        failed = Decision(
            model=node.name,
            outcome=Outcome.FAILED,
            reason=Reason.BUILD_ERROR,
            evidence={"error": error.message, "because": decision.reason.value, "file": file},
            warnings=decision.warnings,
        )
        self._conclude(node, failed, self.facts.records.get(node.name), 0.0, now)

    def _conclude(
        self, node: Node, decision: Decision, record: BuildRecord | None, seconds: float, now: datetime
    ) -> None:
        name = node.name
        result = ModelResult(
            decision=decision,
            relation=str(node.relation),
            record=record,
            data_version=self.facts.version(self.project, name),
            seconds=seconds,
            decided_at=now,
        )
        with self.lock:
            if decision.outcome in (Outcome.SKIPPED, Outcome.FAILED):
                self.broken[name] = None
                self.untrusted[name] = None
            self.models[name] = result
        self.done.put(result)

    def _decide(self, name: str, now: datetime) -> Decision:
        read = self.project.graph.inputs(name)
        above = dict.fromkeys((*self.project.graph.relations_read(name), *read.data, *read.views))
        with self.lock:
            blocked = tuple(each for each in above if each in self.broken)
        return decide_node(
            self.project, name, self.facts, now=now, mode=self.mode, intervals=self.intervals, blocked_by=blocked
        )

    def _catch_up(self, name: str, *, exact: bool) -> None:
        """Learn what other runs have built meanwhile.

        Args:
            name: The model whose turn it is, or what is tested; when the news of its inputs appeared matters if it tolerates a lag.
            exact: Whether to look even though that was done a moment ago, because a build depends on it.
        """
        if self.store is None:
            return
        with self.lock:
            if not exact and time.monotonic() - self._caught_up < CATCH_UP_SECONDS:
                records: dict[str, BuildRecord] = {}
            else:
                records, self._mark = self.store.changes(self.project.environment, self._mark)
                self._caught_up = time.monotonic()
            news = {key: record for key, record in records.items() if self._records.get(key) != record}
            for model, record in news.items():
                self._is_built(model, record)
            self._outdated.update(model for model, record in news.items() if record.run_id != self.run_id)
            for spoiled in self.spoiled:
                self._records.pop(spoiled, None)
        node = self.project.nodes.get(name)
        if node is not None and node.policy.lag_tolerance is not None:
            self._history.update(self.store.history(self.project.environment, self.project.graph.inputs(name).data))

    def _look_again(self, name: str) -> None:
        """Observe what a node reads, and its relation: another run may have built it while this one waited."""
        if self.store is None:
            return
        only = Selection((name,), (), ())
        seen = self.runner.observe(only, self.mode, self.session, self.store, self.runner.clock()).facts
        with self.lock:
            self._versions.update(seen.versions)
            self._exists.update(seen.exists)
            self._schemas.update(seen.schemas)
            self._history.update(seen.history)
            self._altered.pop(name, None)
            self._altered.update(seen.altered)
            self._outdated.discard(name)

    def _build(self, name: str, facts: Facts, lease: Lease | None) -> tuple[BuildRecord, float]:
        node = self.project.nodes[name]
        before = observe_node(self.project, name, facts)
        with self.lock:  # whatever happens from here on, its content is not known until it is recorded
            self._contents.pop(self._content_key(node), None)
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
        kept = kept_sql(node.compiled if isinstance(node, Model) else CompiledSql(""))
        record = BuildRecord(
            model=name,
            relation=str(node.relation),
            code_version=node.code.version,
            code_parts=dict(node.code.parts),
            definition=facts.definition_if_built(node),
            sql_id=digest(kept),
            inputs=self._as_read(
                before.inputs, built, _data_version if node.materialized.holds_data else _schema_version
            ),
            definitions=self._as_read(before.definitions, built, lambda record: record.definition),
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
            if self.turns is not None and lease is not None:
                self.turns.done_with(lease)
        self._learn(name, record, built)
        return record, built.seconds

    def _as_read(
        self, decided_on: Mapping[str, str | None], built: Built, version: Callable[[BuildRecord], str]
    ) -> dict[str, str]:
        """Return the versions of what a build has read, without those that nobody knows.

        Where other processes build in the warehouse at the same time, it may have read a later build than it was decided
        on; the run that built that records it in a moment.
        """
        found = {}
        for name, known in decided_on.items():
            node = self.project.nodes.get(name)
            read = known
            if node is not None and node.relation in built.read and self._is_kept(name):
                record = self._record_of(name, built.read[node.relation])
                read = None if record is None else version(record)
            if read is not None:
                found[name] = read
        return found

    def _is_kept(self, name: str) -> bool:
        """Return whether the warehouse keeps the build that the record of a model speaks of."""
        record = self._records.get(name)
        return record is not None and record.build_id is not None

    def _record_of(self, name: str, build_id: str | None) -> BuildRecord | None:
        """Return the record of one build of a model; None where nobody records it."""
        give_up = time.monotonic() + RECORD_SECONDS
        while True:
            record = self._records.get(name)
            if record is not None and record.build_id == build_id:
                return record
            if build_id is None or time.monotonic() > give_up or self.stopping.wait(RECORD_PAUSE):
                return None
            self._catch_up(name, exact=True)

    @staticmethod
    def _content_key(node: Node) -> str:
        return content_key(node.relation, node.volatile_columns if isinstance(node, Model) else ())

    def _ask(self, sql: str) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        rows = self.session.query(sql)
        return rows.columns, rows.rows

    def _is_built(self, name: str, record: BuildRecord) -> None:
        """Note that a model was built, here or by another run; what was seen of its relation before is past. Under the lock."""
        self._records[name] = record
        self._exists[name] = Existence.YES
        self._altered.pop(name, None)
        self._versions.pop(name, None)
        self._schemas[name] = schema_token(record.columns)
        self._equivalent.discard(name)

    def _learn(self, name: str, record: BuildRecord, built: Built) -> None:
        """Add a build to the facts that later decisions are taken from."""
        with self.lock:
            self.spoiled.discard(name)
            self._is_built(name, record)
            node = self.project.nodes[name]
            for each in self.project.nodes.values() if built.dropped else ():
                if each.relation.key in built.dropped:
                    self._exists[each.name] = Existence.NO
            if node.materialized.holds_data:
                self._contents[self._content_key(node)] = built.data_version
            if (isinstance(node, Model) and node.compiler is not None) or _has_hooks(node):
                self.side_effects = True

    # ------------------------------------------------------------------ data tests

    def _test(self, task: Task) -> None:
        now = self.runner.clock()
        with self.lock:
            untrusted = frozenset(self.untrusted)
        facts = self.facts
        to_run: dict[str, TestDecision] = {}
        versions: dict[str, dict[str, str | None]] = {}
        for test in task.tests:
            versions[test.name] = {read: facts.version(self.project, read) for read in test.reads}
            decision = decide_test(
                test,
                now=now,
                record=facts.test_records.get(test.name),
                versions=versions[test.name],
                blocked_by=tuple(read for read in test.reads if read in untrusted),
                mode=self.mode,
            )
            if decision.outcome is TestOutcome.RAN:
                to_run[test.name] = decision
            else:
                self._report(test, decision, facts.test_records.get(test.name))
        if not to_run:
            return
        records = []
        for answer in run_tests(self.session, task.node, [self.project.tests[name] for name in to_run]):
            if self.stopping.is_set():
                return
            records.append(self._test_record(answer, versions[answer.test.name], now))
            self._answer(answer, to_run[answer.test.name])
        if self.store is not None:
            self._catch_up(task.node, exact=True)
            kept = [each for each in records if self._is_about(each, versions[each.test])]
            self.store.record_tests(self.project.environment, kept)

    def _is_about(self, record: TestRecord, before: Mapping[str, str | None]) -> bool:
        """Return whether no other run has built anew what a test was reading; else nobody knows what its verdict is about."""
        return all(
            self.facts.version(self.project, read) == version for read, version in before.items()
        ) and self._is_as_recorded(before)

    def _is_as_recorded(self, reads: Iterable[str]) -> bool:
        """Return whether what is in the warehouse is what the records speak of, as far as it keeps its builds."""
        behind = {name for read in reads if read in self.project.nodes for name in self.project.graph.behind(read)}
        expected = {
            self.project.nodes[name].relation: record.build_id
            for name in behind
            if (record := self._records.get(name)) is not None and record.build_id is not None
        }
        return all(expected[relation] == found for relation, found in self.session.build_ids(expected).items())

    def _report(self, test: DataTest, decision: TestDecision, record: TestRecord | None) -> None:
        reused = record if decision.outcome is TestOutcome.REUSED else None
        result = TestResult(
            test=test,
            decision=decision,
            verdict=reused.verdict if reused else None,
            failures=reused.failures if reused else None,
            record=reused,
        )
        self._finish_test(result)

    def _answer(self, answer: TestAnswer, decision: TestDecision) -> None:
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
                self.broken[result.test.tested] = None
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
            self.store.keep_contents(self.project.environment, stamp, self._contents)

    def finish_hooks(self) -> None:
        """Run `on-run-end`, if anything was built."""
        if self.hooks_ran:
            for statement in self.project.on_run_end:
                self.session.execute(statement)


def _data_version(record: BuildRecord) -> str:
    """Return the version of a relation for what holds data made of it."""
    return record.data_version


def _schema_version(record: BuildRecord) -> str:
    """Return the version of a relation for a view over it, which depends on its columns alone."""
    return schema_token(record.columns)


def _has_hooks(node: Node) -> bool:
    if isinstance(node, Seed):
        return bool(node.pre_hooks or node.post_hooks)
    return isinstance(node, Model) and bool(node.compiled.pre_hooks or node.compiled.post_hooks)
