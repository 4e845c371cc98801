"""Running data tests on a session: verdicts, failure counts, and samples of the rows that failed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sao_dagster.core.decide_test import verdict_of
from sao_dagster.core.hashing import JSON
from sao_dagster.core.nodes import DataTest, Materialized
from sao_dagster.core.records import Verdict
from sao_dagster.errors import WarehouseError
from sao_dagster.run.test_sql import Statement, alone_statement, statements_for
from sao_dagster.warehouses.protocol import Session

SAMPLE_ROWS = 5


@dataclass(frozen=True, kw_only=True)
class TestAnswer:
    """What running a data test gave.

    Attributes:
        test: The test.
        verdict: What its failures mean.
        failures: How many there are.
        statement: Which statement it was part of.
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


def run_tests(session: Session, name: str, tests: Iterable[DataTest]) -> Iterator[TestAnswer]:
    """Run the tests of one step in as few statements as their settings allow; yield an answer for each."""
    for statement in statements_for(name, tests):
        yield from _run(session, statement)


def _run(session: Session, statement: Statement) -> Iterator[TestAnswer]:
    started = time.perf_counter()
    try:
        for test in statement.tests:
            _keep_failures(session, test)
        counts = {int(number): _count(failures) for number, failures in session.query(statement.sql).rows}
    except WarehouseError as error:
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
            error=str(error),
        )
        return
    share = (time.perf_counter() - started) / len(statement.tests)
    for number, test in enumerate(statement.tests):
        failures = counts.get(number, 0)
        yield TestAnswer(
            test=test,
            verdict=verdict_of(test, failures),
            failures=failures,
            statement=statement.id,
            seconds=share,
            sample=_sample(session, test) if failures else (),
        )


def _keep_failures(session: Session, test: DataTest) -> None:
    if test.store_failures is None:
        return
    session.ensure_schemas([test.store_failures])
    session.keep_rows(test.store_failures, test.sql, as_view=test.store_failures_as is Materialized.VIEW)


def _count(value: object) -> int:
    """Return a number of failures; a `fail_calc` over no rows may be null, which is none."""
    return 0 if value is None else int(float(str(value)))


def _sample(session: Session, test: DataTest) -> tuple[dict[str, JSON], ...]:
    try:
        found = session.query(f"select * from ({test.sql}\n) as failing limit {SAMPLE_ROWS}")
    except WarehouseError:
        return ()
    return tuple(
        {name: None if value is None else str(value) for name, value in zip(found.columns, row, strict=True)}
        for row in found.rows
    )
