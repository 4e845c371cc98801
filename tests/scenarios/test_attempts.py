"""What the evaluator asks for again, and what it leaves alone: by cause, by what came of it, and by what is there."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from sao_dagster import load_project
from sao_dagster.dagster import DagsterProject, definitions
from tests.deployment import Deployment, deploy, names
from tests.world import World


def asked(tick: Any) -> set[str]:
    return {key.to_user_string() for each in tick.run_requests or () for key in each.asset_selection or ()}


def run(deployed: Deployment, tick: Any) -> set[str]:
    """Run what a tick requests, and return what was built."""
    (request,) = tick.run_requests
    job = deployed.defs.resolve_implicit_global_asset_job_def()
    keys, checks = set(request.asset_selection or ()), set(request.asset_check_keys or ())
    part = job.get_subset(asset_selection=keys, asset_check_selection=checks)
    return names(
        part.execute_in_process(instance=deployed.instance, raise_on_error=False, tags=request.tags),
        "ASSET_MATERIALIZATION",
    )


def again(world: World, deployed: Deployment) -> Deployment:
    """The same instance under the code that is there now."""
    newer = deploy(world)
    newer.instance = deployed.instance
    return newer


def deploy_project(world: World) -> DagsterProject:
    return DagsterProject(load_project(world.root))


@pytest.fixture
def shop(world: World) -> World:
    return world.model("wrong", "select no_such_column from (select 1 as id)")


def test_what_fails_is_given_up_and_asked_again_when_it_is_mended(shop: World) -> None:
    deployed = deploy(shop)
    for _ in range(3):
        assert run(deployed, deployed.tick()) == set()
    tick = deployed.tick()
    assert asked(tick) == set()
    assert "nothing came of 3 runs for wrong" in tick.skip_message
    (tree,) = tick.automation_condition_evaluations
    assert (
        tree.condition_snapshot.label
        == "given up: nothing came of 3 runs; requested again when its code or what it reads changes"
    )
    assert not tree.true_subset.bool_value
    assert deployed.tick().automation_condition_evaluations == [], "it is shown once"
    shop.model("wrong", "select id from (select 1 as id)")
    deployed = again(shop, deployed)
    assert run(deployed, deployed.tick()) == {"wrong"}


def test_each_node_is_counted_for_itself(shop: World) -> None:
    shop.source("t").sql("create table raw.t as select 1 as id").model("fine", "select * from {{ source('raw', 't') }}")
    deployed = deploy(shop)
    for number in range(3):
        shop.sql(f"insert into raw.t values ({number})")
        assert run(deployed, deployed.tick()) == {"fine"}
    shop.sql("insert into raw.t values (9)")
    assert asked(deployed.tick()) == {"fine"}, "what keeps failing is no longer asked for with it"


def test_a_failing_test_stands_after_three_runs(world: World) -> None:
    world.source("t").sql("create table raw.t as select 1 as id union all select 1").model(
        "m", "select id from {{ source('raw', 't') }}"
    )
    world.write("models/t.yml", "models: [{name: m, columns: [{name: id, data_tests: [unique]}]}]")
    deployed = deploy(world)
    run(deployed, deployed.tick())
    times = 0
    while (tick := deployed.tick()).run_requests:
        times += 1
        assert times <= 3
        run(deployed, tick)
    world.sql("insert into raw.t values (2)")
    assert asked(deployed.tick()) == {"m"}


def test_a_look_at_the_sensor_is_no_attempt(shop: World) -> None:
    deployed = deploy(shop)
    assert all(deployed.tick().run_requests for _ in range(5))


def test_definitions_that_are_older_than_the_code_ask_once_and_say_so(world: World) -> None:
    world.model("m", "select 1 as id").model("n", "select * from {{ ref('m') }}")
    old = deploy(world)
    old.run()
    world.model("m", "select 2 as id")
    new = again(world, old)
    assert run(new, new.tick()) == {"m", "n"}
    assert run(new, old.tick()) == set(), "what runs is the new code, by which all is built"
    tick = old.tick()
    assert asked(tick) == set()
    assert "read before models/m.sql was edited" in tick.skip_message
    assert "nothing came of the run for m, n, which went by other code" in tick.skip_message


def test_runs_that_are_older_than_the_definitions_are_asked_once_until_these_are_read_again(world: World) -> None:
    world.model("m", "select 1 as id")
    old = deploy(world)
    old.run()
    world.model("m", "select 2 as id")
    new = again(world, old)
    assert run(old, new.tick()) == set(), "what runs is the old code, by which nothing has changed"
    tick = new.tick()
    assert asked(tick) == set()
    assert "reload the one of the two that is older" in tick.skip_message
    reloaded = again(world, old)
    assert run(reloaded, reloaded.tick()) == {"m"}


def test_what_is_configured_by_the_clock_is_no_other_code_at_another_time(world: World) -> None:
    world.model("m", "select 1 as id")
    assert deploy_project(world).code == deploy_project(world).code != ""
    world.model("m", "{{ config(tags=[modules.datetime.datetime.now().isoformat()]) }} select 1 as id")
    assert deploy_project(world).code == ""


def test_what_reads_a_source_that_is_not_there_waits_for_it(world: World) -> None:
    @dg.asset(key=["raw", "orders"])
    def loader() -> None:
        """Make the source."""

    world.source("orders").model("m", "select * from {{ source('raw', 'orders') }}").model(
        "n", "select * from {{ ref('m') }}"
    )
    world.model("other", "select 1 as id")
    deployed = Deployment(definitions(load_project(world.root), assets=[loader]))
    tick = deployed.tick()
    assert asked(tick) == {"other"}
    trees = {each.key.to_user_string(): each for each in tick.automation_condition_evaluations}
    assert trees["m"].condition_snapshot.label == "waits for raw.orders, which is not there"
    assert trees["n"].condition_snapshot.label == "waits for raw.orders, which is not there"
    assert trees["m"].true_subset.size == 0
    run(deployed, tick)
    assert "m waits for raw.orders, which is not there" in deployed.tick().skip_message
    world.sql("create table raw.orders as select 1 as id")
    assert run(deployed, deployed.tick()) == {"m", "n"}


def test_a_run_of_the_checks_of_sources_alone_works(world: World) -> None:
    world.source("t").sql("create table raw.t as select 1 as id").model("m", "select id from {{ source('raw', 't') }}")
    world.write(
        "models/sources.yml", "sources: [{name: raw, tables: [{name: t, columns: [{name: id, data_tests: [unique]}]}]}]"
    )
    deployed = deploy(world)
    key = dg.AssetCheckKey(dg.AssetKey(["raw", "t"]), "source_unique_raw_t_id")
    job = deployed.defs.resolve_implicit_global_asset_job_def().get_subset(asset_check_selection={key})
    for _ in range(2):
        result = job.execute_in_process(instance=deployed.instance, raise_on_error=False)
        assert result.success
        assert [each.passed for each in result.get_asset_check_evaluations()] == [True]
