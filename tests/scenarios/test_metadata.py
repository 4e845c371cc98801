"""What an asset's page shows: schema, lineage, SQL, files, policy, owners, freshness, the last decision, savings."""

from __future__ import annotations

import dagster as dg
import pytest

from sao_dagster import load_project
from tests.deployment import deploy, metadata, write_shop
from tests.world import World


@pytest.fixture
def shop(world: World) -> World:
    return write_shop(world)


def test_a_built_model_shows_schema_lineage_sql_and_reason(shop: World) -> None:
    shop.write(
        "models/core/t.yml",
        "models: [{name: orders, columns: [{name: ID, description: The order.}]}]",
    )
    shop.write(
        "models/reports/report.sql",
        "with o as (select * from {{ ref('orders') }}) select o.amount * 2 as doubled, c.id "
        "from o join {{ ref('customers') }} c using (id)",
    )
    result = deploy(shop).run()
    orders = metadata(result, "orders")
    id_column, amount = orders["dagster/column_schema"].columns
    assert (id_column.name, id_column.type, id_column.description) == ("id", "INTEGER", "The order.")
    assert amount.description is None
    assert orders["dagster/column_lineage"].deps_by_column["amount"] == [
        dg.TableColumnDep(dg.AssetKey(["raw", "orders"]), "amount")
    ]
    assert "raw" in orders["sao/compiled_sql"]
    assert orders["dagster/row_count"] == 1
    report = metadata(result, "report")["dagster/column_lineage"].deps_by_column
    assert report == {
        "doubled": [dg.TableColumnDep(dg.AssetKey("orders"), "amount")],
        "id": [dg.TableColumnDep(dg.AssetKey("customers"), "id")],
    }


def test_lineage_looks_through_ephemerals_and_reads_what_the_run_did_not_build(shop: World) -> None:
    shop.write(
        "models/core/doubled.sql",
        "{{ config(materialized='ephemeral') }} select id, amount * 2 as amount from {{ ref('orders') }}",
    )
    shop.write("models/reports/report.sql", "select sum(amount) as total from {{ ref('doubled') }}")
    deployed = deploy(shop)
    deployed.run(["orders"])
    report = metadata(deployed.run(["report"]), "report")
    assert report["dagster/column_lineage"].deps_by_column == {
        "total": [dg.TableColumnDep(dg.AssetKey("orders"), "amount")]
    }


def test_specs_carry_what_dbt_projects_say_of_their_models(shop: World) -> None:
    shop.write(
        "models/groups.yml",
        "groups: [{name: finance, owner: {name: Fin, email: fin@example.com}}]",
    )
    shop.write(
        "models/core/orders.sql",
        "{{ config(group='finance', tags=['nightly'], max_age='24h', freshness={'build_after': {'count': 4, 'period': 'hour'}}) }} "
        "select * from {{ source('raw', 'orders') }}",
    )
    shop.write(
        "models/core/customers.sql",
        "{{ config(meta={'dagster': {'asset_key': ['crm', 'customers'], 'group': 'crm', 'owners': ['team:crm']}}) }} "
        "select * from {{ source('raw', 'customers') }}",
    )
    specs = {each.key.to_user_string(): each for each in deploy(shop).defs.resolve_all_asset_specs()}
    orders, customers = specs["orders"], specs["crm/customers"]
    assert orders.group_name == "finance"
    assert list(orders.owners) == ["fin@example.com"]
    assert orders.kinds == {"duckdb", "dbt", "table"}
    assert orders.metadata["sao/policy"] == "at most every 4 h, on any news"
    assert orders.metadata["dagster/storage_kind"] == "duckdb"
    (reference,) = orders.metadata["dagster/code_references"].code_references
    assert reference.file_path.endswith("models/core/orders.sql")
    assert orders.freshness_policy == dg.FreshnessPolicy.time_window(fail_window=dg_days(1))
    assert customers.group_name == "crm"
    assert list(customers.owners) == ["team:crm"]
    assert {dep.asset_key.to_user_string() for dep in specs["report"].deps} == {"orders", "crm/customers"}


def dg_days(count: int):  # type: ignore[no-untyped-def]
    from datetime import timedelta

    return timedelta(days=count)


def test_a_bad_max_age_is_an_error_of_the_model_with_its_file(shop: World) -> None:
    shop.write("models/core/orders.sql", "{{ config(max_age='soon') }} select * from {{ source('raw', 'orders') }}")
    error = load_project(shop.root).project.nodes["orders"].error
    assert error is not None and "a duration is a whole number" in error.message
    assert error.location is not None and str(error.location).startswith("models/core/orders.sql")


@pytest.mark.filterwarnings("error::dagster.PreviewWarning")
def test_views_are_virtual_where_dagster_has_virtual_assets(shop: World) -> None:
    deployed = deploy(shop)
    specs = {each.key.to_user_string(): each for each in deployed.defs.resolve_all_asset_specs()}
    assert getattr(specs["customers"], "is_virtual", True)
    assert not getattr(specs["orders"], "is_virtual", False)
    assert deployed.run().success
    plain = deploy(shop, virtual_views=False).defs.resolve_all_asset_specs()
    assert not any(getattr(each, "is_virtual", False) for each in plain)


def test_each_run_leaves_its_savings(shop: World) -> None:
    deployed = deploy(shop)
    first = deployed.run()
    saved = metadata(first, "shop/savings")
    assert (saved["sao/built"], saved["sao/reused"], saved["sao/tests_ran"]) == (3, 0, 3)
    assert deployed.instance.get_run_by_id(first.run_id).tags["sao/built"] == "3"
    second = deployed.run()
    saved = metadata(second, "shop/savings")
    assert (saved["sao/built"], saved["sao/reused"]) == (0, 3)
    assert all(
        isinstance(saved[f"sao/{each}"], float)
        for each in ("seconds_saved", "seconds_saved_by_tests", "seconds_saved_by_cut_off", "seconds_saved_7_days",
                     "seconds_saved_14_days", "seconds_saved_30_days")
    )  # fmt: skip
    assert saved["sao/cut_off"] == 0
    assert saved["sao/seconds_deciding"] > 0
    assert deployed.instance.get_run_by_id(second.run_id).tags["sao/reused"] == "3"
    runs = load_project(shop.root).store.runs(shop.environment)
    assert [each.run_id for each in runs] == [second.run_id, first.run_id], "the steps of a run are one run"
    assert runs[0].summary["reused"] == 3
    assert runs[0].summary["tests_reused"] == 4, "the source's test is asked for by its readers, and by its own check"


def test_a_dry_run_builds_nothing_and_shows_the_plan(shop: World) -> None:
    deployed = deploy(shop)
    deployed.run()
    shop.sql("insert into raw.orders values (2, 7)")
    result = deployed.run(**{"sao/mode": "dry-run"})
    assert result.success
    plan = metadata(result, "shop/savings", "ASSET_OBSERVATION")
    assert plan["sao/would/built"] == 2
    rows = [(row.data["name"], row.data["would be"], row.data["reason"]) for row in plan["sao/plan"].records]
    assert rows[:3] == [
        ("orders", "built", "new_data"),
        ("report", "built", "new_data"),
        ("customers", "reused", "no_new_data"),
    ]
    assert deployed.instance.get_run_by_id(result.run_id).tags["sao/would/built"] == "2"
    evaluations = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert evaluations["unique_orders_id"].passed, "an earlier verdict is repeated, so that no skip hides it"
    assert "Dry run" in str(evaluations["unique_orders_id"].description)
    (built,) = shop.rows("select count(*) from main.orders")
    assert built == (1,)


def test_the_launchpad_sets_the_mode_too(shop: World) -> None:
    deployed = deploy(shop)
    deployed.run()
    job = deployed.defs.resolve_implicit_global_asset_job_def()
    forced = job.execute_in_process(
        instance=deployed.instance, run_config={"ops": {"shop": {"config": {"mode": "FORCE"}}}}
    )
    assert metadata(forced, "report")["sao/reason"] == "forced"


def test_a_schedule_that_launches_nothing_counts_what_it_reused(shop: World) -> None:

    from sao_dagster.dagster import build_schedule

    deployed = deploy(shop, parts=[lambda dagster_project: build_schedule(dagster_project, "hourly", "0 * * * *")])
    deployed.run()
    for _ in range(2):  # a tick that Dagster repeats counts once
        assert "all 3 models" in deployed.scheduled().skip_message
    store, environment = load_project(shop.root).store, shop.environment
    (tick,) = (each for each in store.runs(environment) if each.run_id.startswith("hourly@"))
    assert tick.summary["reused"] == 3
    assert tick.summary["built"] == 0
    assert store.decisions(environment, "orders", limit=1)[0].reason == "no_new_data"


def test_an_asset_says_its_last_decision_first_and_in_words(shop: World) -> None:
    shop.write("models/core/orders.sql", "select distinct id, amount from {{ source('raw', 'orders') }}")
    deployed = deploy(shop)
    built = metadata(deployed.run(), "orders")
    assert next(iter(built)) == "sao/decision"
    assert built["sao/decision"] == "Built: never built here before."
    assert isinstance(built["sao/seconds"], float)
    lineage = [tuple(row.data.values()) for row in built["sao/columns_made_of"].records]
    assert lineage == [("id", "raw/orders.id"), ("amount", "raw/orders.amount")]
    reused = metadata(deployed.run(), "orders", "ASSET_OBSERVATION")
    assert next(iter(reused)) == "sao/decision"
    assert reused["sao/decision"] == "Reused: nothing changed."
    shop.sql("insert into raw.orders values (1, 5)")
    cut_off = metadata(deployed.run(), "orders")
    assert cut_off["sao/decision"].endswith("Rebuilt, same rows as before: nothing below is built for it.")


def test_descriptions_are_words_and_sql_stands_by_itself(shop: World) -> None:
    specs = {each.key.to_user_string(): each for each in deploy(shop).defs.resolve_all_asset_specs()}
    assert specs["orders"].description == "All orders."
    assert specs["report"].description is None
    assert "{{ ref('orders') }}" in specs["report"].metadata["sao/sql"].value


def test_declared_columns_of_a_source_stay_when_it_is_seen(shop: World) -> None:
    shop.write(
        "models/sources.yml",
        "sources: [{name: raw, tables: [{name: orders, columns: [{name: ID, description: The key.}]}, {name: customers}]}]",
    )
    deployed = deploy(shop)
    deployed.tick()
    (record,) = deployed.instance.fetch_observations(dg.AssetKey(["raw", "orders"]), limit=1).records
    columns = record.asset_observation.metadata["dagster/column_schema"].value.columns  # type: ignore[union-attr]
    assert [(each.name, each.type, each.description) for each in columns] == [
        ("id", "INTEGER", "The key."),
        ("amount", "INTEGER", None),
    ]


def test_a_run_has_one_table_of_what_it_did_and_why(shop: World) -> None:
    deployed = deploy(shop)
    deployed.run()
    shop.sql("insert into raw.orders values (2, 7)")
    saved = metadata(deployed.run(), "shop/savings")
    rows = [(row.data["outcome"], row.data["model"], row.data["because"]) for row in saved["sao/models"].records]
    assert [each[:2] for each in rows] == [("built", "orders"), ("built", "report"), ("reused", "customers")]
    assert rows[0][2] == "news from raw.orders"
    assert saved["sao/seconds_saved"] >= 0


@pytest.mark.parametrize("mode", ["force", "FORCE", "Force"])
def test_a_mode_is_known_in_any_case_of_letters(shop: World, mode: str) -> None:
    deployed = deploy(shop)
    deployed.run()
    assert metadata(deployed.run(["report"], **{"sao/mode": mode}), "report")["sao/reason"] == "forced"
    job = deployed.defs.resolve_implicit_global_asset_job_def()
    config = {"ops": {"shop": {"config": {"mode": mode}}}}
    assert (
        metadata(job.execute_in_process(instance=deployed.instance, run_config=config), "report")["sao/reason"]
        == "forced"
    )


def test_a_mode_that_is_none_is_refused_and_says_where_it_was_said(shop: World) -> None:
    deployed = deploy(shop)
    job = deployed.defs.resolve_implicit_global_asset_job_def()
    config = {"ops": {"shop": {"config": {"mode": "sometimes"}}}}
    refused = job.execute_in_process(instance=deployed.instance, run_config=config, raise_on_error=False)
    (failure,) = [each for each in refused.all_events if each.step_key == "shop" and each.is_step_failure]
    said = failure.step_failure_data.error_display_string
    assert "the mode in the launchpad is 'sometimes'; it may be state-aware, force, full-refresh, dry-run" in said
