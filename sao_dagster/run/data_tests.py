"""Data tests in a run: decided, proven or run in as few statements as their settings allow, recorded and reported."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from sao_dagster.core.code_version import CODE_SCHEME
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.decide_test import TestDecision, TestOutcome, TestReason, verdict_of
from sao_dagster.core.evidence import Evidence
from sao_dagster.core.explain import describe_refuted
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.inputs import is_answers
from sao_dagster.core.messages import Message
from sao_dagster.core.nodes import DataTest, Materialized, NodeError
from sao_dagster.core.plan import decide_data_test
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode
from sao_dagster.core.records import TestRecord, Verdict
from sao_dagster.core.selection import Selection
from sao_dagster.core.templates import Answers
from sao_dagster.core.verdicts import record_of_verdict
from sao_dagster.errors import StateError, WarehouseError, words_of
from sao_dagster.run.context import RunContext
from sao_dagster.run.events import TestResult, freshness_test
from sao_dagster.run.prove import Prover
from sao_dagster.run.schedule import RunStep
from sao_dagster.run.source_versions import LoadedAt
from sao_dagster.run.test_sql import Statement, alone_statement, statements_for
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Session, TestRun

SAMPLE_ROWS = 5


@dataclass(frozen=True, kw_only=True)
class TestAnswer:
    """What running a data test gave.

    Attributes:
        test: The test.
        verdict: What its failures mean.
        failures: How many there are; none where the verdict is a pass, as in dbt.
        statement: Which statement it was part of; empty for one that is broken as it is written.
        seconds: Its share of the time of that statement.
        sample: Some failing rows, as text by column.
        error: Why it could not be run.
    """

    __test__ = False

    test: DataTest
    verdict: Verdict
    failures: int
    statement: str
    seconds: float
    sample: tuple[dict[str, JSON], ...] = ()
    error: str | None = None


def run_tests(session: Session, name: str, tests: Iterable[DataTest], *, together: bool = True) -> Iterator[TestAnswer]:
    """Run the tests of one step, together in as few statements as their settings allow; yield an answer for each."""
    asked: list[DataTest] = []
    for test in tests:
        if test.error is not None:
            yield TestAnswer(
                test=test, verdict=Verdict.ERROR, failures=0, statement="", seconds=0.0, error=str(test.error)
            )
        elif (found := _run_elsewhere(session, test)) is not None:
            yield found
        else:
            asked.append(test)
    for statement in statements_for(name, asked, together=together):
        yield from _run(session, statement)


def _run_elsewhere(session: Session, test: DataTest) -> TestAnswer | None:
    """Return the answer of whoever builds, where that runs data tests itself; else None."""
    try:
        done = session.run_test(test)
    except WarehouseError as error:
        done = TestRun(verdict=Verdict.ERROR, error=words_of(error))
    if done is None:
        return None
    sample = _sample(session, test) if done.verdict in (Verdict.FAIL, Verdict.WARN) else ()
    return TestAnswer(
        test=test,
        verdict=done.verdict,
        failures=done.failures,
        statement=test.name,
        seconds=done.seconds,
        sample=sample,
        error=done.error,
    )


def _run(session: Session, statement: Statement) -> Iterator[TestAnswer]:
    """Run one statement and yield an answer for each of its tests; where several share it and it fails, each runs alone."""
    started = time.perf_counter()
    try:
        for test in statement.tests:
            _keep_failures(session, test)
        answers = {int(number): answer for number, *answer in session.query(statement.sql).rows}
    except Exception as error:  # noqa: BLE001 - drivers may raise anything; it is this test that has the error
        if len(statement.tests) > 1:  # so that the error belongs to the test that has it
            for test in statement.tests:
                yield from _run(session, alone_statement(test))
            return
        yield TestAnswer(
            test=statement.tests[0],
            verdict=Verdict.ERROR,
            failures=0,
            statement=statement.id,
            seconds=time.perf_counter() - started,
            error=words_of(error),
        )
        return
    share = (time.perf_counter() - started) / len(statement.tests)
    for number, test in enumerate(statement.tests):
        failures, should_warn, should_error = answers.get(number, (0, False, False))
        verdict = verdict_of(test.severity, should_warn=_holds(should_warn), should_error=_holds(should_error))
        passed = verdict is Verdict.PASS
        yield TestAnswer(
            test=test,
            verdict=verdict,
            failures=0 if passed else _count(failures),
            statement=statement.id,
            seconds=share,
            sample=() if passed else _sample(session, test),
        )


def _keep_failures(session: Session, test: DataTest) -> None:
    if test.store_failures is None:
        return
    session.keep_rows(test.store_failures, test.sql, as_view=test.store_failures_as is Materialized.VIEW)


def _count(value: object) -> int:
    """Return a number of failures; a `fail_calc` over no rows may be null, which is none."""
    return 0 if value is None else int(float(str(value)))


def _holds(value: object) -> bool:
    """Return whether a condition holds; one over a null does not, and some warehouses write truth values as text or numbers."""
    return value.lower() in ("true", "t", "1", "yes") if isinstance(value, str) else bool(value)


def _sample(session: Session, test: DataTest) -> tuple[dict[str, JSON], ...]:
    try:
        found = session.query(f"select * from ({test.sql}\n) as failing limit {SAMPLE_ROWS}")
    except WarehouseError:
        return ()
    return tuple(
        {name: None if value is None else str(value) for name, value in zip(found.columns, row, strict=True)}
        for row in found.rows
    )


@dataclass(frozen=True)
class TestSteps:
    """The data tests of one run; several threads take steps at once.

    Attributes:
        run: The run.
        prover: Proves tests that need not run.
    """

    __test__ = False

    run: RunContext
    prover: Prover

    def take(self, step: RunStep) -> list[TestResult] | None:
        """Decide about the tests of a step, run those that have to run, record their verdicts, and return all results.

        None where one of them may run only after the start of the run, which has not been: then all of them are to be taken again.
        What is recorded is what was read: a verdict about something that another run has built anew meanwhile is told and not recorded.
        Where the state takes no record, the tests have an error.
        """
        run, now = self.run, self.run.now()
        decisions: list[TestDecision] = []
        run.run_facts.refresh_stale(Selection((), tuple(test.name for test in step.tests), ()))
        versions: dict[str, dict[str, DataVersion | None]] = {}
        asked: dict[str, Answers] = {}
        for test in step.tests:
            asked[test.name] = run.run_facts.ask_test(test, now)
            versions[test.name] = run.run_facts.facts.versions_tested(run.project, test)
            decisions.append(self._decide(test, versions[test.name], now))
        to_run = {each.test: each for each in decisions if each.outcome is TestOutcome.RAN}
        if any(run.hooks.are_before(run.project.tests[name], run.run_facts.facts) for name in to_run):
            return None
        results: list[TestResult] = []
        for decision in decisions:
            if decision.test not in to_run:
                test = run.project.tests[decision.test]
                record = self._taken(test, decision, versions[test.name])
                results.append(self._tell(result_without_run(test, decision, record)))
        if not to_run:
            return results
        answers = []
        compiled = {name: self._in_run(run.project.tests[name]) for name in to_run}
        tests = [test for test, _ in compiled.values()]
        if any(test.store_failures is not None for test in tests):
            run.run_facts.start_writing()
        for answer in run_tests(run.session, step.name, tests, together=not self._is_large(tests)):
            if run.stopping.is_set():
                return results
            answers.append(answer)
        for name, (_, got) in compiled.items():
            if not asked[name].agree_with(got):  # so the verdict is about nothing that is known
                versions[name][run.project.tests[name].answers_id] = None
        if run.store is not None:
            try:
                self._keep(step, answers, versions, now, run.store)
            except StateError as error:
                words = f"it ran, and its verdict could not be recorded: {error}"
                answers = [
                    replace(each, verdict=Verdict.ERROR, failures=0, error=each.error or words) for each in answers
                ]
        return [*results, *(self._tell(self._result(each, to_run[each.test.name])) for each in answers)]

    def _taken(
        self, test: DataTest, decision: TestDecision, versions: Mapping[str, DataVersion | None]
    ) -> TestRecord | None:
        """Return the verdict of a test that is not run; one that is taken from another environment is recorded here, too."""
        run = self.run
        if decision.offer is None or run.store is None:
            return run.run_facts.facts.test_records.get(test.name)
        record = record_of_verdict(test, run.run_facts.facts, versions, decision.offer, run.run_id)
        with suppress(StateError):  # it is no less true of what was read; the next run asks there again
            run.store.record_tests(run.project.environment, [record])
        run.run_facts.add_verdicts([record])
        return record

    def _is_large(self, tests: Sequence[DataTest]) -> bool:
        """Return whether what the tests of a step are about had so many rows when it was built that they share no statement."""
        limit = dialect_named(self.run.project.dialect).tests_alone_from
        records = self.run.run_facts.facts.records
        rows = (records[test.tested].rows for test in tests if test.tested in records)
        return limit is not None and any(each is not None and each >= limit for each in rows)

    def _keep(
        self,
        step: RunStep,
        answers: Iterable[TestAnswer],
        versions: Mapping[str, Mapping[str, DataVersion | None]],
        now: datetime,
        store: StateStore,
    ) -> None:
        """Record the verdicts of a step, of which it is certain what they are about.

        Raises:
            StateError: They could not be recorded.
        """
        run = self.run
        records = [
            _record(each, run.run_facts.facts.test_version(each.test), versions[each.test.name], now, run.run_id)
            for each in answers
        ]
        run.run_facts.sync(step.node, exact=True)
        for record in records:
            run.run_facts.ask_test(run.project.tests[record.test], now)
        readers = Selection((), tuple(each.test for each in records), ())
        read = {record.test: self._read(record.inputs) for record in records}
        # the statement of a test has no snapshot that is known of
        unproven = run.run_facts.watch.unproven({each for names in read.values() for each in names}, readers, inside={})
        kept = [
            each
            for each in records
            if unproven.isdisjoint(read[each.test])
            and self._is_about(run.project.tests[each.test], versions[each.test])
        ]
        store.record_tests(run.project.environment, kept)
        run.run_facts.add_verdicts(kept)

    def _read(self, inputs: Iterable[str]) -> set[str]:
        """Return what holds the data that a test has read, behind views and ephemerals too."""
        nodes, graph = self.run.project.nodes, self.run.project.graph
        found: set[str] = set()
        for each in inputs:
            holds_data = each not in nodes or nodes[each].materialized.holds_data
            through = graph.inputs(each) if not holds_data else None
            found.update((each,) if through is None else (each, *through.views, *through.data))
        return {each for each in found if not is_answers(each)}

    def _in_run(self, test: DataTest) -> tuple[DataTest, tuple[tuple[str, str], ...]]:
        """Return a test as this run sees it, and what its template asked for that, with what it got."""
        if test.template is None:
            return test, ()
        try:
            compiled = test.template.compile(self.run.session, self.run.run_id, self.run.started_at)
        except Exception as error:  # noqa: BLE001 - templates may raise anything; it is this test that has the error
            return replace(test, error=NodeError.of(error, test.location)), ()
        return replace(test, sql=compiled.sql), compiled.got

    def _decide(self, test: DataTest, versions: Mapping[str, DataVersion | None], now: datetime) -> TestDecision:
        run = self.run
        return decide_data_test(
            run.project,
            test,
            run.run_facts.facts,
            now=now,
            mode=run.mode,
            versions=versions,
            blocked_by=run.failures.holding_test(run.project, test),
            prove=partial(self.prover.prove, test),
            verify=self._verifies(test),
            verdicts=run.offers.verdicts_of,
        )

    def _verifies(self, test: DataTest) -> bool:
        """Return whether a proof of a test is verified in this run: one in so many, by chance, or all."""
        every = self.run.project.proofs.verify_every
        return self.run.settings.verify_proofs or (
            every is not None and int(digest([self.run.run_id, test.name])[:12], 16) % every == 0
        )

    def _is_about(self, test: DataTest, before: Mapping[str, DataVersion | None]) -> bool:
        """Return whether no other run has built anew what a test was reading; else nobody knows what its verdict is about."""
        facts = self.run.run_facts
        return facts.facts.versions_tested(self.run.project, test) == before and facts.is_as_recorded(before)

    def _result(self, answer: TestAnswer, decision: TestDecision) -> TestResult:
        """Return the result of a test that ran; one that was proven to pass and does not is told aloud."""
        if decision.reason is TestReason.PROOF_VERIFIED and answer.verdict in (Verdict.FAIL, Verdict.WARN):
            decision = replace(decision, evidence={**decision.evidence, "refuted": True})
            self.run.emit(Message(describe_refuted(answer.test, decision)))
        return TestResult(
            test=answer.test,
            decision=decision,
            verdict=answer.verdict,
            failures=answer.failures,
            statement=answer.statement or None,
            seconds=answer.seconds,
            sample=answer.sample,
            error=answer.error,
        )

    def _tell(self, result: TestResult) -> TestResult:
        if result.blocks:
            self.run.failures.add_test(result.test)
        self.run.emit(result)
        return result


def source_ages(project: Project, loaded_at: Mapping[str, LoadedAt], now: datetime, mode: Mode) -> Iterator[TestResult]:
    """Yield the checks of the ages of sources that have limits; neither limit holds anything back.

    A source whose age is not known is as late as can be.

    Args:
        project: The project.
        loaded_at: By source, what it says of its newest data.
        now: The time (UTC).
        mode: How the run decides.
    """
    for name, said in sorted(loaded_at.items()):
        source = project.sources[name]
        if not source.has_age_limit:
            continue
        age = timedelta.max if said.time is None else now - said.time
        late = source.error_after is not None and age > source.error_after
        aging = source.warn_after is not None and age > source.warn_after
        check = freshness_test(source)
        evidence: Evidence = {}
        if said.time is not None:
            evidence = {"loaded_at": said.time.isoformat(), "age_seconds": age.total_seconds()}
        yield TestResult(
            test=check,
            decision=TestDecision(
                test=check.name,
                outcome=TestOutcome.RAN,
                reason=TestReason.FORCED if mode is not Mode.STATE_AWARE else TestReason.NEW_DATA,
                evidence=evidence,
            ),
            verdict=Verdict.FAIL if late else Verdict.WARN if aging else Verdict.PASS,
            failures=int(late or aging),
            error=said.problem or None,
        )


def result_without_run(test: DataTest, decision: TestDecision, record: TestRecord | None) -> TestResult:
    """Return the result of a test that is reused, proven or skipped, given its last verdict."""
    reused = record if decision.outcome is TestOutcome.REUSED else None
    proven = decision.outcome is TestOutcome.PROVEN
    return TestResult(
        test=test,
        decision=decision,
        verdict=reused.verdict if reused else Verdict.PASS if proven else None,
        failures=reused.failures if reused else 0 if proven else None,
        record=reused,
    )


def _record(
    answer: TestAnswer, version: str, versions: Mapping[str, DataVersion | None], now: datetime, run_id: str
) -> TestRecord:
    return TestRecord(
        test=answer.test.name,
        version=version,
        code_scheme=CODE_SCHEME,
        inputs={read: version for read, version in versions.items() if version is not None},
        verdict=answer.verdict,
        failures=answer.failures,
        run_at=now,
        seconds=answer.seconds,
        run_id=run_id,
        definition=answer.test.version,
    )
