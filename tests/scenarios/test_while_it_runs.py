"""What counts is what a build has read: sources that others change while a run goes on, and those that it makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from sao_dagster.core.messages import Message
from sao_dagster.core.nodes import DataTest, Node
from sao_dagster.core.selection import select
from sao_dagster.run import data_tests
from sao_dagster.run.events import Event, ModelResult, Started
from sao_dagster.warehouses.protocol import BuildRequest, Built, Session, Warehouse
from tests.meanwhile import run_meanwhile
from tests.waiting import until
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


@pytest.mark.warehouse("duckdb")
@pytest.mark.parametrize(
    "read",
    [
        "{{ source('land', 'prices') }}",
        "{{ source('raw', 'shown') }}",
        "raw.shown",
        "read_csv('{root}/*.csv')",
        "'{root}/prices.csv'",
        "raw.prices()",
    ],
    ids=["source", "source that is a view", "view", "table function", "name", "macro"],
)
def test_a_file_that_is_another_one_only_while_it_is_read_is_unknown(world: World, read: str) -> None:
    """Nobody keeps others from writing to files, whoever holds the database."""
    file, root = world.root / "prices.csv", str(world.root)
    file.write_text("id\n1\n")
    in_file = "{name: land, config: {external_location: prices.csv}, tables: [{name: prices}]}"
    world.write("models/land.yml", f"sources: [{in_file}, {{name: raw, tables: [{{name: shown}}]}}]")
    query = f"select id from read_csv('{file}')"
    world.sql(f"create macro raw.prices() as table {query}", f"create view raw.shown as {query}")
    world.model("total", f"select sum(id)::int as n from {read.replace('{root}', root)}")
    run_meanwhile(world, lambda: file.write_text("id\n2\n"), lambda: file.write_text("id\n1\n"))
    assert world.rows("select n from main.total") == [(2,)]
    assert world.run().outcomes == {"total": "built: input_unknown"}
    assert world.rows("select n from main.total") == [(1,)]
    assert world.run().built == set()


@pytest.mark.warehouse("duckdb")
def test_what_a_template_got_from_a_file_that_is_another_one_meanwhile_is_unknown(world: World) -> None:
    file = world.root / "prices.csv"
    file.write_text("id\n1\n")
    asked = f"{{% set got = run_query(\"select max(id) from read_csv('{file}')\") %}}"
    world.model("total", asked + "select {{ got.rows[0][0] if got else 0 }} as n")
    run_meanwhile(world, lambda: file.write_text("id\n2\n"), lambda: file.write_text("id\n1\n"))
    assert world.rows("select n from main.total") == [(2,)]
    assert world.run().outcomes == {"total": "built: input_unknown"}
    assert world.rows("select n from main.total") == [(1,)]
    assert world.run().built == set()


@pytest.mark.warehouse("duckdb")
def test_a_verdict_about_a_file_that_is_another_one_meanwhile_is_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = world.root / "prices.csv"
    columns = "columns: [{name: id, data_tests: [unique]}]"
    world.write(
        "models/land.yml",
        f"sources: [{{name: land, config: {{external_location: prices.csv}}, tables: [{{name: prices, {columns}}}]}}]",
    )
    file.write_text("id\n1\n1\n")
    original = data_tests.run_tests

    def run_tests(*asked: Any, **options: Any) -> Iterator[Any]:
        file.write_text("id\n1\n2\n")
        yield from original(*asked, **options)
        file.write_text("id\n1\n1\n")

    with monkeypatch.context() as patch:
        patch.setattr(data_tests, "run_tests", run_tests)
        assert list(world.run().tests.values()) == ["ran: pass"]
    assert list(world.run().tests.values()) == ["ran: fail"]


@beside
def test_a_verdict_whose_template_got_another_answer_meanwhile_is_not_kept(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is the same before and after the test; that by which it was rendered is not."""
    shop.model("m", "select 2 as id")
    asked = "{% set found = run_query('select count(*) from raw.orders') %}"
    shop.write(
        "tests/few.sql", asked + "select id from {{ ref('m') }} where id > {{ found.rows[0][0] if execute else 0 }}"
    )
    original = data_tests.TestSteps._in_run

    def in_run(self: data_tests.TestSteps, test: DataTest) -> Any:
        shop.sql("insert into raw.orders select 70 + i from generate_series(1, 5) as r(i)")
        found = original(self, test)
        shop.sql("delete from raw.orders where id > 70")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(data_tests.TestSteps, "_in_run", in_run)
        assert list(shop.run().tests.values()) == ["ran: pass"]
    assert list(shop.run().tests.values()) == ["ran: fail"]


def test_a_seed_is_loaded_from_the_file_that_was_read_or_not_at_all(world: World) -> None:
    file = world.write("seeds/prices.csv", "id\n1\n").root / "seeds/prices.csv"
    for before in (lambda: file.write_text("id\n2\n"), file.unlink):
        runner = world.runner()
        before()
        run = runner.run(select(runner.project))
        file.write_text("id\n1\n")
        assert "has changed since the project was read" in str(run.models[0].decision.evidence["error"])
    assert world.run().built == {"prices"}
    world.write("seeds/prices.csv", "id\n3\n")
    run_meanwhile(world, lambda: None, lambda: file.write_text("id\n1\n"))
    assert world.run().built == {"prices"}
    assert world.rows("select id from main.prices") == [(1,)]


@beside
@pytest.mark.parametrize("read", ["raw.orders", "raw.newest()"])
def test_what_is_not_declared_and_changes_while_it_is_read_is_unknown(world: World, read: str) -> None:
    world.sql(
        "create table raw.orders as select 1 as id",
        "create function raw.newest() returns table (id int) language sql stable as 'select max(id) from raw.orders'",
    )
    world.model("total", f"select id from {read}")
    run_meanwhile(
        world, lambda: world.sql("update raw.orders set id = 2"), lambda: world.sql("update raw.orders set id = 1")
    )
    assert world.run().outcomes == {"total": "built: input_unknown"}
    assert world.rows("select id from main.total") == [(1,)]
    assert world.run().built == set()


@beside
def test_a_function_that_is_another_one_only_while_it_is_called_is_unknown(world: World) -> None:
    written = "create or replace function raw.rate() returns int language sql immutable as 'select {}'"
    world.sql("create schema if not exists raw", written.format(1)).model("total", "select raw.rate() as n")
    run_meanwhile(world, lambda: world.sql(written.format(2)), lambda: world.sql(written.format(1)))
    assert world.rows("select n from main.total") == [(2,)]
    assert world.run().outcomes == {"total": "built: input_unknown"}
    assert world.rows("select n from main.total") == [(1,)]
    assert world.run().built == set()


@beside
def test_a_model_that_somebody_changes_by_hand_only_while_it_is_read_is_unknown(world: World) -> None:
    world.model("above", "select 1 as id").model("below", "select id from {{ ref('above') }}").run()
    change, back = ("update main.above set id = 2", "update main.above set id = 1")
    world.model("below", "select id, 1 as x from {{ ref('above') }}")
    run_meanwhile(world, lambda: world.sql(change), lambda: world.sql(back), "below")
    assert world.rows("select id from main.below") == [(2,)]
    world.run()
    assert world.rows("select id from main.below") == [(1,)]
    assert world.run().built == set()


@beside
def test_what_somebody_writes_to_a_model_just_after_it_was_built_is_found(world: World) -> None:
    """Before the run has noted anything of what it has built."""
    world.model("total", "select 1 as id")
    run_meanwhile(world, lambda: None, lambda: world.sql("insert into main.total values (2)"), "total")
    assert world.run().outcomes == {"total": "built: relation_altered"}
    assert world.rows("select id from main.total") == [(1,)]
    assert world.run().built == set()


@beside
def test_what_somebody_writes_to_a_model_before_the_run_looks_at_it_again_is_found(shop: World) -> None:
    """What the run sees then, when its child is built, is not what it has built."""
    act = lambda: shop.sql("insert into main.first values (2)")  # noqa: E731 - a step
    run_and(shop, act, lambda event: isinstance(event, ModelResult) and event.name == "first")
    assert shop.run().outcomes["first"] == "built: relation_altered"
    assert shop.rows("select id from main.first") == [(1,)]
    assert shop.run().built == set()


@beside
def test_what_somebody_writes_to_an_increment_while_it_is_built_comes_after_it(world: World) -> None:
    """It would be taken for a part of what was built."""
    world.source("orders").sql("create table raw.orders as select 1 as id")
    sql = "select id from {{ source('raw', 'orders') }}"
    world.model("total", sql, materialized="incremental", unique_key="id").run()
    world.model("total", sql, materialized="incremental", unique_key="id", post_hook="select pg_sleep(1)")
    sleeping = "select 1 from pg_stat_activity where query ~ '^select pg_sleep' and state = 'active'"

    def write() -> None:
        until("the hook", lambda: world.rows(sleeping), pause=0.01)
        world.sql("insert into main.total values (2)")

    with ThreadPoolExecutor() as pool:
        written = pool.submit(write)
        assert world.run().built == {"total"}
        written.result()
    assert world.run().outcomes == {"total": "built: relation_altered"}


def test_a_source_that_the_run_makes_itself_is_no_news_in_the_next_one(shop: World) -> None:
    shop.sql("drop table raw.orders")
    shop.model("first", "select 1 as id", pre_hook="create table if not exists raw.orders as select 7 as id")
    assert shop.run().built == {"first", "total"}
    assert shop.run().built == set()
    shop.sql("insert into raw.orders values (8)")
    assert shop.run().built == {"total"}


class Talking:
    """A warehouse whose builds say something, and what builds in it."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    @contextmanager
    def session(self, *, on_message: Callable[[Message], None], **options: Any) -> Iterator[Session]:
        with self._warehouse.session(on_message=on_message, **options) as session:
            self._session, self._tell = session, on_message
            yield session

    def build(self, node: Node, request: BuildRequest) -> Built:
        self._tell(Message(f"builds {node.name}"))
        return self._session.materializer().build(node, request)


def test_what_a_build_says_is_told_before_it_is_done(shop: World) -> None:
    runner, told = shop.runner(), list[Event]()
    talking = cast("Any", Talking(runner.warehouse))
    selection = select(runner.project)
    replace(runner, warehouse=talking, materializer=talking).run(selection, on_event=told.append)
    shown = [
        each.text if isinstance(each, Message) else each.name
        for each in told
        if isinstance(each, Message | ModelResult)
    ]
    assert shown == ["builds first", "first", "builds total", "total"]
