"""A failed `error` test holds back what is below it, whether or not the run asks it again."""

from __future__ import annotations

import pytest

from sao_dagster import select
from sao_dagster.core.reasons import Mode
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse

UNIQUE = "models: [{name: staged, columns: [{name: id, data_tests: [unique]}]}]"
HELD, BUILT, KEPT = "skipped: upstream_failed", "built: new_data", "reused: no_new_data"


@pytest.fixture
def shop(world: World) -> World:
    """A fact over two views, the first of which is tested; what it is made from goes bad after the first run."""
    world.source("orders")
    world.sql("create table raw.orders as select 1 as id, 10 as amount")
    world.model("staged", "select id, amount from {{ source('raw', 'orders') }}", materialized="view")
    world.model("summed", "select id, sum(amount) as amount from {{ ref('staged') }} group by id", materialized="view")
    world.model("fact", "select * from {{ ref('summed') }}")
    world.model("report", "select sum(amount) as amount from {{ ref('fact') }}")
    world.write("models/tests.yml", UNIQUE).run()
    world.sql("insert into raw.orders values (1, 1000)")
    return world


def test_a_failure_behind_views_holds_back_what_is_built_without_asking_it(shop: World) -> None:
    run = shop.run("fact unique_staged_id")
    assert run.tests == {"unique_staged_id": "ran: fail"}
    assert run.outcomes == {"fact": HELD}
    run = shop.run("fact")
    assert run.outcomes == {"fact": HELD}
    assert run.decision("fact").evidence == {"inputs": ["staged"], "standing": ["unique_staged_id"]}
    assert not run.result.succeeded
    assert shop.run("report").outcomes == {"report": HELD}, "below what is not selected, too"
    assert shop.rows("select amount from main.fact") == [(10,)]


def test_what_stands_is_what_a_plan_foresees(shop: World) -> None:
    shop.run("staged")
    assert shop.plan("fact")["fact"].evidence == {"inputs": ["staged"], "standing": ["unique_staged_id"]}
    assert shop.plan("fact unique_staged_id")["fact"].evidence == {"inputs": ["staged"], "tests": ["unique_staged_id"]}
    assert shop.plan("fact", Mode.FORCE)["fact"].outcome.value == "built"


def test_a_plan_foresees_that_tests_of_what_is_held_back_are_skipped(shop: World) -> None:
    shop.run("staged")
    shop.write("models/more.yml", "models: [{name: report, columns: [{name: amount, data_tests: [not_null, unique]}]}]")
    opened = shop.runner()
    plan, _ = opened.plan(select(opened.project, "report"))
    assert plan.decisions["report"].outcome.value == "skipped"
    assert plan.to_test == ()
    assert {each.reason.value for each in plan.tests.values()} == {"upstream_failed"}
    assert shop.run("report").tests == {"not_null_report_amount": "skipped: -", "unique_report_amount": "skipped: -"}


@pytest.mark.parametrize("mode", [Mode.FORCE, Mode.FULL_REFRESH])
def test_a_run_that_builds_all_is_not_held_back_by_a_verdict_of_the_past(shop: World, mode: Mode) -> None:
    shop.run("staged")
    assert shop.run("fact", mode=mode).built == {"fact"}


def test_nor_is_a_run_without_tests(shop: World) -> None:
    shop.run("staged")
    assert shop.run("fact", tests=False).outcomes == {"fact": BUILT}


def test_a_verdict_stands_no_longer_than_what_it_is_about(shop: World) -> None:
    shop.run("staged")
    shop.sql("insert into raw.orders values (2, 5)")
    assert shop.run("fact").outcomes == {"fact": BUILT}, "nobody knows what the test would say of these data"


@pytest.mark.parametrize(
    "properties",
    [
        "models: [{name: staged, columns: [{name: id, data_tests: [{unique: {severity: warn}}]}]}]",
        "models: [{name: staged, columns: [{name: id, data_tests: [{unique: {where: amount < 100}}]}]}]",
        "models: [{name: staged}]",
    ],
)
def test_a_verdict_of_another_test_does_not_stand(shop: World, properties: str) -> None:
    shop.run("staged")
    assert shop.write("models/tests.yml", properties).run("fact").outcomes == {"fact": BUILT}


def test_a_verdict_of_a_test_that_depends_on_the_time_stands_until_it_expires(shop: World) -> None:
    test = "select * from {{ ref('staged') }} where current_date > date '2000-01-01'"
    shop.write("models/tests.yml", "models: [{name: staged}]").write("tests/dated.sql", test)
    assert shop.run("dated").tests == {"dated": "ran: fail"}
    assert shop.run("fact").outcomes == {"fact": HELD}
    assert shop.wait(days=1).run("fact").outcomes == {"fact": BUILT}


def test_a_test_that_could_not_run_holds_back_and_does_not_stand(shop: World) -> None:
    shop.write("models/tests.yml", UNIQUE.replace("name: id", "name: nothing"))
    assert shop.run("fact unique_staged_nothing").outcomes == {"fact": HELD}
    assert shop.run("fact").outcomes == {"fact": BUILT}


def test_a_failure_holds_back_what_is_below_all_that_the_test_reads(shop: World) -> None:
    shop.model("other", "select 7 as id")
    shop.model("both", "select fact.id from {{ ref('fact') }} fact join {{ ref('other') }} other using (id)")
    shop.write(
        "tests/known.sql", "select * from {{ ref('summed') }} where id not in (select id from {{ ref('other') }})"
    )
    shop.write("models/tests.yml", "models: [{name: staged}]").run(exclude="fact both")
    assert shop.run("fact both").outcomes == {"fact": BUILT, "both": HELD}


def test_a_model_that_fails_is_behind_the_view_that_a_test_reads(shop: World) -> None:
    shop.model("base", "select 1 as id").model("over", "select * from {{ ref('base') }}", materialized="view")
    shop.write("models/tests.yml", "models: [{name: over, columns: [{name: id, data_tests: [not_null]}]}]").run()
    shop.model("base", "select no_such_column as id")
    assert shop.run("base not_null_over_id").tests == {"not_null_over_id": "skipped: -"}
