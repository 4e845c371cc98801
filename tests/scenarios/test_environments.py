"""An environment is what is there: project, target, database and schema; not the folder, nor who builds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.state.sql_store import SqlStateStore
from tests.world import PostgresWorld, World, on_each_warehouse

pytestmark = on_each_warehouse
on_duckdb = pytest.mark.warehouse("duckdb")
on_postgres = pytest.mark.warehouse("postgres")


@pytest.fixture
def shop(world: World) -> World:
    world.sql("create table raw.orders as select 1 as id").source("orders")
    world.model("orders", "select id from {{ source('raw', 'orders') }}")
    return world.write("models/tests.yml", "models: [{name: orders, columns: [{name: id, data_tests: [not_null]}]}]")


def edit_profile(world: World, old: str, new: str) -> World:
    text = (world.root / "profiles.yml").read_text()
    assert old in text
    return world.write("profiles.yml", text.replace(old, new))


def in_schema(world: World, schema: str) -> World:
    before = "schema: main" if world.warehouse == "postgres" else "path: shop.duckdb, threads: 2"
    after = f"schema: {schema}" if world.warehouse == "postgres" else f"path: shop.duckdb, schema: {schema}, threads: 2"
    original = (world.root / "profiles.yml").read_text()
    return world.write("profiles.yml", original.replace(before, after, 1))


def test_two_people_with_a_schema_each_have_an_environment_each(shop: World) -> None:
    original = (shop.root / "profiles.yml").read_text()
    for schema in ("anna", "ben"):
        run = in_schema(shop.write("profiles.yml", original), schema).run()
        assert run.outcomes == {"orders": "built: never_built"}
        assert run.tests == {"not_null_orders_id": "ran: pass"}
    for schema in ("anna", "ben"):
        run = in_schema(shop.write("profiles.yml", original), schema).run()
        assert run.outcomes == {"orders": "reused: no_new_data"}
        assert run.tests == {"not_null_orders_id": "reused: pass"}
    store = shop.runner().open_store()
    uses = store.uses()
    assert [(each.name, each.schema, uses[each.key].builds) for each in store.environments()] == [
        ("shop.dev", "anna", 1),
        ("shop.dev", "ben", 1),
    ]


@on_duckdb
@pytest.mark.parametrize("how", ["moved", "linked"])
def test_a_project_that_is_moved_with_its_database_stays_the_same(shop: World, tmp_path: Path, how: str) -> None:
    shop.state_url = f"sqlite:///{tmp_path / 'state.db'}"
    before = shop.run().result.environment
    elsewhere = tmp_path / "elsewhere"
    if how == "moved":
        shutil.move(shop.root, elsewhere)
    else:
        elsewhere.symlink_to(shop.root)
    moved = World.__new__(World)
    moved.__dict__.update({**shop.__dict__, "root": elsewhere})
    run = moved.run()
    assert run.outcomes == {"orders": "reused: no_new_data"}
    assert run.result.environment == before


@on_duckdb
def test_another_file_at_the_same_place_is_another_environment(shop: World) -> None:
    first = shop.run().result.environment
    kept = shop.root / "kept.duckdb"
    shutil.move(shop.root / "shop.duckdb", kept)
    shop.sql("create schema raw", "create table raw.orders as select 1 as id")
    run = shop.run()
    assert run.outcomes == {"orders": "built: never_built"}
    assert run.result.environment != first
    shutil.move(kept, shop.root / "shop.duckdb")
    run = shop.run()
    assert run.outcomes == {"orders": "reused: no_new_data"}
    assert run.result.environment == first


@on_duckdb
def test_a_database_that_the_first_build_makes_is_the_same_one_from_then_on(shop: World) -> None:
    shop.model("orders", "select 1 as id")
    (shop.root / "shop.duckdb").unlink()
    shop.plan()
    first = shop.run()
    assert first.outcomes == {"orders": "built: never_built"}
    assert shop.run().outcomes == {"orders": "reused: no_new_data"}
    assert shop.environment == first.result.environment


@on_postgres
def test_a_server_is_the_same_by_whatever_name(shop: PostgresWorld) -> None:
    first = shop.run()
    edit_profile(shop, "host: 127.0.0.1", "host: localhost")
    run = shop.run()
    assert run.outcomes == {"orders": "reused: no_new_data"}
    assert run.result.environment == first.result.environment
    (known,) = shop.runner().open_store().environments()
    assert sorted(place.split(":")[0] for place in known.places) == ["127.0.0.1", "localhost"]


@on_postgres
def test_who_may_not_ask_for_the_identifier_of_a_server_goes_by_its_place(shop: PostgresWorld) -> None:
    role = shop.role("humble")
    shop.sql(f"alter role {role} login", f"grant create on database {shop.database} to {role}", f"grant usage on schema raw to {role}",
             f"grant select on raw.orders to {role}", "revoke execute on function pg_control_system() from public")  # fmt: skip
    edit_profile(shop, "user: tests", f"user: {role}")
    first = shop.run()
    assert shop.run().outcomes == {"orders": "reused: no_new_data"}
    movement = shop.opened().store.builds(shop.environment)["orders"].movement
    shop.sql(f"grant execute on function pg_control_system() to {role}")
    run = shop.run()
    assert run.outcomes == {"orders": "reused: no_new_data"}, "what was kept of the place is taken over"
    assert run.result.environment != first.result.environment
    assert movement is not None
    assert shop.opened().store.builds(run.result.environment)["orders"].movement == movement
    shop.sql("grant execute on function pg_control_system() to public")


def older(world: World) -> SqlStateStore:
    """Return the state as it would be had an older version written it, which knew an environment by project and target alone."""
    store = SqlStateStore(f"sqlite:///{world.root / 'state.db'}")
    environment = world.environment
    for record in store.builds(environment).values():
        store.record_build("shop.dev", record, "")
    store.record_tests("shop.dev", list(store.tests(environment).values()))
    store.clear(environment, None, None)
    with store._database.transaction(write=True) as transaction:
        transaction.execute("delete from sao_environments")
    return store


def test_what_an_older_version_kept_is_taken_over_by_who_has_the_same_relations(shop: World) -> None:
    original = (shop.root / "profiles.yml").read_text()
    shop.run()
    store = older(shop)
    in_schema(shop, "anna")
    assert shop.run().outcomes == {"orders": "built: never_built"}, "its relations are others"
    assert set(store.builds("shop.dev")) == {"orders"}
    shop.write("profiles.yml", original)
    run = shop.run()
    assert run.outcomes == {"orders": "reused: no_new_data"}
    assert run.tests == {"not_null_orders_id": "reused: pass"}
    assert store.builds("shop.dev") == {}


def test_it_is_taken_over_once(shop: World) -> None:
    shop.run()
    store = older(shop)
    record = replace(store.builds("shop.dev")["orders"], run_id="of the older version")
    assert shop.run().built == set()
    store.record_build("shop.dev", record, "")
    store.clear(shop.environment, None, None)
    assert shop.run().outcomes == {"orders": "built: never_built"}


def asked(world: World, *command: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*command, "--json", "--project-dir", str(world.root)])
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_each_command_says_which_environment_and_state_it_uses(shop: World) -> None:
    built = asked(shop, "build")
    assert built["state"] == f"sqlite:///{shop.root / '.sao' / 'state.db'}"
    assert asked(shop, "plan")["environment"] == built["environment"]
    assert asked(shop, "state", "show")["environment"] == built["environment"]
    assert asked(shop, "savings")["environment"] == built["environment"]
    listed = asked(shop, "state", "environments")
    assert (listed["environment"], listed["state"]) == (built["environment"], built["state"])
    (known,) = listed["environments"]
    assert (known["environment"], known["name"], known["schema"], known["builds"]) == (
        built["environment"],
        "shop.dev",
        "main",
        1,
    )
    said = CliRunner().invoke(app, ["build", "--project-dir", str(shop.root)]).stdout
    assert built["environment"] in said
