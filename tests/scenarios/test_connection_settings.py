"""What is set in a connection is part of what is built in it, and reaches each connection that builds or tests."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from typing import Any

import pytest

from sao_dagster.core.connection import ConnectionSettings
from sao_dagster.warehouses.duckdb.session import DuckDBSession
from tests.world import PROJECT, PostgresWorld, World

on_duckdb = pytest.mark.warehouse("duckdb")
on_postgres = pytest.mark.warehouse("postgres")
on_both = pytest.mark.warehouse("duckdb", "postgres")


def profile(world: World, **keys: Any) -> World:
    """Write the profile of a DuckDB file with some more keys."""
    output = {"type": "duckdb", "path": "shop.duckdb", "threads": 2, **keys}
    return world.write("profiles.yml", json.dumps({"shop": {"target": "dev", "outputs": {"dev": output}}}))


def start_with(world: World, *statements: str) -> World:
    return world.write("dbt_project.yml", f"{PROJECT}\non-run-start: {json.dumps(statements)}\n")


def changed(world: World) -> dict[str, Any]:
    """Return by model that is built which parts of its definition changed."""
    return {each.model: each.evidence.get("parts") for each in world.plan().values() if each.outcome.value == "built"}


@pytest.fixture
def shop(world: World) -> World:
    world.sql("create table raw.orders as select 1 as id union all select null").source("orders")
    world.model("orders", "select id from {{ source('raw', 'orders') }}")
    return world.model("below", "select id from {{ ref('orders') }}", materialized="view")


# ---------------------------------------------------------------------- DuckDB


@on_duckdb
def test_settings_that_are_locked(shop: World) -> None:
    profile(shop, config_options={"lock_configuration": "true"})
    assert shop.run().built == {"orders", "below"}
    assert shop.run().built == set()


@on_duckdb
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("settings", {"default_null_order": "nulls_first"}),
        ("settings", {"integer_division": True}),
        ("settings", {"TimeZone": "Pacific/Honolulu"}),
        ("config_options", {"default_order": "desc"}),
    ],
)
def test_a_setting_that_may_change_results_is_a_change_of_all_models(shop: World, key: str, value: Any) -> None:
    shop.run()
    profile(shop, **{key: value})
    assert changed(shop) == {"orders": ["settings"], "below": ["settings"]}
    assert shop.run().built == {"orders", "below"}
    assert changed(shop) == {}
    profile(shop)
    assert changed(shop) == {"orders": ["settings"], "below": ["settings"]}, "also where it is taken away"


@on_duckdb
def test_settings_that_change_no_result_do_not_count(shop: World) -> None:
    shop.run()
    profile(shop, threads=1, settings={"threads": 1, "memory_limit": "1GB", "temp_directory": "spill"})
    assert changed(shop) == {}
    profile(shop, settings={"default_null_order": "NULLS LAST"})
    shop.run()
    profile(shop, settings={"Default_Null_Order": "nulls_last"})
    assert changed(shop) == {}, "another way of writing the same"


@on_duckdb
@pytest.mark.parametrize(
    ("setting", "value", "expression", "expected"),
    [
        ("TimeZone", "Pacific/Honolulu", "cast(timestamptz '2026-01-01 00:00:00+00' as date)::varchar", "2025-12-31"),
        ("integer_division", True, "(7 / 2)::varchar", "3"),
        ("search_path", "raw", "(select count(*) from orders)::varchar", "2"),
    ],
)
def test_what_the_profile_sets_is_set_wherever_something_is_built_tested_or_asked(
    shop: World, setting: str, value: Any, expression: str, expected: str
) -> None:
    profile(shop, settings={setting: value})
    shop.model("built", f"select {expression} as x")
    shop.model("asked", f"select '{{{{ run_query(\"select {expression}\").rows[0][0] if execute }}}}' as x")
    shop.write("tests/tested.sql", f"select * from {{{{ ref('built') }}}} where x <> {expression} or x <> '{expected}'")
    run = shop.run()
    assert shop.rows("select x from built union all select x from asked") == [(expected,), (expected,)]
    assert run.tests == {"tested": "ran: pass"}


@on_duckdb
def test_a_verdict_is_that_of_the_settings_it_was_given_under(shop: World) -> None:
    shop.write(
        "tests/first.sql", "select * from (select id from {{ ref('orders') }} order by id limit 1) where id is null"
    )
    assert shop.run().tests == {"first": "ran: pass"}
    assert shop.run().tests == {"first": "reused: pass"}
    profile(shop, settings={"default_null_order": "nulls_first"})
    assert shop.run("first").tests == {"first": "ran: fail"}


@pytest.mark.slow
@on_duckdb
def test_the_zone_of_the_process_counts_for_what_may_depend_on_it(shop: World) -> None:
    shop.model("dates", "select cast(timestamptz '2026-01-01 00:00:00+00' as date) as day")
    shop.model("days", "select cast(timestamptz '2026-01-01 00:00:00+00' as date) as day", materialized="view")
    shop.model("through", "select day from {{ ref('days') }}")
    shop.sql("create view raw.days as select cast(timestamptz '2026-01-01 00:00:00+00' as date) as day")
    shop.source("orders", "days").model("made", "select day from {{ source('raw', 'days') }}")
    of_zone = {"dates", "days", "through", "made"}

    def built(zone: str) -> set[str]:
        command = [sys.executable, "-m", "sao_dagster.cli", "build", "--json", "--project-dir", str(shop.root)]
        done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "TZ": zone})
        return {each["name"] for each in json.loads(done.stdout)["models"] if each["outcome"] == "built"}

    assert built("UTC") == {"orders", "below", *of_zone}
    assert built("Etc/UTC") == set()
    assert built("Pacific/Honolulu") == of_zone
    for table in ("dates", "through", "made"):
        assert shop.rows(f"select day::varchar from {table}") == [("2025-12-31",)]
    profile(shop, settings={"TimeZone": "Pacific/Honolulu"})
    assert built("UTC") == {"orders", "below", "made"}, "the dates were built in that zone already"
    assert built("Asia/Tokyo") == set(), "what the profile sets is the same everywhere"


@on_duckdb
@pytest.mark.parametrize("reads", ["day from {{ source('raw', 'days') }}", "1 as n from raw.days"])
def test_a_view_shows_something_else_in_another_zone_though_nobody_wrote(
    world: World, reads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = ["UTC"]
    monkeypatch.setattr(DuckDBSession, "settings", lambda self: ConnectionSettings({}, {"timezone": zone[0]}))
    world.sql("create table raw.seen as select timestamptz '2026-01-01 23:30:00+00' as at_")
    world.sql("create view raw.days as select at_::date as day from raw.seen")
    world.source("days").model("made", f"select {reads}")
    assert world.run().built == {"made"}
    assert world.run().built == set()
    zone[0] = "Europe/Vienna"
    assert world.run().built == {"made"}
    assert world.run().built == set()


@on_duckdb
def test_a_record_that_knows_of_no_settings_is_no_change(shop: World) -> None:
    shop.run()
    with sqlite3.connect(shop.root / "state.db") as state:
        for model, parts in state.execute("select model, code_parts from sao_builds").fetchall():
            known = {name: part for name, part in json.loads(parts).items() if name != "settings"}
            state.execute("update sao_builds set code_parts = ? where model = ?", [json.dumps(known), model])
    profile(shop, settings={"default_null_order": "nulls_first"})
    assert changed(shop) == {}


# ---------------------------------------------------------------------- PostgreSQL


@on_postgres
@pytest.mark.parametrize("whose", ["database", "role"])
def test_what_a_database_or_a_role_sets_counts(shop: PostgresWorld, whose: str) -> None:
    name = shop.database if whose == "database" else "current_user"
    target = f"{whose} {name}" + (f" in database {shop.database}" if whose == "role" else "")
    shop.run()
    shop.sql(f"alter {target} set statement_timeout = '1min'", f"alter {target} set work_mem = '8MB'")
    assert changed(shop) == {}
    shop.sql(f"alter {target} set datestyle = 'SQL, DMY'")
    assert changed(shop) == {"orders": ["settings"], "below": ["settings"]}
    shop.run()
    shop.sql(f"alter {target} set shop.currency = 'EUR'")
    assert changed(shop) == {"orders": ["settings"], "below": ["settings"]}
    shop.run()
    assert changed(shop) == {}


@on_postgres
def test_the_search_path_of_the_profile_counts(shop: PostgresWorld) -> None:
    shop.run()
    text = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", text.replace("schema: main,", "schema: main, search_path: 'raw, public',"))
    assert changed(shop) == {"orders": ["settings"], "below": ["settings"]}


@on_postgres
def test_the_schema_of_the_user_in_the_search_path_counts_where_it_is_there(shop: PostgresWorld) -> None:
    shop.model("size", "select count(*) as n from rates").sql("create table public.rates as select 1 as x")
    shop.run()
    user = shop.rows("select current_user")[0][0]
    shop.sql(f"alter database {shop.database} set search_path = public")
    assert changed(shop) == {}, "nobody's schema is there, so the path is the same"
    shop.sql(f"alter database {shop.database} reset search_path", f"create schema {user}")
    assert changed(shop) == {"orders": ["settings"], "below": ["settings"], "size": ["settings"]}


@on_postgres
def test_what_the_client_says_counts_for_what_may_depend_on_it(
    shop: PostgresWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.model("dates", "select cast(timestamptz '2026-01-01 00:00:00+00' as date) as day")
    shop.run()
    monkeypatch.setenv("PGTZ", "Pacific/Honolulu")
    assert changed(shop) == {"dates": ["settings"]}


@on_postgres
def test_what_is_read_through_a_view_is_of_the_zone_of_who_reads_it(
    shop: PostgresWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view is not selected, so it stays as it was made; what it shows does not."""
    monkeypatch.setenv("PGTZ", "UTC")
    shop.sql(
        "create table raw.events (at timestamptz)",
        "insert into raw.events values ('2026-01-01 23:30+00'), ('2026-01-02 00:30+00')",
        "create view raw.days as select at::date as day from raw.events",
    )
    shop.source("orders", "events", "days")
    shop.model("shown", "select at::date as day from {{ source('raw', 'events') }}", materialized="view")
    shop.model("same", "select day from {{ ref('shown') }}", materialized="ephemeral")
    shop.model("through", "select day from {{ ref('same') }}")
    shop.model("over", "select * from {{ ref('shown') }}", materialized="view")
    shop.model("last", "select day from {{ ref('over') }}")
    shop.model("made", "select day from {{ source('raw', 'days') }}")
    shop.write("models/shown.yml", "models: [{name: shown, columns: [{name: day, data_tests: [unique]}]}]")
    assert shop.run().tests == {"unique_shown_day": "ran: pass"}
    again = shop.run("through over last made unique_shown_day")
    assert (again.built, again.tests) == (set(), {"unique_shown_day": "reused: pass"})
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    found = shop.run("through over last made", tests=False)
    assert found.built == {"through", "last", "made"}, "a view over a view need not be made again"
    for table in ("through", "last", "made"):
        assert shop.rows(f"select distinct day::text from main.{table}") == [("2026-01-02",)]
    assert shop.run("unique_shown_day").tests == {"unique_shown_day": "ran: fail"}


@on_postgres
def test_what_a_hook_sets_is_not_there_for_the_next_model(shop: PostgresWorld) -> None:
    shop.model(
        "a",
        "select 1 as x",
        pre_hook="set timezone = 'Pacific/Honolulu'",
        post_hook="create temp table left_over as select 1 as x",
    )
    shop.model(
        "b",
        "select current_setting('timezone') as zone, to_regclass('left_over')::text as found, x from {{ ref('a') }}",
    )
    before = shop.rows("select current_setting('timezone')")
    start_with(shop, "set timezone = 'Asia/Tokyo'").run()
    assert shop.rows("select zone from main.b") == before
    assert shop.rows("select found from main.b") == [(None,)]


# ---------------------------------------------------------------------- on-run-start


FUNCTIONS = {
    "duckdb": "create or replace macro {name}(x) as x {more}",
    "postgres": "create or replace function {name}(x int) returns int language sql as $$ select x {more} $$",
}


def function(world: World, name: str, more: str) -> str:
    return FUNCTIONS[world.warehouse].format(name=f"raw.{name}", more=more)


@on_both
def test_what_the_start_of_a_run_defines_counts_for_those_who_name_it(shop: World) -> None:
    shop.model("priced", "select raw.vat(100) as x").model("far", "select x from {{ ref('seen') }}")
    shop.model("seen", "select x + 1 as x from {{ ref('priced') }}", materialized="view")
    shop.model("through", "select raw.gross(100) as x")
    start_with(shop, function(shop, "vat", "* 2"), function(shop, "gross", "+ 1")).run()
    assert changed(shop) == {}
    start_with(shop, function(shop, "vat", "* 3"), function(shop, "gross", "+ 1"))
    assert shop.run().built >= {"priced"}
    assert shop.rows("select x from main.priced") == [(300,)]
    assert shop.rows("select x from main.far") == [(301,)]
    start_with(shop, function(shop, "vat", "* 3"), function(shop, "gross", "+ raw.vat(1)"))
    assert changed(shop) == {"through": ["settings"]}
    shop.run()
    start_with(shop, function(shop, "vat", "* 4"), function(shop, "gross", "+ raw.vat(1)"))
    assert {name for name, parts in changed(shop).items() if parts == ["settings"]} == {"priced", "through"}


@on_both
def test_what_the_start_of_a_run_sets_counts_for_all_and_what_it_writes_for_none(shop: World) -> None:
    shop.sql("create table raw.log as select 1 as x")
    shop.run()
    start_with(shop, "insert into raw.log values (2)", "create schema if not exists other", "analyze")
    assert changed(shop) == {}
    start_with(
        shop, "set extra_float_digits = 0" if shop.warehouse == "postgres" else "set default_null_order = 'nulls_first'"
    )
    assert changed(shop) == {"orders": ["settings"], "below": ["settings"]}
