"""Tables that are there before the first build: adopted because somebody says so, and never where it shows that they cannot be what their code gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.core.selection import select
from sao_dagster.run.adopt import Adoption
from tests.world import World

anywhere = pytest.mark.warehouse("duckdb", "postgres")


@pytest.fixture
def shop(world: World) -> World:
    """A shop whose tables are there, and of whose builds nothing is known."""
    shop = world
    shop.source("orders").sql("create table raw.orders as select 1 as id, 5 as amount union all select 2, 7")
    shop.model("cheap", "select * from {{ source('raw', 'orders') }} where amount < 100", materialized="ephemeral")
    shop.model("orders", "select id, amount from {{ ref('cheap') }}")
    shop.model("seen", "select * from {{ ref('orders') }}", materialized="view")
    shop.model("report", "select sum(amount) as amount from {{ ref('seen') }}")
    shop.model("log", "select id from {{ ref('orders') }}", materialized="incremental", unique_key="id")
    shop.write("models/t.yml", "models: [{name: report, columns: [{name: amount, data_tests: [unique, not_null]}]}]")
    shop.run()
    forget(shop)
    return shop


def forget(world: World) -> None:
    opened = world.opened()
    opened.store.clear(world.environment, None, None)


def adopt(world: World, include: str | None = None, *, dry_run: bool = False) -> Adoption:
    runner = world.runner()
    return runner.adopt(select(runner.project, include), dry_run=dry_run)


def reasons(world: World) -> dict[str, str]:
    return {name: decision.reason.value for name, decision in world.plan().items()}


@anywhere
def test_what_is_adopted_is_reused_until_something_is_new(shop: World) -> None:
    assert set(reasons(shop).values()) == {"never_built"}
    found = adopt(shop)
    assert (set(found.nodes), found.refused) == ({"orders", "seen", "report", "log"}, {})
    assert set(reasons(shop).values()) == {"no_new_data"}
    assert shop.run().built == set()
    shop.sql("insert into raw.orders values (3, 9)")
    assert shop.run().outcomes == {
        "orders": "built: new_data",
        "seen": "reused: no_new_data",
        "report": "built: new_data",
        "log": "built: new_data",
    }
    assert shop.rows("select amount from main.report") == [(21,)]


@anywhere
def test_what_others_change_afterwards_is_noticed_and_so_is_an_edit(shop: World) -> None:
    adopt(shop)
    shop.sql("insert into main.orders values (8, 100)")
    assert reasons(shop)["orders"] == "relation_altered"
    shop.model("report", "select sum(amount) + 1 as amount from {{ ref('seen') }}")
    assert reasons(shop)["report"] == "code_changed"


def test_its_tests_run_since_nothing_is_proven_of_what_nobody_has_built(shop: World) -> None:
    shop.write("models/t.yml", "models: [{name: seen, columns: [{name: id, data_tests: [not_null]}]},"
               " {name: report, columns: [{name: amount, data_tests: [unique]}]}]")  # fmt: skip
    adopt(shop)
    assert shop.run().tests == {"unique_report_amount": "ran: pass", "not_null_seen_id": "ran: pass"}
    shop.run("report", tests=False)
    forget(shop)
    assert shop.run().tests["unique_report_amount"] == "proven: pass"


def test_a_record_that_is_there_stays_and_only_what_is_selected_is_adopted(shop: World) -> None:
    shop.run("orders")
    found = adopt(shop, "orders seen")
    assert (found.nodes, found.recorded) == (("seen",), ("orders",))
    assert reasons(shop)["report"] == "never_built"


@anywhere
def test_what_cannot_be_what_its_code_gives_is_refused(shop: World) -> None:
    shop.sql("drop table main.log", "drop view main.seen", "create table main.seen as select * from main.orders")
    found = adopt(shop)
    assert found.nodes == ("orders",)
    assert found.refused["log"].endswith("is not there")
    assert found.refused["seen"].endswith("is a table, and a build makes it a view")
    assert found.refused["report"] == "nobody knows what seen holds, so that it is built anyway"
    forget(shop)
    shop.model("orders", "select id, amount, 1 as vat from {{ ref('cheap') }}")
    assert adopt(shop).refused["orders"] == "its columns are id, amount, and its code gives id, amount, vat"
    shop.model("orders", "select id, price from {{ ref('cheap') }}")
    assert adopt(shop).refused["orders"].startswith("its code cannot be run: ")


def test_a_parent_that_is_not_adopted_is_known_by_its_content_or_not_at_all(shop: World) -> None:
    shop.sql("drop table raw.orders")
    found = adopt(shop, "orders report")
    assert found.refused["orders"] == "nobody knows what source:raw.orders holds, so that it is built anyway"


def test_what_another_run_builds_just_now_is_left_to_it(shop: World) -> None:
    shop.opened().store.take_lease(shop.environment, "orders", "another", "another", 600.0)
    found = adopt(shop)
    assert found.refused["orders"] == "another run builds it just now"
    assert "orders" not in found.nodes


# ------------------------------------------------------------------ the command


def sao(world: World, *arguments: str) -> Any:
    command = ["state", "adopt", *arguments, "--project-dir", str(world.root)]
    return CliRunner().invoke(app, command)


@pytest.fixture
def folder(world: World) -> World:
    world.source("orders").sql("create table raw.orders as select 1 as id", "create table orders as select 1 as id")
    return world.model("orders", "select * from {{ source('raw', 'orders') }}").model("never", "select 1 as one")


def test_a_dry_run_shows_what_would_be_adopted_and_records_nothing(folder: World) -> None:
    shown = json.loads(sao(folder, "--dry-run", "--json").stdout)
    assert (shown["adoptable"], shown["adopted"], list(shown["refused"])) == (["orders"], [], ["never"])
    assert "never" in sao(folder, "--dry-run").output
    assert json.loads(sao(folder, "--dry-run", "--json").stdout)["adoptable"] == ["orders"]


def test_nothing_is_recorded_without_a_yes(folder: World) -> None:
    refused = sao(folder, "--json")
    assert (refused.exit_code, "--yes does" in json.loads(refused.stdout)["error"]) == (2, True)
    assert json.loads(sao(folder, "--yes", "--json").stdout)["adopted"] == ["orders"]
    assert json.loads(sao(folder, "--yes", "--json").stdout)["recorded"] == ["orders"]


def test_explain_and_state_show_say_that_it_was_adopted(folder: World) -> None:
    sao(folder, "--yes")
    root = ("--project-dir", str(folder.root))
    assert "It was adopted at" in CliRunner().invoke(app, ["explain", "orders", *root]).output
    shown = json.loads(CliRunner().invoke(app, ["state", "show", "--json", *root]).stdout)
    assert [each["adopted"] for each in shown["builds"]] == [True]
