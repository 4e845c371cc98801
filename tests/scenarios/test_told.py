"""What Dagster knows of builds that no run of it has made, and of views that show something new without being built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from sao_dagster import load_project
from sao_dagster.core.selection import select
from sao_dagster.dagster import build_schedule, told, told_builds
from sao_dagster.dagster.project_view import scope_of
from sao_dagster.errors import StateError
from sao_dagster.state.sql_store import SqlStateStore
from tests.deployment import Deployment, deploy, write_shop
from tests.world import World

MODELS = ("orders", "customers", "report")


@pytest.fixture
def shop(world: World) -> World:
    """`report` reads the table `orders` and the view `customers`."""
    return write_shop(world)


def build(shop: World, name: str | None = None) -> None:
    """Build as the command line does."""
    opened = load_project(shop.root)
    opened.runner().run(select(opened.project, name))


def materialized(deployed: Deployment, name: str) -> list[dg.AssetMaterialization]:
    """Return what Dagster knows of a model, newest first."""
    records = deployed.instance.fetch_materializations(dg.AssetKey(name), limit=20).records
    return [each.asset_materialization for each in records if each.asset_materialization is not None]


def counts(deployed: Deployment) -> dict[str, int]:
    return {name: len(materialized(deployed, name)) for name in MODELS}


def unsynced(deployed: Deployment) -> set[str]:
    """Return the assets that Dagster does not show as fresh."""
    graph = deployed.repository.asset_graph
    statuses = CachingStaleStatusResolver(
        instance=deployed.instance, asset_graph=graph, loading_context=LoadingContextForTest(deployed.instance)
    )
    keys = [key for key in graph.get_all_asset_keys() if key.path[-1] != "savings"]
    return {key.to_user_string() for key in keys if statuses.get_status(key).value != "FRESH"}


def test_what_was_built_outside_is_told_before_the_verdicts_of_a_run(shop: World) -> None:
    """Dagster takes a check for not evaluated whose asset was materialized after it."""
    build(shop)
    deployed = deploy(shop)
    deployed.run()
    assert counts(deployed) == {"orders": 1, "customers": 1, "report": 1}
    key = dg.AssetCheckKey(dg.AssetKey("orders"), "unique_orders_id")
    (verdict,) = deployed.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    evaluation = verdict.event.dagster_event.event_specific_data
    assert evaluation.passed
    (told_as,) = deployed.instance.fetch_materializations(dg.AssetKey("orders"), limit=20).records
    assert evaluation.target_materialization_data.storage_id == told_as.storage_id


def test_a_tick_tells_of_what_the_command_line_built_once(shop: World) -> None:
    build(shop)
    deployed = deploy(shop)
    deployed.tick()
    assert counts(deployed) == {"orders": 1, "customers": 1, "report": 1}
    (event,) = materialized(deployed, "orders")
    record = load_project(shop.root).store.builds(shop.environment)["orders"]
    assert event.metadata["sao/built_at"].value == pytest.approx(record.built_at.timestamp())
    assert event.metadata["dagster/row_count"].value == 1
    assert (event.tags or {})["dagster/data_version"] == str(record.data_version)
    assert unsynced(deployed) == set()
    deployed.tick()
    assert counts(deployed) == {"orders": 1, "customers": 1, "report": 1}
    shop.sql("insert into raw.orders values (2, 7)")
    build(shop)
    deployed.tick()
    assert counts(deployed) == {"orders": 2, "customers": 1, "report": 2}
    assert unsynced(deployed) == set()


def test_what_was_adopted_is_told_as_that(shop: World) -> None:
    build(shop)
    opened = load_project(shop.root)
    opened.store.clear(opened.environment, None, None)
    opened.runner().adopt(select(opened.project))
    deployed = deploy(shop)
    deployed.tick()
    assert [str(each.description)[:13] for each in materialized(deployed, "orders")] == ["Adopted as it"]


def test_each_dagster_instance_is_told(shop: World) -> None:
    first = deploy(shop)
    first.run()
    another = deploy(shop)
    another.tick()
    first.tick()
    assert counts(first) == counts(another) == {"orders": 1, "customers": 1, "report": 1}


def test_nothing_is_told_twice_where_it_was_not_kept_what_was_told(shop: World) -> None:
    build(shop)
    deployed = deploy(shop)
    deployed.run()  # reuses all, and tells of it
    shop.sql("insert into raw.orders values (2, 7)")
    deployed.run()
    before = counts(deployed)
    store = load_project(shop.root).store
    scope = scope_of(deployed.instance, "dagster_builds")
    store.keep_shown(shop.environment, scope, dict.fromkeys(MODELS, "something else"))
    deployed.tick()
    assert counts(deployed) == before == {"orders": 2, "customers": 1, "report": 2}


def test_what_there_is_no_time_for_is_told_by_the_next_ticks(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    build(shop)
    monkeypatch.setattr(told_builds, "AT_ONCE", 1)
    deployed = deploy(shop)
    for expected in (1, 2, 3, 3):
        deployed.tick()
        assert sum(counts(deployed).values()) == expected


def test_schedules_and_runs_tell_too(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    build(shop)
    ran = deploy(shop)
    ran.run(["report"])
    assert counts(ran) == {"orders": 1, "customers": 1, "report": 1}
    deployed = deploy(shop, parts=[lambda project: build_schedule(project, "hourly", "0 * * * *")])
    # the context of a schedule names no instance that lives in memory
    monkeypatch.setattr(dg.ScheduleEvaluationContext, "instance", deployed.instance)
    deployed.scheduled()
    assert counts(deployed) == {"orders": 1, "customers": 1, "report": 1}


def test_what_a_run_builds_just_now_is_left_to_it(shop: World) -> None:
    build(shop)
    deployed = deploy(shop)
    run_id = load_project(shop.root).store.builds(shop.environment)["orders"].run_id
    going = dg.DagsterRun(job_name="__ASSET_JOB", run_id=run_id, status=dg.DagsterRunStatus.STARTED)
    deployed.instance.run_storage.add_run(going)
    deployed.tick()
    assert counts(deployed) == {"orders": 0, "customers": 0, "report": 0}
    deployed.instance.run_storage.delete_run(run_id)
    deployed.instance.run_storage.add_run(going.with_status(dg.DagsterRunStatus.FAILURE))
    deployed.tick()
    assert counts(deployed) == {"orders": 1, "customers": 1, "report": 1}


def start(deployed: Deployment, run_id: str) -> Callable[[], None]:
    """Have Dagster take a run for one that is going; return what ends it."""
    runs = deployed.instance.run_storage
    going = dg.DagsterRun(job_name="__ASSET_JOB", run_id=run_id, status=dg.DagsterRunStatus.STARTED)
    runs.add_run(going)

    def end() -> None:
        runs.delete_run(run_id)
        runs.add_run(going.with_status(dg.DagsterRunStatus.SUCCESS))

    return end


def test_what_a_run_logs_and_ends_meanwhile_is_not_told_twice(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is read first, of the log and of the runs that are going: the run ends right after that."""
    build(shop)
    deployed = deploy(shop)
    instance = deployed.instance
    run_id = load_project(shop.root).store.builds(shop.environment)["orders"].run_id
    pending = [start(deployed, run_id)]

    def log_and_end() -> None:
        while pending:
            pending.pop()()
            for name in ("orders", "report"):
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(name, metadata={"sao/built_by_run": run_id})
                )

    get_runs, get_latest = instance.get_runs, instance.get_latest_materialization_events

    def runs_then(filters: dg.RunsFilter | None = None, **options: Any) -> Any:
        found = get_runs(filters, **options)
        if filters is not None and filters.run_ids:
            log_and_end()
        return found

    def latest_then(keys: Any) -> Any:
        found = get_latest(keys)
        log_and_end()
        return found

    monkeypatch.setattr(instance, "get_runs", runs_then)
    monkeypatch.setattr(instance, "get_latest_materialization_events", latest_then)
    for _ in range(2):
        deployed.tick()
    assert not pending
    assert counts(deployed) == {"orders": 1, "customers": 1, "report": 1}


def test_builds_of_a_run_that_is_going_are_not_in_the_way(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    build(shop)
    shop.sql("insert into raw.orders values (2, 7)")
    build(shop, "orders")
    deployed = deploy(shop)
    start(deployed, load_project(shop.root).store.builds(shop.environment)["orders"].run_id)
    left, tell = [], told.tell
    monkeypatch.setattr(told_builds, "AT_ONCE", 1)
    monkeypatch.setattr(told, "tell", lambda *args: left.append(tell(*args)[0]) or (left[-1], 0))
    for _ in range(2):
        deployed.tick()
    assert counts(deployed) == {"orders": 0, "customers": 1, "report": 1}
    assert left == [1, 0]


def test_sources_that_there_is_no_time_for_are_told_by_the_next_ticks(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sql("create or replace table raw.orders as select 1 as id, 5 as amount, now()::timestamp as loaded_at")
    shop.write(
        "models/sources.yml",
        "sources: [{name: raw, tables: [{name: orders, loaded_at_field: loaded_at, "
        "freshness: {error_after: {count: 2, period: hour}}}, {name: customers}]}]",
    )
    build(shop)
    deployed = deploy(shop)

    def seen() -> dict[str, tuple[int, int]]:
        """Return the numbers of observations and of materializations of each source."""
        instance = deployed.instance
        keys = {name: dg.AssetKey(["raw", name]) for name in ("orders", "customers")}
        return {
            name: (
                len(instance.fetch_observations(key, limit=9).records),
                len(instance.fetch_materializations(key, limit=9).records),
            )
            for name, key in keys.items()
        }

    none, whole = {"orders": (0, 0), "customers": (0, 0)}, {"orders": (1, 1), "customers": (1, 0)}
    with monkeypatch.context() as patch:
        patch.setattr(told, "SECONDS", -1.0)
        deployed.tick()
        assert seen() in [none | {name: whole[name]} for name in whole], "one of them, with all its events"
        for _ in range(2):
            deployed.tick()
            assert seen() == whole
    deployed.tick()
    assert seen() == whole
    assert counts(deployed) == {"orders": 1, "customers": 1, "report": 1}


def test_a_build_is_told_with_its_own_version_where_somebody_changed_the_table_since(shop: World) -> None:
    build(shop)
    shop.sql("insert into main.orders values (2, 7)")
    deployed = deploy(shop)
    deployed.tick()
    (event,) = materialized(deployed, "orders")
    record = load_project(shop.root).store.builds(shop.environment)["orders"]
    assert (event.tags or {})["dagster/data_version"] == str(record.data_version)


def test_ticks_request_and_runs_succeed_where_dagster_cannot_be_told(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "the disk is full"
        raise RuntimeError(message)

    build(shop)
    shop.sql("insert into raw.orders values (2, 7)")
    deployed = deploy(shop)
    monkeypatch.setattr(dg.DagsterInstance, "report_runless_asset_event", fail)
    assert deployed.tick().run_requests
    result = deployed.run(["orders"])
    assert result.success
    assert counts(deployed) == {"orders": 1, "customers": 0, "report": 0}


def test_a_run_goes_on_without_telling_where_it_cannot_read_what_dagster_knows(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "the state is gone"
        raise StateError(message)

    build(shop)
    deployed = deploy(shop)
    monkeypatch.setattr(SqlStateStore, "shown", fail)
    assert deployed.run(["orders", "customers"]).success
    assert counts(deployed) == {"orders": 0, "customers": 0, "report": 0}


def test_a_view_has_a_new_data_version_when_what_it_reads_was_built(shop: World) -> None:
    """Whether it is asked for in the run or not, and without being executed."""
    shop.write("models/core/shown.sql", "{{ config(materialized='view') }} select id from {{ ref('orders') }}")
    deployed = deploy(shop)
    deployed.run()
    (first,) = materialized(deployed, "shown")
    for row, assets in ((2, ["orders"]), (3, ["orders", "shown"])):
        shop.sql(f"insert into raw.orders values ({row}, 7)")
        assert deployed.run(assets).success
        latest, *others = materialized(deployed, "shown")
        assert len(others) == row - 1
        assert (latest.tags or {})["dagster/data_version"] != (others[0].tags or {})["dagster/data_version"]
    assert load_project(shop.root).store.builds(shop.environment)["shown"].built_at.timestamp() == pytest.approx(
        latest.metadata["sao/built_at"].value  # type: ignore[arg-type]
    )
    deployed.run(["orders", "shown"])
    assert len(materialized(deployed, "shown")) == 3, "nothing is new"
    assert first.metadata["sao/reason"].value == "never_built"


def test_views_below_sources_are_not_unsynced_for_ever(shop: World) -> None:
    deployed = deploy(shop)
    deployed.run()
    shop.sql("insert into raw.customers values (2)")
    while requests := deployed.tick().run_requests:
        deployed.run([key.to_user_string() for key in requests[0].asset_selection])
    assert unsynced(deployed) == set()
