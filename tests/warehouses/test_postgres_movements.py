"""A source on PostgreSQL is read again only where somebody may have written to it, and a model where nothing is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from sao_dagster.core.relations import Relation
from sao_dagster.warehouses.postgres.session import PostgresSession
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
