"""Many environments in one state: what is known of each, how one is cleared, how those of branches expire, and what others cost a run."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.state.sql_store import SqlStateStore
from tests.world import World, on_each_warehouse

pytestmark = [on_each_warehouse, pytest.mark.slow]
on_duckdb = pytest.mark.warehouse("duckdb")


@pytest.fixture
def shop(world: World) -> World:
    """Two models, built in two environments."""
    world.model("orders", "select 1 as id").model("report", "select id from {{ ref('orders') }}")
    world.write("models/tests.yml", "models: [{name: orders, columns: [{name: id, data_tests: [unique]}]}]")
    world.run()
    world.run(target="other")
    return world


def sao(world: World, *arguments: str) -> Result:
    state = {"SAO_STATE_URL": f"sqlite:///{world.root / 'state.db'}"}
    return CliRunner().invoke(app, [*arguments, "--project-dir", str(world.root)], env=state)


def environments(world: World) -> dict[str, dict[str, Any]]:
    """Return what `sao state environments` says, by schema."""
    found = sao(world, "state", "environments", "--json")
    return {each["schema"]: each for each in json.loads(found.stdout)["environments"]}


def store_of(world: World) -> SqlStateStore:
    return SqlStateStore(f"sqlite:///{world.root / 'state.db'}")


def test_how_old_and_how_large_an_environment_is(shop: World) -> None:
    found = environments(shop)["other"]
    assert (found["builds"], found["rows"], found["last_ci"]) == (2, 2, None)
    assert found["last_build"].startswith("2026-03-02T09:30")
    assert (found["bytes"] is None) == (shop.warehouse == "duckdb")
    shown = sao(shop, "state", "environments").stdout
    assert "ago" in shown
    assert ("2 rows" if shop.warehouse == "duckdb" else "KiB") in shown


def test_another_environment_is_cleared_by_its_name(shop: World) -> None:
    assert json.loads(sao(shop, "state", "clear", "--environment", "other", "--json").stdout)["cleared"] == 2
    assert {schema: each["builds"] for schema, each in environments(shop).items()} == {"main": 2, "other": 0}
    key = environments(shop)["main"]["environment"]
    assert "1 record of" in sao(shop, "state", "clear", "--environment", key, "--select", "orders").stdout
    refused = sao(shop, "state", "clear", "--environment", "prod")
    assert (refused.exit_code, "knows no environment 'prod'" in refused.stderr) == (2, True)


def test_environments_of_branches_expire(shop: World) -> None:
    shop.model("report", "select id + 1 as id from {{ ref('orders') }}")
    shop.write("models/report.yml", "models: [{name: report, columns: [{name: id, data_tests: [unique]}]}]")
    for schema in ("ci_one", "ci_two"):
        assert sao(shop, "ci", "--against", "other", "--schema", schema).exit_code == 0
    assert "set branch_days in sao.yml" in sao(shop, "ci", "drop", "--expired", "--yes").stderr
    shop.write("sao.yml", "branch_days: 14\n")
    assert "has expired" in sao(shop, "ci", "drop", "--expired", "--yes").stdout
    store = store_of(shop)
    one = store.branches()[0]
    assert store.tests(one.environment)
    store.keep_branch(replace(one, used_at=one.used_at - timedelta(days=15)))
    assert sao(shop, "ci", "--against", "other", "--schema", "ci_two").exit_code == 0
    assert (store.tests(one.environment), list(store.builds(one.environment))) == ({}, ["report"]), (
        "what is to be dropped is known"
    )
    said = json.loads(sao(shop, "ci", "drop", "--expired", "--yes", "--json").stdout)
    assert ([each.rpartition(".")[2] for each in said["schemas"]], said["dropped"]) == (["ci_one"], True)
    assert environments(shop).keys() == {"main", "other", "ci_two"}
    schemas = shop.rows("select distinct table_schema from information_schema.tables where table_schema like 'ci_%'")
    assert schemas == [("ci_two",)]


@on_duckdb
def test_what_others_have_built_costs_a_run_nothing(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement of a run finds its rows by the environment, and looks through no table that grows with others.

    There is one row for each environment in `sao_environments` and `sao_branches`, and these two may be.
    """
    asked: list[str] = []
    connect = sqlite3.connect

    def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr("sqlite3.connect", watched)
    monkeypatch.setattr("sqlite3.dbapi2.connect", watched)
    shop.settings["defer"] = "other"
    shop.model("report", "select id + 2 as id from {{ ref('orders') }}")
    opened = shop.opened()
    replace(opened.runner(), clock=lambda: shop.now).run(opened.selection("state:modified+"))
    monkeypatch.undo()
    with sqlite3.connect(shop.root / "state.db") as connection:
        plans = {
            row[3]: sql
            for sql in asked
            if sql.split()[0].lower() in ("select", "update", "delete", "insert")
            for row in connection.execute(f"explain query plan {sql}")
        }
    used = {plan.split()[1] for plan in plans if plan.startswith("SEARCH")}
    assert {"sao_builds", "sao_tests", "sao_leases", "sao_runs"} <= used
    scanned = {plan: sql for plan, sql in plans.items() if plan.startswith("SCAN sao_") and not sql.endswith("limit 1")}
    assert {plan.split()[1] for plan in scanned} <= {"sao_environments", "sao_branches", "sao_alembic_version"}, scanned
