"""The Dagster dagster_project, in process: assets, checks, modes, sensor, schedules, and foreign assets around the models."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from sao_dagster import load_project
from sao_dagster.cli import app
from sao_dagster.dagster import (
    DagsterProject,
    DuckDBResource,
    Granularity,
    Mode,
    ProjectWarehouse,
    ReuseEvent,
    SaoTranslator,
    build_job,
    build_schedule,
    definitions,
)
from tests.deployment import Deployment, checks, deploy, names, write_shop
from tests.world import World


@pytest.fixture
def shop(world: World) -> World:
    return write_shop(world)


def test_specs_say_what_the_models_are(shop: World) -> None:
    defs = deploy(shop).defs
    spec = {each.key.to_user_string(): each for each in defs.resolve_all_asset_specs()}
    assert set(spec) == {"raw/orders", "raw/customers", "orders", "customers", "report", "shop/savings"}
    orders = spec["orders"]
    assert orders.code_version == load_project(shop.root).project.nodes["orders"].code.version
    assert orders.group_name == "default"
    assert orders.metadata["dagster/table_name"] == "shop.main.orders"
    assert "All orders." in str(orders.description)
    assert {dep.asset_key.to_user_string() for dep in spec["report"].deps} == {"orders", "customers"}
    assert "daily" in spec["customers"].tags


def test_built_models_are_materializations_and_reused_ones_are_not(shop: World) -> None:
    deployed = deploy(shop)
    first = deployed.run()
    assert first.success
    assert names(first, "ASSET_MATERIALIZATION") == {"orders", "customers", "report"}
    event = next(
        each for each in first.asset_materializations_for_node("shop") if each.asset_key == dg.AssetKey("orders")
    )
    assert event.metadata["dagster/row_count"].value == 1
    assert event.metadata["sao/reason"].value == "never_built"
    assert [each.name for each in event.metadata["dagster/column_schema"].value.columns] == ["id", "amount"]
    assert event.tags["dagster/data_version"].startswith("duckdb-")
    second = deployed.run()
    assert names(second, "ASSET_MATERIALIZATION") == set()
    assert names(second, "ASSET_OBSERVATION") == {"orders", "customers", "report"}


def test_the_data_version_stays_when_the_content_does(shop: World) -> None:
    deployed = deploy(shop)
    version = [
        next(
            each
            for each in deployed.run(**{"sao/mode": mode}).asset_materializations_for_node("shop")
            if each.asset_key == dg.AssetKey("orders")
        ).tags["dagster/data_version"]
        for mode in ("state-aware", "force")
    ]
    assert version[0] == version[1]


@pytest.mark.parametrize(
    ("event", "kind"), [(ReuseEvent.NONE, None), (ReuseEvent.MATERIALIZATION, "ASSET_MATERIALIZATION")]
)
def test_reuse_events_can_be_chosen(shop: World, event: ReuseEvent, kind: str | None) -> None:
    deployed = deploy(shop, reuse_event=event)
    deployed.run()
    second = deployed.run()
    assert names(second, "ASSET_OBSERVATION") == set()
    assert names(second, "ASSET_MATERIALIZATION") == ({"orders", "customers", "report"} if kind else set())


def test_checks_carry_verdict_severity_and_where_they_come_from(shop: World) -> None:
    deployed = deploy(shop)
    assert checks(deployed.run()) == {
        "unique_orders_id": (True, "WARN"),
        "not_null_orders_id": (True, "WARN"),
        "source_not_null_raw_orders_id": (True, "WARN"),
    }
    (reused,) = (each for each in deployed.run().get_asset_check_evaluations() if each.check_name == "unique_orders_id")
    assert reused.metadata["sao/outcome"].value == "reused"
    assert "sao/from_run" in reused.metadata
    shop.write(
        "models/core/orders.sql", "select id, amount from {{ source('raw', 'orders') }} union all select null, 1"
    )
    assert checks(deploy(shop).run())["not_null_orders_id"] == (False, "WARN")
    shop.sql("insert into raw.orders values (1, 1)")
    failed = deploy(shop).run()
    assert not failed.success
    assert checks(failed)["unique_orders_id"] == (False, "ERROR")
    assert "report" not in names(failed, "ASSET_MATERIALIZATION"), "what is below a failed error test is not built"


def test_a_source_that_fails_its_test_fails_the_run_and_stops_only_what_reads_it(shop: World) -> None:
    shop.sql("insert into raw.orders values (null, 1)")
    failed = deploy(shop).run()
    assert not failed.success
    assert checks(failed) == {"source_not_null_raw_orders_id": (False, "ERROR")}
    assert names(failed, "ASSET_MATERIALIZATION") == {"customers"}


def test_a_failed_model_fails_the_run_with_its_name(shop: World) -> None:
    shop.write("models/core/orders.sql", "select no_such_column from {{ source('raw', 'orders') }}")
    result = deploy(shop).run()
    assert not result.success
    (failure,) = (
        each for each in result.all_events if each.event_type_value == "STEP_FAILURE" and each.step_key == "shop"
    )
    assert "orders failed: " in failure.event_specific_data.error_display_string
    assert names(result, "ASSET_MATERIALIZATION") == {"customers"}


def test_subsets_and_modes(shop: World) -> None:
    deployed = deploy(shop)
    assert names(deployed.run(["orders"]), "ASSET_MATERIALIZATION") == {"orders"}
    assert names(deployed.run(**{"sao/mode": "dry-run"}), "ASSET_MATERIALIZATION") == set()
    assert names(deployed.run(**{"sao/mode": "force"}), "ASSET_MATERIALIZATION") == {"orders", "customers", "report"}
    assert not deployed.run(**{"sao/mode": "sometimes"}).success


def test_the_sensor_requests_exactly_what_has_something_to_do(shop: World) -> None:
    deployed = deploy(shop)
    deployed.run()
    assert "all 3 models are reused" in deployed.tick().skip_message
    shop.sql("insert into raw.orders values (2, 7)")
    (request,) = deployed.tick().run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {"orders", "report"}
    assert {key.name for key in request.asset_check_keys} == {
        "unique_orders_id",
        "not_null_orders_id",
        "source_not_null_raw_orders_id",
    }
    assert request.tags["sao/mode"] == "state-aware"
    assert deployed.tick().run_requests == [request], "a repeated tick says the same"


def test_the_sensor_waits_for_its_own_run_and_gives_up_on_work_that_keeps_failing(shop: World) -> None:
    deployed = deploy(shop)
    (request,) = deployed.tick().run_requests
    run = deployed.instance.create_run_for_job(
        deployed.defs.resolve_implicit_global_asset_job_def(), tags=request.tags, status=dg.DagsterRunStatus.STARTED
    )
    assert run.run_id in deployed.tick().skip_message
    deployed.instance.report_run_failed(run)
    for _ in range(2):
        assert deployed.tick().run_requests
        again = deployed.instance.create_run_for_job(
            deployed.defs.resolve_implicit_global_asset_job_def(), tags=request.tags, status=dg.DagsterRunStatus.STARTED
        )
        deployed.instance.report_run_failed(again)
    assert "nothing came of 3 runs" in deployed.tick().skip_message
    shop.sql("insert into raw.orders values (2, 7)")
    deployed.run(["orders"])
    assert deployed.tick().run_requests, "other work is requested"


def test_a_sensor_tick_skips_while_another_process_holds_the_file(shop: World) -> None:
    import subprocess
    import sys

    deployed = deploy(shop)
    code = f"import duckdb, time; c = duckdb.connect({str(shop.root / 'shop.duckdb')!r}); print('held', flush=True); time.sleep(3600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            assert "another process holds the warehouse" in deployed.tick().skip_message
        finally:
            holder.kill()


def test_schedules_decide_before_they_launch(shop: World) -> None:
    deployed = deploy(
        shop,
        parts=[
            lambda dagster_project: build_schedule(dagster_project, "hourly", "0 * * * *", select="orders+"),
            lambda dagster_project: build_schedule(dagster_project, "weekly", "0 0 * * 0", mode=Mode.FULL_REFRESH),
            lambda dagster_project: build_job(dagster_project, "daily_job", select="tag:daily"),
        ],
    )

    (request,) = deployed.scheduled("hourly").run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {"orders", "report"}
    assert request.tags["sao/never_built"] == "2"
    deployed.run()
    assert "all 2 models are reused" in deployed.scheduled("hourly").skip_message
    shop.write("models/reports/report.sql", "select 1 as amount")
    said = deployed.scheduled("hourly").skip_message
    assert said.startswith("this code location was read before models/reports/report.sql was edited")
    assert "all 2 models are reused" in said
    (forced,) = deployed.scheduled("weekly").run_requests
    assert forced.tags["sao/mode"] == "full-refresh"
    job = deployed.repository.get_job("daily_job")
    assert job.tags["sao/mode"] == "state-aware"
    assert names(job.execute_in_process(instance=deployed.instance), "ASSET_OBSERVATION") == {"customers"}


def test_a_schedule_says_that_a_model_is_reused_where_that_is_another_decision(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(deployed: Deployment) -> list[tuple[str | None, str]]:
        monkeypatch.setattr(dg.ScheduleEvaluationContext, "instance", deployed.instance)  # which it could not name
        deployed.scheduled()
        found = deployed.instance.fetch_observations(dg.AssetKey("orders"), limit=9).records
        events = [each.asset_observation for each in found if each.asset_observation]
        return [(each.description, str(each.metadata["sao/built_by_run"].value)) for each in events]

    hourly = [lambda project: build_schedule(project, "hourly", "0 * * * *")]
    deployed = deploy(shop, parts=hourly)
    first = deployed.run().run_id
    assert told(deployed) == [("Reused: nothing changed.", first)]
    assert told(deployed) == [("Reused: nothing changed.", first)], "that is said already"
    second = deployed.run(**{"sao/mode": "force"}).run_id
    assert told(deployed) == [("Reused: nothing changed.", second), ("Reused: nothing changed.", first)]
    assert told(deploy(shop, parts=hourly, reuse_event=ReuseEvent.NONE)) == []


def test_one_override_point_renames_assets_everywhere(shop: World) -> None:
    class Prefixed(SaoTranslator):
        def get_asset_key(self, node: Any) -> dg.AssetKey:
            return super().get_asset_key(node).with_prefix("shop")

    deployed = deploy(shop, translator=Prefixed())
    assert names(deployed.run(), "ASSET_MATERIALIZATION") == {"shop/orders", "shop/customers", "shop/report"}
    shop.sql("insert into raw.orders values (2, 7)")
    (request,) = deployed.tick().run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {"shop/orders", "shop/report"}


def test_foreign_assets_above_between_and_below(shop: World) -> None:
    """A Python asset between two models splits the step; nothing is skipped silently when the first part is reused."""
    shop.write(
        "models/sources.yml",
        "sources: [{name: raw, tables: [{name: orders}, {name: customers}]}, {name: python, schema: raw, tables: [{name: enriched}]}]",
    )
    shop.sql("create table raw.enriched as select 1 as id")
    shop.write(
        "models/reports/report.sql",
        "select o.id from {{ ref('orders') }} o join {{ source('python', 'enriched') }} e using (id)",
    )
    ran: list[str] = []

    @dg.asset(key=["raw", "orders"])
    def loader() -> None:
        ran.append("loader")

    @dg.asset(key=["python", "enriched"], deps=["orders"])
    def enriched() -> None:
        ran.append("enriched")

    @dg.asset(deps=["report"])
    def dashboard() -> None:
        ran.append("dashboard")

    from sao_dagster.dagster import build_assets

    dagster_project = DagsterProject(load_project(shop.root))
    deployed = Deployment(
        dg.Definitions(
            assets=[*build_assets(dagster_project), loader, enriched, dashboard],
            resources={"sao_warehouse": ProjectWarehouse()},
        )
    )
    for _ in range(2):
        ran.clear()
        result = deployed.run()
        assert result.success
        assert ran == ["loader", "enriched", "dashboard"]
        assert not [each for each in result.all_events if each.event_type_value == "STEP_SKIPPED"]


def test_the_warehouse_is_a_resource(shop: World) -> None:
    from shutil import copy

    other = shop.root / "elsewhere"
    other.mkdir()
    copy(shop.root / "shop.duckdb", other / "shop.duckdb")
    deployed = deploy(shop, warehouse=DuckDBResource(path=str(other / "shop.duckdb")))
    assert deployed.run().success
    assert shop.rows("select count(*) from information_schema.tables where table_name = 'report'") == [(0,)]
    wrong = deploy(shop, warehouse=DuckDBResource(path=str(other / "wrong.duckdb"))).run()
    assert not wrong.success


def test_a_project_that_is_wrong_as_a_whole_does_not_load_and_says_why(shop: World) -> None:
    shop.write("models/core/orders.sql", "select * from {{ ref('report') }}")
    with pytest.raises(ValueError, match=r"in a circle: .* \(models/core/orders.sql, models/reports/report.sql\)"):
        deploy(shop)


def test_the_decorator_puts_something_around_the_step(shop: World) -> None:
    from sao_dagster.dagster import build_source_checks, build_sources, state_aware_assets

    dagster_project = DagsterProject(load_project(shop.root))
    said: list[str] = []

    @state_aware_assets(dagster_project, name="reports", select="report", pool="warehouse")
    def reports(context: Any, step: Any) -> Any:
        said.append("before")
        yield from step.run()
        said.append("after")

    @state_aware_assets(dagster_project, exclude="report", retry_policy=dg.RetryPolicy(max_retries=1))
    def others(context: Any, step: Any) -> Any:
        yield from step.run()

    checks_of_sources = build_source_checks(dagster_project)
    deployed = Deployment(
        dg.Definitions(
            assets=[reports, others, *build_sources(dagster_project)],
            asset_checks=[checks_of_sources] if checks_of_sources else [],
            resources={"sao_warehouse": ProjectWarehouse()},
        )
    )
    for built in ({"orders", "customers", "report"}, {"orders", "customers"}):
        result = deployed.run()
        assert result.success
        assert names(result, "ASSET_MATERIALIZATION") == built, "what a later step waits for is never left out"
    assert said == ["before", "after"] * 2
    assert reports.op.pool == "warehouse"


def test_selections_may_be_dagsters(shop: World) -> None:
    shop.write("models/reports/t.yml", "models: [{name: report, config: {meta: {dagster: {group: reports}}}}]")
    deployed = deploy(
        shop,
        parts=[
            lambda dagster_project: build_job(
                dagster_project, "below", select=dg.AssetSelection.assets("orders").downstream()
            ),
            lambda dagster_project: build_job(dagster_project, "tagged", select="tag:daily"),
            lambda dagster_project: build_schedule(
                dagster_project, "group", "0 0 * * *", select=dg.AssetSelection.groups("reports")
            ),
        ],
    )
    deployed.run()
    job = deployed.repository.get_job("below")
    assert names(job.execute_in_process(instance=deployed.instance), "ASSET_OBSERVATION") == {"orders", "report"}
    with pytest.raises(ValueError, match="selects no model"):
        deploy(
            shop,
            parts=[lambda dagster_project: build_job(dagster_project, "none", select=dg.AssetSelection.groups("nope"))],
        )


def test_a_job_may_be_what_a_branch_changes(shop: World) -> None:
    select = [lambda dagster_project: build_job(dagster_project, "pull_request", select="state:modified+")]
    with pytest.raises(ValueError, match=r"as defer in sao\.yml"):
        deploy(shop, parts=select)
    shop.state_url = load_project(shop.root).state_url
    assert "orders" in shop.run(target="other").built
    shop.write("sao.yml", "targets: {dev: {defer: other}}\n")
    assert deploy(shop, parts=select).repository.get_job("pull_request") is not None, "nothing differs yet"
    shop.write("models/core/orders.sql", "select id, amount + 1 as amount from {{ source('raw', 'orders') }}")
    deployed = deploy(shop, parts=select)
    result = deployed.repository.get_job("pull_request").execute_in_process(instance=deployed.instance)
    assert names(result, "ASSET_MATERIALIZATION") == {"orders", "report"}
    assert shop.rows("select amount from main.report") == [(6,)]


def test_snapshots_hold_no_class_of_this_package(shop: World) -> None:
    """A webserver and a daemon of another Dagster version, without this package, can read them."""
    import json

    from dagster._core.remote_representation.external_data import RepositorySnap
    from dagster._serdes import serialize_value

    repository = deploy(
        shop, parts=[lambda dagster_project: build_schedule(dagster_project, "hourly", "0 * * * *")]
    ).repository
    classes: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("__class__"), str):
                classes.add(value["__class__"])
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(json.loads(serialize_value(RepositorySnap.from_def(repository))))
    assert "SensorSnap" in classes or "ExternalSensorData" in classes
    assert not {name for name in classes if "Sao" in name or "StateAware" in name or "Evaluator" in name}


def test_several_projects_and_other_definitions_live_in_one_code_location(
    shop: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each with resources of its own; assets of one's own keep the executor of their location."""
    other = World(tmp_path_factory.mktemp("crm"))
    other.write("dbt_project.yml", "name: crm\nprofile: crm\nmodels: {+materialized: table}\n")
    other.write("profiles.yml", "crm: {target: dev, outputs: {dev: {type: duckdb, path: crm.duckdb}}}\n")
    other.model("people", "select 1 as id")
    file = other.root / "crm.duckdb"
    mine = dg.Definitions(
        assets=[dg.asset(name="mine", partitions_def=dg.StaticPartitionsDefinition(["a"]))(lambda: None)],
        executor=dg.multiprocess_executor,
    )
    crm = definitions(load_project(other.root), warehouse=DuckDBResource(path=str(file)), granularity=Granularity.MODEL)
    deployed = Deployment(dg.Definitions.merge(definitions(load_project(shop.root)), crm, mine))
    assert deployed.run(["orders", "people"]).success
    assert file.is_file()
    executor = deployed.repository.get_implicit_global_asset_job_def().executor_def
    assert executor.name == "multiprocess"


def test_what_the_project_launches_itself_stays_in_one_process(shop: World) -> None:
    """A project is one step with threads of its own; the location's executor is left to what else is in it."""
    deployed = deploy(shop, parts=[lambda project: build_job(project, "all_of_it")])
    assert deployed.repository.get_job("all_of_it").executor_def.name == "in_process"
    (request,) = deployed.tick().run_requests
    assert request.run_config == {"execution": {"config": {"in_process": {}}}}
    job = deployed.defs.resolve_implicit_global_asset_job_def()
    assert dg.validate_run_config(job, request.run_config)
    (request,) = deploy(shop, executor=dg.multiprocess_executor).tick().run_requests
    assert request.run_config == {}


@pytest.mark.parametrize("names_of_models", [("a-b", "a_b"), ("a.b", "a_b"), ("a b", "größe")])
def test_names_that_dagster_would_take_for_one_or_refuses_are_mapped(
    shop: World, names_of_models: tuple[str, str]
) -> None:
    for name in names_of_models:
        shop.write(f"models/odd/{name}.sql", f"select 1 as id -- {name}")
        shop.write(
            f"models/odd/{name}.yml", f"models: [{{name: '{name}', columns: [{{name: id, data_tests: [not_null]}}]}}]"
        )
    deployed = deploy(shop)
    result = deployed.run()
    assert result.success
    assert len(names(result, "ASSET_MATERIALIZATION") - {"orders", "customers", "report"}) == 2
    assert len(result.get_asset_check_evaluations()) == 5
    assert deployed.tick().run_requests == [], "what was built and tested is known by the same keys"


def test_tags_and_owners_that_dagster_refuses_are_left_out(shop: World) -> None:
    shop.write("models/groups.yml", "groups: [{name: fin, owner: {name: F, email: f@b.c}}]")
    shop.write("models/core/orders.sql", "{{ config(group='fin', tags=['', 'ä', 'ok']) }} select 1 as id, 2 as amount")
    specs = {each.key.to_user_string(): each for each in deploy(shop).defs.resolve_all_asset_specs()}
    assert {tag for tag in specs["orders"].tags if not tag.startswith("dagster/")} == {"_", "ok"}
    assert list(specs["orders"].owners) == []


def test_a_code_location_that_is_older_than_a_file_says_so(shop: World) -> None:
    deployed = deploy(shop)
    deployed.run()
    file = shop.root / "models/core/orders.sql"
    file.write_text(file.read_text() + " where id > 0")
    os.utime(file, (time.time() + 60, time.time() + 60))
    said = deployed.tick().skip_message
    assert "was read before models/core/orders.sql was edited" in said
    assert "all 3 models are reused" in said
    file.write_text("select * from {{ source('raw', 'orders') }}")
    assert "was edited" not in deployed.tick().skip_message


def test_another_state_of_the_project_is_named(shop: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deploy(shop).run()
    assert load_project(shop.root).other_state(shop.environment) is None
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    said = load_project(shop.root).other_state(shop.environment)
    assert said is not None
    assert f"sqlite:///{shop.root}/.sao/state.db" in said
    assert "Set state_url in sao.yml" in said


def test_a_run_reads_from_another_environment_what_is_not_here(shop: World) -> None:
    assert shop.run(target="other").result.succeeded
    shop.write("sao.yml", f"state_url: sqlite:///{shop.root / 'state.db'}")
    deployed = deploy(shop)
    run = deployed.run(["report"], checks=[], **{"sao/defer": "other"})
    assert run.success
    assert names(run, "ASSET_MATERIALIZATION") == {"report"}
    assert shop.rows("select count(*) from main.report") == shop.rows("select count(*) from other.report")
    assert not deployed.run(["report"], checks=[], **{"sao/defer": "production"}).success


def test_the_state_of_a_dagster_instance_is_named_where_a_command_uses_another(
    shop: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    deploy(shop).run()
    monkeypatch.delenv("DAGSTER_HOME")

    def noted() -> bool:
        result = CliRunner().invoke(app, ["build", "--project-dir", str(shop.root)])
        return f"a run with another one has built this environment: sqlite:///{tmp_path}/sao_state.db" in result.stderr

    assert noted()
    assert not noted(), "it was used last now"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    deploy(shop).run()
    monkeypatch.delenv("DAGSTER_HOME")
    assert noted()
