"""Projects that read one another in Dagster: their assets join, in one code location or in two, and evaluators follow each other."""

from __future__ import annotations

import dagster as dg
import pytest

from sao_dagster import load_project
from sao_dagster.dagster import definitions
from tests.deployment import Deployment, deploy, names
from tests.scenarios.test_projects import beside, named
from tests.world import World

pytestmark = pytest.mark.slow


@pytest.fixture
def core(world: World) -> World:
    named(world, "core", "core")
    world.write("sao.yml", "state_url: sqlite:///state.db\n").sql("create table raw.orders as select 1 as id")
    world.source("orders").model("stg", "select * from {{ source('raw', 'orders') }}")
    return world.write(
        "models/marts/orders.sql", "{{ config(access='public', schema='marts') }} select id from {{ ref('stg') }}"
    )


@pytest.fixture
def shop(core: World) -> World:
    shop = beside(core).write("sao.yml", f"state_url: sqlite:///{core.root / 'state.db'}\n")
    return shop.model("totals", "select count(*) as n from {{ ref('core', 'orders') }}")


def requested(tick: dg.SensorExecutionData) -> set[str]:
    return {key.to_user_string() for request in tick.run_requests or () for key in request.asset_selection or ()}


def test_assets_join_and_an_evaluator_sees_what_the_other_project_has_built(core: World, shop: World) -> None:
    upstream = deploy(core)
    assert requested(upstream.tick("core_evaluator")) == {"stg", "marts/orders"}
    unknown = deploy(shop)
    assert requested(unknown.tick()) == set()
    upstream.run()
    downstream = deploy(shop)
    graph = downstream.repository.asset_graph
    key = dg.AssetKey(["marts", "orders"])
    assert graph.get(dg.AssetKey("totals")).parent_keys == {key}
    assert not graph.get(key).is_observable, "it is no source of this project"
    assert requested(downstream.tick()) == {"totals"}
    assert requested(unknown.tick()) == {"totals"}, "also in a process that began before"
    assert names(downstream.run(), "ASSET_MATERIALIZATION") == {"totals"}
    assert requested(downstream.tick()) == set()
    core.sql("insert into raw.orders values (2)")
    assert requested(downstream.tick()) == set()
    upstream.run()
    assert requested(downstream.tick()) == {"totals"}


def test_two_projects_in_one_code_location(core: World, shop: World) -> None:
    core.state_url = f"sqlite:///{core.root / 'state.db'}"
    core.run()
    merged = dg.Definitions.merge(*(definitions(load_project(each.root)) for each in (core, shop)))
    deployed = Deployment(merged)
    graph = deployed.repository.asset_graph
    assert graph.get(dg.AssetKey("totals")).parent_keys == {dg.AssetKey(["marts", "orders"])}
    assert graph.get(dg.AssetKey(["marts", "orders"])).is_materializable


def test_an_evaluator_says_what_others_may_read_where_there_is_nothing_to_build(core: World, shop: World) -> None:
    core.state_url = f"sqlite:///{core.root / 'state.db'}"
    core.write("models/marts/orders.sql", "{{ config(schema='marts') }} select id from {{ ref('stg') }}").run()
    assert requested(deploy(shop).tick()) == set()
    core.write(
        "models/marts/orders.sql", "{{ config(access='public', schema='marts') }} select id from {{ ref('stg') }}"
    )
    assert requested(deploy(core).tick("core_evaluator")) == set()
    assert requested(deploy(shop).tick()) == {"totals"}
