"""Model-level queueing: a run waits at a model that another one builds, goes on with the others, and decides again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sao_dagster import select
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.messages import Message
from sao_dagster.core.records import BuildRecord, Lease, QueuePosition, TestRecord
from sao_dagster.errors import StalledError, StateError
from sao_dagster.run.events import Event, ModelResult
from sao_dagster.run.materialize import NodeBuilds
from sao_dagster.run.schedule import RunStep
from sao_dagster.state.sql_store import SqlStateStore
from tests.waiting import until
from tests.world import World


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders").sql("create table raw.orders as select 1 as id, 5 as amount")
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    world.model("report", "select sum(amount) as amount from {{ ref('orders') }}")
    world.model("alone", "select 1 as x")
    world.plan()  # so that the state knows the environment
    return world


def store_of(world: World) -> SqlStateStore:
    return SqlStateStore(f"sqlite:///{world.root / 'state.db'}")


def environment_of(store: SqlStateStore) -> str:
    """Return the only environment that the state knows."""
    (known,) = store.environments()
    return known.key


def take(store: SqlStateStore, model: str, seconds: float = 60.0) -> Lease:
    lease = store.take_lease(environment_of(store), model, "someone-else", "run-of-others", seconds)
    assert isinstance(lease, Lease)
    return lease


def run(
    world: World, when_it_waits: Callable[[], Any], include: str | None = None, **options: Any
) -> tuple[dict[str, str], list[Event]]:
    """Run, and do something as soon as the run says that it waits; return outcomes and events."""
    runner = replace(world.runner(), **options)
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, Message) and event.text.startswith("waits for"):
            when_it_waits()

    result = runner.run(select(runner.project, include), on_event=watch)
    outcomes = {each.name: f"{each.decision.outcome.value}: {each.decision.reason.value}" for each in result.models}
    return outcomes, events


def messages(events: list[Event]) -> list[str]:
    return [each.text for each in events if isinstance(each, Message)]


def test_a_run_waits_at_the_model_and_goes_on_with_the_others(shop: World) -> None:
    store = store_of(shop)
    lease = take(store, "orders")
    outcomes, events = run(shop, lambda: store.release_lease(environment_of(store), lease))
    assert outcomes == {
        "orders": "built: never_built",
        "report": "built: never_built",
        "alone": "built: never_built",
    }
    (said,) = messages(events)
    assert said.startswith("waits for run run-of-others, at orders since ")
    order = [each.name for each in events if isinstance(each, ModelResult)]
    assert order == ["alone", "orders", "report"], "only what depends on the model is held back"
    assert store.leases(environment_of(store)) == []


def test_what_another_run_has_just_built_is_reused(shop: World) -> None:
    """The other run builds from newer data than this one saw when it began; after the wait it is looked at again."""
    shop.run()
    record = store_of(shop).builds(shop.environment)["orders"]
    shop.sql("insert into raw.orders values (2, 7)")
    store = store_of(shop)
    lease = take(store, "orders")
    news = versions_of(shop)

    def build_it() -> None:
        built: BuildRecord = replace(record, inputs=news, run_id="run-of-others", built_at=shop.now)
        store.record_build(environment_of(store), built, "", lease)

    # the other run of this test only says that it built, so contents are not compared
    outcomes, _ = run(shop, build_it, verify=False)
    assert outcomes["orders"] == "reused: no_new_data"


def test_what_was_seen_of_the_tables_behind_a_view_counts_after_the_view_has_waited(shop: World) -> None:
    """Looked at again is what decides about the view; its rows come from a table that somebody has changed."""
    shop.model("shown", "select * from {{ ref('orders') }}", materialized="view")
    shop.model("report", "select sum(amount) as amount from {{ ref('shown') }}").run()
    shop.sql("drop view main.shown", "insert into main.orders values (2, 7)")
    store = store_of(shop)
    lease = take(store, "shown")
    outcomes, _ = run(shop, lambda: store.release_lease(environment_of(store), lease), "shown report")
    assert outcomes == {"shown": "built: relation_missing", "report": "built: new_data"}
    assert shop.rows("select amount from main.report") == [(12,)]


def versions_of(world: World) -> dict[str, DataVersion]:
    runner = world.runner()
    _, seen = runner.plan(select(runner.project))
    return {name: version for name, version in seen.facts.versions.items() if version and name.startswith("source:")}


def test_a_run_that_need_not_build_any_more_leaves_the_queue(shop: World) -> None:
    """Else those behind it would wait until it ends, and it for one of them: found by the fleet of tests/fleet."""
    shop.run()
    record = store_of(shop).builds(shop.environment)["orders"]
    store = store_of(shop)
    news = versions_of(shop.sql("insert into raw.orders values (2, 7)"))
    lease = take(store, "orders")
    other = take(store, "alone")  # so that the run goes on after it has found that there is nothing to do for `orders`
    behind: list[Any] = []

    def build_it() -> None:
        if behind:
            return
        behind.append(until("the place behind the run", second_in_line, 0.02))
        store.record_build(
            environment_of(store), replace(record, inputs=news, run_id="run-of-others", built_at=shop.now), "", lease
        )
        threading.Thread(target=wait_for_the_turn).start()

    def ask() -> Lease | QueuePosition:
        return store.take_lease(environment_of(store), "orders", "behind", "run-behind", 60.0)

    def second_in_line() -> QueuePosition | None:
        place = ask()
        assert isinstance(place, QueuePosition)
        if place.ahead == 2:
            return place
        store.leave_queues(environment_of(store), "behind")
        return None

    def wait_for_the_turn() -> None:
        try:
            behind.append(until("the turn", lambda: isinstance(ask(), Lease), 0.2))
        finally:
            store.release_lease(environment_of(store), other)  # the run waits for it until then

    shop.model("alone", "select 2 as x")
    run(shop, build_it, verify=False)
    assert behind[1:] == [True], "while the run still went on"


def test_waiting_is_bounded_and_says_for_whom(shop: World) -> None:
    lease = take(store_of(shop), "orders")
    runner = replace(shop.runner(), queue_seconds=0.5)
    result = runner.run(select(runner.project))
    found = {each.name: each.decision for each in result.models}
    assert found["orders"].outcome.value == "failed"
    assert "waited" in str(found["orders"].evidence["error"])
    assert "run run-of-others" in str(found["orders"].evidence["error"])
    assert found["report"].reason.value == "upstream_failed"
    assert found["alone"].outcome.value == "built"
    assert [each.model for each in store_of(shop).leases(shop.environment)] == [lease.model], (
        "its own place is given up"
    )


def test_the_lease_of_a_dead_run_is_taken_over(shop: World) -> None:
    take(store_of(shop), "orders", seconds=1.0)
    assert shop.run().outcomes["orders"] == "built: never_built"


def test_a_lease_is_kept_by_its_heartbeat(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that takes longer than the lease is not taken over while its run is alive."""
    store = store_of(shop)
    build = NodeBuilds.build
    answers: list[Lease | QueuePosition] = []

    def slow(self: Any, *arguments: Any) -> Any:
        (given,) = store.leases(environment_of(store))
        until("the end of the lease as it was given", lambda: store.now() > given.expires_at)
        answers.append(store.take_lease(environment_of(store), "alone", "someone-else", "run-of-others", 60.0))
        return build(self, *arguments)

    monkeypatch.setattr(NodeBuilds, "build", slow)
    runner = replace(shop.runner(), lease_seconds=3.0)
    assert runner.run(select(runner.project, "alone")).succeeded
    (answer,) = answers
    assert isinstance(answer, QueuePosition), "the run still has it"


def test_a_run_whose_lease_was_taken_over_records_nothing_and_decides_again(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the process had been stopped for longer than its lease: its build does not count, and is done anew."""
    store = store_of(shop)
    took: list[Lease] = []
    build = NodeBuilds.build

    def stopped_before_it_builds(self: Any, *arguments: Any) -> Any:
        if not took:
            took.append(take(store, "alone"))
        return build(self, *arguments)

    monkeypatch.setattr(NodeBuilds, "build", stopped_before_it_builds)
    outcomes, events = run(
        shop, lambda: store.release_lease(environment_of(store), took[0]), "alone", lease_seconds=0.0
    )
    first, second = messages(events)[:2]
    assert "the lease on alone was taken over by run run-of-others" in first
    assert second.startswith("waits for run run-of-others")
    assert outcomes["alone"].startswith("built")
    assert store.builds(environment_of(store))["alone"].run_id != "run-of-others"


def test_the_record_of_the_run_that_took_over_does_not_speak_for_what_was_written_after_it(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run builds and records, then this one writes the relation without the right to: it is not reused."""
    shop.run("alone")
    store = store_of(shop)
    theirs = replace(
        store.builds(environment_of(store))["alone"],
        run_id="run-of-others",
        data_version=DataVersion("content", "theirs"),
    )
    shop.model("alone", "select 2 as x")
    code = shop.runner().project.nodes["alone"].code
    build = NodeBuilds.build
    took: list[Lease] = []

    def stopped_before_it_builds(self: Any, *arguments: Any) -> Any:
        if not took:
            took.append(take(store, "alone"))
            record = replace(theirs, code_version=code.version, code_parts=dict(code.parts))
            store.record_build(environment_of(store), record, "", took[0])
        return build(self, *arguments)

    monkeypatch.setattr(NodeBuilds, "build", stopped_before_it_builds)
    runner = replace(shop.runner(), lease_seconds=0.0, verify=False)
    result = runner.run(select(runner.project, "alone"))
    assert [(each.name, each.decision.outcome.value) for each in result.models] == [("alone", "built")]
    assert store.builds(environment_of(store))["alone"].run_id == result.run_id


def test_a_stopped_run_leaves_no_lease(shop: World) -> None:
    lease = take(store_of(shop), "orders")
    runner = shop.runner()
    running = runner.events(select(runner.project))
    for event in running:
        if isinstance(event, Message):
            break
    running.close()
    assert [each.holder for each in store_of(shop).leases(shop.environment)] == [lease.holder]
    store_of(shop).release_lease(shop.environment, lease)
    assert isinstance(store_of(shop).take_lease(shop.environment, "orders", "next", "r", 60), Lease), (
        "nor a place in the queue"
    )


def test_a_run_that_waits_for_itself_ends_and_says_what_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.model("a", "select 1 as id").model("b", "select 2 as id").model("c", "select 3 as id")
    one, other = RunStep("a"), RunStep("b")
    circle = {RunStep("c"): (), one: (other,), other: (one,)}
    monkeypatch.setattr("sao_dagster.run.runner.steps_of", lambda project, selection: circle)
    with pytest.raises(StalledError, match="what is left waits for itself: a, b"):
        world.run()
    assert world.rows("select id from c") == [(3,)]


def test_a_build_that_cannot_be_recorded_is_a_failure_that_says_so_and_is_built_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sql("create table raw.orders as select 1 as id").source("orders")
    world.model("m", "select id from {{ source('raw', 'orders') }}").model("below", "select id from {{ ref('m') }}")
    world.model("other", "select 1 as id").run()
    world.sql("insert into raw.orders values (2)")

    def refuse(*_: object) -> None:
        raise StateError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(SqlStateStore, "record_build", refuse)
        broken.setattr(SqlStateStore, "release_lease", refuse)
        run = world.run("m+")
    assert run.outcomes == {"m": "failed: build_error", "below": "skipped: upstream_failed"}
    assert "built again next time: the disk is full" in str(run.decision("m").evidence["error"])
    assert not world.opened().store.leases(world.environment)
    assert world.run().built == {"m", "below"}
    assert world.rows("select count(*) from main.below") == [(2,)]


def test_a_verdict_that_cannot_be_recorded_is_an_error_of_its_tests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.model("m", "select 1 as id").model("below", "select id from {{ ref('m') }}").model("other", "select 1 as id")
    for name in ("m", "other"):
        world.write(f"tests/{name}_is_one.sql", f"select id from {{{{ ref('{name}') }}}} where id <> 1")
    record = SqlStateStore.record_tests

    def refuse(store: SqlStateStore, environment: str, records: Sequence[TestRecord]) -> None:
        if any(each.test == "m_is_one" for each in records):
            raise StateError("the disk is full")
        record(store, environment, records)

    with monkeypatch.context() as broken:
        broken.setattr(SqlStateStore, "record_tests", refuse)
        run = world.run()
    assert run.outcomes["below"] == "skipped: upstream_failed"
    assert run.tests == {"m_is_one": "ran: error", "other_is_one": "ran: pass"}
    assert "could not be recorded: the disk is full" in str({each.test.name: each.error for each in run.result.tests})
    assert world.run().built == {"below"}
