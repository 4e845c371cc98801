"""`on-run-start` prepares a run: where it fails, nothing is built, tested or recorded."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from sao_dagster import select
from sao_dagster.cli import app
from sao_dagster.core.messages import Message
from sao_dagster.errors import WarehouseError
from sao_dagster.run.events import Event, Planned
from tests.world import PROJECT, Run, World, on_each_warehouse

pytestmark = on_each_warehouse


@pytest.fixture
def shop(world: World) -> World:
    world.sql("create table raw.orders as select 1 as id").source("orders")
    world.model("orders", "select id from {{ source('raw', 'orders') }}").model(
        "late", "select id from {{ ref('orders') }}"
    )
    return world.write("models/tests.yml", "models: [{name: orders, columns: [{name: id, data_tests: [not_null]}]}]")


def start_with(world: World, *statements: str) -> World:
    return world.write("dbt_project.yml", f"{PROJECT}\non-run-start: {json.dumps(statements)}\n")


def test_nothing_is_built_tested_or_recorded_where_the_start_fails(shop: World) -> None:
    start_with(shop, "create table raw.prepared as select 1 as id", "insert into raw.absent values (1)")
    with pytest.raises(
        WarehouseError, match=r"dbt_project\.yml: on-run-start failed at 'insert into raw\.absent.*absent"
    ):
        shop.run()
    tables = "select count(*) from information_schema.tables where table_name in ('orders', 'late') and table_schema = 'main'"
    assert shop.rows(tables) == [(0,)]
    assert shop.rows("select id from raw.prepared") == [(1,)], "what went before stays, as in dbt"
    store = shop.runner().open_store()
    environment = shop.environment
    assert not store.builds(environment)
    assert not store.tests(environment)
    assert not store.runs(environment)
    assert not store.leases(environment)
    start_with(shop, "insert into raw.prepared values (2)")
    run = shop.run()
    assert run.built == {"orders", "late"}
    assert set(run.tests.values()) == {"ran: pass"}


def test_what_was_built_before_stays_as_it_is(shop: World) -> None:
    shop.run()
    shop.sql("insert into raw.orders values (2)")
    start_with(shop, "select not_a_function()")
    with pytest.raises(WarehouseError, match="not_a_function"):
        shop.run()
    assert shop.rows("select count(*) from main.orders") == [(1,)]
    start_with(shop)
    assert shop.run().built == {"orders", "late"}


def test_a_run_that_builds_nothing_does_not_start(shop: World) -> None:
    shop.run()
    start_with(shop, "insert into raw.absent values (1)")
    assert shop.run().built == set()


def test_what_the_start_prepares_is_no_news_in_the_next_run(shop: World) -> None:
    shop.model(
        "late", "select o.id from {{ ref('orders') }} as o join {{ source('raw', 'prepared') }} as p on p.id = o.id"
    )
    shop.source("orders", "prepared")
    start_with(shop, "drop table if exists raw.prepared", "create table raw.prepared as select 1 as id")
    assert shop.run().built == {"orders", "late"}
    assert shop.run().built == set()
    shop.sql("insert into raw.orders values (2)")
    start_with(shop, "drop table if exists raw.prepared", "create table raw.prepared as select 2 as id")
    assert shop.run().built == {"orders", "late"}
    assert shop.rows("select id from main.late") == [(2,)]
    assert shop.run().built == set()


def test_what_the_start_makes_is_there_for_a_test_that_names_it(shop: World) -> None:
    """Nothing is to be built, and the start has never been, or made something else when it was."""
    shop.write("tests/few.sql", "select id from {{ ref('orders') }} where raw.limited(id)").run("orders late")

    def limited(limit: str) -> World:
        body = f"(n) as n > {limit}" if shop.warehouse == "duckdb" else f"(n int) returns bool return n > {limit}"
        kind = "macro" if shop.warehouse == "duckdb" else "function"
        return start_with(shop, f"create or replace {kind} raw.limited{body}")

    assert limited("1").run("few").tests == {"few": "ran: pass"}
    assert limited("0").run("few").tests == {"few": "ran: fail"}
    assert shop.run("not_null_orders_id").tests == {"not_null_orders_id": "reused: pass"}


def test_what_may_change_any_result_has_been_before_a_verdict_is_given(shop: World) -> None:
    """Nobody knows what such a statement is to a test; where it has been run before a verdict, that need not be each time."""
    shop.run()
    shop.write("tests/none.sql", "select id from {{ ref('orders') }}")
    statement = "call raw.note()" if shop.warehouse == "postgres" else "from raw.note()"
    shop.sql("create table raw.notes (id int)")
    if shop.warehouse == "postgres":
        shop.sql("create procedure raw.note() language sql as 'insert into raw.notes values (1)'")
    else:
        shop.sql("create macro raw.note() as table select 1 as id")
    start_with(shop, statement, "insert into raw.notes values (2)")
    for _ in range(2):
        assert shop.run("none").tests == {"none": "ran: fail"}
        assert shop.rows("select count(*) from raw.notes where id = 2") == [(1,)]
    start_with(shop, statement, "insert into raw.notes values (2)", "insert into raw.absent values (1)")
    assert shop.run("none").tests == {"none": "ran: fail"}, (
        "what has no effect on a result is not a part of its version"
    )


def test_what_is_gone_with_the_process_is_set_again_for_each_test(shop: World) -> None:
    shop.run()
    shop.write("tests/none.sql", "select id from {{ ref('orders') }}").sql("create table raw.notes (id int)")
    setting = "set search_path = 'main'" if shop.warehouse == "postgres" else "attach ':memory:'"
    start_with(shop, setting, "insert into raw.notes values (2)")
    for starts in (1, 2):
        assert shop.run("none").tests == {"none": "ran: fail"}
        assert shop.rows("select count(*) from raw.notes") == [(starts,)]


@pytest.mark.warehouse("duckdb")
def test_a_run_starts_after_all_where_a_test_that_held_something_back_passes(world: World) -> None:
    file, columns = world.root / "prices.csv", "columns: [{name: id, data_tests: [unique]}]"
    world.write(
        "models/land.yml",
        f"sources: [{{name: land, config: {{external_location: prices.csv}}, tables: [{{name: prices, {columns}}}]}}]",
    )
    world.sql("create table raw.starts (n int)").model("other", "select 1 as id")
    world.model("total", "select count(*) as n from {{ source('land', 'prices') }}")
    world.model("passed_on", "select n, (select max(n) from raw.starts) as starts from {{ ref('total') }}")
    start_with(world, "insert into raw.starts select 1 + count(*) from raw.starts")
    file.write_text("id\n1\n1\n")
    assert world.run().built == {"other"}
    assert world.run().outcomes == {
        "other": "reused: no_new_data", "total": "skipped: upstream_failed", "passed_on": "skipped: upstream_failed"
    }  # fmt: skip
    assert world.rows("select n from raw.starts") == [(1,)]
    events: list[Event] = []

    def mend(event: Event) -> None:
        events.append(event)
        if isinstance(event, Planned):
            file.write_text("id\n1\n2\n")

    runner = world.runner()
    run = Run(runner.run(select(runner.project), on_event=mend))
    assert (run.built, list(run.tests.values())) == ({"total", "passed_on"}, ["ran: pass"])
    assert run.outcomes["other"] == "reused: no_new_data"
    assert world.rows("select n, starts from main.passed_on") == [(2, 2)]
    told = Counter(type(event).__name__ for event in events if not isinstance(event, Message))
    assert told == {"Planned": 1, "ModelResult": 3, "TestResult": 1, "Started": 2}
    assert len(runner.open_store().runs(world.environment)) == 3
    assert world.run().built == set()


def test_the_command_line_says_what_failed(shop: World) -> None:
    start_with(shop, "insert into raw.absent values (1)")
    result = CliRunner().invoke(app, ["build", "--json", "--project-dir", str(shop.root)])
    assert result.exit_code == 2
    assert "on-run-start" in json.loads(result.stdout)["error"]
    assert "absent" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_the_end_of_a_run_writes_to_is_built_in_each_run(shop: World) -> None:
    """The warning says that it may be a hook, since nobody else is there who could be told of another state."""
    statement = "insert into main.orders values (7)"
    shop.write("dbt_project.yml", f"{PROJECT}\non-run-end: {json.dumps([statement])}\n").run()
    for _ in range(2):
        run = shop.run()
        assert run.outcomes["orders"] == "built: relation_altered"
        assert "if a hook of the project writes to it, such as `on-run-end`" in run.decision("orders").warnings[0]
    assert shop.rows("select id from main.orders order by 1") == [(1,), (7,)]
