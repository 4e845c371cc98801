"""The statements that data tests become: one for all tests of a model that may share it, one each otherwise.

Each branch of a shared statement is the test's own query under a `count(*)`, with its conditions asked of that, so its failures and
its verdict are exactly those it would have alone: what dbt's `get_test_sql` asks. (One scan with several distinct counts is no faster on large tables, and needs more memory.)
Of a large table each test has a statement of its own: the tests themselves take the time there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sao_dagster.core.nodes import DataTest
from sao_dagster.sql.text import embeddable

BRANCHES = 30  # tests in one statement; each `unique` holds a hash table while it runs


@dataclass(frozen=True)
class Statement:
    """One statement and the tests it answers, in the order of its branches."""

    id: str
    tests: tuple[DataTest, ...]
    sql: str


def statements_for(name: str, tests: Iterable[DataTest], *, together: bool = True) -> tuple[Statement, ...]:
    """Return the statements for the tests of one step.

    Args:
        name: What the step is called, for the ids of the statements.
        tests: The tests to run.
        together: Whether those that may share a statement do.

    >>> test = lambda name, sql: DataTest(name=name, kind="k", tested="m", sql=sql, reads=("m",), version="")
    >>> for each in statements_for("m", [test("a", "select 1")]): print(each.id, each.sql)
    m select 0 as test, count(*) as failures, count(*) != 0 as should_warn, count(*) != 0 as should_error from (select 1) as t
    """
    shared: list[DataTest] = []
    alone: list[DataTest] = []
    for test in tests:
        (shared if together and test.shares_statement else alone).append(test)
    groups = [shared[start : start + BRANCHES] for start in range(0, len(shared), BRANCHES)]
    found = [
        Statement(name if number == 0 else f"{name}#{number + 1}", tuple(group), _union(group))
        for number, group in enumerate(groups)
    ]
    return (*found, *(alone_statement(test) for test in alone))


def alone_statement(test: DataTest) -> Statement:
    """Return the statement of one test by itself."""
    return Statement(test.name, (test,), _union([test]))


def _union(tests: Sequence[DataTest]) -> str:
    return " union all ".join(
        f"select {number} as test, {test.fail_calc} as failures, {test.fail_calc} {test.warn_if} as should_warn, "
        f"{test.fail_calc} {test.error_if} as should_error from ({embeddable(source(test))}) as t"
        for number, test in enumerate(tests)
    )


def source(test: DataTest) -> str:
    """Return what a test counts: its query, or the relation that its failing rows are kept in."""
    return f"select * from {test.store_failures}" if test.store_failures else test.sql
