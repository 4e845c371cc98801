"""What people write cannot change what statements mean, and secrets stay where they are."""

from __future__ import annotations

import json
import logging

import pytest
from typer.testing import CliRunner

from sao_dagster import load_project
from sao_dagster.cli import app
from sao_dagster.dagster import definitions
from sao_dagster.state.sql_store import SqlStateStore
from tests.deployment import Deployment
from tests.world import PostgresWorld, World, on_each_warehouse

pytestmark = on_each_warehouse
NASTY = """o"; drop table raw.orders; --'"""
SECRET = "swordfish-9 1/2"


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders").sql("create table raw.orders as select 1 as id, 5 as amount")
    return world


def test_names_stay_names(shop: World) -> None:
    """Of relations, columns, schemas, tags, tests, hooks and values of tests."""
    shop.write(
        "models/a.sql", "select id, amount as {{ adapter.quote(var('column')) }} from {{ source('raw', 'orders') }}"
    )
    shop.write(
        "models/a.yml",
        json.dumps(
            {
                "models": [
                    {
                        "name": "a",
                        "description": NASTY,
                        "config": {"alias": NASTY, "schema": "x' or 1=1; --", "tags": [NASTY], "meta": {NASTY: NASTY}},
                        "columns": [
                            {
                                "name": "id",
                                "description": NASTY,
                                "data_tests": [
                                    "unique",
                                    {
                                        "accepted_values": {
                                            "name": "t'; drop table raw.orders; --",
                                            "arguments": {"values": [NASTY]},
                                        }
                                    },
                                ],
                            }
                        ],
                    }
                ]
            }
        ),
    )
    shop.write("seeds/s.csv", f'"x""; drop table raw.orders; --",y\n"{NASTY.replace(chr(34), chr(34) * 2)}",1\n')
    variables = {"column": NASTY}
    run = shop.run(variables=variables, exclude="test_type:generic,test_name:accepted_values")
    assert run.outcomes == {"a": "built: never_built", "s": "built: never_built"}
    assert shop.run(variables=variables, exclude="test_type:generic,test_name:accepted_values").built == set()
    assert shop.rows("select count(*) from raw.orders") == [(1,)]
    shop.run(variables=variables)
    assert shop.rows("select count(*) from raw.orders") == [(1,)]
    store = SqlStateStore(f"sqlite:///{shop.root / 'state.db'}")
    assert set(store.builds(shop.environment)) == {"a", "s"}


@pytest.mark.warehouse("postgres")
def test_secrets_of_the_profile_and_of_the_state_are_shown_nowhere(
    world: PostgresWorld,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("DBT_ENV_SECRET_PG", SECRET)
    monkeypatch.setenv("SAO_STATE_URL", world.url.replace("tests@", "tests:swordfish-9@"))
    profile = (world.root / "profiles.yml").read_text()
    world.write("profiles.yml", profile.replace("user:", "password: \"{{ env_var('DBT_ENV_SECRET_PG') }}\", user:"))
    world.source("orders").sql("create table raw.orders as select 1 as id")
    world.model("orders", "select * from {{ source('raw', 'orders') }}").model("broken", "select 1 / 0 as x")
    deployed = Deployment(definitions(load_project(world.root)))
    result = deployed.run()
    shown = [str(event) for event in result.all_events]
    shown += [str(record) for record in deployed.instance.all_logs(result.run_id)]
    shown += [
        str(deployed.repository.asset_graph.get(key).metadata)
        for key in deployed.repository.asset_graph.get_all_asset_keys()
    ]
    deployed.tick()
    where = ["--project-dir", str(world.root)]
    for command in (
        ["plan"],
        ["build"],
        ["build", "--json"],
        ["explain", "orders"],
        ["explain", "broken"],
        ["savings"],
        ["state", "show"],
    ):
        shown.append(CliRunner().invoke(app, [command[0], *command[1:], *where]).output)
    out, err = capfd.readouterr()
    assert any("relation" in text or "orders" in text for text in shown)
    for text in (*shown, caplog.text, out, err):
        assert "swordfish" not in text
    for table in world.rows(
        "select table_schema || '.' || table_name from information_schema.tables where table_name like 'sao_%'"
    ):
        assert "swordfish" not in str(world.rows(f"select * from {table[0]}"))


@pytest.mark.warehouse("postgres")
def test_the_tables_of_the_state_need_ordinary_rights(world: PostgresWorld) -> None:
    """To create tables in a schema of its own, no more."""
    role = world.role("keeper")
    world.sql(
        f"alter role {role} login",
        f"create schema state authorization {role}",
        f"alter role {role} set search_path = state",
    )
    store = SqlStateStore(world.url.replace("tests@", f"{role}@"))
    assert store.builds("e") == {}
    assert world.rows("select distinct tableowner, schemaname from pg_tables where tablename like 'sao_%'") == [
        (role, "state")
    ]
