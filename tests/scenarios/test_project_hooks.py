"""`on-run-start` prepares a run: where it fails, nothing is built, tested or recorded."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.errors import WarehouseError
from sao_dagster.run.project_hooks import ProjectHooks
from tests.world import PROJECT, World, on_each_warehouse

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


def test_whoever_asks_again_gets_the_same_failure(shop: World) -> None:
    start_with(shop, "select not_a_function()")
    runner = shop.runner()
    with runner.warehouse.session() as session:
        hooks = ProjectHooks(runner.project, session, "run", shop.now)
        for _ in range(2):
            with pytest.raises(WarehouseError, match="not_a_function"):
                hooks.start()


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
