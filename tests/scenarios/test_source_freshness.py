"""Freshness of sources: the limits that hold, how their age is read, and that no check disappears."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sao_dagster.core.selection import select
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse

CHECK = "source_freshness_raw_orders"
DAY = {"count": 1, "period": "day"}


@pytest.fixture
def shop(world: World) -> World:
    """A source whose newest row is two hours old at the start."""
    world.sql("create table raw.orders as select 1 as id, timestamp '2026-03-02 07:30:00' as loaded, 'soon' as note")
    return world.model("orders", "select * from {{ source('raw', 'orders') }}")


def declare(shop: World, table: dict[str, Any], **source: Any) -> World:
    return shop.write(
        "models/sources.yml",
        json.dumps({"sources": [{"name": "raw", **source, "tables": [{"name": "orders", **table}]}]}),
    )


def said(shop: World) -> str:
    """Return what the check says in a run, after its verdict."""
    (check,) = (each for each in shop.run().result.tests if each.test.name == CHECK)
    return f"{check.verdict.value if check.verdict else '-'}: {check.error or ''}"


@pytest.mark.parametrize(("limit", "verdict"), [("error_after", "fail"), ("warn_after", "warn")])
def test_an_empty_source_is_as_late_as_can_be(shop: World, limit: str, verdict: str) -> None:
    declare(shop, {}, loaded_at_field="loaded", freshness={limit: DAY}).sql("delete from raw.orders")
    assert said(shop).startswith(f"{verdict}: there are no rows")


@pytest.mark.parametrize(
    ("expression", "problem"),
    [("loded", "loded"), ("note", "'soon' is not a time"), ("id", "1 is not a time"), ("nowhere.x", "nowhere")],
)
def test_what_cannot_be_read_as_a_time_fails_and_says_so(shop: World, expression: str, problem: str) -> None:
    declare(shop, {"loaded_at_field": expression, "freshness": {"error_after": DAY}})
    found = said(shop)
    assert found.startswith("fail: ")
    assert problem in found


@pytest.mark.parametrize(
    "query", ["select no_such_column from {{ this }}", "select max(loaded) from {{ this }} where false"]
)
def test_a_query_that_fails_or_gives_nothing_does_not_lose_its_check(shop: World, query: str) -> None:
    declare(shop, {"loaded_at_query": query, "config": {"freshness": {"error_after": DAY}}})
    assert said(shop).startswith("fail: ")


@pytest.mark.parametrize(
    "query",
    [
        "select max(loaded) from {{ this }}",
        "select max(loaded) from {{ source('raw', 'orders') }}",
        "select max(loaded) from {{ ref('orders_of_today') }}",
        "{{ newest(this) }}",
        "select max(loaded) from {{ this }} where loaded < '{{ run_started_at }}'",
    ],
)
def test_a_query_is_a_template(shop: World, query: str) -> None:
    shop.write("macros/newest.sql", "{% macro newest(relation) %}select max(loaded) from {{ relation }}{% endmacro %}")
    shop.model("orders_of_today", "select * from {{ source('raw', 'orders') }}", materialized="view")
    declare(shop, {}).run("orders_of_today")
    declare(shop, {"loaded_at_query": query, "freshness": {"error_after": DAY}}).run()
    assert said(shop) == "pass: "
    assert shop.run().outcomes["orders"] == "reused: no_new_data"
    assert said(shop.wait(days=2)) == "fail: "


@pytest.mark.parametrize(
    ("source", "table", "verdict"),
    [
        ({"freshness": {"error_after": DAY}}, {}, "fail"),
        ({"freshness": {"error_after": DAY}}, {"freshness": {"error_after": {"count": 9}}}, "pass"),
        ({"freshness": {"error_after": DAY}}, {"freshness": {"warn_after": DAY, "error_after": None}}, "warn"),
        ({"freshness": {"warn_after": DAY}}, {"config": {"freshness": {"error_after": DAY}}}, "fail"),
        ({"freshness": {"warn_after": DAY}}, {"freshness": {"error_after": {"count": 9, "period": "day"}}}, "warn"),
        ({"freshness": {"error_after": DAY}}, {"freshness": None}, None),
        ({"freshness": {"error_after": DAY}}, {"config": {"freshness": None}}, None),
        ({"config": {"freshness": {"error_after": DAY}}}, {"config": {"freshness": None}}, None),
        ({"freshness": None}, {"freshness": {"error_after": DAY}}, "fail"),
    ],
)
def test_limits_of_a_table_are_merged_with_those_of_its_source(
    shop: World, source: dict[str, Any], table: dict[str, Any], verdict: str | None
) -> None:
    declare(shop, table, loaded_at_field="loaded", **source).wait(days=2)
    verdicts = {each.test.name: each.verdict.value for each in shop.run().result.tests if each.verdict}
    assert verdicts == ({CHECK: verdict} if verdict else {})


def test_a_limit_of_the_project_holds_where_the_files_set_none(shop: World) -> None:
    limits = "\nsources:\n  +freshness: {error_after: {count: 1, period: day}}\n"
    shop.write("dbt_project.yml", (shop.root / "dbt_project.yml").read_text() + limits)
    assert said(declare(shop, {"loaded_at_field": "loaded"}).wait(days=2)) == "fail: "
    declare(shop, {"loaded_at_field": "loaded", "config": {"freshness": None}})
    assert not shop.run().tests


def test_without_a_way_to_tell_its_age_there_is_no_check_and_a_notice(shop: World) -> None:
    declare(shop, {"freshness": {"error_after": DAY}})
    assert not shop.run().tests
    assert any("loaded_at_field" in str(notice) for notice in shop.runner().project.notices)


@pytest.mark.parametrize("where", ["table", "source", "config", "project"])
def test_a_filter_sees_the_clock_of_each_run(shop: World, where: str) -> None:
    past = {"filter": "loaded <= '{{ run_started_at.strftime(\"%Y-%m-%d %H:%M:%S\") }}'", "error_after": DAY}
    if where == "project":
        limits = f"\nsources:\n  +freshness: {json.dumps(past)}\n"
        shop.write("dbt_project.yml", (shop.root / "dbt_project.yml").read_text() + limits)
    of_table = {"freshness": past} if where == "table" else {"config": {"freshness": past}} if where == "config" else {}
    declare(shop, of_table, loaded_at_field="loaded", **({"freshness": past} if where == "source" else {}))
    runner = shop.runner()
    runner.run(select(runner.project))
    shop.sql("insert into raw.orders values (2, timestamp '2026-03-02 11:00:00', 'later')")

    def outcomes() -> list[str]:
        return [each.decision.reason.value for each in runner.run(select(runner.project)).models]

    assert outcomes() == ["no_new_data"], "what is to come is filtered out"
    shop.wait(hours=2)
    assert outcomes() == ["new_data"], "in the same process"
    assert outcomes() == ["no_new_data"]
