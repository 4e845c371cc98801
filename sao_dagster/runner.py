"""The run: the only place that knows its order.

For each model, when its turn comes: decide again with what is known now; build in one transaction; take the data
version of what was built; record it with the versions of the inputs as they were read *before* the build; then
its data tests. A crash before the record leaves the old record, so the model is built again at worst.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from sao_dagster.checks.run import TestAnswer, run_tests
from sao_dagster.core.collection import no_collection
from sao_dagster.core.decide import Decision, Mode, Outcome, Reason
from sao_dagster.core.hashing import digest
from sao_dagster.core.models import CompiledSql, DataTest, Model, Node, Project, Seed
from sao_dagster.core.plan import Facts, Plan, decide_node, make_plan, observe_node
from sao_dagster.core.records import BuildRecord, Existence, TestRecord, Verdict
from sao_dagster.core.selection import Selection
from sao_dagster.core.verdicts import TestDecision, TestOutcome, TestReason, decide_test
from sao_dagster.errors import ProjectErrors, SaoError, StateError
from sao_dagster.observe import Observation, content_key, kept_sql, observe
from sao_dagster.results import (
    Event,
    Message,
    ModelResult,
    Planned,
    RunResult,
    Started,
    TestResult,
    freshness_test,
)
from sao_dagster.state.base import DecisionRecord, RunRecord, StateStore
from sao_dagster.tasks import Task, tasks_for
from sao_dagster.warehouses.base import Built, Session, Warehouse, schema_token

OBSERVE_SECONDS = 60.0
CATCH_UP_SECONDS = 0.2  # how old the state may be that a reuse rests on; a build always looks again


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
    """

    project: Project
    warehouse: Warehouse
    open_store: Callable[[], StateStore]
    clock: Callable[[], datetime] = _now
    threads: int | None = None
    observe_seconds: float = OBSERVE_SECONDS
    verify: bool = True
    build_without_state: bool = False

    def plan(
        self, selection: Selection, mode: Mode = Mode.STATE_AWARE, *, wait_seconds: float | None = None
    ) -> tuple[Plan, Observation]:
        """Return what a run would do now, and what that was decided from. Builds nothing.

        Raises:
            StateError: The state cannot be read.
            WarehouseBusyError: The warehouse is held by another process for longer than `wait_seconds`.
        """
        with no_collection(), self.warehouse.session(read_only=True, wait_seconds=wait_seconds) as session:
            return self._plan(selection, mode, session, self.open_store())

    def _plan(self, selection: Selection, mode: Mode, session: Session, store: StateStore) -> tuple[Plan, Observation]:
        now = self.clock()
        seen = observe(
            self.project,
            selection,
            store=store,
            session=session,
            now=now,
            budget_seconds=self.observe_seconds,
            verify=self.verify and mode is Mode.STATE_AWARE,
        )
        return make_plan(self.project, selection, seen.facts, now, mode), seen

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
        started_at, started = self.clock(), time.perf_counter()
        run_id = run_id or uuid.uuid4().hex
        messages: queue.SimpleQueue[Event] = queue.SimpleQueue()
        with self.warehouse.session(on_wait=lambda text: messages.put(Message(text))) as session:
            yield from _drain(messages)
            opened = time.perf_counter()
            store: StateStore | None = None
            try:
                store = self.open_store()
                plan, seen = self._plan(selection, mode, session, store)
            except StateError as error:
                if not self.build_without_state:
                    raise
                yield Message(f"{error}; everything is built, and nothing is recorded")
                mode, store, seen = Mode.WITHOUT_STATE, None, Observation(facts=Facts())
                plan = make_plan(self.project, selection, seen.facts, self.clock(), mode)
            deciding = time.perf_counter() - opened
            yield Planned(plan, seen)
            run = _Run(self, selection, mode, run_id, session, store, seen, started_at)

            def result() -> RunResult:
                return RunResult(
                    run_id=run_id,
                    environment=self.project.environment,
                    mode=mode,
                    started_at=started_at,
                    finished_at=self.clock(),
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


@dataclass
class _Run:
    """One run while it goes. Its facts are copies of its own, kept up to date by `_catch_up` and `_learn`."""

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
        self.done: queue.SimpleQueue[Task | Event | BaseException] = queue.SimpleQueue()
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
            while remaining:
                item = self.done.get()
                if isinstance(item, BaseException):
                    raise item
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

    def _take(self, task: Task) -> None:
        """Take one step, on a thread of the pool."""
        if self.stopping.is_set():
            return
        try:
            if task.tests:
                self._test(task)
            else:
                self._node(task.node)
            self.done.put(task)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that runs the run
            self.done.put(error)

    # ------------------------------------------------------------------ models and seeds

    def _node(self, name: str) -> None:
        now = self.runner.clock()
        node = self.project.nodes[name]
        self._catch_up(name, exact=False)
        decision = self._decide(name, now)
        if decision.outcome is Outcome.BUILT and self._catch_up(name, exact=True):
            decision = self._decide(name, now)
        facts = self.facts
        record = facts.records.get(name)
        seconds = 0.0
        if decision.outcome is Outcome.BUILT:
            self.done.put(Started(name, decision.reason))
            try:
                record, seconds = self._build(name, facts)
            except SaoError as error:
                if self.stopping.is_set():
                    return
                file = str(error.location or node.location) if error.location or node.location else None
                evidence = {"error": error.message, "because": decision.reason.value, "file": file}
                decision = Decision(
                    model=name,
                    outcome=Outcome.FAILED,
                    reason=Reason.BUILD_ERROR,
                    evidence=evidence,
                    warnings=decision.warnings,
                )
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

    def _catch_up(self, name: str, *, exact: bool) -> bool:
        """Learn what other runs have built meanwhile; return whether there was anything new.

        Args:
            name: The model whose turn it is; when the news of its inputs appeared matters if it tolerates a lag.
            exact: Whether to look even though that was done a moment ago, because a build depends on it.
        """
        if self.store is None:
            return False
        with self.lock:
            if not exact and time.monotonic() - self._caught_up < CATCH_UP_SECONDS:
                records: dict[str, BuildRecord] = {}
            else:
                records, self._mark = self.store.changes(self.project.environment, self._mark)
                self._caught_up = time.monotonic()
            news = {key: record for key, record in records.items() if self._records.get(key) != record}
            self._records.update(news)
        if self.project.nodes[name].policy.lag_tolerance is not None:
            self._history.update(self.store.history(self.project.environment, self.project.graph.inputs(name).data))
        return bool(news)

    def _build(self, name: str, facts: Facts) -> tuple[BuildRecord, float]:
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
            built = self.session.build(node, compiled, full_refresh=wanted)
        kept = kept_sql(node.compiled if isinstance(node, Model) else CompiledSql(""))
        record = BuildRecord(
            model=name,
            relation=str(node.relation),
            code_version=node.code.version,
            code_parts=dict(node.code.parts),
            definition=facts.definition_if_built(node),
            sql_id=digest(kept),
            inputs={key: version for key, version in before.inputs.items() if version is not None},
            definitions={key: version for key, version in before.definitions.items() if version is not None},
            data_version=built.data_version,
            columns=built.columns,
            rows=built.rows,
            observed_at=observed_at,
            built_at=self.runner.clock(),
            seconds=built.seconds,
            run_id=self.run_id,
        )
        if self.store is not None:
            self.store.record_build(self.project.environment, record, kept)
        self._learn(name, record, built)
        return record, built.seconds

    @staticmethod
    def _content_key(node: Node) -> str:
        return content_key(node.relation, node.volatile_columns if isinstance(node, Model) else ())

    def _ask(self, sql: str) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        rows = self.session.query(sql)
        return rows.columns, rows.rows

    def _learn(self, name: str, record: BuildRecord, built: Built) -> None:
        """Add a build to the facts that later decisions are taken from."""
        with self.lock:
            self._records[name] = record
            self._exists[name] = Existence.YES
            self._altered.pop(name, None)
            self._versions.pop(name, None)
            self._schemas[name] = schema_token(built.columns)
            self._equivalent.discard(name)
            node = self.project.nodes[name]
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
            self.store.record_tests(self.project.environment, records)

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


def _has_hooks(node: Node) -> bool:
    if isinstance(node, Seed):
        return bool(node.pre_hooks or node.post_hooks)
    return isinstance(node, Model) and bool(node.compiled.pre_hooks or node.compiled.post_hooks)
