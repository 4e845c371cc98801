"""How new rows enter a table: keys, columns and predicates as the engine reads them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse

ROWS = "select id, region, amount, made from {{ source('raw', 'orders') }}"
STRATEGIES = pytest.mark.parametrize("strategy", ["delete+insert", "merge"])


@pytest.fixture
def shop(world: World) -> World:
    """Two orders; after the first build of what reads them, both are changed."""
    world.source("orders")
    world.sql(
        "create table raw.orders as select * from (values (1, 'n', 10, 'a'), (2, 's', 20, 'a')) t(id, region, amount, made)"
    )
    return world


def rebuilt(shop: World, strategy: str, sql: str = ROWS, **config: Any) -> list[tuple[Any, ...]]:
    """Return the rows after an increment in which both orders have another amount and another time."""
    shop.model("orders", sql, materialized="incremental", incremental_strategy=strategy, **config).run()
    shop.sql("update raw.orders set amount = amount + 1, made = 'b'")
    run = shop.run()
    assert run.outcomes == {"orders": "built: new_data"}, run.decision("orders").evidence
    return shop.rows("select id, amount, made from main.orders order by id, amount")


@pytest.mark.parametrize("columns", [{"merge_exclude_columns": ["MADE"]}, {"merge_update_columns": ["Amount"]}])
def test_names_of_columns_are_the_engines_whatever_their_case(shop: World, columns: dict[str, list[str]]) -> None:
    assert rebuilt(shop, "merge", unique_key="ID", **columns) == [(1, 11, "a"), (2, 21, "a")]


@STRATEGIES
def test_without_a_key_rows_are_added(shop: World, strategy: str) -> None:
    assert rebuilt(shop, strategy) == [(1, 10, "a"), (1, 11, "b"), (2, 20, "a"), (2, 21, "b")]


def test_where_all_columns_are_excluded_nothing_is_updated(shop: World) -> None:
    excluded = ["id", "region", "amount", "made"]
    assert rebuilt(shop, "merge", unique_key="id", merge_exclude_columns=excluded) == [(1, 10, "a"), (2, 20, "a")]


def test_a_column_to_update_that_is_not_there_is_an_error(shop: World) -> None:
    config = {"materialized": "incremental", "incremental_strategy": "merge", "unique_key": "id"}
    shop.model("orders", ROWS, merge_update_columns=["amont"], **config).run()
    shop.sql("update raw.orders set amount = 0")
    assert "amont" in str(shop.run().decision("orders").evidence["error"])


@STRATEGIES
@pytest.mark.parametrize("key", ["region || '-' || id", "id, region", "coalesce(id, 0)", "orders.id"])
def test_a_key_may_be_an_expression_or_a_list(shop: World, strategy: str, key: str) -> None:
    assert rebuilt(shop, strategy, unique_key=key) == [(1, 11, "b"), (2, 21, "b")]


@STRATEGIES
@pytest.mark.parametrize(
    "predicate",
    [
        "region = 'n'",
        "{{ this }}.region = 'n'",
        "DBT_INTERNAL_DEST.region = 'n'",
        "DBT_INTERNAL_SOURCE.region = 'n'",
        "region in (select region from raw.orders where id = 1)",
    ],
)
def test_a_predicate_is_about_the_table_unless_it_says_otherwise(shop: World, strategy: str, predicate: str) -> None:
    """The order of the south is not looked for in the table, so it enters again."""
    sql = '{{ config(incremental_predicates=["' + predicate.replace("{{ this }}", "' ~ this ~ '") + '"]) }}' + ROWS
    if "' ~" in sql:
        sql = sql.replace("[\"' ~ this ~ '", '[this ~ "')
    assert rebuilt(shop, strategy, sql, unique_key="id") == [(1, 11, "b"), (2, 20, "a"), (2, 21, "b")]


@pytest.mark.parametrize("key", ["merge_update_condition", "merge_clauses", "merge_on_using_columns"])
def test_what_would_change_a_merge_and_is_not_done_here_is_refused(shop: World, key: str) -> None:
    shop.model("orders", ROWS, materialized="incremental", incremental_strategy="merge", unique_key="id", **{key: "x"})
    run = shop.run()
    assert run.outcomes == {"orders": "failed: build_error"}
    assert f"{key}, where here there are" in str(run.decision("orders").evidence["error"])
