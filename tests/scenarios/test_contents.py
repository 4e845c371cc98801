"""News that the engine's own comparison does not see, and names that only differ in case."""

from __future__ import annotations

import pytest

from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse
ORDERS = "{{ source('raw', 'orders') }}"


def build(world: World, before: str, query: str) -> None:
    """Build a table over a source with one row."""
    world.replace("raw.orders", f"select {before}").source("orders").model("m", query).run()


@pytest.mark.parametrize(
    ("before", "after", "query", "rows"),
    [
        ("'-0.0'::float8 as x", "'0.0'::float8 as x", f"select cast(x as varchar(9)) as x from {ORDERS}", None),
        ("interval '30 days' as x", "interval '1 month' as x", f"select (date '2026-01-31' + x)::date as x from {ORDERS}", None),
        ("interval '24 hours' as x", "interval '1 day' as x", f"select cast(x as varchar(20)) as x from {ORDERS}", None),
        ("array[1] as a, array[2, 3] as b", "array[1, 2] as a, array[3] as b", f"select a, b from {ORDERS}", [([1, 2], [3])]),
        ("array[null]::int[] as a", "null::int[] as a", f"select a from {ORDERS}", [(None,)]),
        ("0::decimal(38,2) as x", "-0.01::decimal(38,2) as x", f"select x < 0 as x from {ORDERS}", [(True,)]),
        ("'{\"a\":1}'::json as x", "'{\"a\": 1}'::json as x", f"select cast(x as varchar(20)) as x from {ORDERS}", [('{"a": 1}',)]),
    ],
)  # fmt: skip
def test_what_compares_as_equal_is_news(world: World, before: str, after: str, query: str, rows: list[object] | None) -> None:  # fmt: skip
    """Any two values that a query can tell apart are two contents; without a change, nothing is built."""
    build(world, before, query)
    assert world.run().outcomes == {"m": "reused: no_new_data"}
    kept = world.rows("select * from main.m")
    run = world.replace("raw.orders", f"select {after}").run()
    found = world.rows("select * from main.m")
    assert run.outcomes == {"m": "built: new_data"} and found != kept and rows in (None, found)


@pytest.mark.warehouse("duckdb")
def test_the_case_of_a_text_is_news_under_a_collation_that_does_not_see_it(world: World) -> None:
    """Texts count by their letters."""
    world.sql("create table raw.orders (code varchar collate nocase)", "insert into raw.orders values ('A')")
    world.source("orders").model("m", f"select code || '' as code from {ORDERS}").run()
    world.sql("update raw.orders set code = 'a'")
    assert world.run().built == {"m"} and world.rows("select encode(code)::varchar from m") == [("a",)]


@pytest.mark.warehouse("duckdb")
def test_the_collation_of_a_column_that_is_generated_is_news(world: World) -> None:
    def generated(expression: str) -> None:
        world.sql(
            "drop table if exists raw.orders",
            f"create table raw.orders (code varchar, short varchar generated always as ({expression}) virtual)",
            "insert into raw.orders values ('a'), ('A')",
        )

    generated("code")
    world.source("orders").model("codes", "select count(distinct short) as n from {{ source('raw', 'orders') }}")
    world.run()
    generated("code collate nocase")
    assert world.run().built == {"codes"}
    assert world.rows("select n from codes") == [(1,)]


@pytest.mark.warehouse("duckdb")
def test_what_a_generated_column_shows_may_change_by_itself(world: World) -> None:
    """DuckDB works it out whenever it is read; one of which that is not known has no version."""

    def again(expression: str) -> set[str]:
        world.sql(
            "create sequence if not exists numbers",
            "drop table if exists raw.orders",
            "create table raw.orders (id integer, code varchar, day date, moment timestamptz, "
            f"shown generated always as ({expression}) virtual)",
            "insert into raw.orders (id, code) values (1, 'a')",
        )
        world.run()
        return world.run().built

    world.source("orders").model("shown", "select shown from {{ source('raw', 'orders') }}")
    for steady in ("id * 2", "lower(code) || '-' || id", "case when id > 1 then 'x' else code end", "coalesce(day, date '2026-01-01')", "try_cast(code as date)"):  # fmt: skip
        assert again(steady) == set(), steady
    for moving in ("now()", "random() + id", "nextval('numbers')", "moment::date", "moment::varchar", "day::timestamptz::varchar", "current_setting('TimeZone')"):  # fmt: skip
        assert again(moving) == {"shown"}, moving


@pytest.mark.warehouse("duckdb")
@pytest.mark.parametrize(
    ("plain", "collated", "query"),
    [
        ("code", "code collate nocase as code", "count(distinct code)"),
        ("code collate noaccent as code", "code collate nocase as code", "count(distinct code)"),
        ("{'k': code} as code", "{'k': code collate nocase} as code", "count(distinct code)"),
        ("[code] as code", "[code collate nocase] as code", "count(distinct code)"),
        ("{'k': [{'l': code}]} as code", "{'k': [{'l': code collate nocase}]} as code", "count(distinct code)"),
        ("map {1: code} as code", "map {1: code collate nocase} as code", "count(distinct code[1])"),
    ],
)
def test_a_collation_is_news_though_every_text_stays(world: World, plain: str, collated: str, query: str) -> None:
    """In a source, within a value too, and in a model's own table: what reads it is built, and its data tests run."""
    codes = "(values ('A'), ('a'), ('b')) as v(code)"
    world.sql(f"create table raw.orders as select {plain} from {codes}").source("orders")
    test = "data_tests: [{unique: {severity: warn}}]"
    world.write("models/m.yml", f"models: [{{name: copied, columns: [{{name: code, {test}}}]}}]")
    world.model("copied", f"select * from {ORDERS}").model(
        "counted", f"select {query} as n from {{{{ ref('copied') }}}}"
    ).run()
    assert world.run().built == set() and world.rows("select n from counted") == [(3,)]
    world.sql(f"create or replace table raw.orders as select {collated} from {codes}")
    run = world.run()
    # DuckDB compares maps as they are
    assert run.tests == {"unique_copied_code": "ran: pass" if plain.startswith("map") else "ran: warn"}
    assert run.built == {"copied", "counted"} and world.rows("select n from counted") == [(2,)]
    assert world.run().built == set()
    world.sql(f"create or replace table raw.orders as select {plain} from {codes}").run()
    assert world.rows("select n from counted") == [(3,)]


@pytest.mark.warehouse("postgres")
@pytest.mark.parametrize(
    ("before", "after", "query", "rows"),
    [
        (
            ["create table raw.orders as select x::text collate \"C\" as x from unnest(array['a', 'B']) x"],
            ["alter table raw.orders alter x type text collate \"und-x-icu\""],
            "min(x)", ("B", "a"),
        ),
        (
            ["create domain raw.code as text", "create table raw.orders as select x::raw.code as x from unnest(array['9', '10']) x"],
            ["drop table raw.orders", "drop domain raw.code", "create domain raw.code as int", "create table raw.orders as select x::raw.code as x from unnest(array[9, 10]) x"],
            "max(x)::text", ("9", "10"),
        ),
        (
            ["create type raw.pair as (a int, b int)", "create table raw.orders as select row(1, 2)::raw.pair as x"],
            ["drop table raw.orders", "drop type raw.pair", "create type raw.pair as (b int, a int)", "create table raw.orders as select row(1, 2)::raw.pair as x"],
            "max((x).a)", (1, 2),
        ),
        (
            ["create type raw.mood as enum ('sad', 'fine')", "create table raw.orders as select unnest(array['sad', 'fine'])::raw.mood as x"],
            ["drop table raw.orders", "drop type raw.mood", "create type raw.mood as enum ('fine', 'sad')", "create table raw.orders as select unnest(array['sad', 'fine'])::raw.mood as x"],
            "max(x)::text", ("fine", "sad"),
        ),
        (
            ["create type raw.mood as enum ('sad', 'fine')", "create table raw.orders as select array['sad', 'fine']::raw.mood[] as x"],
            ["alter type raw.mood rename value 'sad' to 'blue'"],
            "max(x)::text", ("{sad,fine}", "{blue,fine}"),
        ),
        (
            ["create type raw.part as (code text collate \"C\")", "create table raw.orders as select row(x)::raw.part as x from unnest(array['a', 'B']) x"],
            ["create table raw.kept as select (x).code from raw.orders", "drop table raw.orders", "drop type raw.part", "create type raw.part as (code text collate \"und-x-icu\")",
             "create table raw.orders as select row(code)::raw.part as x from raw.kept"],
            "min((x).code)", ("B", "a"),
        ),
    ],
    ids=["collation of a column", "domain", "fields", "order of labels", "name of a label", "collation of a field"],
)  # fmt: skip
def test_what_a_type_is_is_news_though_every_text_stays(
    world: World, before: list[str], after: list[str], query: str, rows: tuple[object, object]
) -> None:
    """A type is what it is made of, not its name; that may change without a trace at the table."""
    world.sql(*before).source("orders").model("m", f"select {query} as x from {ORDERS}").run()
    assert world.run().built == set() and world.rows("select x from main.m") == [(rows[0],)]
    world.sql(*after)
    assert world.run().built == {"m"} and world.rows("select x from main.m") == [(rows[1],)]
    assert world.run().built == set()


@pytest.mark.warehouse("duckdb")
def test_what_hides_its_types_is_built_each_time(world: World) -> None:
    """A variant has no version, so nobody knows whether there is news in it; below, the build itself is the version."""
    build(world, "1::variant as v", f"select v from {ORDERS}")
    world.model("below", "select count(*) as n from {{ ref('m') }}").run()
    assert world.run().outcomes == {"m": "built: input_unknown", "below": "built: new_data"}


@pytest.mark.warehouse("postgres")
def test_two_tables_whose_names_differ_in_case_are_two(world: World) -> None:
    """News of the one is not looked for in the other, and a model may stand beside its namesake."""
    build(world, "1 as id", f"select id from {ORDERS}")
    world.sql('create table raw."Orders" as select 7 as id').model("n", "select 1 as x").model("N", "select 2 as x")
    world.run()
    assert world.run().built == set()
    world.sql("insert into raw.orders values (2)")
    assert world.run().outcomes["m"] == "built: new_data"
    assert world.rows('select x from main."N"') == [(2,)] and world.rows("select x from main.n") == [(1,)]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_a_loaded_at_with_a_zone_is_a_point_in_time(world: World, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The zone in which a session shows it is no news."""
    world.sql("create table raw.orders as select 1 as id, timestamptz '2026-01-01 10:00+00' as loaded_at")
    world.write("models/s.yml", "sources: [{name: raw, tables: [{name: orders, loaded_at_field: loaded_at}]}]")
    world.model("m", f"select id from {ORDERS}").run()
    if world.warehouse == "postgres":
        world.sql(f"alter role current_user set timezone = '{zone}'")
    monkeypatch.setenv("TZ", zone)
    run = world.run()
    if world.warehouse == "postgres":
        world.sql("alter role current_user reset timezone")
    assert run.decision("m").evidence.get("news") is None
