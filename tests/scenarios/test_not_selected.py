"""What a run reads and does not select is what is in the warehouse now, whoever made it; not what a record says of it."""

from __future__ import annotations

import pytest

from sao_dagster.core.explain import explain
from sao_dagster.core.reasons import Mode
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse
on_duckdb = pytest.mark.warehouse("duckdb")
DROP = "drop view main.v", "drop table main.stg"


@pytest.fixture
def shop(world: World) -> World:
    """A source, a table over it, a view over that, and a table over each."""
    world.source("orders").sql("create table raw.orders as select 1 as id")
    world.model("stg", "select id from {{ source('raw', 'orders') }}")
    world.model("v", "select id from {{ ref('stg') }}", materialized="view")
    world.model("total", "select count(*) as n from {{ ref('stg') }}")
    world.model("seen", "select count(*) as n from {{ ref('v') }}")
    return world.write("models/p.yml", "models: [{name: v, columns: [{name: id, data_tests: [unique]}]}]\n")


def replaced(shop: World, rows: str) -> World:
    """Put other rows into the table in the middle, as somebody else would."""
    return shop.sql(*DROP, f"create table main.stg as {rows}", "create view main.v as select id from main.stg")


def test_a_parent_that_somebody_replaced_is_news_for_its_child(shop: World) -> None:
    shop.run()
    run = replaced(shop, "select 1 as id union all select 2").run("total")
    assert run.outcomes == {"total": "built: new_data"}
    assert explain(run.decision("total")) == "news from stg (changed by someone else)"
    assert shop.rows("select n from main.total") == [(2,)]
    assert shop.run("total").outcomes == {"total": "reused: no_new_data"}
    run = replaced(shop, "select 1 as id").run()
    assert run.outcomes["total"] == "built: new_data", "it holds what the other table had"
    assert shop.rows("select n from main.total") == [(1,)]


def test_a_forced_build_records_what_was_there(shop: World) -> None:
    """Else its child would be taken for built from what the record of the parent says."""
    shop.run()
    replaced(shop, "select 1 as id union all select 2").run("total", mode=Mode.FORCE)
    replaced(shop, "select 1 as id")
    assert shop.run("total").built == {"total"}
    assert shop.rows("select n from main.total") == [(1,)]


def test_a_parent_that_was_never_built_here_is_read_as_it_is(shop: World) -> None:
    shop.sql("create schema if not exists main", "create table main.stg as select 1 as id")
    assert shop.run("total").outcomes == {"total": "built: never_built"}
    assert shop.run("total").built == set()
    shop.sql("insert into main.stg values (2)")
    assert shop.run("total").outcomes == {"total": "built: new_data"}


def test_a_parent_that_somebody_dropped_is_unknown(shop: World) -> None:
    shop.run()
    decision = shop.sql(*DROP).plan("total")["total"]
    assert decision.reason.value == "input_unknown"
    assert explain(decision) == "the version of stg (changed or removed by someone else) cannot be read"


def test_a_view_in_between_that_somebody_replaced_is_read_as_it_is(shop: World) -> None:
    shop.run()
    shop.sql(DROP[0], "create view main.v as select id from main.stg union all select 1")
    run = shop.run("seen")
    assert run.outcomes == {"seen": "built: code_changed"}
    assert explain(run.decision("seen")) == "its definition changed (views, through v (changed by someone else))"
    assert shop.rows("select n from main.seen") == [(2,)]
    assert shop.run("seen").built == set()
    shop.sql("insert into raw.orders values (2)", DROP[0], "create view main.v as select id from raw.orders")
    assert shop.run("seen").built == {"seen"}
    shop.sql("delete from raw.orders where id = 2")
    assert shop.run("seen").built == {"seen"}, "what that view reads is not in the project's graph"
    assert shop.rows("select n from main.seen") == [(1,)]
    assert shop.run().outcomes["seen"] == "built: code_changed", "the view is ours again"


def test_a_view_in_between_that_nobody_can_read_is_unknown(shop: World) -> None:
    shop.run()
    shop.sql(DROP[0])
    assert shop.plan("seen")["seen"].reason.value == "input_unknown"


def test_a_verdict_about_a_view_that_somebody_replaced_does_not_stand(shop: World) -> None:
    shop.run()
    shop.sql(DROP[0], "create view main.v as select id from main.stg union all select 1")
    assert shop.run("unique_v_id").tests == {"unique_v_id": "ran: fail"}


def test_rows_that_somebody_added_to_a_parent_are_news(shop: World) -> None:
    shop.run()
    run = shop.sql("insert into main.stg values (2)").run("seen")
    assert run.outcomes == {"seen": "built: new_data"}
    assert shop.rows("select n from main.seen") == [(2,)]


def test_a_verdict_about_rows_that_somebody_changed_does_not_stand(shop: World) -> None:
    shop.run()
    assert shop.run("unique_v_id").tests == {"unique_v_id": "reused: pass"}
    assert shop.sql("insert into main.stg values (1)").run("unique_v_id").tests == {"unique_v_id": "ran: fail"}


def test_a_view_that_was_made_before_what_it_reads_moved_shows_what_is_there_still(world: World) -> None:
    world.model("a", "select 1 as id").model("v", "select id from {{ ref('a') }}", materialized="view")
    world.model("below", "select id from {{ ref('v') }}").run()
    world.model("a", "select 1 as id", alias="moved").run("a")
    world.run("below")
    world.sql("update main.a set id = 7")
    assert world.run("below").built == {"below"}
    assert world.rows("select id from main.below") == [(7,)]
    assert world.run("v below").built == {"v", "below"}
    assert world.rows("select id from main.below") == [(1,)]


@on_duckdb
def test_a_view_over_a_view_whose_table_is_gone_cannot_be_made_again(shop: World) -> None:
    """DuckDB keeps such a view, with its columns."""
    shop.model("over", "select id from {{ ref('v') }}", materialized="view")
    shop.sql("create view raw.seen as select id from raw.orders").source("orders", "seen")
    shop.model("over_source", "select id from {{ source('raw', 'seen') }}", materialized="view")
    shop.model("undeclared", "select id from raw.seen", materialized="view")
    shop.run()
    assert shop.run("over over_source undeclared").built == set()
    shop.sql("drop table main.stg")
    assert shop.plan("over")["over"].reason.value == "input_unknown"
    run = shop.run("over")
    assert run.outcomes == {"over": "failed: build_error"}
    assert "Table with name stg does not exist" in run.decision("over").evidence["error"]
    assert shop.run().built == {"stg"}, "all else is as it was once that is there again"
    shop.sql("alter table raw.orders rename to gone")
    assert set(shop.run("over_source undeclared").outcomes.values()) == {"failed: build_error"}
    shop.sql("alter table raw.gone rename to orders")
    assert set(shop.run("over_source undeclared").outcomes.values()) == {"reused: no_new_data"}


@on_duckdb
def test_a_view_over_a_view_that_loses_a_column_in_the_run_cannot_be_made_again(shop: World) -> None:
    shop.model("v", "select * from {{ ref('stg') }}", materialized="view")
    shop.model("over", "select id from {{ ref('v') }}", materialized="view")
    shop.run()
    shop.model("stg", "select id as other from {{ source('raw', 'orders') }}")
    assert shop.run("stg over").outcomes == {"stg": "built: code_changed", "over": "failed: build_error"}
    shop.model("stg", "select id, 1 as more from {{ source('raw', 'orders') }}")
    assert shop.run("stg over").built == {"stg", "over"}
    assert shop.run("stg over").built == set()
    shop.model("stg", "select id from {{ source('raw', 'orders') }}")
    assert shop.run().built == {"stg", "over"}, "v reads what it read when it was made"
    assert shop.run().built == set()
