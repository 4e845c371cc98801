"""What is PostgreSQL's own: views over what is replaced, builds that name themselves, contents, rights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import dagster as dg
import psycopg
import pytest

from sao_dagster import DuckDBWarehouse, PostgresWarehouse, load_project
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation
from sao_dagster.core.selection import select
from sao_dagster.core.templates import CompiledSql
from sao_dagster.dagster import PostgresResource, definitions
from sao_dagster.errors import WarehouseError
from sao_dagster.run.data_tests import TestSteps
from sao_dagster.run.events import ModelResult
from sao_dagster.run.materialize import NodeBuilds
from sao_dagster.state.sql_store import SqlStateStore
from sao_dagster.warehouses.shared.asked_at_once import AskedAtOnce
from tests.deployment import Deployment
from tests.meanwhile import run_meanwhile
from tests.waiting import until
from tests.world import PostgresWorld

pytestmark = pytest.mark.warehouse("postgres")


@pytest.fixture
def shop(world: PostgresWorld) -> PostgresWorld:
    world.source("orders").sql("create table raw.orders as select 1 as id, 5 as amount")
    world.model("orders", "select id, amount from {{ source('raw', 'orders') }}")
    return world


def store_of(world: PostgresWorld) -> SqlStateStore:
    return SqlStateStore(f"sqlite:///{world.root / 'state.db'}")


def test_what_a_run_of_another_state_built_is_told_from_a_change_by_hand(shop: PostgresWorld) -> None:
    shop.run()
    here, shop.state_url = shop.state_url, f"sqlite:///{shop.root / 'other.db'}"
    assert shop.run().outcomes == {"orders": "built: never_built"}
    shop.state_url = here
    run = shop.run()
    assert run.outcomes == {"orders": "built: relation_altered"}
    (warning,) = run.decision("orders").warnings
    assert "by a run that this state knows nothing of" in warning
    assert "`sao state environments` shows which one is used" in warning
    shop.sql("update main.orders set amount = 6")
    run = shop.run()
    assert run.outcomes == {"orders": "built: relation_altered"}
    assert "was changed by someone else" in run.decision("orders").warnings[0]


# ------------------------------------------------------------------ views over a table that is replaced


def test_a_view_of_somebody_else_stays_with_its_owner_rights_and_comment(shop: PostgresWorld) -> None:
    shop.run()
    role = shop.role("reader")
    shop.sql(
        "create schema bi",
        "create view bi.total with (security_barrier=true) as select sum(amount) as total from main.orders",
        "create view bi.twice as select total * 2 as twice from bi.total",
        "comment on view bi.total is 'what it''s worth'",
        f"grant select on bi.total to {role} with grant option",
        "grant select on bi.total to public",
        "insert into raw.orders values (2, 7)",
    )
    before = shop.rows(VIEWS)
    assert shop.run().outcomes == {"orders": "built: new_data"}
    assert shop.rows("select twice from bi.twice") == [(24,)]
    assert shop.rows(VIEWS) == before


VIEWS = """
    select c.relname, pg_get_viewdef(c.oid), c.reloptions, c.relowner, c.relacl::text, obj_description(c.oid, 'pg_class')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'bi' order by 1
"""


def test_a_view_of_somebody_else_that_could_not_stand_stops_the_build(shop: PostgresWorld) -> None:
    shop.run()
    shop.sql("create schema bi", "create view bi.total as select sum(amount) as total from main.orders")
    shop.model("orders", "select id from {{ source('raw', 'orders') }}")
    run = shop.run()
    assert run.outcomes == {"orders": "failed: build_error"}
    assert 'the view "bi"."total" would not stand' in str(run.decision("orders").evidence["error"])
    assert shop.rows("select total from bi.total") == [(5,)], "nothing has changed"


def test_a_materialized_view_over_a_model_stops_the_build(shop: PostgresWorld) -> None:
    shop.run()
    shop.sql("create materialized view raw.total as select sum(amount) as total from main.orders")
    run = shop.run(mode=_force())
    assert 'materialized view "raw"."total"' in str(run.decision("orders").evidence["error"])
    assert shop.rows("select amount from main.orders") == [(5,)]


def test_views_of_the_project_follow_what_they_read(shop: PostgresWorld) -> None:
    """They are made again with the table; those that no longer can be are built in the same run."""
    shop.model("open_orders", "select * from {{ ref('orders') }}", materialized="view")
    shop.model("ids", "select id from {{ ref('open_orders') }}", materialized="view")
    shop.model("count", "select count(*) as n from {{ ref('ids') }}").run()
    shop.sql("insert into raw.orders values (2, 7)")
    assert shop.run().outcomes == {
        "orders": "built: new_data",
        "open_orders": "reused: no_new_data",
        "ids": "reused: no_new_data",
        "count": "built: new_data",
    }
    shop.model("orders", "select id from {{ source('raw', 'orders') }}")
    run = shop.run()
    assert run.outcomes["orders"] == "built: code_changed"
    assert run.outcomes["open_orders"].startswith("built: ")
    assert run.outcomes["ids"].startswith("built: ")
    assert shop.rows("select * from main.ids order by 1") == [(1,), (2,)]
    assert shop.columns("main.open_orders") == [("id", "integer")]
    assert shop.run().built == set()


@pytest.mark.parametrize("moved", ["rename to before", "set schema public"])
def test_a_view_that_shows_what_is_called_otherwise_now_is_built_again(shop: PostgresWorld, moved: str) -> None:
    """The server keeps in a view which table it reads, whatever that is called since."""
    shop.model("shown", "select * from {{ source('raw', 'orders') }}", materialized="view")
    shop.model("again", "select * from {{ ref('shown') }}", materialized="view")
    shop.write("models/tests.yml", "models: [{name: again, columns: [{name: amount, data_tests: [not_null]}]}]").run()
    shop.sql(f"alter table raw.orders {moved}", "create table raw.orders as select 1 as id, null::int as amount")
    run = shop.run("+again")
    assert run.outcomes == {"shown": "built: relation_altered", "again": "reused: no_new_data"}
    assert run.tests == {"not_null_again_amount": "ran: fail"}
    assert shop.rows("select * from main.again") == [(1, None)]
    assert shop.run("shown").built == set()


def test_a_view_whose_columns_change_keeps_the_views_over_it(shop: PostgresWorld) -> None:
    shop.model("orders", "select id, amount from {{ source('raw', 'orders') }}", materialized="view").run()
    shop.sql("create view raw.over as select id from main.orders")
    shop.model("orders", "select amount, id from {{ source('raw', 'orders') }}", materialized="view")
    assert shop.run().outcomes == {"orders": "built: code_changed"}
    assert shop.rows("select id from raw.over") == [(1,)]
    assert [name for name, _ in shop.columns("main.orders")] == ["amount", "id"]


def test_a_reader_of_a_table_and_then_of_a_view_over_it_goes_on(shop: PostgresWorld) -> None:
    shop.run()
    shop.sql(
        "create view raw.over as select id from main.orders",
        "create sequence raw.tries",
        "create table raw.said (timeout text)",
        f"alter database {shop.rows('select current_database()')[0][0]} set deadlock_timeout = '200ms'",  # by whom builds are ended too
    )
    model = "{{ config(pre_hook=\"select nextval('raw.tries')\", post_hook=\"insert into raw.said values (current_setting('lock_timeout'))\") }}"
    shop.model("orders", model + "select id, amount + 1 as amount from {{ source('raw', 'orders') }}")
    runner = shop.runner()
    with psycopg.connect(shop.url) as reader, ThreadPoolExecutor(1) as pool:
        assert reader.execute("select amount from main.orders").fetchall() == [(5,)]
        running = pool.submit(runner.run, select(runner.project, "orders"))
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        until("the run at the table", lambda: shop.rows(waiting) == [(1,)])
        assert reader.execute("select id from raw.over").fetchall() == [(1,)]
        reader.commit()
        assert running.result().succeeded
    assert shop.rows("select amount, last_value from main.orders, raw.tries") == [(6, 1)]
    assert shop.rows("select timeout from raw.said") == [("0",)]


@pytest.mark.parametrize(("before", "after"), [("table", "view"), ("view", "table"), ("incremental", "view")])
def test_another_materialization_keeps_the_views_over_it(shop: PostgresWorld, before: str, after: str) -> None:
    shop.model("orders", "select id, amount from {{ source('raw', 'orders') }}", materialized=before).run()
    shop.sql("create view raw.over as select id from main.orders")
    shop.model("orders", "select id, amount from {{ source('raw', 'orders') }}", materialized=after)
    assert shop.run().outcomes == {"orders": "built: code_changed"}
    assert shop.rows("select id from raw.over") == [(1,)]
    assert shop.run().outcomes == {"orders": "reused: no_new_data"}


def test_indexes_of_hooks_are_made_once_for_each_table(shop: PostgresWorld) -> None:
    shop.model("orders", "select id from {{ source('raw', 'orders') }}", post_hook="create index on {{ this }} (id)")
    shop.run()
    shop.sql("create view raw.over as select id from main.orders")
    for _ in range(3):
        shop.run(mode=_force())
    assert shop.rows("select count(*) from pg_indexes where tablename = 'orders' and schemaname = 'main'") == [(1,)]


def test_nothing_is_left_beside_the_models(shop: PostgresWorld) -> None:
    shop.model("broken", "select 1 / 0 as x").run()
    shop.run(mode=_force())
    assert shop.rows("select table_name from information_schema.tables where table_schema = 'main' order by 1") == [
        ("orders",),
        ("sao_build_ids",),
    ]


def test_names_as_long_as_they_may_be(shop: PostgresWorld) -> None:
    long = "n" * 62
    for end in "ab":
        shop.model(long + end, f"select '{end}' as x")
    for _ in range(2):
        shop.run(mode=_force())
    assert shop.rows(f"select a.x, b.x from main.{long}a a, main.{long}b b") == [("a", "b")]


# ------------------------------------------------------------------ builds name themselves


def session_of(world: PostgresWorld) -> Any:
    return world.runner().warehouse.session()


def test_one_look_at_the_catalog_answers_what_each_question_would(world: PostgresWorld) -> None:
    world.sql(
        'create table raw.plain (x int, "A b" numeric(18, 2), gone text)',
        "alter table raw.plain drop column gone",
        "create view raw.shown as select * from raw.plain",
        "create materialized view raw.kept as select * from raw.plain",
        "create table raw.parts (day date) partition by range (day)",
        'create table raw."Orders" (z interval)',
        "create sequence raw.numbers",
        "create table public.plain (y text)",
    )
    names = (
        "plain",
        "PLAIN",
        "shown",
        "kept",
        "parts",
        "Orders",
        "orders",
        "numbers",
        "columns",
        "pg_class",
        "nowhere",
    )
    schemas = ("raw", "public", "pg_catalog", "information_schema", "nowhere")
    asked = [Relation(world.database, schema, name, folds=False) for schema in schemas for name in names]
    with session_of(world.model("m", "select 1 as x")) as session:
        at_once, catalog = AskedAtOnce(session), session.catalog()
        assert {each: at_once.kind_of(each) for each in asked} == {each: session.kind_of(each) for each in asked}
        assert {each: at_once.columns_of(each) for each in asked} == {each: session.columns_of(each) for each in asked}
        assert {each: session.info_of(each) for each in asked} == {each: catalog.get(each.key) for each in asked}
        assert [at_once.kind_of(each) for each in asked[:3]] == ["table", None, "view"]


def test_a_table_that_was_built_without_a_record_is_built_again(shop: PostgresWorld) -> None:
    """As a run leaves it that was killed between its build and its record, or that had lost its lease."""
    shop.model("report", "select sum(amount) as amount from {{ ref('orders') }}").run()
    runner = shop.runner()
    node = runner.project.nodes["orders"]
    with session_of(shop) as session:
        session.build_model(node, CompiledSql("select 1 as id, 99 as amount"), full_refresh=False)
    run = shop.run()
    assert run.outcomes == {"orders": "built: relation_altered", "report": "reused: no_new_data"}
    assert shop.rows("select amount from main.orders") == [(5,)]


def test_a_build_that_read_what_nobody_recorded_does_not_pass_for_the_recorded_one(
    shop: PostgresWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the model below is built, over a table that somebody built and never recorded."""
    monkeypatch.setattr("sao_dagster.run.run_facts.RECORD_SECONDS", 0.1)
    shop.model("report", "select sum(amount) as amount from {{ ref('orders') }}")
    shop.run("orders")
    runner = shop.runner()
    with session_of(shop) as session:
        session.build_model(
            runner.project.nodes["orders"], CompiledSql("select 1 as id, 99 as amount"), full_refresh=False
        )
    shop.run("report")
    assert shop.rows("select amount from main.report") == [(99,)]
    assert shop.run().outcomes == {"orders": "built: relation_altered", "report": "built: new_data"}
    assert shop.rows("select amount from main.report") == [(5,)]


def test_a_build_that_read_a_later_build_records_that_one(shop: PostgresWorld) -> None:
    """Another run builds and records the input after this one decided, before this one reads it."""
    shop.model("report", "select sum(amount) as amount from {{ ref('orders') }}").run()
    shop.sql("insert into raw.orders values (2, 7)")
    theirs = shop.runner()
    original = NodeBuilds.build

    def build(self: NodeBuilds, name: str, facts: Any, *more: Any) -> Any:
        if name == "report":
            theirs.run(select(theirs.project, "orders"))
        return original(self, name, facts, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NodeBuilds, "build", build)
        shop.run("report", mode=_force())
    assert shop.rows("select amount from main.report") == [(12,)]
    assert shop.run().outcomes == {"orders": "reused: no_new_data", "report": "reused: no_new_data"}


def test_a_verdict_about_a_table_that_is_built_meanwhile_is_not_kept(shop: PostgresWorld) -> None:
    shop.write("models/m.yml", "models: [{name: orders, columns: [{name: id, data_tests: [not_null]}]}]").run()
    shop.sql("insert into raw.orders values (2, 7)")
    original = TestSteps._is_about

    def is_about(self: TestSteps, *seen: Any) -> bool:
        node = self.run.project.nodes["orders"]
        sql = CompiledSql("select null::int as id, 1 as amount")
        self.run.session.build_model(node, sql, full_refresh=False)  # type: ignore[attr-defined]
        return original(self, *seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestSteps, "_is_about", is_about)
        assert shop.run().tests == {"not_null_orders_id": "ran: pass"}
    stored = store_of(shop).tests(shop.environment)["not_null_orders_id"]
    assert stored.inputs["orders"] != store_of(shop).builds(shop.environment)["orders"].data_version
    assert shop.run().tests == {"not_null_orders_id": "ran: pass"}


def test_a_build_holds_on_to_what_it_reads(shop: PostgresWorld) -> None:
    """No other process can build an input while a model that reads it is built, so what was read is one build."""
    shop.run()
    runner = shop.runner()
    node = runner.project.nodes["orders"]
    with session_of(shop) as one, session_of(shop) as other:
        with one._transaction() as connection:
            one._build_ids.hold(connection, [node.relation])
            with pytest.raises(psycopg.errors.LockNotAvailable):
                shop.sql("set lock_timeout = '200ms'", "update main.sao_build_ids set build_id = 'x'")
        other.build_model(node, node.compiled, full_refresh=False)  # type: ignore[attr-defined]


# ------------------------------------------------------------------ contents


TRICKY = [
    ("1.0::numeric", "1.00::numeric"),
    ("0.0::float8", "-0.0::float8"),
    ("'NaN'::float8", "null::float8"),
    ("''", "null::text"),
    ("''", "' '"),
    ("'a'", "'A'"),
    ("'{\"a\": 1}'::json", "'{\"a\":1}'::json"),
    ("date '2026-01-01'", "date 'infinity'"),
    ("array[1, null]", "array[null, 1]"),
    ("row(1, null)::text", "row(null, 1)::text"),
    ("'\\x00'::bytea", "'\\x0000'::bytea"),
]


def versions(world: PostgresWorld, *queries: str) -> list[DataVersion]:
    found = []
    with session_of(world) as session:
        for query in queries:
            world.replace("raw.x", query)
            relation = Relation(world.database, "raw", "x")
            found.append(session.versions(session.catalog(), {relation: ()}, 10.0)[relation])
    return found


@pytest.mark.parametrize(("one", "other"), TRICKY)
def test_what_looks_different_is_different(world: PostgresWorld, one: str, other: str) -> None:
    first, second, again = versions(world, f"select {one} as v", f"select {other} as v", f"select {one} as v")
    assert first == again != second
    assert first.comparable(second)


def test_duplicates_and_columns_count_and_order_does_not(world: PostgresWorld) -> None:
    one, other, more, named, typed = versions(
        world,
        "select * from (values (1, 'a'), (2, 'b')) t(i, s)",
        "select * from (values (2, 'b'), (1, 'a')) t(i, s)",
        "select * from (values (2, 'b'), (1, 'a'), (1, 'a')) t(i, s)",
        "select * from (values (1, 'a'), (2, 'b')) t(i, t)",
        "select i::bigint as i, s from (values (1, 'a'), (2, 'b')) t(i, s)",
    )
    assert one == other
    assert len({one, more, named, typed}) == 4


def test_the_settings_of_a_session_do_not_show_in_versions(world: PostgresWorld) -> None:
    world.sql(
        "create table raw.x as select timestamptz '2026-03-02 09:30:00+00' as t, 0.1::float8 + 0.2 as f, interval '1 day 2 hours' as i"
    )
    runner = world.model("m", "select 1 as x").runner()
    relation = Relation(world.database, "raw", "x")
    found = set()
    for options in (
        ["timezone='Asia/Tokyo'"],
        ["datestyle='SQL, DMY'", "intervalstyle='iso_8601'", "extra_float_digits=-5"],
    ):
        world.sql(*(f"alter database {world.database} set {setting}" for setting in options))
        with runner.warehouse.session() as session:
            found.add(session.versions(session.catalog(), {relation: ()}, 10.0)[relation])
    assert len(found) == 1


def test_a_view_is_versioned_by_the_tables_it_shows(world: PostgresWorld) -> None:
    world.sql(
        "create table raw.base as select 1 as id",
        "create view raw.inner as select id from raw.base",
        "create view raw.outer as select count(*) as n from raw.inner",
        "create function raw.f() returns bigint language sql as 'select count(*) from raw.base'",
        "create view raw.opaque as select raw.f() as n",
        "create view raw.moving as select id, now() > '2026-01-01' as late from raw.base where now() > '2000-01-01'",
    )
    names = ("base", "inner", "outer", "opaque", "moving")
    relations = [Relation(world.database, "raw", name) for name in names]
    with session_of(world.model("m", "select 1 as x")) as session:
        before = session.versions(session.catalog(), dict.fromkeys(relations, ()), 10.0)
        world.sql("insert into raw.base values (2)")
        after = session.versions(session.catalog(), dict.fromkeys(relations, ()), 10.0)
    known = [name for name, relation in zip(names, relations, strict=True) if before[relation] is not None]
    assert known == ["base", "inner", "outer"]
    assert all(before[relation] != after[relation] for relation in relations[:3])


def test_a_record_of_nulls_is_no_null_to_a_constraint(world: PostgresWorld) -> None:
    world.sql(
        "create type raw.pair as (a int, b int)",
        "create domain raw.couple as raw.pair",
        "create table raw.pairs (id int not null, p raw.pair not null, c raw.couple not null, l raw.pair[] not null)",
    )
    with world.runner().warehouse.session() as session:
        found = {key[2]: set(columns) for key, columns in session.constraints().not_null.items()}
    assert found["pairs"] == {"id", "l"}


def test_rows_of_another_server_in_a_partition_are_held_to_nothing(world: PostgresWorld) -> None:
    world.sql(
        "create extension file_fdw",
        "create server files foreign data wrapper file_fdw",
        "create table raw.days (id int not null, day int not null) partition by list (day)",
        "create table raw.day_1 partition of raw.days for values in (1)",
        "create table raw.weeks (id int not null) partition by list (id)",
        "create table raw.week_1 partition of raw.weeks for values in (1)",
        "create foreign table raw.day_2 partition of raw.days for values in (2) server files options (program 'echo ,2', format 'csv')",
    )
    assert world.rows("select id from raw.days") == [(None,)]
    with world.runner().warehouse.session() as session:
        found = {key[2]: set(columns) for key, columns in session.constraints().not_null.items()}
    assert found["weeks"] == {"id"}
    assert "days" not in found


def test_reading_stays_within_its_time(world: PostgresWorld) -> None:
    world.sql("create view raw.slow as select pg_sleep(30)::text as x", "create table raw.quick as select 1 as x")
    world.sql("create materialized view raw.big as select i, md5(i::text) as h from generate_series(1, 300000) t(i)")
    big = Relation(world.database, "raw", "big")
    with session_of(world.model("m", "select 1 as x")) as session:
        assert session.versions(session.catalog(), {big: ()}, 0.05) == {big: None}
        assert session.versions(session.catalog(), {big: ()}, 30.0)[big] is not None


def test_a_large_incremental_model_is_versioned_by_its_builds(
    shop: PostgresWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sao_dagster.warehouses.postgres.session.CHEAP_BYTES", 0)
    config = {"materialized": "incremental", "unique_key": "id"}
    shop.model("before", "select id, amount from {{ source('raw', 'orders') }}")
    shop.model("orders", "select id, amount from {{ ref('before') }}", **config)
    shop.model("report", "select sum(amount) as amount from {{ ref('orders') }}").run()
    assert shop.run().built == set()
    shop.sql("insert into raw.orders values (2, 7)")
    assert shop.run().built == {"before", "orders", "report"}
    version = store_of(shop).builds(shop.environment)["orders"].data_version
    assert version.scheme == "build"
    assert shop.run().built == set()
    assert shop.run(mode=_force()).built == {"before", "orders", "report"}
    assert shop.run().built == set()
    assert store_of(shop).builds(shop.environment)["orders"].data_version != version


@pytest.fixture
def large(shop: PostgresWorld, monkeypatch: pytest.MonkeyPatch) -> PostgresWorld:
    """A model that appends rows to a table of which nobody knows what it holds but by its build, and one that reads it."""
    monkeypatch.setattr("sao_dagster.warehouses.postgres.session.CHEAP_BYTES", -1)
    shop.model("orders", ORDERS, **INCREMENTAL)
    shop.model("report", "select sum(amount) as amount from {{ ref('orders') }}").run()
    shop.sql("insert into raw.orders values (2, 7)")
    return shop


ORDERS = (
    "select id, amount from {{ source('raw', 'orders') }}"
    "{% if is_incremental() %} where id > (select coalesce(max(id), 0) from {{ this }}){% endif %}"
)
INCREMENTAL = {"materialized": "incremental"}
BY_HAND = "insert into main.orders values (0, 100)"


def by_build(world: PostgresWorld) -> bool:
    return store_of(world).builds(world.environment)["orders"].data_version.scheme == "build"


@pytest.mark.parametrize("by_hand", [BY_HAND, "update main.orders set amount = 50", "truncate main.orders"])
def test_what_somebody_writes_to_a_large_table_is_found_also_after_a_run_that_did_not_end(
    large: PostgresWorld, by_hand: str
) -> None:
    runner = large.runner()
    events = runner.events(select(runner.project))
    assert next(True for each in events if isinstance(each, ModelResult) and each.name == "report")
    events.close()
    assert by_build(large)
    large.sql(by_hand)
    assert large.run().outcomes == {"orders": "built: relation_altered", "report": "built: new_data"}
    assert large.rows("select amount from main.report") == large.rows("select sum(amount) from main.orders")
    assert large.run().built == set()


def test_what_somebody_writes_to_a_large_table_is_found_after_two_runs_that_built_it(large: PostgresWorld) -> None:
    """The one that built it first ends last."""
    first, second = large.runner(), large.runner()
    events = first.events(select(first.project))
    assert next(True for each in events if isinstance(each, ModelResult) and each.name == "orders")
    large.sql("insert into raw.orders values (3, 9)")
    second.run(select(second.project))
    for _ in events:
        pass
    assert by_build(large)
    large.sql(BY_HAND)
    assert large.run().outcomes == {"orders": "built: relation_altered", "report": "built: new_data"}
    assert large.rows("select amount from main.report") == [(121,)]


def without_movements(world: PostgresWorld) -> None:
    """Leave the state as a version of this package did that was killed before it had noted what shows writes."""
    store = store_of(world)
    store.keep_movements(
        world.environment, [replace(each, movement=None) for each in store.builds(world.environment).values()]
    )


def test_a_large_table_of_which_nobody_knows_whether_it_was_written_to_is_built_once(large: PostgresWorld) -> None:
    large.run()
    without_movements(large)
    run = large.run()
    assert run.outcomes == {"orders": "built: input_unknown", "report": "built: new_data"}
    assert run.decision("orders").evidence["unknown"] == ["orders"]
    assert not run.result.warnings
    assert large.run().built == set()


def test_what_reads_a_large_table_of_which_nobody_knows_whether_it_was_written_to_reads_it_anew(
    large: PostgresWorld,
) -> None:
    """The large table is not selected, or waits for its interval."""
    large.run()
    without_movements(large)
    large.sql(BY_HAND)
    assert large.run("report").outcomes == {"report": "built: input_unknown"}
    assert large.rows("select amount from main.report") == [(112,)]
    assert large.run("report").built == set()
    large.model("orders", ORDERS, **INCREMENTAL, freshness={"build_after": {"count": 1, "period": "hour"}})
    assert large.run().outcomes == {"orders": "reused: within_interval", "report": "reused: no_new_data"}
    large.sql(BY_HAND)
    assert large.run().outcomes == {"orders": "reused: within_interval", "report": "built: new_data"}
    assert large.rows("select amount from main.report") == [(212,)]
    large.wait(hours=2)
    assert large.run().outcomes == {"orders": "built: input_unknown", "report": "built: input_unknown"}
    assert large.run().built == set()


def test_an_increment_without_rows_is_no_news_where_nobody_else_has_written(large: PostgresWorld) -> None:
    large.run()
    old = "insert into raw.orders values (1, 3)"
    large.sql(old)
    assert large.run().outcomes == {"orders": "built: new_data", "report": "reused: no_new_data"}
    large.sql(old)
    run_meanwhile(large, lambda: large.sql(BY_HAND), lambda: None, "orders")  # after the run has looked at it
    assert large.rows("select amount from main.report") == [(112,)]


def test_an_increment_of_a_large_table_is_news_where_the_server_does_not_count(large: PostgresWorld) -> None:
    large.run()
    large.sql(f"alter database {large.database} set track_counts = off", "insert into raw.orders values (3, 9)")
    large.run()
    assert large.rows("select amount from main.report") == [(21,)]
    large.sql(BY_HAND)
    large.run()
    assert large.rows("select amount from main.report") == [(121,)]


def test_a_table_that_goes_while_it_is_looked_at_is_unknown(world: PostgresWorld) -> None:
    world.sql("create table raw.stays as select 1 as x", "create table raw.goes as select 1 as x")
    stays, goes = (Relation(world.database, "raw", name) for name in ("stays", "goes"))
    with session_of(world.model("m", "select 1 as x")) as session:
        catalog = session.catalog()
        world.sql("drop table raw.goes")
        found = session.versions(catalog, {stays: (), goes: ()}, 10.0)
    assert found[goes] is None
    assert found[stays] is not None


def test_nothing_is_proven_from_what_somebody_has_changed_above_what_is_read(world: PostgresWorld) -> None:
    world.sql("create table raw.people (name text)", "insert into raw.people values ('Ada'), (null)").source("people")
    world.write("seeds/rates.csv", "id,rate\n1,2\n1,3\n").model("m", "select id from {{ ref('rates') }}")
    world.model("n", "select id from {{ ref('m') }}")
    world.model("o", "select name from {{ source('raw', 'people') }}").model("q", "select name from {{ ref('o') }}")
    world.model("r", "select name from {{ ref('q') }}").run()
    world.sql("update main.rates set id = 9 where rate = 3")
    world.sql("delete from main.o where name is null", "alter table main.o alter name set not null")
    world.write(
        "models/tests.yml",
        "models: [{name: n, columns: [{name: id, data_tests: [unique]}]}, {name: r, columns: [{name: name, data_tests: [not_null]}]}]",
    )
    assert world.run("n r").tests == {"unique_n_id": "ran: fail", "not_null_r_name": "ran: fail"}


# ------------------------------------------------------------------ seeds, rights, connections


def test_seeds_have_the_types_that_dbt_gives_them(world: PostgresWorld) -> None:
    world.write(
        "seeds/all.csv",
        "id,big,price,day,at,yes,word,code\n1,5000000000,1.5,2026-01-31,2026-01-31 10:00:00,true,O'Brien,007\n2,,,,,,,\n",
    )
    world.write("seeds/s.yml", "seeds: [{name: all, config: {column_types: {code: varchar(5)}}}]")
    assert world.run().outcomes == {"all": "built: never_built"}
    assert world.columns("main.all") == [
        ("id", "integer"),
        ("big", "bigint"),
        ("price", "double precision"),
        ("day", "date"),
        ("at", "timestamp without time zone"),
        ("yes", "boolean"),
        ("word", "text"),
        ("code", "character varying"),
    ]
    assert world.rows("select word, code, big from main.all order by id") == [
        ("O'Brien", "007", 5000000000),
        (None, None, None),
    ]
    assert world.run().built == set()


def test_sources_need_no_more_than_the_right_to_read(shop: PostgresWorld) -> None:
    role = shop.role("builder")
    shop.sql(f"grant usage on schema raw to {role}", f"grant select on raw.orders to {role}")
    shop.sql(f"create schema main authorization {role}")
    shop.write(
        "profiles.yml", (shop.root / "profiles.yml").read_text().replace("schema: main", f"schema: main, role: {role}")
    )
    shop.model("seen", "select * from {{ ref('orders') }}", materialized="view")
    assert shop.run().built == {"orders", "seen"}
    shop.sql("insert into raw.orders values (2, 7)")
    assert shop.run().built == {"orders"}
    assert shop.rows("select distinct tableowner from pg_tables where schemaname = 'main'") == [(role,)]
    shop.sql(
        "create schema bi", "create view bi.ids as select id from main.orders", "insert into raw.orders values (3, 7)"
    )
    said = str(shop.run().decision("orders").evidence["error"])
    assert "the view bi.ids over it would have to be made again, and belongs to tests" in said
    assert len(shop.rows("select id from bi.ids")) == 2, "nothing has changed"


@pytest.mark.parametrize(
    ("made", "sql"),
    [
        ("function {}.k() returns text language sql immutable as $$ select '{}'::text $$", "select k() as x"),
        ("domain {}.k as text default '{}'", "select 'raw'::k as x"),
    ],
)
def test_what_a_name_means_follows_which_schemas_the_role_may_use(shop: PostgresWorld, made: str, sql: str) -> None:
    role = shop.role("builder")
    shop.sql("create schema early", *(f"create {made.format(schema, schema)}" for schema in ("early", "raw")))
    shop.sql(f"create schema main authorization {role}", f"grant usage on schema raw to {role}")
    profile = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profile.replace("schema: main", f"schema: main, role: {role}, search_path: 'early,raw'"))
    shop.model("named", sql).run("named")
    assert shop.run("named").built == set()
    for change in ("grant usage on schema early to", "revoke usage on schema early from"):
        shop.sql(f"{change} {role}")
        assert shop.run("named").built == {"named"}
        assert shop.rows("select x from main.named") == [("early" if "k()" in sql and "grant" in change else "raw",)]
    assert shop.run("named").built == set()


def test_an_increment_needs_no_more_than_the_right_to_append(shop: PostgresWorld) -> None:
    """Who may not lock the table against others builds all the same."""
    newer = "{% if is_incremental() %} where id > (select max(id) from {{ this }}){% endif %}"
    sql = f"select id from {{{{ source('raw', 'orders') }}}}{newer}"
    shop.model("grown", sql, materialized="incremental", incremental_strategy="append").run("grown")
    role = shop.role("appender")
    shop.sql(
        f"grant usage on schema raw, main to {role}",
        f"grant select on raw.orders, main.grown to {role}",
        f"grant insert on main.grown to {role}",
        f"grant select, insert, update, delete on main.sao_build_ids to {role}",
    )
    shop.write(
        "profiles.yml", (shop.root / "profiles.yml").read_text().replace("schema: main", f"schema: main, role: {role}")
    )
    before = len(shop.rows("select id from main.grown"))
    shop.sql("insert into raw.orders values (20, 7)")
    assert shop.run("grown").built == {"grown"}
    assert len(shop.rows("select id from main.grown")) == before + 1
    assert shop.run("grown").built == set()


def test_the_password_is_shown_nowhere(shop: PostgresWorld) -> None:
    secret = "s3cr3t-pass"
    profile = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profile.replace("user:", f"password: {secret}, user:"))
    runner = shop.runner()
    assert secret not in repr(runner.warehouse)
    assert secret not in str(runner.warehouse.target)
    assert secret not in repr(runner.project)
    shop.run()
    for file in shop.root.rglob("*"):
        if file.is_file() and file.name != "profiles.yml":
            assert secret.encode() not in file.read_bytes(), file
    shop.write("profiles.yml", profile.replace("user:", f"password: {secret}, user: nobody_knows, role:"))
    with pytest.raises(WarehouseError) as refused:
        shop.run()
    assert secret not in str(refused.value)
    assert "nobody_knows" in str(refused.value)


def test_a_resource_says_how_the_server_is_reached(shop: PostgresWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profile.replace("user: tests", "user: nobody_knows, retries: 0"))
    monkeypatch.setenv("PG_USER", "tests")
    broken = Deployment(definitions(load_project(shop.root)))
    assert not broken.run().success
    deployed = Deployment(definitions(load_project(shop.root), warehouse=PostgresResource(user=dg.EnvVar("PG_USER"))))
    assert deployed.run().success
    assert shop.rows("select amount from main.orders") == [(5,)]
    with pytest.raises(WarehouseError, match="for PostgreSQL"):
        PostgresResource().warehouse(DuckDBWarehouse(path=":memory:"))


def test_a_schema_that_another_process_makes_at_the_same_time_is_there(shop: PostgresWorld) -> None:
    runner = shop.runner()
    with psycopg.connect(shop.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("create schema main")  # without a word to us, and not committed yet
        running = pool.submit(runner.run, select(runner.project, "orders"))
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        until("the run at the schema", lambda: shop.rows(waiting) == [(1,)])
        other.commit()
        assert running.result().succeeded


def test_a_server_that_is_not_there_is_named() -> None:
    nowhere = PostgresWarehouse(host="127.0.0.1", port=1, user="u", dbname="d", schema="s", connect_timeout=1)
    with pytest.raises(WarehouseError, match=r"127\.0\.0\.1:1/d"), nowhere.session():
        pass


def test_a_run_that_is_stopped_stops_its_statement(shop: PostgresWorld) -> None:
    shop.model("slow", "select pg_sleep(3600)::text as x")
    runner = shop.runner()
    running = runner.events(select(runner.project, "slow"))
    for event in running:
        if type(event).__name__ == "Started":
            break
    sleeping = "select count(*) from pg_stat_activity where query like '%pg_sleep(3600)%' and state = 'active' and pid <> pg_backend_pid()"
    until("the statement", lambda: shop.rows(sleeping) == [(1,)])
    running.close()
    until("its end", lambda: shop.rows(sleeping) == [(0,)])
    assert store_of(shop).leases(shop.environment) == []


def test_two_processes_that_are_in_each_others_way_try_again(shop: PostgresWorld) -> None:
    """A deadlock ends one of the two transactions, which begins anew."""
    shop.run()
    attempts = []
    with session_of(shop) as session:

        def work(connection: psycopg.Connection[Any]) -> int:
            attempts.append(1)
            if len(attempts) == 1:
                raise psycopg.errors.DeadlockDetected("deadlock detected")
            return 1

        assert session._attempted(work) == 1
    assert len(attempts) == 2


def _force() -> Any:
    from sao_dagster.core.reasons import Mode

    return Mode.FORCE


def test_tests_that_keep_their_failures(shop: PostgresWorld) -> None:
    shop.write(
        "models/m.yml",
        "models: [{name: orders, columns: [{name: amount, data_tests: [{accepted_values: {arguments: {values: [1], quote: false}, config: {store_failures: true}}}]}]}]",
    )
    for _ in range(2):
        assert set(shop.run().tests.values()) == {"ran: fail"}
    where = "table_schema = 'main_dbt_test__audit'"
    ((name,),) = shop.rows(f"select table_name from information_schema.tables where {where}")
    assert shop.rows(f'select value_field from main_dbt_test__audit."{name}"') == [(5,)]
