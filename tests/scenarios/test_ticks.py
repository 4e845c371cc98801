"""A code server lives long: what its evaluator keeps from one tick to the next changes no decision of a later one."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from operator import attrgetter
from typing import Any

import duckdb
import pytest

from sao_dagster import load_project, select
from sao_dagster.core.decide import KeptDecisions
from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.records import Lease, Verdict
from sao_dagster.core.relations import Relation
from sao_dagster.sql_project import SqlProject
from sao_dagster.state.protocol import StateStore
from sao_dagster.state.sql_store import SqlStateStore
from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse
from sao_dagster.warehouses.protocol import Session
from sao_dagster.warehouses.shared.kept_answers import KeptAnswers, NotKeptError
from tests.deployment import Deployment, deploy
from tests.situations import NOON, cases
from tests.state.test_store import RECORD, TEST
from tests.world import World

FRIDAY = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)


def asked(tick: Any) -> set[str]:
    """Return the assets and checks that a tick requests."""
    requests = tick.run_requests or ()
    assets = {key.to_user_string() for each in requests for key in each.asset_selection or ()}
    return assets | {key.name for each in requests for key in each.asset_check_keys or ()}


def elsewhere(world: World) -> SqlProject:
    """Return the project and its state as another process has them."""
    return load_project(world.root)


def build(world: World, names: str | None = None) -> None:
    opened = elsewhere(world)
    opened.runner().run(select(opened.project, names))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time of the state, by which all decide: one item, to be replaced."""
    found = [FRIDAY]
    monkeypatch.setattr(SqlStateStore, "now", lambda self: found[0])
    return found


@pytest.fixture
def shop(world: World, clock: list[datetime]) -> World:
    world.source("t", "u").sql("create table raw.t as select 1 as id", "create table raw.u as select 1 as id")
    world.model("a", "select * from {{ source('raw', 't') }}")
    world.model("view", "select id from {{ source('raw', 'u') }}", materialized="view")
    world.model("b", "select a.id from {{ ref('a') }} as a join {{ ref('view') }} as v using (id)")
    count = "{{ 48 if modules.datetime.datetime.now().weekday() in (5, 6) else 1 }}"
    world.model("slow", "select count(*) as n from {{ source('raw', 'u') }}")
    world.model("today", "select 1 as id where current_date > '2020-01-01'")
    world.write(
        "models/m.yml",
        "models:\n"
        f'  - {{name: slow, config: {{freshness: {{build_after: {{count: "{count}", period: hour}}}}}}}}\n'
        "  - {name: a, columns: [{name: id, data_tests: [unique]}]}\n",
    )
    build(world)
    return world


def test_a_tick_sees_every_change(shop: World, clock: list[datetime]) -> None:
    lasting = deploy(shop)
    assert "all 5 models are reused" in lasting.tick().skip_message

    def seen_after(change: Callable[[], object]) -> set[str]:
        """Return what the next tick asks for after a change."""
        change()
        return asked(lasting.tick())

    def store() -> StateStore:
        return elsewhere(shop).store

    def at(time: datetime) -> None:
        clock[0] = time

    environment = elsewhere(shop).environment
    nothing, a, b = set[str](), {"a", "unique_a_id"}, {"b"}
    # data, and records that another process writes
    assert seen_after(lambda: shop.sql("insert into raw.t values (2)")) == a | b
    assert seen_after(lambda: build(shop)) == nothing
    # a record that is gone, one that says something else, and one that is put back
    record = store().builds(environment)["a"]
    assert seen_after(lambda: store().clear(environment, ["a"], [])) == a | b
    other = replace(record, code_parts={**record.code_parts, "config": "?"})
    assert seen_after(lambda: store().record_build(environment, other, "")) == a | b
    assert seen_after(lambda: store().record_build(environment, record, "")) == nothing
    # relations that somebody has changed, and dropped
    assert seen_after(lambda: shop.sql("insert into main.b values (7)")) == b
    assert seen_after(lambda: build(shop)) == nothing
    assert seen_after(lambda: shop.sql("drop table main.a")) == a | b
    assert seen_after(lambda: build(shop)) == nothing
    assert seen_after(lambda: shop.sql("create or replace view main.view as select 1 as id")) == {"view"}
    assert seen_after(lambda: build(shop)) == nothing
    # a lease that another run has
    shop.sql("insert into raw.t values (3)")
    assert isinstance(store().take_lease(environment, "a", "h", "another", 600), Lease)
    assert seen_after(lambda: None) == b
    assert seen_after(lambda: store().leave_queues(environment, "h")) == a | b
    # a test that fails, and stands as failed
    assert seen_after(lambda: (shop.sql("insert into raw.t values (3)"), build(shop))) == {"unique_a_id"}
    assert seen_after(lambda: (shop.replace("raw.t", "select 1 as id"), build(shop))) == nothing
    # time: over an interval whose length follows the day of the week, and over the end of a day
    assert seen_after(lambda: shop.sql("insert into raw.u values (1)")) == b
    assert seen_after(lambda: at(FRIDAY + timedelta(hours=2))) == b | {"slow"}
    assert seen_after(lambda: at(FRIDAY + timedelta(days=1))) == b | {"today"}
    assert seen_after(lambda: at(FRIDAY + timedelta(days=3))) == b | {"slow", "today"}
    assert seen_after(lambda: build(shop)) == nothing


def test_a_kept_decision_is_the_one_that_would_be_taken_now() -> None:
    """In any order, at any time, and whatever was decided before."""
    kept, chance, found = KeptDecisions(), random.Random(1), 0
    every = list(cases())
    for _ in range(4000):
        case = chance.choice(every[:400] if chance.random() < 0.5 else every)
        now = NOON + chance.choice((timedelta(), timedelta(minutes=3), timedelta(hours=5), timedelta(days=2)))
        taken = kept.decide(
            "m",
            now=now,
            policy=case.policy,
            record=case.record and replace(case.record),
            seen=replace(case.seen),
            mode=case.mode,
        )
        fresh = case.decision(now)
        assert (taken, taken.trace) == (fresh, fresh.trace)
        again = kept.decide("m", now=now, policy=case.policy, record=case.record, seen=case.seen, mode=case.mode)
        assert again == fresh
        found += again is taken
    assert 0 < found < 4000, "some hold at any time, and some do not"


def test_records_are_read_again_only_where_their_rows_have_changed(state_url: str) -> None:
    one, other = SqlStateStore(state_url), SqlStateStore(state_url)
    if state_url == "sqlite://":  # a database of each one's own
        other = one
    orders, customers = RECORD, replace(RECORD, model="customers")
    for record in (orders, customers):
        other.record_build("e", record, "")
    before = one.builds("e")
    other.record_build("e", replace(orders, rows=3), "")
    assert one.builds("e") == {"orders": replace(orders, rows=3), "customers": customers}
    assert one.builds("e")["customers"] is before["customers"]
    other.clear("e", ["customers"], [])
    assert one.builds("e") == {"orders": replace(orders, rows=3)}
    other.record_tests("e", [TEST])
    assert one.tests("e") == {"t": TEST}
    other.record_tests("e", [replace(TEST, verdict=Verdict.FAIL)])
    assert one.tests("e") == {"t": replace(TEST, verdict=Verdict.FAIL)}
    for number in range(10):
        one.builds(f"e{number}")
    assert one.builds("e") == {"orders": replace(orders, rows=3)}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The DuckDB files that were opened for a look, to be cleared."""
    found: list[str] = []
    connect = duckdb.connect

    def noted(path: str, **options: Any) -> duckdb.DuckDBPyConnection:
        if options.get("read_only"):
            found.append(path)
        return connect(path, **options)

    monkeypatch.setattr("sao_dagster.warehouses.duckdb.warehouse.duckdb.connect", noted)
    return found


def ticks(lasting: Deployment, opened: list[str]) -> tuple[set[str], bool]:
    """Return what a tick asks for, and whether it has opened the database."""
    opened.clear()
    return asked(lasting.tick()), bool(opened)


def test_a_file_that_nobody_wrote_to_is_not_opened(shop: World, clock: list[datetime], opened: list[str]) -> None:
    lasting = deploy(shop)
    assert ticks(lasting, opened) == (set(), True)
    assert ticks(lasting, opened) == (set(), False)
    # time, and what another process writes to the state, need no look at the file either
    clock[0] = FRIDAY + timedelta(days=1)
    assert ticks(lasting, opened) == ({"today"}, False)
    clock[0] = FRIDAY
    store, environment = elsewhere(shop).store, elsewhere(shop).environment
    record = store.builds(environment)["b"]
    store.record_build(environment, replace(record, code_parts={**record.code_parts, "config": "?"}), "")
    assert ticks(lasting, opened) == ({"b"}, False)
    store.record_build(environment, record, "")
    assert ticks(lasting, opened) == (set(), False)
    # what is written to the log alone, by somebody who holds the file; and what is in the file once that is closed
    with duckdb.connect(str(shop.root / "shop.duckdb")) as writer:
        writer.begin()
        writer.execute("insert into raw.t values (2)")
        assert ticks(lasting, opened) == (set(), False)
        writer.commit()
        assert (shop.root / "shop.duckdb.wal").stat().st_size
        assert ticks(lasting, opened) == ({"a", "b", "unique_a_id"}, True)
        assert ticks(lasting, opened) == ({"a", "b", "unique_a_id"}, False)
        writer.execute("insert into raw.u values (2)")
    assert ticks(lasting, opened) == ({"a", "b", "unique_a_id"}, True)
    # another file of the same size and times in its place, as a backup that is put back
    file = shop.root / "shop.duckdb"
    times = file.stat()
    other = shop.root / "other.duckdb"
    shutil.copy2(file, other)
    with duckdb.connect(str(other)) as connection:
        connection.execute("drop table main.a")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)
    assert ticks(lasting, opened) == ({"a", "b", "unique_a_id"}, True)
    # a log that DuckDB is just writing into the file
    assert ticks(lasting, opened)[1] is False
    (shop.root / "shop.duckdb.wal.checkpoint").write_bytes(b"?")
    assert elsewhere(shop).warehouse.stamp() is None  # type: ignore[attr-defined]


def test_what_does_not_follow_from_the_file_is_looked_up(shop: World, opened: list[str]) -> None:
    """Rows that are asked for, other files, and other people's extensions."""
    shop.write("raw.csv", "id\n1\n")
    shop.sql(f"create view raw.csv as select * from '{shop.root}/raw.csv'", "create table raw.loaded as select 1 as at")
    shop.source("t", "u", "csv", "loaded", extra="        config: {loaded_at_field: at}\n")
    shop.model("asks", "{{ config(materialized='table') }} select {{ run_query('select 1').columns[0][0] }} as id")
    build(shop)
    lasting = deploy(shop)
    assert [ticks(lasting, opened)[1] for _ in range(3)] == [True, True, True]
    warehouse = elsewhere(shop).warehouse
    assert isinstance(warehouse, DuckDBWarehouse)
    assert warehouse.stamp() is not None
    assert replace(warehouse, extensions=("icu",)).stamp() is None
    assert replace(warehouse, attach=({"path": str(shop.root / "not_there.duckdb")},)).stamp() is None
    assert replace(warehouse, attach=({"path": "sqlite:other.db"},)).stamp() is None
    assert DuckDBWarehouse(path=":memory:").stamp() is None


def test_an_attached_file_is_watched_too(world: World, opened: list[str]) -> None:
    """And what a database that is read beside one's own was is not asked of that either."""
    other = world.root / "crm.duckdb"
    with duckdb.connect(str(other)) as connection:
        connection.execute("create table people as select 1 as id")
    world.write(
        "profiles.yml",
        "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb, attach: [{path: crm.duckdb}]}}}",
    )
    world.write("models/sources.yml", "sources: [{name: crm, database: crm, schema: main, tables: [{name: people}]}]")
    world.model("a", "select * from {{ source('crm', 'people') }}")
    build(world)
    lasting = deploy(world)
    assert ticks(lasting, opened) == (set(), True)
    assert ticks(lasting, opened) == (set(), False)
    with duckdb.connect(str(other)) as connection:
        connection.execute("insert into people values (2)")
    assert ticks(lasting, opened) == ({"a"}, True)


def test_files_behind_a_view_of_somebodys_are_watched_too(world: World, opened: list[str]) -> None:
    file = world.root / "prices.csv"
    file.write_text("id\n1\n")
    world.sql(f"create view raw.prices as select id from '{file}'")
    world.model("a", "select * from raw.prices")
    build(world)
    lasting = deploy(world)
    assert ticks(lasting, opened)[0] == ticks(lasting, opened)[0] == set()
    file.write_text("id\n2\n")
    assert ticks(lasting, opened) == ({"a"}, True)


def test_a_session_that_is_not_open_says_what_an_open_one_has_said(shop: World) -> None:
    shop.sql("create macro main.twice(n) as n * 2", "create view raw.v as select main.twice(id) as id from raw.t")
    warehouse, kept = elsewhere(shop).warehouse, KeptAnswers()
    table = UndeclaredInput(InputKind.TABLE, "raw.v", "raw.v", ("raw", "v"))
    view, is_asked = Relation("shop", "raw", "v"), attrgetter("catalog", "constraints", "settings", "time_zone")

    def answers(session: Session) -> list[object]:
        """Return what a session says of everything that is kept."""
        return [
            *(ask() for ask in (*is_asked(session), session.database_id, session.made_functions, session.stamp)),
            session.functions(["twice"]),
            session.resolved([table]),
            session.behind_views([view]),
            session.files_behind(session.catalog(), [view]),
            session.movements(session.catalog(), [view]),
            session.content_tokens([view]),
        ]

    assert kept.unopened(warehouse) is None
    with warehouse.session(read_only=True) as bare:
        assert answers(kept.keeping(warehouse, bare)) == answers(bare)
    closed = kept.unopened(warehouse)
    assert closed is not None
    with warehouse.session(read_only=True) as bare:
        assert answers(closed) == answers(bare)
    assert not closed.has_refused
    for _ in range(2):
        closed = kept.unopened(warehouse)
        assert closed is not None
        with pytest.raises(NotKeptError):
            closed.query("select 1")
        assert closed.has_refused
    assert kept.unopened(warehouse) is None, "not tried again for as long as the file is the same"
