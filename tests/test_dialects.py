"""An engine of which nothing is known: no proofs, no cosmetic edits, each test by itself; and names quoted as an engine quotes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlglot import parse_one

from sao_dagster import Column, DuckDBWarehouse, SqlProject, select
from sao_dagster.core.nodes import Model
from sao_dagster.core.proofs import Fact, FactKind
from sao_dagster.core.relations import Relation
from sao_dagster.run.test_sql import statements_for
from sao_dagster.sql.dialects import DIALECTS, Dialect, dialect_named
from sao_dagster.sql.inference.functions import aggregate_keeps_not_null, keeps_not_null
from sao_dagster.sql.inference.infer import TableFacts, infer
from sao_dagster.sql.inference.types import INTEGER


@dataclass(frozen=True)
class Renamed(DuckDBWarehouse):
    """DuckDB, under a name of which nothing is known."""

    dialect: str = field(default="sqlite", init=False)


@dataclass(frozen=True)
class Backticks(DuckDBWarehouse):
    """DuckDB, under the name of an engine that quotes with backticks."""

    dialect: str = field(default="bigquery", init=False)


def _shop(warehouse: DuckDBWarehouse, folder: Path, sql: str) -> SqlProject:
    shop = SqlProject("shop", warehouse=warehouse, state_url=f"sqlite:///{folder / 'state.db'}")
    shop.model(name="numbers", sql="select range as i from range(3)", materialized="table")
    shop.model(
        name="shown",
        sql=sql,
        materialized="table",
        columns={"n": Column(data_tests=("unique", "not_null"))},
    )
    return shop


@pytest.mark.parametrize(
    ("kind", "outcomes", "edited", "statements"),
    [
        (DuckDBWarehouse, {"proven"}, "no_new_data", 1),
        (Renamed, {"ran"}, "code_changed", 2),
    ],
)
def test_of_an_engine_that_is_not_known_nothing_is_assumed(
    kind: type[DuckDBWarehouse], outcomes: set[str], edited: str, statements: int, tmp_path: Path
) -> None:
    warehouse = kind(path=":memory:")
    one = _shop(warehouse, tmp_path, "select row_number() over (order by x.i) as n from {{ ref('numbers') }} as x")
    result = one.runner().run(select(one.project))
    assert {each.decision.outcome.value for each in result.tests} == outcomes
    assert all(each.verdict is not None and each.verdict.value == "pass" for each in result.tests)
    assert len(statements_for("shown", one.project.tests.values())) == statements

    other = _shop(warehouse, tmp_path, "select row_number() over (order by y.i) as n from {{ ref('numbers') }} as y")
    decided = {each.name: each.decision for each in other.runner().run(select(other.project)).models}
    assert decided["numbers"].outcome.value == "reused"
    assert decided["shown"].reason.value == edited


def test_only_where_it_was_fuzzed_is_anything_proven() -> None:
    assert {name for name, each in DIALECTS.items() if each.proofs_fuzzed} == {"duckdb", "postgres"}
    assert {name for name, each in DIALECTS.items() if each.shares_test_statements} == {"duckdb", "postgres"}
    assert all(name == each.name for name, each in DIALECTS.items())
    assert infer("select count(*) as n from t", "sqlite", {}) is None
    assert infer("select count(*) as n from t", "duckdb", {}) is not None


@pytest.mark.parametrize("dialect", ["sqlite", "mysql", "oracle", ""])
@pytest.mark.parametrize(
    "expression",
    ["a + b", "a / 2", "sqrt(a)", "ln(a)", "abs(a)", "a & b", "extract(year from a)", "lower(a)", "a || b", "date_trunc('day', a)"],
)  # fmt: skip
def test_what_may_be_null_on_an_engine_that_is_not_known_is_not_promised(dialect: str, expression: str) -> None:
    node = parse_one(expression, read="duckdb")
    assert not keeps_not_null(node, dialect)
    assert not aggregate_keeps_not_null(parse_one("sum(a)"), INTEGER, dialect)


@pytest.mark.parametrize("expression", ["a = b", "a < b", "a like 'x%'", "a between b and c", "not a", "a and b"])
def test_what_the_standard_says_is_promised_everywhere(expression: str) -> None:
    assert keeps_not_null(parse_one(expression), "brand new")


@pytest.mark.parametrize(
    ("query", "dialect", "expected"),
    [
        ("select a = b as x from t", "databricks", True),
        ("select a = s as x from t", "databricks", False),  # 'x' is no number, and null if it is cast to one
        ("select a = s as x from t", "duckdb", True),  # an error
        ("select a between b and s as x from t", "databricks", False),
        ("select cast(s as date) as x from t", "databricks", False),
        ("select cast(s as date) as x from t", "postgres", True),
        ("select sum(a) as x from t group by b", "databricks", False),
        ("select min(a) as x from t group by b", "databricks", True),
    ],
)
def test_casts_that_nobody_wrote(query: str, dialect: str, expected: bool) -> None:

    columns = (("a", "INTEGER"), ("b", "INTEGER"), ("s", "VARCHAR"))
    facts = tuple(Fact(FactKind.NOT_NULL, "t", (name,), "given") for name, _ in columns)
    found = infer(query, dialect, {("", "main", "t"): TableFacts(columns, facts)})
    assert found is not None
    assert (found.not_null(0) is not None) == expected


def test_names_are_quoted_as_the_engine_quotes_them() -> None:
    shop = SqlProject("shop", warehouse=Backticks(path=":memory:"), state_url="sqlite://")
    shop.source("raw", "orders")
    shop.model(name="a", sql="select 1 as id from {{ source('raw', 'orders') }}")
    shop.model(
        name="b",
        sql="select {{ adapter.quote('Big id') }}, '{{ this.include(database=false) }}', {{ api.Column('x y', 'int').quoted }}, "
        "'{{ api.Relation.create(schema='s', identifier='t') }}' from {{ ref('a') }}",
        columns={"id": Column(data_tests=("not_null",))},
    )
    project = shop.project
    assert project.errors == ()
    compiled = {each.name: each.compiled.sql for each in project.nodes.values() if isinstance(each, Model)}
    assert compiled["a"] == "select 1 as id from `memory`.`raw`.`orders`"
    assert compiled["b"] == "select `Big id`, '`main`.`b`', `x y`, '`s`.`t`' from `memory`.`main`.`a`"
    assert [each.sql for each in project.tests.values()] == ["select * from `memory`.`main`.`b` where id is null"]
    assert project.nodes["b"].relation == Relation("memory", "main", "b")
    assert project.nodes["b"].relation.plain == "memory.main.b"


def test_quoting_is_no_part_of_what_a_relation_is() -> None:
    one, other = (dialect_named(name).relation("db", "main", "orders") for name in ("duckdb", "bigquery"))
    assert str(one) != str(other)
    assert (one, hash(one), one.key, repr(one)) == (other, hash(other), other.key, repr(other))
    assert sorted([other, Relation("db", "main", "a")]) == [Relation("db", "main", "a"), one]


def test_the_defaults_are_the_humblest() -> None:
    unknown = Dialect(name="brand new")
    assert not unknown.compares_names
    counting = {
        "shows_case",
        "names_by_text",
        "fields_like_columns",
        "fields_by_dot",
    }  # because of which more edits count
    assert {name for name, value in vars(unknown).items() if value is True} == counting
