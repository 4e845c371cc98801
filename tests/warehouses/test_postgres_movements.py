"""A source on PostgreSQL is read again only where somebody may have written to it, and a model where nothing is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from sao_dagster.core.reasons import Mode
from sao_dagster.core.relations import Relation
from sao_dagster.core.selection import select
from sao_dagster.run import data_tests
from sao_dagster.warehouses.postgres.session import PostgresSession
from tests.meanwhile import run_meanwhile
from tests.waiting import until
from tests.world import PostgresWorld

pytestmark = pytest.mark.warehouse("postgres")
CHANGE = "update raw.orders set id = id + 1"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that were read for their versions, since it was cleared."""
    found: list[str] = []
    versions = PostgresSession.versions

    def noting(session: PostgresSession, catalog: Any, omit: Mapping[Relation, Collection[str]], seconds: float) -> Any:
        found.extend(each.identifier for each in omit)
        return versions(session, catalog, omit, seconds)

    monkeypatch.setattr(PostgresSession, "versions", noting)
    return found


@pytest.fixture
def shop(world: PostgresWorld, read: list[str]) -> PostgresWorld:
    world.source("orders").sql("create table raw.orders as select 1 as id")
    world.model("m", "select id from {{ source('raw', 'orders') }}").run()
    world.run()
    read.clear()
    return world


def is_current(shop: PostgresWorld) -> bool:
    shop.run()
    return shop.rows("select id from main.m") == shop.rows("select id from raw.orders")


def test_a_source_that_nobody_has_written_to_is_not_read(shop: PostgresWorld, read: list[str]) -> None:
    assert (shop.run().built, read) == (set(), [])
    shop.sql(CHANGE)
    assert (shop.run().built, read) == ({"m"}, ["orders"])
    read.clear()
    assert (shop.run().built, read) == (set(), [])
    shop.sql("update raw.orders set id = id")
    assert (shop.run().built, read) == (set(), ["orders"])


def test_a_model_is_read_once_where_nothing_was_noted_of_its_build(shop: PostgresWorld, read: list[str]) -> None:
    store = shop.opened().store
    store.keep_movements(
        shop.environment, [replace(each, movement=None) for each in store.builds(shop.environment).values()]
    )
    assert (shop.run().built, read) == (set(), ["m"])
    read.clear()
    assert (shop.run().built, read) == (set(), [])
    shop.sql("update main.m set id = id")
    assert (shop.run().built, read) == (set(), ["m"])
    read.clear()
    assert (shop.run().built, read) == (set(), [])
    shop.sql("update main.m set id = 9")
    assert (shop.run().outcomes, read) == ({"m": "built: relation_altered"}, ["m"])


def test_a_model_that_somebody_may_have_written_to_and_that_cannot_be_read_is_built(
    shop: PostgresWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.model("below", "select id from {{ ref('m') }}").run()
    shop.sql("update main.m set id = 9")
    with monkeypatch.context() as patch:
        patch.setattr(PostgresSession, "versions", lambda session, catalog, omit, seconds: dict.fromkeys(omit))
        assert shop.run().outcomes["m"] == "built: input_unknown"
    assert shop.rows("select id from main.below") == [(1,)]
    shop.run()
    assert shop.run().built == set()


def test_each_record_says_what_shows_writes_to_what_it_is_of(world: PostgresWorld) -> None:
    world.sql("create schema main", "create table main.there as select 1 as id").model("there", "select 1 as id")
    world.model("table", "select 1 as id").write("seeds/seed.csv", "id\n1\n")
    world.model("increment", "select 1 as id", materialized="incremental", unique_key="id")
    runner = world.runner()
    assert runner.adopt(select(runner.project, "there")).nodes == ("there",)
    for _ in range(2):
        world.run(mode=Mode.FORCE, include="table seed increment")
        records, nodes = runner.open_store().builds(world.environment), runner.project.nodes
        with runner.warehouse.session() as session:
            shown = session.movements(session.catalog(), [each.relation for each in nodes.values()])
        assert {name: each.movement for name, each in records.items()} == {
            name: shown[each.relation] for name, each in nodes.items()
        }
        assert len(records) == 4


@contextmanager
def open_connection(shop: PostgresWorld) -> Iterator[None]:
    """What a connection that goes on has written is perhaps not counted yet."""
    with psycopg.connect(shop.url, autocommit=True) as connection:
        for _ in range(3):
            connection.execute(CHANGE.encode())
        yield


@contextmanager
def procedure(shop: PostgresWorld) -> Iterator[None]:
    """What a procedure that goes on has written and committed is not counted before its end."""
    shop.sql(f"create procedure raw.work() language plpgsql as $$ begin {CHANGE}; commit; perform pg_sleep(60); end $$")
    with psycopg.connect(shop.url, autocommit=True) as connection:

        def work() -> None:
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute("call raw.work()")

        thread = threading.Thread(target=work)
        thread.start()
        until("the procedure has written", lambda: shop.rows("select id from raw.orders") == [(2,)])
        yield
        connection.cancel()
        thread.join()


@contextmanager
def uncounted(shop: PostgresWorld) -> Iterator[None]:
    """Where the database does not count, nothing is known of writes; nor afterwards."""
    shop.sql(f"alter database {shop.database} set track_counts = off")
    shop.sql(CHANGE)
    shop.sql(f"alter database {shop.database} reset track_counts")
    yield


@contextmanager
def reset(shop: PostgresWorld) -> Iterator[None]:
    shop.sql(
        CHANGE, "select pg_stat_reset_single_table_counters('raw.orders'::regclass)", CHANGE, "select pg_stat_reset()"
    )
    yield


@contextmanager
def truncated(shop: PostgresWorld) -> Iterator[None]:
    shop.sql("truncate raw.orders")
    yield


@pytest.mark.parametrize("write", [open_connection, procedure, uncounted, reset, truncated])
def test_what_is_written_and_perhaps_not_counted_is_seen(
    shop: PostgresWorld, write: Callable[[PostgresWorld], Any]
) -> None:
    with write(shop):
        assert is_current(shop)


@pytest.mark.parametrize(
    ("made", "then"),
    [
        (("create type raw.mood as enum ('bad')", "alter table raw.orders alter id type raw.mood using 'bad'"), "alter type raw.mood rename value 'bad' to 'worse'"),
        (("create table raw.more () inherits (raw.orders)",), "insert into raw.more values (7)"),
        (("create role reader_{0}", "alter table raw.orders alter id type aclitem using ('reader_{0}=r/' || current_user)::aclitem"), "alter role reader_{0} rename to writer_{0}"),
    ],
    ids=["label of a type", "child", "name of a role"],
)  # fmt: skip
def test_what_no_write_to_the_table_tells_is_read(shop: PostgresWorld, made: tuple[str, ...], then: str) -> None:
    shop.sql(*(each.format(shop.database) for each in made)).model(
        "m", "select id::text as id from {{ source('raw', 'orders') }}"
    )
    shop.run()
    shop.run()
    shop.sql(then.format(shop.database))
    shop.run()
    assert shop.rows("select id from main.m order by 1") == shop.rows("select id::text from raw.orders order by 1")


def test_a_model_is_read_where_nothing_is_counted(shop: PostgresWorld) -> None:
    shop.sql(f"alter database {shop.database} set track_counts = off").run()
    assert shop.run().built == set()
    shop.sql("update main.m set id = 9")
    assert shop.run().outcomes == {"m": "built: relation_altered"}


OTHER_SERVER = (
    "create extension postgres_fdw",
    "create server other foreign data wrapper postgres_fdw options (host '127.0.0.1', port '{port}', dbname '{dbname}')",
    "create user mapping for current_user server other options (user '{user}')",
    "create schema far",
    "create foreign table far.orders (id int) server other options (schema_name 'raw', table_name 'orders')",
)


def far(world: PostgresWorld, read: str) -> PostgresWorld:
    at = psycopg.conninfo.conninfo_to_dict(world.url)
    world.sql("create table raw.orders as select 1 as id", *(each.format(**at) for each in OTHER_SERVER))
    return world.model("m", f"select id from {read}")


def uncounting(world: PostgresWorld) -> PostgresWorld:
    world.source("orders").sql(f"alter database {world.database} set track_counts = off")
    return world.sql("create table raw.orders as select 1 as id").model(
        "m", "select id from {{ source('raw', 'orders') }}"
    )


UNCOUNTED = {
    "a table of another server": lambda world: far(world, "far.orders"),
    "a database that does not count": uncounting,
    "a view in one": lambda world: (
        uncounting(world).sql("create view raw.v as select id from raw.orders").model("m", "select id from raw.v")
    ),
}


@pytest.mark.parametrize("prepare", UNCOUNTED.values(), ids=UNCOUNTED)
def test_what_nothing_counts_is_read_in_the_snapshot_of_the_build(
    world: PostgresWorld, prepare: Callable[[PostgresWorld], PostgresWorld]
) -> None:
    shop = prepare(world)
    run_meanwhile(shop, lambda: shop.sql(CHANGE), lambda: shop.sql("update raw.orders set id = id - 1"), "m")
    assert shop.rows("select id from main.m") == [(2,)]
    assert shop.run().outcomes == {"m": "built: input_unknown"}
    assert shop.rows("select id from main.m") == [(1,)]
    assert shop.run().built == set()


def test_what_is_read_of_another_server_by_somebody_elses_rules_is_unknown(world: PostgresWorld) -> None:
    """Whether two of its connections have one snapshot is not known."""
    shop = far(world, "far.v").sql("create view far.v as select id from far.orders")
    shop.run()
    assert shop.run().outcomes == {"m": "built: input_unknown"}


@pytest.mark.parametrize("materialized", ["table", "view"])
def test_a_verdict_about_what_somebody_changes_meanwhile_is_not_kept(
    world: PostgresWorld, materialized: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.source("orders").sql("create table raw.orders as select 1 as id union all select 1")
    world.model("m", "select id from {{ source('raw', 'orders') }}", materialized=materialized)
    world.write("models/m.yml", "models: [{name: m, columns: [{name: id, data_tests: [unique]}]}]")
    changed = "main.m" if materialized == "table" else "raw.orders"
    original = data_tests.run_tests

    def run_tests(*asked: Any, **options: Any) -> Iterator[Any]:
        world.sql(f"update {changed} set id = 2 where ctid = (select min(ctid) from {changed})")
        yield from original(*asked, **options)
        world.sql(f"update {changed} set id = 1")

    with monkeypatch.context() as patch:
        patch.setattr(data_tests, "run_tests", run_tests)
        assert list(world.run().tests.values()) == ["ran: pass"]
    assert list(world.run().tests.values()) == ["ran: fail"]


def test_a_verdict_about_what_nothing_counts_is_asked_each_time(world: PostgresWorld) -> None:
    shop = uncounting(world).write("models/m.yml", "models: [{name: m, columns: [{name: id, data_tests: [unique]}]}]")
    shop.run()
    assert shop.run().outcomes == {"m": "reused: no_new_data"}
    assert list(shop.run().tests.values()) == ["ran: pass"]


def test_a_model_of_a_database_that_does_not_count_is_read_in_the_snapshot_too(world: PostgresWorld) -> None:
    shop = uncounting(world).model("below", "select id from {{ ref('m') }}")
    shop.run()
    assert shop.run().built == set()
    shop.model("below", "select id, 1 as x from {{ ref('m') }}")
    change, back = ("update main.m set id = 2", "update main.m set id = 1")
    run_meanwhile(shop, lambda: shop.sql(change), lambda: shop.sql(back), "below")
    assert shop.rows("select id from main.below") == [(2,)]
    shop.run()
    assert shop.rows("select id from main.below") == [(1,)]
    assert shop.run().built == set()
