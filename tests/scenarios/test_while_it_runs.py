"""What counts is what a build has read: sources that others change while a run goes on, and those that it makes itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sao_dagster.core.selection import select
from sao_dagster.run.events import Event, Started
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse
beside = pytest.mark.warehouse("postgres")  # where others can write at the same time
FIVE = "insert into raw.orders select i from generate_series(1, 5) i"


@pytest.fixture
def shop(world: World) -> World:
    """A model that comes first, and one that reads a source after it."""
    world.source("orders").sql("create table raw.orders (id int)")
    world.model("first", "select 1 as id")
    return world.model(
        "total",
        "select count(*) as n from {{ source('raw', 'orders') }} where exists (select 1 from {{ ref('first') }})",
    )


def run_and(shop: World, act: Callable[[], object], when: Callable[[Event], bool]) -> None:
    """Run, and let somebody else act once at an event of the run."""
    runner, done = shop.runner(), []

    def watch(event: Event) -> None:
        if when(event) and not done:
            done.append(act())

    runner.run(select(runner.project), on_event=watch)
    assert done


@beside
@pytest.mark.parametrize("change", ["truncate raw.orders", "delete from raw.orders", "drop table raw.orders"])
def test_a_source_that_is_empty_only_while_it_is_read_is_news(shop: World, change: str) -> None:
    shop.sql(FIVE).model("first", "select 1 as id from pg_sleep(1)")
    again = ["create table raw.orders (id int)"] if change.startswith("drop") else []
    run_and(shop, lambda: shop.sql(change, *again), lambda event: isinstance(event, Started) and event.model == "first")
    shop.sql(FIVE)
    assert shop.run().built == {"total"}
    assert shop.rows("select n from main.total") == [(5,)]
    assert shop.run().built == set()


@beside
def test_a_source_that_changes_while_it_is_read_is_unknown(shop: World) -> None:
    shop.model("total", "select count(*) as n from {{ source('raw', 'orders') }}, pg_sleep(1)")
    starts = lambda event: isinstance(event, Started) and event.model == "total"  # noqa: E731 - a condition
    run_and(shop, lambda: shop.sql("insert into raw.orders values (1)", "delete from raw.orders"), starts)
    assert shop.run().outcomes["total"] == "built: input_unknown"
    assert shop.run().built == set()


def test_a_source_that_the_run_makes_itself_is_no_news_in_the_next_one(shop: World) -> None:
    shop.sql("drop table raw.orders")
    shop.model("first", "select 1 as id", pre_hook="create table if not exists raw.orders as select 7 as id")
    assert shop.run().built == {"first", "total"}
    assert shop.run().built == set()
    shop.sql("insert into raw.orders values (8)")
    assert shop.run().built == {"total"}
