"""What Dagster knows of builds that no run of it has made, and of views that show something new without being built."""

from __future__ import annotations

from datetime import datetime, timezone

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from sao_dagster import load_project
from sao_dagster.core.selection import select
from sao_dagster.dagster import ProjectWarehouse, build_schedule, told
from tests.deployment import Deployment, deploy, write_shop
from tests.world import World

MODELS = ("orders", "customers", "report")


@pytest.fixture
def shop(world: World) -> World:
    """`report` reads the table `orders` and the view `customers`."""
    return write_shop(world)


def build(shop: World) -> None:
    """Build as the command line does."""
    opened = load_project(shop.root)
    opened.runner().run(select(opened.project, None))


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
    scope = told.scope_of(deployed.instance, "dagster_builds")
    store.keep_shown(shop.environment, scope, dict.fromkeys(MODELS, "something else"))
    deployed.tick()
    assert counts(deployed) == before == {"orders": 2, "customers": 1, "report": 2}


def test_what_there_is_no_time_for_is_told_by_the_next_ticks(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    build(shop)
    monkeypatch.setattr(told, "AT_ONCE", 1)
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
    context = dg.build_schedule_context(
        repository_def=deployed.repository,
        resources={"sao_warehouse": ProjectWarehouse()},
        scheduled_execution_time=datetime(2026, 3, 2, 10, tzinfo=timezone.utc),
    )
    deployed.repository.get_schedule_def("hourly").evaluate_tick(context)
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
