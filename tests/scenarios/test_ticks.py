"""A code server lives long: what its evaluator keeps from one tick to the next changes no decision of a later one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sao_dagster import load_project, select
from sao_dagster.core.decide import KeptDecisions
from sao_dagster.core.records import Lease, Verdict
from sao_dagster.sql_project import SqlProject
from sao_dagster.state.protocol import StateStore
from sao_dagster.state.sql_store import SqlStateStore
from tests.deployment import deploy
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
