"""What a model reads without saying so: each is found, has a version like any input, and is told once."""

from __future__ import annotations

import os

import pytest

from sao_dagster import load_project
from sao_dagster.core.reasons import Mode
from sao_dagster.warehouses.shared import files
from tests.world import PostgresWorld, World, on_each_warehouse

pytestmark = on_each_warehouse
duckdb_only = pytest.mark.warehouse("duckdb")
postgres_only = pytest.mark.warehouse("postgres")


def is_current(world: World, query: str) -> None:
    """What is there after a run is what a forced build gives."""
    world.run()
    kept = world.rows(query)
    world.run(mode=Mode.FORCE)
    assert sorted(kept) == sorted(world.rows(query))


def news(world: World, name: str = "m") -> list[str]:
    return [each["input"] for each in world.run().decision(name).evidence.get("news", ())]


def notices(world: World) -> list[str]:
    return [each.message for each in load_project(world.root).project.notices]


@pytest.fixture
def shelf(world: World) -> World:
    return world.sql("create table raw.shelf as select 1 as id")


def test_a_table_that_is_read_by_its_name(shelf: World) -> None:
    shelf.model("m", "select id from raw.shelf").run()
    assert shelf.run().outcomes == {"m": "reused: no_new_data"}
    shelf.sql("insert into raw.shelf values (2)")
    assert news(shelf) == ["table:raw.shelf"]
    assert any(text.startswith("m reads the table raw.shelf by its name") for text in notices(shelf))


@duckdb_only
def test_a_hook_that_writes_to_the_table_of_another_model_is_told(shelf: World) -> None:
    shelf.model("a", "select 1 as id").model("b", "select 2 as id").model("c", "select 3 as id")
    hooks = [
        "insert into main.a values (4)",
        "delete from {{ this }} where id = 9",
        "insert into raw.shelf select id from main.c",
    ]
    shelf.model("m", "select 5 as id", post_hook=[*hooks, "grant select on main.b to public"])
    (told,) = [text for text in notices(shelf) if "in a hook" in text]
    assert told.startswith("m writes to the table of a in a hook: ")


def test_a_common_table_expression_hides_a_table_only_where_it_is_seen(shelf: World) -> None:
    shelf.sql("create table main.shelf as select 1 as id" if shelf.warehouse == "duckdb" else "create schema main")
    if shelf.warehouse == "postgres":
        shelf.sql("create table public.shelf as select 1 as id")
    shelf.model("m", "with shelf as (select id from shelf) select id from shelf").run()
    shelf.sql(f"insert into {'main' if shelf.warehouse == 'duckdb' else 'public'}.shelf values (2)")
    assert news(shelf) == ["table:shelf"]


def test_what_a_view_or_an_ephemeral_reads_is_read_by_what_is_over_it(shelf: World) -> None:
    shelf.model("v", "select id from raw.shelf", materialized="view")
    shelf.model("e", "select id from {{ ref('v') }} union all select id from raw.other", materialized="ephemeral")
    shelf.sql("create table raw.other as select 5 as id")
    shelf.model("m", "select id from {{ ref('e') }}").run()
    assert shelf.run().built == set()
    shelf.sql("insert into raw.shelf values (2)", "insert into raw.other values (6)")
    assert sorted(news(shelf)) == ["table:raw.other", "table:raw.shelf"]


def test_a_model_that_is_read_by_its_name_is_above(world: World) -> None:
    world.model("zeroth", "select 1 as id").model("first", "select id from {{ ref('zeroth') }}")
    world.model("a", "select id from main.first")
    assert world.run().built == {"zeroth", "first", "a"}
    world.model("zeroth", "select 2 as id").run()
    assert world.rows("select id from main.a") == [(2,)]
    assert any("read it with ref('first')" in text for text in notices(world))


def test_a_source_that_is_read_by_its_name_is_that_source(shelf: World) -> None:
    shelf.source("shelf").model("m", "select id from raw.shelf").run()
    shelf.sql("insert into raw.shelf values (2)")
    assert news(shelf) == ["source:raw.shelf"]


def test_a_model_below_that_is_read_by_its_name_is_no_edge(world: World) -> None:
    world.sql("create schema if not exists main", "create table main.below as select 7 as id")
    world.model("above", "select max(id) as id from main.below").model(
        "below", "select id + 1 as id from {{ ref('above') }}"
    )
    world.run()
    assert "input" in str(world.run().decision("above").evidence), "what is below was built after it was read"
    assert any("is itself or below it" in text for text in notices(world))


def test_the_body_of_a_function_and_what_it_reads_are_inputs(shelf: World) -> None:
    body = "create or replace macro main.top() as (select max(id) + {} from raw.shelf)"
    if shelf.warehouse == "postgres":
        body = "create or replace function public.top() returns int language sql as $$ select max(id) + {} from raw.shelf $$"
    shelf.sql(body.format(0)).model("m", "select top() as x").run()
    assert shelf.run().outcomes == {"m": "reused: no_new_data"}
    shelf.sql("insert into raw.shelf values (2)")
    assert news(shelf) == ["function:top"]
    shelf.sql(body.format(10))
    assert news(shelf) == ["function:top"]
    is_current(shelf, "select x from main.m")


def test_a_function_that_nobody_understands_is_unknown_until_it_is_said_to_be_stable(world: World) -> None:
    if world.warehouse == "postgres":
        world.sql("create function public.lucky() returns int language plpgsql as $$ begin return 7; end $$")
    else:
        world.sql("create macro main.lucky() as (select 7 from query('select 1'))")
    world.model("m", "select lucky() as x").run()
    assert world.run().outcomes == {"m": "built: input_unknown"}
    world.model("m", "select lucky() as x", stable_functions=["lucky"])
    assert world.run().outcomes == {"m": "reused: no_new_data"}


def test_what_the_catalog_says_cannot_be_followed_unless_it_is_declared(shelf: World) -> None:
    sql = "select count(*) as n from information_schema.tables"
    shelf.model("m", sql).run()
    assert shelf.run().outcomes == {"m": "built: input_unknown"}
    shelf.model("m", sql, inputs=["raw.shelf"]).run()
    assert shelf.run().outcomes == {"m": "reused: no_new_data"}
    shelf.sql("insert into raw.shelf values (2)")
    assert news(shelf) == ["table:raw.shelf"]


def test_a_verdict_stands_for_what_its_test_reads_by_name(shelf: World) -> None:
    shelf.model("m", "select 1 as id").write(
        "tests/t.sql", "select id from {{ ref('m') }} where id not in (select id from raw.shelf)"
    )
    assert shelf.run().tests == {"t": "ran: pass"}
    assert shelf.run().tests == {"t": "reused: pass"}
    shelf.sql("update raw.shelf set id = 3")
    assert shelf.run().tests == {"t": "ran: fail"}


@duckdb_only
@pytest.mark.parametrize("read", ["read_csv('{}/*.csv')", "'{}/a.csv'", "read_csv(['{}/a.csv', '{}/.b.csv'])"])
def test_files_that_are_read(world: World, read: str) -> None:
    world.write("land/a.csv", "id\n1\n").write("land/.b.csv", "id\n5\n")
    world.model("m", f"select id from {read.format(world.root / 'land', world.root / 'land')}").run()
    assert world.run().outcomes == {"m": "reused: no_new_data"}
    world.write("land/a.csv", "id\n2\n")
    assert world.run().outcomes == {"m": "built: new_data"}
    world.write("land/.b.csv", "id\n6\n")
    is_current(world, "select id from main.m")


@duckdb_only
@pytest.mark.parametrize("read", ["'land/a.csv'", "read_csv('land/*.csv')", "v"])
def test_a_relative_path_is_that_of_the_project_from_wherever_it_is_run(
    world: World, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.root)
    world.write("land/a.csv", "id\n1\n").sql("create view v as select * from 'land/a.csv'")
    world.model("m", f"select id from {read}").run()
    elsewhere = world.root.parent / "elsewhere"
    (elsewhere / "land").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert world.run().outcomes == {"m": "reused: no_new_data"}
    world.write("land/a.csv", "id\n2\n")
    assert world.run().outcomes == {"m": "built: new_data"}
    assert world.rows("select id from main.m") == [(2,)]
    (elsewhere / "land/a.csv").write_text("id\n3\n")
    assert world.run().outcomes == {"m": "built: input_unknown"}, "it might be the one or the other"


@duckdb_only
def test_where_files_are_looked_for_by_a_rule_of_ones_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.root)
    world.write("land/a.csv", "id\n1\n")
    settings = "{type: duckdb, path: shop.duckdb, settings: {file_search_path: land}}"
    world.write("profiles.yml", f"shop: {{target: dev, outputs: {{dev: {settings}}}}}")
    world.model("m", "select id from 'a.csv'").run()
    world.write("land/a.csv", "id\n2\n")
    assert world.run().outcomes == {"m": "built: input_unknown"}


@duckdb_only
def test_a_temporary_table_of_a_hook_is_no_input_and_what_it_is_made_of_is(shelf: World) -> None:
    shelf.model(
        "m", "select id from copied", pre_hook="create or replace temp table copied as select id from raw.shelf"
    ).run()
    assert shelf.run().outcomes == {"m": "reused: no_new_data"}
    shelf.sql("insert into raw.shelf values (2)")
    assert news(shelf) == ["table:raw.shelf"]


def test_a_view_as_a_source_is_what_it_shows(shelf: World) -> None:
    """Through a view over a view with a common table expression that is called as the table it reads."""
    shelf.source("v")
    shelf.sql("create table o as select 1 as id")
    inner = "create view raw.inner_v as with o as (select id from o where id > 0) select id from o"
    shelf.sql(inner, "create view raw.v as select id from raw.inner_v")
    shelf.model("m", "select id from {{ source('raw', 'v') }}").run()
    assert shelf.run().outcomes == {"m": "reused: no_new_data"}
    shelf.sql("insert into o values (2)")
    assert news(shelf) == ["source:raw.v"]


@pytest.mark.parametrize(
    "query", ["select count(*) as id from {catalog}", "select 1 as id, {clock} as at", "select nextval('raw.s') as id"]
)
def test_a_view_whose_rows_nobody_can_tell_is_unknown(shelf: World, query: str) -> None:
    catalog = "pg_class" if shelf.warehouse == "postgres" else "duckdb_tables()"
    clock = "clock_timestamp()" if shelf.warehouse == "postgres" else "now()"
    shelf.source("v").sql("create sequence raw.s", "create view raw.v as " + query.format(catalog=catalog, clock=clock))
    shelf.model("m", "select id from {{ source('raw', 'v') }}").run()
    assert shelf.run().outcomes == {"m": "built: input_unknown"}


@duckdb_only
def test_a_view_over_a_macro_reads_what_the_macro_reads(shelf: World) -> None:
    shelf.source("v").sql(
        "create macro main.top() as (select max(id) from raw.shelf)", "create view raw.v as select top() as id"
    )
    shelf.model("m", "select id from {{ source('raw', 'v') }}").run()
    assert shelf.run().outcomes == {"m": "reused: no_new_data"}
    shelf.sql("insert into raw.shelf values (2)")
    assert news(shelf) == ["source:raw.v"]
    shelf.sql("create or replace macro main.top() as (select min(id) from raw.shelf)")
    assert news(shelf) == ["source:raw.v"]


def test_a_function_that_takes_the_place_of_one_of_the_engines_own(world: World) -> None:
    """Of the engine's own nothing is recorded; one of the user's is there from one run to the next, changes, and goes."""
    made = "create or replace macro main.abs(x) as x + {}"
    gone = "drop macro main.abs"
    if world.warehouse == "postgres":
        made = "create or replace function public.abs(x text) returns int language sql as $$ select {} $$"
        gone = "drop function public.abs(text)"
    world.model("m", "select abs('-1') as x" if world.warehouse == "postgres" else "select abs(-1) as x").run()
    world.sql(made.format(100))
    assert world.run().outcomes == {"m": "built: input_unknown"}
    assert world.run().built == set()
    world.sql(made.format(200))
    assert news(world) == ["function:abs"]
    world.sql(gone)
    assert world.run().outcomes == {"m": "built: input_unknown"}
    assert world.run().built == set()


SHOWN = {
    "its name": ("select 1", "main.a"),
    "a view": ("create view raw.v as select id from main.a", "raw.v"),
    "a view over a view": (
        "create view raw.inner_v as select id from main.a; create view raw.v as select id from raw.inner_v",
        "raw.v",
    ),
    "a source": ("create view raw.v as select id from main.a", "{{ source('raw', 'v') }}"),
    "a source that it is itself": ("select 1", "{{ source('here', 'a') }}"),
    "a function": ("create macro main.top() as table select id from main.a", "top()"),
}


@pytest.fixture(params=SHOWN)
def window(shelf: World, request: pytest.FixtureRequest) -> World:
    """A table and a child of it, which comes first by its name, and reads it through what somebody else has made."""
    made, read = SHOWN[request.param]
    if shelf.warehouse == "postgres":
        made = made.replace(
            "create macro main.top() as table select id from main.a",
            "create function public.top() returns table (id int) language sql as 'select id from main.a'",
        )
    shelf.source("v").write("models/here.yml", "sources: [{name: here, schema: main, tables: [{name: a}]}]")
    shelf.model("a", "select max(id) as id from raw.shelf").run()
    shelf.sql(made).model("A_child", f"select id from {read}")
    return shelf


def test_a_model_that_is_seen_through_what_somebody_else_made_comes_first(window: World) -> None:
    assert window.run().built == {"A_child"}
    assert window.run().built == set()
    window.sql("insert into raw.shelf values (2)")
    assert window.run().built == {"a", "A_child"}
    assert window.rows('select id from main."A_child"') == [(2,)]
    assert window.run().built == set(), "what it has read is recorded"


def test_what_comes_first_is_built_first_although_the_same_view_shows_what_is_below(shelf: World) -> None:
    shelf.model("z_parent", "select id from raw.shelf")
    shelf.model("b_below", "select 0 * count(*) as id from {{ ref('a_child') }}, {{ ref('z_parent') }}")
    shelf.sql(
        "create schema if not exists main",
        "create table main.z_parent as select 1 as id",
        "create table main.b_below as select 0 as id",
    )
    shelf.sql("create view raw.both as select id from main.z_parent union all select id from main.b_below")
    shelf.model("a_child", "select max(id) as id from raw.both").run()
    shelf.sql("insert into raw.shelf values (2)")
    assert shelf.run().built == {"z_parent", "a_child", "b_below"}
    assert shelf.rows("select id from main.a_child") == [(2,)]


def test_what_a_view_showed_is_not_kept_when_what_it_reads_is_built(shelf: World) -> None:
    shelf.source("v").model("a", "select max(id) as id from raw.shelf").run()
    shelf.sql("create view raw.v as select id from main.a")
    reader = "select id from {{ source('raw', 'v') }}"
    shelf.model("b", reader).run()
    shelf.delete("models/b.sql").sql("insert into raw.shelf values (2)").run()
    assert shelf.model("b", reader).run().built == {"b"}


def test_a_test_through_a_view_is_about_what_is_there_when_it_runs(shelf: World) -> None:
    shelf.source("v", extra="        columns: [{name: id, data_tests: [unique]}]\n")
    shelf.model("a", "select id from raw.shelf").run()
    shelf.sql("create view raw.v as select id from main.a").run()
    shelf.sql("insert into raw.shelf values (1)")
    assert set(shelf.run().tests.values()) == {"ran: fail"}


@duckdb_only
def test_a_macro_that_takes_the_place_of_an_operator(world: World) -> None:
    world.model("m", "select 1 + 2 as x").model("like_a", "select 'a' like 'b' as x").run()
    world.sql('create macro main."+"(a, b) as 40')
    assert world.run().outcomes["m"] == "built: input_unknown"
    world.sql('create or replace macro main."+"(a, b) as 50')
    run = world.run()
    assert run.built == {"m"}
    assert world.rows("select x from main.m") == [(50,)]
    world.sql('create macro main."~~"(a, b) as true')
    assert world.run().built == {"like_a"}


FUNCTION = "create or replace function {}({}) returns text language sql immutable as $$ select 'v{}' $$"


@postgres_only
def test_a_function_that_is_called_like_a_column(shelf: PostgresWorld) -> None:
    shelf.sql(FUNCTION.format("public.label", "raw.shelf", 1)).source("shelf")
    shelf.model("m", "select s.id, s.label from {{ source('raw', 'shelf') }} as s")
    shelf.model("quoted", 'select (s)."label" from raw.shelf as s').model("plain", "select s.id from raw.shelf as s")
    shelf.run()
    assert shelf.run().built == set()
    shelf.sql(FUNCTION.format("public.label", "raw.shelf", 2))
    assert shelf.run().built == {"m", "quoted"}
    assert shelf.rows("select label from main.m") == [("v2",)]
    shelf.model("m", "select id, label from {{ source('raw', 'shelf') }}")
    assert shelf.run().outcomes["m"] == "failed: build_error", "without its qualifier it calls nothing"


@postgres_only
def test_an_operator_that_somebody_made(shelf: PostgresWorld) -> None:
    shelf.sql(FUNCTION.format("public.near", "text, text", 1))
    shelf.sql("create operator public.+ (leftarg = text, rightarg = text, function = public.near)")
    shelf.model("m", "select id::text + 'b' as x from raw.shelf").model(
        "plain", "select id - 1 as x from raw.shelf"
    ).run()
    assert shelf.run().built == set()
    shelf.sql(FUNCTION.format("public.near", "text, text", 2))
    assert shelf.run().built == {"m"}
    assert shelf.rows("select x from main.m") == [("v2",)]


@postgres_only
def test_a_cast_that_somebody_made_may_be_made_anywhere(shelf: PostgresWorld) -> None:
    shelf.model("m", "select (id = 1)::date as x from raw.shelf")
    shelf.sql(
        "create function public.day(boolean) returns date language sql immutable as $$ select date '2026-01-01' $$"
    )
    shelf.sql("create cast (boolean as date) with function public.day(boolean)").run()
    assert shelf.run().built == set()
    shelf.sql(
        "create or replace function public.day(boolean) returns date language sql immutable as $$ select date '2027-01-01' $$"
    )
    assert shelf.run().built == {"m"}
    assert shelf.rows("select x::text from main.m") == [("2027-01-01",)]


@postgres_only
def test_a_function_of_the_server_that_was_replaced(shelf: PostgresWorld) -> None:
    shelf.model("m", "select lower('A' || id) as x from raw.shelf").model("far", "select id from raw.shelf").run()
    shelf.sql("revoke execute on function pg_catalog.pg_read_file(text) from public")
    assert shelf.run().built == set(), "rights are no other function"
    lower = "create or replace function pg_catalog.lower(text) returns text language sql immutable as $$ select $1 || '{}' $$"
    shelf.sql(lower.format(1))
    assert shelf.run().built == {"m", "far"}, "what else calls it, an operator or an index perhaps, is not known"
    assert shelf.run().built == set()
    shelf.sql(lower.format(2))
    assert "m" in shelf.run().built
    assert shelf.rows("select x from main.m") == [("A12",)]


@postgres_only
def test_a_function_of_the_server_that_was_replaced_and_then_granted(shelf: PostgresWorld) -> None:
    shelf.model("m", "select lpad('a' || id, 3) as x from raw.shelf").model("far", "select id from raw.shelf").run()
    words = "{} function pg_catalog.lpad(text, int) returns text language internal immutable strict as '{}'"
    shelf.sql(
        words.format("create or replace", "repeat"), "grant execute on function pg_catalog.lpad(text, int) to public"
    )
    assert shelf.run().built == {"m"}
    assert shelf.run().built == set()
    shelf.sql(words.format("create or replace", "text_right"))
    assert shelf.run().built == {"m"}
    assert shelf.rows("select x from main.m") == [("a1",)]


@postgres_only
@pytest.mark.parametrize(
    ("before", "then"),
    [
        (
            "create text search configuration public.words (copy = simple); alter database {} set default_text_search_config = 'public.words'",
            "alter text search configuration public.words alter mapping for asciiword with english_stem",
        ),
        ("alter database {} set default_text_search_config = 'pg_catalog.simple'",
         "alter text search configuration pg_catalog.simple alter mapping for asciiword with english_stem"),
    ],
    ids=["of one's own", "of the server"],
)  # fmt: skip
def test_a_text_search_configuration_that_nobody_names(shelf: PostgresWorld, before: str, then: str) -> None:
    shelf.sql(*before.format(shelf.database).split("; "))
    shelf.model("m", "select to_tsvector('running')::text as x").run()
    assert shelf.run().built == set()
    shelf.sql(then)
    assert shelf.run().outcomes == {"m": "built: code_changed"}
    assert shelf.rows("select x from main.m") == [("'run':1",)]


@postgres_only
def test_a_schema_that_is_called_like_the_database(shelf: PostgresWorld) -> None:
    there = f'"{shelf.database}"'
    shelf.sql(f"create schema {there}", f"create table {there}.orders as select 1 as id")
    shelf.model("orders", "select 5 as id").model("m", f"select id from {there}.orders").run()
    shelf.sql(f"update {there}.orders set id = 2")
    assert shelf.run().built == {"m"}
    assert shelf.rows("select id from main.m") == [(2,)]


@postgres_only
def test_what_an_extension_brings_is_known_by_its_version(shelf: PostgresWorld) -> None:
    shelf.model("m", "select id % 2 as x, 'a' = 'b' as y from raw.shelf").run()
    shelf.sql("create extension citext")
    assert shelf.run().built == set(), "its operators are for types of its own"
    shelf.sql("create extension pg_trgm")
    assert shelf.run().outcomes == {"m": "built: input_unknown"}
    assert shelf.run().built == set()


def test_a_type_is_what_it_says(shelf: World) -> None:
    shelf.sql(
        "create type public.mood as enum ('bad', 'good')"
        if shelf.warehouse == "postgres"
        else "create type mood as enum ('bad', 'good')"
    )
    shelf.sql("create view raw.moods as select cast(enum_last(null::mood) as text) as best")
    shelf.source("moods").model("m", "select cast(enum_last(null::mood) as text) as best from raw.shelf")
    shelf.model("seen", "select best from {{ source('raw', 'moods') }}").run()
    assert shelf.run().outcomes == {"m": "reused: no_new_data", "seen": "reused: no_new_data"}
    shelf.sql(
        "alter type public.mood add value 'great'"
        if shelf.warehouse == "postgres"
        else "drop type mood; create type mood as enum ('bad', 'good', 'great')"
    )
    assert news(shelf, "m") == ["function:object mood"]
    assert shelf.rows("select best from main.seen") == shelf.rows("select best from raw.moods") == [("great",)]


@duckdb_only
def test_a_view_calls_what_has_the_name_now(shelf: World) -> None:
    shelf.sql("create view raw.loud as select upper('a') as x").source("loud").model(
        "m", "select x from {{ source('raw', 'loud') }}"
    ).run()
    shelf.sql("create macro upper(a) as a || '!'")
    assert news(shelf) == ["source:raw.loud"]
    assert shelf.rows("select x from main.m") == [("a!",)]


@postgres_only
@pytest.mark.parametrize(
    ("made", "query", "then"),
    [
        ("create collation public.by (locale = 'C')", "select ascii(min(x collate public.by)) as x from (values ('a'), ('B')) as v(x)",
         "drop collation public.by; create collation public.by (provider = icu, locale = 'en')"),
        ("create text search configuration public.words (copy = simple)", "select to_tsvector('public.words', 'running')::text as x",
         "drop text search configuration public.words; create text search configuration public.words (copy = english)"),
        ("create table raw.shape (a int)", "select count(*) as x, to_jsonb(null::raw.shape) as j, jsonb_populate_record(null::raw.shape, '{\"b\": 1}')::text as r",
         "alter table raw.shape add column b int"),
    ],
    ids=["collation", "text search configuration", "row of a table"],
)  # fmt: skip
def test_an_object_of_the_catalog_that_a_query_names(shelf: PostgresWorld, made: str, query: str, then: str) -> None:
    shelf.sql(made).model("m", query).run()
    assert shelf.run().outcomes == {"m": "reused: no_new_data"}
    before = shelf.rows("select * from main.m")
    shelf.sql(*then.split("; "))
    assert [each.partition(" ")[0] for each in news(shelf)] == ["function:object"]
    assert shelf.rows("select * from main.m") != before


@duckdb_only
def test_a_file_is_read_once_whichever_process_asks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest_of = files.file_digest

    def counting(path: str, *size: int) -> str:
        read.append(path)
        return digest_of(path, *size)

    def run() -> set[str]:
        """Run as another process."""
        monkeypatch.setattr(files, "DIGESTS", files.FileDigests())
        monkeypatch.setattr("sao_dagster.run.observe.DIGESTS", files.DIGESTS)
        read.clear()
        return world.run().built

    monkeypatch.setattr(files, "file_digest", counting)
    monkeypatch.setattr(files, "_SETTLED", 3600.0)
    file = world.root / "prices.csv"
    file.write_text("price\n1\n")
    os.utime(file, (1e9, 1e9))
    world.model("m", f"select * from '{file}'")
    assert (run(), len(read)) == ({"m"}, 1)
    assert (run(), len(read)) == (set(), 1), "it was written a moment ago"
    monkeypatch.setattr(files, "_SETTLED", 0.0)
    assert (run(), len(read)) == (set(), 1)
    assert (run(), len(read)) == (set(), 0)
    file.write_text("price\n2\n")
    os.utime(file, (1e9, 1e9))  # as `cp -p` does
    assert (run(), len(read)) == ({"m"}, 1)


@pytest.mark.parametrize(
    "hook",
    [
        "insert into {{ this }} select id from raw.shelf",
        "update {{ this }} set id = (select max(id) from raw.shelf)",
        "delete from {{ this }} where id in (select id + 5 from raw.shelf)",
        "insert into main.m (id) select id from raw.shelf",
        "drop table {{ this }}; create table {{ this }} as select id from raw.shelf",
        "create table main.n as select id from raw.shelf; drop table {{ this }}; alter table main.n rename to m",
    ],
)
def test_what_a_hook_reads_that_changes_what_was_built(shelf: World, hook: str) -> None:
    shelf.model("m", '{{ config(post_hook="' + hook + '") }} select 7 as id').run()
    assert shelf.run().built == set()
    shelf.sql("insert into raw.shelf values (2)")
    assert news(shelf) == ["table:raw.shelf"]
    is_current(shelf, "select id from main.m")


def test_what_a_hook_does_elsewhere_is_no_input(shelf: World) -> None:
    shelf.sql("create table raw.log as select 0 as rows")
    hooks = [
        "insert into raw.log select count(*) from {{ this }}",
        "insert into raw.log select count(*) from raw.shelf",
    ]
    shelf.model("m", "{{ config(post_hook=" + repr(hooks) + ") }} select 7 as id").run()
    shelf.sql("insert into raw.shelf values (2)")
    assert shelf.run().built == set()


@pytest.mark.parametrize(
    ("hook", "is_known"),
    [
        ("{{ fill() }}", False),
        ("update {{ this }} set id = {{ run_query('select max(id) from raw.shelf')[0][0] }}", False),
        ("{{ note() }}", True),
    ],
)
def test_what_a_hook_asks_is_unknown_where_it_may_change_rows(shelf: World, hook: str, *, is_known: bool) -> None:
    shelf.sql("create table raw.log as select 0 as rows")
    asked = "{{ run_query('select max(id) from raw.shelf')[0][0] }}"
    shelf.write("macros/fill.sql", "{% macro fill() %}insert into {{ this }} values (" + asked + "){% endmacro %}")
    shelf.write("macros/note.sql", "{% macro note() %}insert into raw.log values (" + asked + "){% endmacro %}")
    shelf.model("m", '{{ config(post_hook="' + hook + '") }} select 7 as id').run()
    assert shelf.run().built == (set() if is_known else {"m"})


@postgres_only
@pytest.mark.parametrize("hook", ["select raw.fill()", "call raw.refill()", "do 'begin perform raw.fill(); end'"])
def test_what_a_hook_calls_may_change_what_was_built(shelf: World, hook: str) -> None:
    body = "language plpgsql as 'begin insert into main.m select id from raw.shelf; end'"
    shelf.sql(f"create function raw.fill() returns void {body}", f"create procedure raw.refill() {body}")
    shelf.model("m", '{{ config(post_hook="' + hook + '") }} select 7 as id').run()
    shelf.sql("insert into raw.shelf values (2)")
    assert shelf.run().built == {"m"}
    is_current(shelf, "select id from main.m")
    assert any(text.startswith("m calls fill()") or hook in text for text in notices(shelf))
    shelf.model("m", '{{ config(post_hook="' + hook + '") }} select 7 as id', inputs=["raw.shelf"]).run()
    assert shelf.run().built == set()


def test_a_hook_that_calls_what_the_engine_has_does_nothing_unseen(shelf: World) -> None:
    shelf.model("m", "{{ config(post_hook=['select upper(1::text)', 'analyze']) }} select 7 as id").run()
    assert shelf.run().built == set()


def test_what_a_hook_reads_that_changes_a_seed(shelf: World) -> None:
    shelf.write("seeds/s.csv", "id\n5\n")
    shelf.write(
        "seeds/s.yml",
        "seeds:\n  - name: s\n    config:\n      post_hook: insert into {{ this }} select id from raw.shelf\n",
    )
    shelf.run()
    assert shelf.run().built == set()
    shelf.sql("insert into raw.shelf values (2)")
    assert shelf.run().built == {"s"}


def test_a_hook_that_changes_what_names_mean_leaves_them_unknown(shelf: World) -> None:
    default = "public" if shelf.warehouse == "postgres" else "main"
    shelf.sql(
        "create schema other",
        "create table other.here as select 1 as id",
        f"create table {default}.here as select 1 as id",
    )
    shelf.model("m", "{{ config(pre_hook=\"set search_path = 'other'\") }} select id from here")
    shelf.model(
        "whole",
        "{{ config(pre_hook=\"set search_path = 'other'\") }} select id from "
        + ("raw.shelf" if shelf.warehouse == "postgres" else "shop.raw.shelf"),
    ).run()
    shelf.sql("update other.here set id = 2")
    assert shelf.run().built == {"m"}
    assert shelf.rows("select id from main.m") == [(2,)]


@pytest.mark.parametrize(
    ("config", "before", "then"),
    [
        ("{error_if: '> (select max(id) from raw.shelf)'}", "warn", "fail"),
        ("{severity: warn, warn_if: '> (select max(id) from raw.shelf)'}", "pass", "warn"),
        ("{fail_calc: 'count(*) - (select max(id) from raw.shelf)'}", "pass", "fail"),
    ],
)
def test_what_the_conditions_of_a_data_test_read(shelf: World, config: str, before: str, then: str) -> None:
    shelf.model("m", "select 7 as id union all select 7")
    shelf.write(
        "models/m.yml",
        f"models:\n  - name: m\n    columns:\n      - name: id\n        data_tests: [{{unique: {{config: {config}}}}}]\n",
    )
    assert shelf.run().tests == {"unique_m_id": f"ran: {before}"}
    assert shelf.run().tests == {"unique_m_id": f"reused: {before}"}
    shelf.sql("update raw.shelf set id = 0")
    assert shelf.run().tests == {"unique_m_id": f"ran: {then}"}


def test_a_condition_of_a_data_test_that_asks_for_the_time_expires(shelf: World) -> None:
    shelf.model("m", "select 7 as id union all select 7")
    condition = "error_if: '> extract(year from current_date)', warn_if: '> 5'"
    shelf.write(
        "models/m.yml",
        f"models:\n  - name: m\n    columns:\n      - name: id\n        data_tests: [{{unique: {{config: {{{condition}}}}}}}]\n",
    )
    assert shelf.run().tests == {"unique_m_id": "ran: pass"}
    assert shelf.run().tests == {"unique_m_id": "reused: pass"}
    shelf.wait(days=1)
    assert shelf.run().tests == {"unique_m_id": "ran: pass"}


def test_what_the_predicates_of_an_incremental_model_read(shelf: World) -> None:
    predicate = "id in (select id from raw.shelf)"
    shelf.model(
        "m",
        "select 7 as id",
        materialized="incremental",
        unique_key="id",
        incremental_strategy="delete+insert",
        incremental_predicates=[predicate],
    )
    shelf.run()
    shelf.run()
    assert shelf.run().built == set()
    shelf.sql("insert into raw.shelf values (7)")
    assert news(shelf) == ["table:raw.shelf"]


@pytest.mark.parametrize(
    "filled",
    [
        "create table if not exists raw.stage (id int); delete from raw.stage; insert into raw.stage select id from raw.shelf",
        "drop table if exists raw.stage; create table raw.stage as select id from raw.shelf",
        "drop table if exists raw.first; create table raw.first as select id from raw.shelf; drop table if exists raw.stage; create table raw.stage as select id from raw.first",
    ],
    ids=["inserted", "made", "by way of another"],
)
def test_what_is_read_to_fill_a_table_before_a_run(shelf: World, filled: str) -> None:
    statements = "\n".join(f"  - {each}" for each in filled.split("; "))
    shelf.write("dbt_project.yml", (shelf.root / "dbt_project.yml").read_text() + f"on-run-start:\n{statements}\n")
    shelf.model("m", "select id from raw.stage").model("other", "select 1 as id").run()
    assert shelf.run().built == set()
    shelf.sql("insert into raw.shelf values (2)")
    assert shelf.run().built == {"m"}
    assert shelf.rows("select id from main.m order by 1") == [(1,), (2,)]
    assert shelf.run().built == set()


def test_what_is_read_of_a_model_to_fill_a_table_before_a_run_is_what_was_there(shelf: World) -> None:
    fill = "on-run-start:\n  - create table if not exists main.a (id int)\n  - drop table if exists raw.stage\n"
    shelf.sql("create schema if not exists main")
    shelf.write(
        "dbt_project.yml",
        (shelf.root / "dbt_project.yml").read_text() + fill + "  - create table raw.stage as select id from main.a\n",
    )
    shelf.model("a", "select max(id) as id from raw.shelf").model("m", "select id from raw.stage")
    shelf.run()
    shelf.sql("insert into raw.shelf values (2)").run()
    shelf.run()
    assert shelf.rows("select id from main.m") == [(2,)]


@duckdb_only
def test_a_file_that_is_copied_into_a_table_before_a_run(shelf: World) -> None:
    file = shelf.root / "stage.csv"
    file.write_text("id\n1\n")
    fill = f"on-run-start:\n  - create or replace table raw.stage (id int)\n  - copy raw.stage from '{file}'\n"
    shelf.write("dbt_project.yml", (shelf.root / "dbt_project.yml").read_text() + fill)
    shelf.model("m", "select id from raw.stage").run()
    file.write_text("id\n2\n")
    is_current(shelf, "select id from main.m")
    assert shelf.rows("select id from main.m") == [(2,)]
