"""A step for each model: the same outcomes, with Dagster between the models."""

from __future__ import annotations

import dagster as dg
import pytest

from sao_dagster.dagster import Granularity
from tests.deployment import Deployment, checks, deploy, metadata, names, write_shop
from tests.world import World


@pytest.fixture
def shop(world: World) -> World:
    return write_shop(world)


def by_model(world: World) -> Deployment:
    return deploy(world, granularity=Granularity.MODEL)


def steps(result: dg.ExecuteInProcessResult, kind: str) -> set[str]:
    return {event.step_key for event in result.all_events if event.event_type_value == kind}


def test_each_model_is_a_step(shop: World) -> None:
    first = by_model(shop).run()
    assert first.success
    assert {"shop__orders", "shop__customers", "shop__report"} <= steps(first, "STEP_SUCCESS")
    assert names(first, "ASSET_MATERIALIZATION") == {"orders", "customers", "report"}
    assert checks(first)["unique_orders_id"][0]


def test_what_is_reused_lets_the_steps_below_it_run(shop: World) -> None:
    deployed = by_model(shop)
    first = deployed.run()
    shop.write(
        "models/reports/report.sql",
        "select sum(amount) + 1 as amount from {{ ref('orders') }} join {{ ref('customers') }} using (id)",
    )
    deployed = by_model(shop)
    second = deployed.run()
    assert names(second, "ASSET_MATERIALIZATION") == {"orders", "customers", "report"}
    assert metadata(second, "orders")["sao/outcome"] == "reused"
    assert metadata(second, "report")["sao/outcome"] == "built"
    assert shop.rows("select amount from main.report") == [(6,)]
    assert first.success and second.success
    third = deployed.run()
    assert metadata(third, "report", "ASSET_OBSERVATION")["sao/outcome"] == "reused", "nothing waits for it"


def test_a_model_that_fails_stops_what_is_below_it_and_nothing_else(shop: World) -> None:
    shop.write("models/core/orders.sql", "select *, 1 / 0 as x, no_such_column from {{ source('raw', 'orders') }}")
    result = by_model(shop).run()
    assert not result.success
    assert names(result, "ASSET_MATERIALIZATION") == {"customers"}
    assert "shop__report" not in steps(result, "STEP_SUCCESS")


def test_a_test_that_fails_stops_what_is_below_it(shop: World) -> None:
    shop.sql("insert into raw.orders values (1, 7)")
    result = by_model(shop).run()
    assert checks(result)["unique_orders_id"] == (False, "ERROR")
    assert names(result, "ASSET_MATERIALIZATION") == {"orders", "customers"}


def test_a_source_that_fails_its_test_stops_what_reads_it(shop: World) -> None:
    shop.sql("insert into raw.orders values (null, 7)")
    result = by_model(shop).run()
    assert not result.success
    assert names(result, "ASSET_MATERIALIZATION") == {"customers"}


def test_pools_come_from_models_and_folders(shop: World) -> None:
    shop.write(
        "dbt_project.yml",
        "name: shop\nprofile: shop\nmodels:\n  +materialized: table\n  shop:\n    core:\n      +meta: {dagster: {pool: heavy}}\n",
    )
    shop.model("reports/other", "select 1 as x", meta={"dagster": {"pool": "light"}})
    pools = {
        each.node_def.name: each.node_def.pool
        for each in by_model(shop).repository.assets_defs_by_key.values()
        if each.is_executable
    }
    assert pools["shop__orders"] == pools["shop__customers"] == "heavy"
    assert pools["shop__other"] == "light"
    assert pools["shop__report"] is None


def test_a_dry_run_is_refused_with_what_to_do(shop: World) -> None:
    result = by_model(shop).run(**{"sao/mode": "dry-run"})
    assert not result.success
    assert any("sao plan" in str(event.event_specific_data) for event in result.all_events)
    assert names(result, "ASSET_MATERIALIZATION") == set()


def test_a_run_adds_up(shop: World) -> None:
    deployed = by_model(shop)
    result = deployed.run()
    tags = deployed.instance.get_run_by_id(result.run_id).tags  # type: ignore[union-attr]
    assert tags["sao/built"] == "3"
    assert not [each for each in names(result, "ASSET_MATERIALIZATION") if each.endswith("savings")]


def test_the_evaluator_requests_what_has_something_to_do(shop: World) -> None:
    deployed = by_model(shop)
    deployed.run()
    shop.sql("insert into raw.orders values (2, 7)")
    (request,) = deployed.tick().run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {"orders", "report"}


@pytest.mark.parametrize("granularity", Granularity)
def test_a_model_may_be_called_anything(world: World, granularity: Granularity) -> None:
    world.sql('create table raw.orders as select 1 as "größe"')
    world.write("models/s.yml", "sources: [{name: raw, tables: [{name: größe, identifier: orders}]}]")
    called = {"int": "int_", "None": "None_", "__repository__": None, "default": None, "a b": "a_b_d456", "a_b": None}
    called |= {"a.b": "a_b_85e4", "a.v2": "a_v2"}
    for name in called:
        world.model(name, "select * from {{ source('raw', 'größe') }}")
        world.write(
            f"models/{name}.yml",
            f"models: [{{name: {name!r}, columns: [{{name: größe, data_tests: [unique]}}]}}]",
        )
    world.model("below", "select * from {{ ref('int') }} union all select * from {{ ref('a b') }}")
    deployed = deploy(world, granularity=granularity)
    first = deployed.run()
    assert first.success
    assert names(first, "ASSET_MATERIALIZATION") == {*(key or name for name, key in called.items()), "below"}
    assert [each.passed for each in first.get_asset_check_evaluations()] == [True] * len(called)
    second = deployed.run()
    assert second.success
    assert names(second, "ASSET_OBSERVATION") >= {"default", "below"}


SEEN_THROUGH = {
    "a view, by its name": "select max(id) as id from raw.v",
    "a view, as a source": "select max(id) as id from {{ source('raw', 'v') }}",
    "a template that asks": "{% set found = run_query('select max(id) from raw.v') %}select {{ found.rows[0][0] if execute else 0 }} as id",
}


@pytest.fixture(params=SEEN_THROUGH)
def window(world: World, request: pytest.FixtureRequest) -> World:
    """A child whose step comes first by its name, and which reads a model through somebody's view, which Dagster knows nothing of."""
    world.write("models/s.yml", "sources: [{name: raw, tables: [{name: n}, {name: v}]}]")
    world.sql("create table raw.n as select 1 as id").model("z_first", "select id from {{ source('raw', 'n') }}")
    world.model("z_parent", "select id from {{ ref('z_first') }}").run()
    world.sql("create view raw.v as select id from main.z_parent").model("a_child", SEEN_THROUGH[request.param])
    return world


def test_a_model_that_only_the_catalog_knows_to_come_first_is_built_by_the_step_that_reads_it(window: World) -> None:
    deployed = by_model(window)
    assert deployed.run().success
    window.sql("insert into raw.n values (2)")
    second = deployed.run()
    assert second.success
    assert window.rows("select id from main.a_child") == [(2,)]
    assert names(second, "ASSET_MATERIALIZATION") == {"z_first", "z_parent", "a_child"}
    assert deployed.instance.get_run_by_id(second.run_id).tags["sao/built"] == "3"  # type: ignore[union-attr]
    third = deployed.run()
    assert {metadata(third, each, "ASSET_OBSERVATION")["sao/outcome"] for each in ("a_child", "z_parent")} == {"reused"}


def test_what_only_the_catalog_knows_to_be_above_holds_back_like_any_other(window: World) -> None:
    window.write("models/t.yml", "models: [{name: z_parent, columns: [{name: id, data_tests: [unique]}]}]")
    deployed = by_model(window)
    assert deployed.run().success
    window.sql("insert into raw.n values (1)")
    second = deployed.run()
    assert checks(second)["unique_z_parent_id"] == (False, "ERROR")
    assert "a_child" not in names(second, "ASSET_MATERIALIZATION")
    assert "shop__a_child" in steps(second, "STEP_FAILURE")


def test_a_forced_run_builds_once_what_several_steps_need(window: World) -> None:
    deployed = by_model(window)
    forced = deployed.run(**{"sao/mode": "force"})
    assert forced.success
    assert names(forced, "ASSET_MATERIALIZATION") == {"z_first", "z_parent", "a_child"}
    assert deployed.instance.get_run_by_id(forced.run_id).tags["sao/built"] == "3"  # type: ignore[union-attr]


def test_what_a_run_does_not_select_is_not_built_for_what_reads_it(window: World) -> None:
    deployed = by_model(window)
    assert deployed.run().success
    window.sql("insert into raw.n values (2)")
    assert names(deployed.run(["a_child"]), "ASSET_OBSERVATION") == {"a_child"}
