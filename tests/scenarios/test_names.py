"""What models may be called: like a type, a keyword, a function, in any alphabet; and how long."""

from __future__ import annotations

import json

import duckdb
import pytest

from tests.world import PostgresWorld, World, on_each_warehouse

pytestmark = on_each_warehouse

NAMES = (
    "int",
    "select",
    "user",
    "order",
    "date",
    "group",
    "values",
    "count",
    "größe",
    "注文",
    "with space",
    "it's",
    "Mixed",
    "a-b",
    "1st",
)


@pytest.mark.parametrize("materialized", ["table", "view", "incremental", "ephemeral"])
def test_a_model_may_be_called_anything(world: World, materialized: str) -> None:
    world.sql("create table raw.orders as select 1 as id").source("orders")
    for name in NAMES:
        world.model(name, "select id from {{ source('raw', 'orders') }}", materialized=materialized, unique_key="id")
        world.model(f"below {name}", f'select id from {{{{ ref("{name}") }}}}')
    tests = ", ".join(f'{{name: "{name}", columns: [{{name: id, data_tests: [unique, not_null]}}]}}' for name in NAMES)
    world.write("models/tests.yml", f"models: [{tests}]")
    run = world.run()
    assert {name for name in run.built if name.startswith("below")} == {f"below {name}" for name in NAMES}
    assert set(run.tests.values()) <= {"ran: pass", "proven: pass"}
    again = world.run()
    assert again.built == set()
    assert set(again.tests.values()) <= {"reused: pass", "proven: pass"}
    world.sql("insert into raw.orders values (2)")
    assert {name for name in world.run().built if name.startswith("below")} == {f"below {name}" for name in NAMES}
    for name in NAMES:
        assert world.rows(f'select count(*) from main."below {name}"') == [(2,)]


@pytest.mark.parametrize("letter", ["x", "é"])
def test_names_that_the_warehouse_would_cut_off_are_refused(world: World, letter: str) -> None:
    fits = letter * (63 // len(letter.encode()))
    for number, name in enumerate((fits, f"{fits}{letter}1", f"{fits}{letter}2")):
        world.model(name, f"select {number} as x")
    world.model("ephemeral" + fits, "select 3 as x", materialized="ephemeral")
    world.model("sum", f"select a.x + b.x as x from {{{{ ref('{fits}') }}}} a, {{{{ ref('ephemeral{fits}') }}}} b")
    if world.warehouse == "postgres":
        run = world.run()
        assert {name for name, outcome in run.outcomes.items() if outcome == "failed: build_error"} == {
            f"{fits}{letter}{number}" for number in (1, 2)
        }
        assert "only 63 are kept" in run.decision(f"{fits}{letter}1").evidence["error"]
        for number in (1, 2):
            world.model(f"{fits}{letter}{number}", f"select {number} as x", alias=f"short_{number}")
    assert "sum" in world.run().outcomes
    assert world.rows("select x from main.sum") == [(3,)]
    assert world.run().built == set()


def test_where_failing_rows_are_kept_has_a_name_that_fits(world: World) -> None:
    world.model("orders", "select 1 as id")
    name = "no_order_" + "x" * 70
    world.write(
        f"tests/{name}.sql", "{{ config(store_failures=true) }} select * from {{ ref('orders') }} where id is null"
    )
    if world.warehouse == "postgres":
        assert world.run().tests == {name: "ran: error"}
    else:
        assert world.run().tests == {name: "ran: pass"}


@pytest.mark.warehouse("duckdb")
@pytest.mark.parametrize("name", ["v1.2 of it", "main", "100%", "it's", "größe", "select"])
def test_a_file_may_be_called_anything(world: World, name: str) -> None:
    profile = {
        "type": "duckdb",
        "path": f"{name}.duckdb",
        "attach": [{"path": f"{name}.old.duckdb", "alias": f"old {name}"}],
    }
    world.write("profiles.yml", json.dumps({"shop": {"target": name, "outputs": {name: profile}}}))
    with duckdb.connect(str(world.root / f"{name}.old.duckdb")) as old:
        old.execute("create table rates as select 1 as id")
    far = {"name": "far", "database": f"old {name}", "schema": "main", "tables": [{"name": "rates"}]}
    world.write("models/s.yml", json.dumps({"sources": [far]}))
    world.model("m", "select id from {{ source('far', 'rates') }}").model("below", "select id from {{ ref('m') }}")
    assert world.run().built == {"m", "below"}
    assert world.run().built == set()
    with duckdb.connect(str(world.root / f"{name}.old.duckdb")) as old:
        old.execute("insert into rates values (2)")
    assert world.run().built == {"m", "below"}


@pytest.mark.warehouse("postgres")
def test_a_schema_may_be_called_anything(world: PostgresWorld) -> None:
    text = (world.root / "profiles.yml").read_text()
    world.write("profiles.yml", text.replace("schema: main", 'schema: "100% it\'s {mine}"'))
    world.sql("create table raw.orders as select 1 as id").source("orders")
    world.model("m", "select id from {{ source('raw', 'orders') }}").model("below", "select id from {{ ref('m') }}")
    assert world.run().built == {"m", "below"}
    assert world.run().built == set()
    world.sql("insert into raw.orders values (2)")
    assert world.run().built == {"m", "below"}
