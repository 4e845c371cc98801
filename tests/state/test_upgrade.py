"""A state that an older version of this package wrote: taken over, compared as far as that is possible, and built once."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from sao_dagster.core.code_version import CODE_SCHEME
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.explain import explain, explain_test
from sao_dagster.core.records import BuildRecord
from sao_dagster.errors import StateError
from sao_dagster.state.connection import StateConnection
from sao_dagster.state.convert import from_plain, to_row
from sao_dagster.state.export import FORMAT, export_state, import_state
from sao_dagster.state.migrate import upgrade
from sao_dagster.state.sql_store import SqlStateStore
from sao_dagster.state.url import parse_url
from tests.world import World

DUMP = Path(__file__).with_name("state_of_0003.sql")


def load(url: str) -> None:
    """Write the old state into an empty database: in SQLite as it was dumped, in PostgreSQL in tables as that version had made them."""
    if url.startswith("sqlite"):
        with sqlite3.connect(parse_url(url).file) as connection:
            connection.executescript(DUMP.read_text())
        return
    database = StateConnection(url)
    rows = [line for line in DUMP.read_text().splitlines() if line.startswith("INSERT") and "alembic" not in line]
    with database.transaction(write=True) as transaction:
        upgrade(transaction, "0003")
        transaction.script(";".join(row.removesuffix(";").replace("{", "{{").replace("}", "}}") for row in rows))
    database.close()


def lay_out(world: World) -> World:
    """Write the project that the old state is of, and the data that it was built from."""
    world.write(
        "models/sources.yml",
        "sources: [{name: raw, tables: [{name: orders, loaded_at_field: at_}, {name: customers}, "
        "{name: prices, meta: {external_location: \"read_csv('in/*.csv', header = true)\"}}]}]\n"
        "models: [{name: orders, columns: [{name: id, data_tests: [unique, not_null]}]}, "
        "{name: current, columns: [{name: id, data_tests: [{not_null: {config: {severity: warn}}}]}]}]\n",
    )
    world.write("seeds/countries.csv", "code,name\nat,Austria\nde,Germany\n").write("in/prices.csv", "id,price\n1,10\n")
    world.sql(
        "create table raw.orders (id int, customer_id int, at_ timestamp)",
        "insert into raw.orders values (1, 1, timestamp '2026-03-01'), (2, 2, timestamp '2026-03-02'), "
        "(3, 1, timestamp '2026-03-02 08:00:00')",
        "create table raw.customers as select 1 as id, 'at' as country union all select 2, 'de'",
    )
    world.model("orders", "select id, customer_id, at_ from {{ source('raw', 'orders') }}")
    world.model("current", "select id, customer_id from {{ ref('orders') }}", materialized="view")
    world.model("customers", "select c.id, n.name from {{ source('raw', 'customers') }} as c "
                "join {{ ref('countries') }} as n on n.code = c.country")  # fmt: skip
    world.model("priced", "select o.id, p.price from {{ ref('current') }} as o "
                "left join {{ source('raw', 'prices') }} as p on p.id = o.id")  # fmt: skip
    world.model("log", "select id, at_ from {{ ref('orders') }}{% if is_incremental() %} "
                "where at_ > (select max(at_) from {{ this }}){% endif %}", materialized="incremental")  # fmt: skip
    return world


def test_what_is_recorded_is_converted(state_url: str) -> None:
    if state_url == "sqlite://":
        return
    load(state_url)
    store = SqlStateStore(state_url)
    builds, tests = store.builds("shop.dev"), store.tests("shop.dev")
    assert {name: record.code_scheme for name, record in builds.items()} == dict.fromkeys(builds, 1)
    assert len(builds) == 6
    assert builds["orders"].inputs == {"source:raw.orders": DataVersion("loaded_at/1", "2026-03-02 08:00:00")}
    assert builds["priced"].inputs["source:raw.prices"].scheme == "files/1"
    assert builds["priced"].data_version.scheme == "duckdb-2.0.1/1"
    assert builds["current"].inputs["orders"].scheme == "columns/1"
    assert builds["current"].data_version.scheme == "definition/1"
    assert {record.code_scheme for record in tests.values()} == {1}
    assert tests["not_null_current_id"].inputs["current"].scheme == "view/1"
    versions = [version for version, _ in store.history("shop.dev", ["source:raw.orders"])["source:raw.orders"]]
    assert [version.token for version in versions] == ["2026-03-02 00:00:00", "2026-03-02 08:00:00"]
    assert store.shown("shop.dev", "shown by shop_evaluator") == {"orders": "5f1c 2026-03-02"}
    assert len(store.runs("shop.dev")) == 3
    with StateConnection(state_url).transaction() as transaction:
        assert transaction.value("select count(*) from sao_contents") == 0


def test_what_cannot_be_compared_is_built_once(world: World) -> None:
    lay_out(world).run()
    (world.root / "state.db").unlink()
    load(f"sqlite:///{world.root / 'state.db'}")
    world.wait(hours=4)
    run = world.run()
    assert set(run.outcomes.values()) == {"built: code_changed"}
    assert not run.result.warnings, "nothing is said to be altered"
    for name in run.outcomes:
        assert run.decision(name).evidence["parts"] == ["scheme"]
        assert "compares definitions in another way" in explain(run.decision(name))
    assert set(run.tests.values()) == {"ran: pass"}
    assert "compares definitions in another way" in explain_test(run.test("unique_orders_id"))
    again = world.run()
    assert again.built == set()
    assert set(again.tests.values()) == {"reused: pass"}
    store = SqlStateStore(f"sqlite:///{world.root / 'state.db'}")
    assert {record.code_scheme for record in store.builds(world.environment).values()} == {CODE_SCHEME}


def test_what_was_kept_of_builds_beside_their_records_is_taken_over(state_url: str) -> None:
    """It was kept for an environment together, of builds that were perhaps not the last ones any more."""
    if state_url == "sqlite://":
        return
    database = StateConnection(state_url)
    kept = {"orders": "movement 1 aa", "log": "movement 0 bb", "source:raw.orders": "content t s v"}
    with database.transaction(write=True) as transaction:
        upgrade(transaction, "0012")
        for environment in ("e", "damaged"):
            for model, build_id in {"orders": "1", "log": "2", "other": "3"}.items():
                values = {
                    **to_row(from_plain(BuildRecord, {**OLD_BUILD, **OF_TODAY})),
                    "model": model,
                    "build_id": build_id,
                }
                del values["movement"]
                transaction.insert("sao_builds", [{**values, "environment": environment, "sequence": 1}])
        for environment, contents in {"e": json.dumps(kept), "damaged": "{"}.items():
            values = {"environment": environment, "stamp": "movements", "contents": contents}
            transaction.insert("sao_contents", [values])
    store = SqlStateStore(state_url)
    found = {name: record.movement for name, record in store.builds("e").items()}
    assert found == {"orders": "aa", "log": None, "other": None}
    assert {record.movement for record in store.builds("damaged").values()} == {None}
    assert store.contents("e", "movements") == {"source:raw.orders": DataVersion("content", "t s v")}
    assert store.contents("damaged", "movements") == {}
    exported = json.loads(json.dumps(export_state(store, "e")))
    import_state(store, "other", exported)
    assert {name: record.movement for name, record in store.builds("other").items()} == found
    for record in exported["builds"]:
        del record["movement"]  # as an older version wrote it
    import_state(store, "other", exported)
    assert {record.movement for record in store.builds("other").values()} == {None}
    database.close()


def test_an_export_of_an_older_version_is_imported(state_url: str) -> None:
    old = {
        "format": 1,
        "environment": "shop.dev",
        "builds": [OLD_BUILD],
        "tests": [{"test": "t", "version": "v", "inputs": {"orders": "content:duckdb-1.5.2:aa"}, "verdict": "pass",
                   "failures": 0, "run_at": "2026-03-02T09:30:00+00:00", "seconds": 0.1, "run_id": "r"}],
        "sql": {"s": "[]"},
    }  # fmt: skip
    store = SqlStateStore(state_url)
    assert import_state(store, "shop.dev", json.loads(json.dumps(old))) == 2
    record = store.builds("shop.dev")["orders"]
    assert (record.code_scheme, record.data_version) == (1, DataVersion("duckdb-1.5.2/1", "aa"))
    assert store.tests("shop.dev")["t"].inputs == {"orders": DataVersion("duckdb-1.5.2/1", "aa")}
    exported = json.loads(json.dumps(export_state(store, "shop.dev")))
    assert exported["format"] == FORMAT
    assert import_state(store, "shop.prod", exported) == 2
    assert store.builds("shop.prod") == store.builds("shop.dev")
    assert store.tests("shop.prod") == store.tests("shop.dev")


OLD_BUILD = {
    "model": "orders", "relation": '"shop"."main"."orders"', "code_version": "c", "code_parts": {"sql": "1"},
    "definition": "c", "sql_id": "s", "inputs": {"source:raw.orders": "loaded_at:2026-03-02 08:00:00"}, "definitions": {},
    "data_version": "content:duckdb-1.5.2:aa", "columns": [["id", "INTEGER"]], "rows": 1,
    "observed_at": "2026-03-02T09:30:00+00:00", "built_at": "2026-03-02T09:30:00+00:00", "seconds": 0.1, "run_id": "r",
    "build_id": None,
}  # fmt: skip
OF_TODAY = {"data_version": "duckdb-1.5.2/2 aa", "inputs": {}, "code_scheme": CODE_SCHEME}


@pytest.mark.parametrize("wrong", [{"format": 3}, {}, {"format": 2, "builds": [OLD_BUILD], "tests": [], "sql": {}}])
def test_what_is_no_export_is_refused(wrong: dict[str, object]) -> None:
    store = SqlStateStore("sqlite://")
    with pytest.raises(StateError, match=r"not an export|incomplete"):
        import_state(store, "shop.dev", wrong)
    assert store.builds("shop.dev") == {}
