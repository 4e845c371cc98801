"""One statement for all tests of a model gives each test what it would have got alone, whatever the rows and the tests."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sao_dagster import Column, DuckDBWarehouse, SqlProject, select
from sao_dagster.core.decide_test import verdict_of
from sao_dagster.core.records import Verdict
from sao_dagster.run.data_tests import TestAnswer, run_tests
from sao_dagster.run.test_sql import alone_statement
from sao_dagster.warehouses.protocol import Warehouse
from tests.postgres import Postgres, warehouse_at

cells = {
    "a": st.sampled_from(["null", "0", "1", "2", "-1"]),
    "b": st.sampled_from(["null", "''", "' '", "'a'", "'A'", "'it''s'", "'%'"]),
    "c": st.sampled_from(
        ["null", "'nan'::float8", "'-0.0'::float8", "0.0::float8", "1.5::float8", "'infinity'::float8"]
    ),
}
rows = st.lists(st.tuples(*cells.values()), max_size=8)
conditions = st.sampled_from(["!= 0", "> 1", ">= 2", "= 3"])
settings_of_tests = st.fixed_dictionaries(
    {},
    optional={
        "severity": st.sampled_from(["warn", "error"]),
        "warn_if": conditions,
        "error_if": conditions,
        "where": st.sampled_from(["a > 0", "b is not null", "1 = 0"]),
        "limit": st.integers(1, 3),
        "fail_calc": st.sampled_from(["count(*)", "sum(1)", "max(1)"]),
    },
)
kinds = st.sampled_from(
    [
        ("a", "unique", {}),
        ("b", "unique", {}),
        ("c", "unique", {}),
        ("a", "not_null", {}),
        ("c", "not_null", {}),
        ("a", "accepted_values", {"values": [0, 1], "quote": False}),
        ("b", "accepted_values", {"values": ["a", "it's", ""]}),
        ("a", "relationships", {"to": "ref('parents')", "field": "id"}),
    ]
)
tests = st.lists(st.tuples(kinds, settings_of_tests), min_size=1, max_size=12)


cases = given(rows=rows, parents=st.lists(cells["a"], max_size=4), tests=tests, together=st.booleans())


@settings(max_examples=25, deadline=None)
@cases
def test_each_test_gets_what_it_would_get_alone_on_duckdb(
    rows: list[tuple[str, ...]], parents: list[str], tests: list[tuple[Any, dict[str, Any]]], together: bool
) -> None:
    _check(_project(DuckDBWarehouse(path=":memory:"), rows, parents, tests, together=together))


def test_each_test_gets_what_it_would_get_alone_on_postgres(postgres: Postgres) -> None:
    warehouse = warehouse_at(postgres.database())

    @settings(max_examples=10, deadline=None)
    @cases
    def check(
        rows: list[tuple[str, ...]], parents: list[str], tests: list[tuple[Any, dict[str, Any]]], together: bool
    ) -> None:
        _check(_project(warehouse, rows, parents, tests, together=together))

    check()


def _check(project: SqlProject) -> None:
    """Build a project, run its tests together, and compare each with what it gives alone."""
    with project.warehouse.session() as session:
        result = project.runner().run(select(project.project), run_id="r")
        assert all(each.decision.outcome.value == "built" for each in result.models)
        found = list(project.project.tests.values())
        answers: dict[str, TestAnswer] = {each.test.name: each for each in run_tests(session, "model", found)}
        assert len(answers) == len(found)
        shared = {each.statement for each in answers.values() if each.test.shares_statement}
        assert len(shared) <= 1
        for test in found:
            ((_, alone, warns, errs),) = session.query(alone_statement(test).sql).rows
            verdict = verdict_of(test.severity, should_warn=bool(warns), should_error=bool(errs))
            failures = 0 if verdict is Verdict.PASS else int(alone or 0)
            assert answers[test.name].failures == failures
            assert answers[test.name].verdict is verdict
            default = not test.where and test.limit is None and test.fail_calc == "count(*)"
            if default and test.error_if == test.warn_if == "!= 0":
                by_rows = len(session.query(test.sql).rows)
                assert failures == by_rows
                assert (answers[test.name].verdict is Verdict.PASS) == (by_rows == 0)


def _project(
    warehouse: Warehouse,
    rows: list[tuple[str, ...]],
    parents: list[str],
    tests: list[tuple[Any, dict[str, Any]]],
    *,
    together: bool,
) -> SqlProject:
    project = SqlProject("tests", warehouse=warehouse, state_url="sqlite://")
    values = ", ".join(f"({', '.join(row)})" for row in rows)
    typed = "select a::int as a, b::varchar as b, c::float8 as c from "
    project.model(
        name="model",
        sql=typed
        + (f"(values {values}) t(a, b, c)" if rows else "(select null as a, null as b, null as c) t where 1 = 0"),
        materialized="table",
        columns=_columns(tests, together=together),
    )
    listed = ", ".join(f"({each})" for each in parents)
    project.model(
        name="parents",
        sql=f"select id::int as id from (values {listed}) t(id)" if parents else "select 1 as id where 1 = 0",
        materialized="table",
    )
    return project


def _columns(tests: list[tuple[Any, dict[str, Any]]], *, together: bool) -> dict[str, Column]:
    declared: dict[str, list[dict[str, Any]]] = {}
    for number, ((column, kind, arguments), config) in enumerate(tests):
        also = {"aggregate": "all"} if together else {}
        entry = {"test_name": kind, "name": f"t{number}", "config": {**config, **also}}
        declared.setdefault(column, []).append({**entry, **({"arguments": arguments} if arguments else {})})
    return {column: Column(data_tests=tuple(entries)) for column, entries in declared.items()}
