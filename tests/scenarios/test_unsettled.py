"""Incremental models that read themselves are built until nothing comes any more; those that take all at once, once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sao_dagster.core.explain import explain
from sao_dagster.core.reasons import Mode
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse
BOUND = "select id from {{ source('raw', 'orders') }} {% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}"
GUARDED = (
    "select id from {{ source('raw', 'orders') }} {% if is_incremental() %} where (select count(*) from {{ this }}) < 5 "
    "and id not in (select id from {{ this }}) {% endif %}"
)


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders")
    return world.sql("create table raw.orders as select i as id from generate_series(0, 6) t(i)")


def count(shop: World) -> int:
    return int(shop.rows("select count(*) from main.m")[0][0])


def test_a_backlog_is_taken_part_by_part_until_nothing_comes(shop: World) -> None:
    shop.model("m", BOUND + " order by id limit 3", materialized="incremental")
    shop.model("total", "select count(*) as n from {{ ref('m') }}")
    assert shop.run().outcomes["m"] == "built: never_built"
    for rows in (6, 7):
        run = shop.run()
        assert (run.outcomes["m"], count(shop)) == ("built: unsettled", rows)
        assert shop.rows("select n from main.total") == [(rows,)]
    assert explain(run.decision("m")) == "it takes a part of what is new at a time, and its last build changed it"
    assert shop.run().outcomes == {"m": "built: unsettled", "total": "reused: no_new_data"}, "to see that nothing comes"
    assert shop.run().built == set()
    shop.sql("insert into raw.orders select i from generate_series(7, 11) t(i)")
    assert [shop.run().outcomes["m"] for _ in range(4)] == [
        "built: new_data",
        "built: unsettled",
        "built: unsettled",
        "reused: no_new_data",
    ]
    assert count(shop) == 12


def test_what_takes_all_that_is_new_is_built_once(shop: World) -> None:
    shop.model("m", BOUND, materialized="incremental")
    assert shop.run().built == {"m"}
    assert shop.run().built == set()
    shop.sql("insert into raw.orders values (20), (21)")
    assert shop.run().outcomes["m"] == "built: new_data"
    assert shop.run().built == set()


def test_what_is_not_understood_is_built_until_nothing_comes_unless_it_says_that_once_is_enough(shop: World) -> None:
    shop.model("m", GUARDED, materialized="incremental").run()
    run = shop.run()
    assert run.outcomes["m"] == "built: unsettled"
    assert "`settled: true`" in explain(run.decision("m"))
    assert shop.run().built == set()
    shop.model("m", GUARDED, materialized="incremental", settled=True).run(mode=Mode.FULL_REFRESH)
    assert shop.run().built == set()


def test_an_interval_holds_the_next_part_back(shop: World) -> None:
    freshness = {"build_after": {"count": 1, "period": "hour"}}
    shop.model("m", BOUND + " order by id limit 3", materialized="incremental", freshness=freshness).run()
    assert shop.run().outcomes["m"] == "reused: within_interval"
    assert shop.wait(hours=1).run().outcomes["m"] == "built: unsettled"


def test_a_build_that_puts_back_what_somebody_took_is_no_sign_of_the_end(shop: World) -> None:
    shop.model("m", BOUND + " order by id limit 3", materialized="incremental").run()
    shop.run()
    shop.sql("create table raw.kept as select * from main.m where id > 2", "delete from main.m where id > 2")
    assert count(shop) == 3
    assert count(shop.run() and shop) == 6
    assert count(shop.run() and shop) == 7


@pytest.mark.parametrize("anew", ["dropped", "refreshed"])
def test_a_build_from_nothing_that_gives_the_same_is_no_sign_of_the_end(shop: World, anew: str) -> None:
    """It has not asked its own table for anything."""
    shop.model("m", BOUND + " order by id limit 3", materialized="incremental").run()
    if anew == "dropped":
        assert shop.sql("drop table main.m").run().outcomes == {"m": "built: relation_missing"}
    else:
        shop.run(mode=Mode.FULL_REFRESH)
    assert count(shop) == 3
    for rows in (6, 7, 7):
        assert (shop.run().outcomes, count(shop)) == ({"m": "built: unsettled"}, rows)
    assert shop.run().outcomes == {"m": "reused: no_new_data"}


def test_a_plan_is_patient_with_what_is_not_understood(shop: World) -> None:
    """As the evaluator is, which would ask again at each tick."""
    shop.model("m", GUARDED, materialized="incremental").run()
    shop.options["patience"] = timedelta(hours=1)
    assert shop.plan()["m"].reason.value == "no_new_data"
    assert shop.wait(hours=1).plan()["m"].reason.value == "unsettled"
    shop.sql("insert into raw.orders select i from generate_series(7, 20) t(i)")
    shop.model("m", BOUND + " order by id limit 3", materialized="incremental").run()
    assert shop.plan()["m"].reason.value == "unsettled", "there is something left, as anybody can see"


def test_a_hook_that_changes_what_is_there_is_asked_until_it_changes_nothing(shop: World) -> None:
    hook = "update {{ this }} set id = id + 1 where id < 8"
    shop.model("m", BOUND, materialized="incremental", post_hook=hook).run()
    most = []
    while "m" in shop.run().built:
        most.append(shop.rows("select max(id), min(id) from main.m")[0])
    assert most == [(8, 2), (8, 3), (8, 4), (8, 5), (8, 6), (8, 7), (8, 8), (8, 8)]
