"""Sources in Dagster: observed, told of when they change, with checks and policies for their age."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from tests.deployment import Deployment, deploy, names, write_shop
from tests.world import World


@pytest.fixture
def shop(world: World) -> World:
    write_shop(world)
    world.write(
        "models/sources.yml",
        "sources: [{name: raw, loaded_at_field: loaded_at, freshness: {warn_after: {count: 1, period: hour}, "
        "error_after: {count: 2, period: hour}}, tables: [{name: orders}]}, {name: crm, schema: raw, tables: [{name: customers}]}]",
    )
    world.write("models/core/customers.sql", "select * from {{ source('crm', 'customers') }}")
    load(world, hours_ago=0)
    return world


def load(world: World, hours_ago: float) -> None:
    at = (datetime.now(timezone.utc) - timedelta(hours=hours_ago)).strftime("%Y-%m-%d %H:%M:%S")
    world.sql(f"create or replace table raw.orders as select 1 as id, 5 as amount, timestamp '{at}' as loaded_at")


def observed(deployed: Deployment, key: str) -> list[str]:
    records = deployed.instance.fetch_observations(dg.AssetKey(key.split("/")), limit=10).records
    return [record.asset_observation.tags["dagster/data_version"] for record in records]  # type: ignore[union-attr]


def test_sources_are_observable(shop: World) -> None:
    deployed = deploy(shop)
    graph = deployed.repository.asset_graph
    key = dg.AssetKey(["raw", "orders"])
    assert graph.get(key).is_observable
    assert graph.get(key).freshness_policy == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=2), warn_window=timedelta(hours=1)
    )
    result = dg.materialize(
        [each for each in deployed.defs.assets or () if isinstance(each, dg.AssetsDefinition)],
        selection=dg.AssetSelection.assets(key),
        instance=deployed.instance,
        resources={"sao_warehouse": deployed.defs.resources["sao_warehouse"]},  # type: ignore[index]
    )
    assert result.success
    (version,) = observed(deployed, "raw/orders")
    assert version.startswith("loaded_at/")


def test_a_tick_tells_of_sources_when_they_change_and_only_then(shop: World) -> None:
    deployed = deploy(shop)
    deployed.tick()
    assert len(observed(deployed, "raw/orders")) == len(observed(deployed, "crm/customers")) == 1
    told = deployed.instance.get_latest_materialization_event(dg.AssetKey(["raw", "orders"]))
    assert told is not None, "Dagster tells freshness by materializations"
    deployed.tick()
    assert len(observed(deployed, "crm/customers")) == 1
    shop.sql("insert into raw.customers values (9)")
    deployed.tick()
    assert len(observed(deployed, "raw/orders")) == 1
    version = observed(deployed, "crm/customers")[0]
    assert version.startswith("duckdb-")


def test_each_dagster_instance_is_told_of_sources(shop: World) -> None:
    deploy(shop).tick()
    another = deploy(shop)
    another.tick()
    assert len(observed(another, "crm/customers")) == 1


def test_a_run_tells_of_sources_too(shop: World) -> None:
    deployed = deploy(shop)
    deployed.run(["orders", "customers", "report"])
    shop.sql("insert into raw.customers values (9)")
    deployed.run(["orders", "customers", "report"])
    assert len(observed(deployed, "crm/customers")) == 2
    assert len(observed(deployed, "raw/orders")) == 1


@pytest.mark.parametrize(
    ("hours", "passed", "severity"), [(0, True, "WARN"), (1.5, False, "WARN"), (3, False, "ERROR")]
)
def test_the_age_of_a_source_is_a_check(shop: World, hours: float, passed: bool, severity: str) -> None:
    load(shop, hours)
    result = deploy(shop).run()
    (check,) = (each for each in result.get_asset_check_evaluations() if each.check_name == "source_freshness")
    assert (check.passed, check.severity.value) == (passed, severity)
    assert check.metadata["sao/age_seconds"].value >= hours * 3600
    assert result.success, "neither limit holds anything back"


def test_the_age_is_checked_with_what_the_evaluator_requests(shop: World) -> None:
    deployed = deploy(shop)
    deployed.run()
    load(shop, 1)
    (request,) = deployed.tick().run_requests
    assert "raw/orders:source_freshness" in {key.to_user_string() for key in request.asset_check_keys}


def test_a_source_that_another_asset_produces_is_theirs(shop: World) -> None:
    """The asset that loads it stays materializable, is upstream of the models, and runs before them."""
    ran = []

    @dg.asset(key=["raw", "orders"])
    def loader() -> None:
        ran.append("loader")
        shop.sql("insert into raw.orders values (2, 7, now()::timestamp)")

    deployed = deploy(shop, assets=[loader])
    assert deployed.repository.asset_graph.get(dg.AssetKey(["raw", "orders"])).is_materializable
    assert deployed.run().success
    assert ran == ["loader"]
    assert shop.rows("select count(*) from main.orders") == [(2,)], "the models read what it loaded"
    deployed.tick()
    assert observed(deployed, "raw/orders") == []


def test_a_source_that_another_asset_makes_keeps_its_check_and_freshness(shop: World) -> None:
    deployed = deploy(shop, assets=[dg.asset(key=["raw", "orders"])(lambda: None)])
    node = deployed.repository.asset_graph.get(dg.AssetKey(["raw", "orders"]))
    assert node.freshness_policy == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=2), warn_window=timedelta(hours=1)
    )
    load(shop, hours_ago=3)
    found = {each.check_name: each.passed for each in deployed.run().get_asset_check_evaluations()}
    assert found["source_freshness"] is False


def test_sources_that_one_asset_makes_have_a_check_each(shop: World) -> None:
    key = "meta: {dagster: {asset_key: [loader]}}"
    shop.sql("create table raw.refunds as select * from raw.orders")
    shop.write(
        "models/sources.yml",
        "sources: [{name: raw, loaded_at_field: loaded_at, freshness: {warn_after: {count: 1, period: hour}}, "
        f"tables: [{{name: orders, {key}}}, {{name: refunds, {key}}}]}}, {{name: crm, schema: raw, tables: [{{name: customers}}]}}]",
    )
    shop.model("refunds", "select * from {{ source('raw', 'refunds') }}")
    found = {each.check_name: each.passed for each in deploy(shop).run().get_asset_check_evaluations()}
    assert found.keys() >= {"source_freshness_raw_orders", "source_freshness_raw_refunds"}
    assert all(found.values())


def test_models_are_built_below_a_source_whose_version_cannot_be_read(shop: World) -> None:
    """In a job with sources and models, Dagster skips what is below an observation that does not come."""
    shop.sql("create view raw.clock as select 1 as x where now() > current_date")
    shop.write("models/clocks.yml", "sources: [{name: clocks, schema: raw, tables: [{name: clock}]}]")
    shop.model("shown", "select * from {{ source('clocks', 'clock') }}")
    deployed = deploy(shop)
    for _ in range(2):
        result = deployed.run()
        assert result.success
        assert "shown" in names(result, "ASSET_MATERIALIZATION")
    records = deployed.instance.fetch_observations(dg.AssetKey(["clocks", "clock"]), limit=10).records
    assert len(records) == 2
    assert all("dagster/data_version" not in record.asset_observation.tags for record in records)  # type: ignore[union-attr]
