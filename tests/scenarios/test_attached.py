"""What hangs on a relation: descriptions that are kept in the warehouse, indexes, and on PostgreSQL rights."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.world import PostgresWorld, World, on_each_warehouse

DOCS = {"relation": True, "columns": True}
COMMENTS = {
    "duckdb": "select column_name, comment from duckdb_columns() where table_name = 'orders' and schema_name = 'main' order by 1",
    "postgres": "select attname::text, col_description(attrelid, attnum) from pg_attribute "
    "where attrelid = 'main.orders'::regclass and attnum > 0 order by 1",
}
COMMENT = {
    "duckdb": "select comment from (select table_name as name, comment from duckdb_tables() union all "
    "select view_name, comment from duckdb_views()) where name = 'orders'",
    "postgres": "select obj_description('main.orders'::regclass)",
}
INDEXES = {
    "duckdb": "select count(*) from duckdb_indexes() where table_name = 'orders'",
    "postgres": "select count(*) from pg_indexes where tablename = 'orders' and schemaname = 'main'",
}


def described(world: World, **said: Any) -> None:
    """Describe the model orders, with its descriptions kept."""
    columns = [{"name": "ID", "description": "which it is"}, {"name": "gone", "description": "of old"}]
    entry = {"name": "orders", "description": "all the shop's orders", "columns": columns, **said}
    entry["config"] = {"persist_docs": DOCS, **said.get("config", {})}
    world.write("models/described.yml", json.dumps({"models": [entry]}))


@on_each_warehouse
@pytest.mark.parametrize("materialized", ["table", "view", "incremental"])
def test_descriptions_are_kept_where_that_is_wanted(world: World, materialized: str) -> None:
    world.model("orders", "select 1 as id, 'a' as name", materialized=materialized, unique_key="id")
    world.model("report", "select * from {{ ref('orders') }}")
    described(world)
    assert world.run().outcomes["orders"] == "built: never_built"
    assert world.rows(COMMENT[world.warehouse]) == [("all the shop's orders",)]
    assert world.rows(COMMENTS[world.warehouse]) == [("id", "which it is"), ("name", None)]
    assert set(world.run().outcomes.values()) == {"reused: no_new_data"}
    described(world, description="orders")
    again = world.run()
    assert again.outcomes == {"orders": "built: code_changed", "report": "reused: no_new_data"}
    assert again.decision("orders").evidence["parts"] == ["attached"]
    assert world.rows(COMMENT[world.warehouse]) == [("orders",)]
    described(world, description="nobody sees this", config={"persist_docs": {"relation": False}})
    world.run()
    described(world, description="nor this", config={"persist_docs": {"relation": False}})
    assert set(world.run().outcomes.values()) == {"reused: no_new_data"}


@on_each_warehouse
@pytest.mark.parametrize("materialized", ["table", "incremental"])
def test_indexes_are_made_once(world: World, materialized: str) -> None:
    world.sql("create table raw.orders as select 1 as id, 2 as n").source("orders")
    indexes = [{"columns": ["id"], "unique": True}, {"columns": ["n", "id"]}]
    world.model(
        "orders",
        "select * from {{ source('raw', 'orders') }}{% if is_incremental() %} where id > 1{% endif %}",
        materialized=materialized,
        indexes=indexes,
    )
    world.run()
    assert world.rows(INDEXES[world.warehouse]) == [(2,)]
    world.sql("insert into raw.orders values (2, 3)")
    assert world.run().outcomes["orders"] == "built: new_data"
    assert world.rows(INDEXES[world.warehouse]) == [(2,)]
    assert world.rows("select count(*) from main.orders") == [(2,)]


@pytest.mark.warehouse("postgres")
@pytest.mark.parametrize("materialized", ["table", "view"])
def test_rights_are_those_that_are_configured(world: World, materialized: str) -> None:
    """Whoever has another one loses it; where nothing is configured, nothing is touched."""
    assert isinstance(world, PostgresWorld)
    reader, writer = world.role("reader"), world.role("writer")
    world.model("orders", "select 1 as id", materialized=materialized)
    rights = "select grantee::regrole::text, lower(privilege_type) from pg_class c, aclexplode(relacl) where c.oid = 'main.orders'::regclass and grantee <> relowner order by 1, 2"
    world.write(
        "dbt_project.yml", (world.root / "dbt_project.yml").read_text() + f"  +grants: {{select: [{reader}]}}\n"
    )
    world.run()
    assert world.rows(rights) == [(reader, "select")]
    world.sql(f"grant insert on main.orders to {writer}")
    world.model("orders", "select 1 as id", materialized=materialized, grants={"+select": [writer]})
    assert world.run().decision("orders").evidence["parts"] == ["attached"]
    assert world.rows(rights) == [(reader, "select"), (writer, "select")]


def test_rights_have_no_effect_on_duckdb(world: World) -> None:
    world.model("orders", "select 1 as id", grants={"select": ["someone"]})
    assert [str(each) for each in world.runner().project.notices] == [
        "models/orders.sql:1: orders: the config 'grants' has no effect here"
    ]
    assert world.run().outcomes == {"orders": "built: never_built"}
