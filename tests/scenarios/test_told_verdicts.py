"""What Dagster knows of verdicts of data tests that no run of it has given."""

from __future__ import annotations

import asyncio
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.loader import LoadingContextForTest

from sao_dagster import load_project
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import select
from sao_dagster.dagster import CheckGranularity, build_schedule, told
from sao_dagster.dagster.project_view import scope_of
from sao_dagster.state.sql_store import SqlStateStore
from tests.deployment import Deployment, deploy, write_shop
from tests.world import World

UNIQUE, NOT_NULL, OF_SOURCE = (
    "orders:unique_orders_id",
    "orders:not_null_orders_id",
    "raw/orders:source_not_null_raw_orders_id",
)
DUPLICATE = "insert into raw.orders values (1, 7)"


@pytest.fixture
def shop(world: World) -> World:
    """`orders` has a test that fails and one that warns, and so has the source that it reads."""
    return write_shop(world)


def build(shop: World, name: str | None = None, mode: Mode = Mode.STATE_AWARE, *, tests: bool = True) -> None:
    """Build as the command line does."""
    opened = load_project(shop.root)
    selection = select(opened.project, name)
    opened.runner().run(selection if tests else selection.without_tests(), mode)


def history(deployed: Deployment, check: str) -> list[Any]:
    """Return what Dagster knows of a check, newest first."""
    asset, name = check.split(":")
    key = dg.AssetCheckKey(dg.AssetKey(asset.split("/")), name)
    return list(deployed.instance.event_log_storage.get_asset_check_execution_history(key, limit=20))


def counts(deployed: Deployment, *checks: str) -> list[int]:
    return [len(history(deployed, each)) for each in checks or (UNIQUE, NOT_NULL, OF_SOURCE)]


def shown(deployed: Deployment, check: str) -> tuple[bool, str, str]:
    """Return what an asset page shows of a check: whether it passed, its severity, and its words."""
    latest = history(deployed, check)[0]
    is_shown = latest.targets_latest_materialization(LoadingContextForTest(deployed.instance))
    assert asyncio.run(is_shown), "it shows as not evaluated"
    evaluation = latest.evaluation
    return evaluation.passed, evaluation.severity.value, evaluation.description


def metadata(deployed: Deployment, check: str) -> dict[str, Any]:
    found = history(deployed, check)[0].evaluation.metadata
    return {name: value.value for name, value in found.items()}


def test_a_tick_tells_of_what_the_command_line_has_tested_once(shop: World) -> None:
    build(shop)
    deployed = deploy(shop)
    deployed.tick()
    assert counts(deployed) == [1, 1, 1]
    passed, _, words = shown(deployed, UNIQUE)
    assert passed
    assert words.startswith("Passed: reused, nothing it reads changed since it was run at ")
    record = load_project(shop.root).store.tests(shop.environment)["unique_orders_id"]
    found = metadata(deployed, UNIQUE)
    assert found["sao/from_run"] == record.run_id, "as text: this instance has no page of that run"
    assert found["sao/last_run_at"] == pytest.approx(record.run_at.timestamp())
    assert (found["sao/verdict"], found["sao/outcome"]) == ("pass", "reused")
    assert shown(deployed, OF_SOURCE)[0]
    deployed.tick()
    assert counts(deployed) == [1, 1, 1]


def test_failures_of_the_command_line_show_as_failed_and_runs_go_on_from_there(shop: World) -> None:
    shop.write("models/core/orders.sql", "select nullif(id, 9) as id, amount from {{ source('raw', 'orders') }}")
    deployed = deploy(shop)
    deployed.run()
    shop.sql(DUPLICATE, "insert into raw.orders values (9, 7)")
    build(shop)
    for _ in range(2):
        deployed.tick()
        assert counts(deployed) == [2, 2, 2]
    passed, severity, words = shown(deployed, UNIQUE)
    assert (passed, severity) == (False, "ERROR")
    assert words.startswith("1 failure: ran at ")
    found = metadata(deployed, UNIQUE)
    assert (found["sao/verdict"], found["sao/failures"], found["sao/outcome"]) == ("fail", 1, "ran")
    passed, severity, words = shown(deployed, NOT_NULL)
    assert (passed, severity) == (False, "WARN")
    assert words.startswith("Warns of 1 failure: reused, ")
    deployed.run(["orders"])  # which asks again
    assert shown(deployed, UNIQUE)[2].startswith("1 failure: ran, its last verdict was a failure")
    before = counts(deployed)
    deployed.tick()
    assert counts(deployed) == before, "a failure that a run of this instance has reported is not told again"


def test_failures_of_sources_are_told(shop: World) -> None:
    shop.sql("insert into raw.orders values (null, 7)")
    build(shop)
    deployed = deploy(shop)
    deployed.tick()
    assert shown(deployed, OF_SOURCE)[:2] == (False, "ERROR")
    assert counts(deployed) == [0, 0, 1], "nothing was built of it"


def test_nothing_is_told_of_what_a_run_has_reported_even_where_that_was_not_kept(shop: World) -> None:
    shop.sql(DUPLICATE)
    deployed = deploy(shop)
    deployed.run()
    deployed.tick()
    assert counts(deployed) == [1, 1, 1]
    store, scope = load_project(shop.root).store, scope_of(deployed.instance, "dagster_verdicts")
    kept = store.shown(shop.environment, scope)
    assert {UNIQUE, NOT_NULL, OF_SOURCE} <= kept.keys()
    store.keep_shown(shop.environment, scope, dict.fromkeys(kept, "something else"))
    deployed.tick()
    assert counts(deployed) == [1, 1, 1]
    assert store.shown(shop.environment, scope) == kept


def test_a_verdict_about_other_data_is_not_told(shop: World) -> None:
    build(shop)
    shop.sql("insert into raw.orders values (2, 7)")
    build(shop, "orders", tests=False)
    deployed = deploy(shop)
    deployed.tick()
    assert counts(deployed) == [0, 0, 0]
    build(shop)
    deployed.tick()
    assert counts(deployed) == [1, 1, 1]


def test_a_verdict_stands_for_a_later_build_of_the_same_content(shop: World) -> None:
    deployed = deploy(shop)
    deployed.run()
    build(shop, "orders", Mode.FORCE, tests=False)
    deployed.tick()
    passed, _, words = shown(deployed, UNIQUE)
    assert passed
    assert words.startswith("Passed: reused, ")
    assert counts(deployed) == [2, 2, 1]


def test_what_is_proven_is_told_as_that_with_its_proof(shop: World) -> None:
    shop.write("models/core/ids.sql", "select id, count(*) as n from {{ ref('orders') }} group by id")
    shop.write("models/core/ids.yml", "models: [{name: ids, columns: [{name: id, data_tests: [unique]}]}]")
    check = "ids:unique_ids_id"
    build(shop)
    deployed = deploy(shop)
    for _ in range(2):
        deployed.tick()
        assert shown(deployed, check)[2].startswith("Passed: proven from the SQL")
        assert counts(deployed, check) == [1]
    assert metadata(deployed, check)["sao/outcome"] == "proven"
    shop.sql("insert into raw.orders values (2, 7)")
    deployed.run()
    deployed.tick()
    assert counts(deployed, check) == [2], "that of the run"


@pytest.mark.parametrize("granularity", [CheckGranularity.SEVERITY, CheckGranularity.MODEL])
def test_checks_of_several_tests_are_told_as_one(shop: World, granularity: CheckGranularity) -> None:
    shop.write(
        "models/core/t.yml",
        "models: [{name: orders, columns: [{name: id, data_tests: [unique, not_null]}]}]",
    )
    check = "orders:data_tests" if granularity is CheckGranularity.MODEL else "orders:data_tests_error"
    build(shop)
    deployed = deploy(shop, check_granularity=granularity)
    deployed.tick()
    assert shown(deployed, check) == (True, "WARN", "2 data tests: 1 reused, 1 proven")
    shop.sql(DUPLICATE)
    build(shop)
    for _ in range(2):
        deployed.tick()
        assert shown(deployed, check) == (False, "ERROR", "2 data tests: 1 ran, 1 proven; failed: unique_orders_id")
        assert counts(deployed, check) == [2]
    table = history(deployed, check)[0].evaluation.metadata["sao/tests"]
    rows = {each.data["test"]: each.data for each in table.records}
    assert str(rows["unique_orders_id"]["because"]).startswith("ran at ")
    deployed.run(["orders"])
    deployed.tick()
    assert counts(deployed, check) == [3], "that of the run"


def test_what_a_run_is_going_to_ask_is_left_to_it(shop: World) -> None:
    """What is told after that was planned would hide what the run says."""
    build(shop)
    deployed = deploy(shop)
    key = dg.AssetCheckKey(dg.AssetKey("orders"), "unique_orders_id")
    runs, run = deployed.instance.run_storage, dg.DagsterRun("__ASSET_JOB", status=dg.DagsterRunStatus.STARTED)
    runs.add_run(run)
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
        job_name=run.job_name,
        event_specific_data=AssetCheckEvaluationPlanned(asset_key=key.asset_key, check_name=key.name),
    )
    deployed.instance.report_dagster_event(event, run.run_id)
    deployed.tick()
    assert [each.run_id for each in history(deployed, UNIQUE)] == [run.run_id]
    assert counts(deployed, NOT_NULL) == [1]
    runs.delete_run(run.run_id)
    runs.add_run(run.with_status(dg.DagsterRunStatus.CANCELED))
    deployed.tick()
    assert shown(deployed, UNIQUE)[0]


def test_what_there_is_no_time_for_is_told_by_the_next_ticks(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    build(shop)
    deployed = deploy(shop)
    with monkeypatch.context() as patch:
        patch.setattr(told, "SECONDS", -1.0)
        deployed.tick()
        assert counts(deployed) == [0, 0, 0]
    deployed.tick()
    assert counts(deployed) == [1, 1, 1]


def test_schedules_and_runs_tell_too(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    build(shop)
    ran = deploy(shop)
    ran.run(["report"])
    assert counts(ran, UNIQUE, NOT_NULL) == [1, 1]
    assert shown(ran, UNIQUE)[0]
    deployed = deploy(shop, parts=[lambda project: build_schedule(project, "hourly", "0 * * * *")])
    # the context of a schedule names no instance that lives in memory
    monkeypatch.setattr(dg.ScheduleEvaluationContext, "instance", deployed.instance)
    deployed.scheduled()
    assert counts(deployed) == [1, 1, 1]


def test_a_tick_with_nothing_new_asks_dagster_for_no_check(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    build(shop)
    deployed = deploy(shop)
    deployed.tick()

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(SqlStateStore, "keep_shown", lambda *_: None)
    monkeypatch.setattr(deployed.instance.event_log_storage, "get_latest_asset_check_execution_by_key", fail)
    deployed.tick()
    assert counts(deployed) == [1, 1, 1]
