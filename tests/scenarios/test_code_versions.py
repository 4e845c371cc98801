"""What counts as a change of a model's definition, and what does not."""

from __future__ import annotations

import pytest

from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders")
    world.sql("create table raw.orders as select 1 as id, 7 as customer_id, 10 as amount")
    return world


def rebuilt(world: World, name: str = "orders") -> str:
    return world.run().outcomes[name]


ORIGINAL = "select o.id, o.amount from {{ source('raw', 'orders') }} as o where o.amount > 0"


@pytest.mark.parametrize(
    "edited",
    [
        "-- a comment\n" + ORIGINAL,
        ORIGINAL.replace(" ", "\n  "),
        ORIGINAL.replace("select", "SELECT").replace("from", "FROM"),
        "{# a comment of Jinja #}" + ORIGINAL + " ;",
    ],
)
def test_what_the_tokens_ignore(shop: World, edited: str) -> None:
    shop.model("orders", ORIGINAL).run()
    shop.model("orders", edited)
    run = shop.run()
    assert run.outcomes["orders"] == "reused: no_new_data"
    assert "cosmetic" not in run.decision("orders").evidence


@pytest.mark.parametrize(
    "edited",
    [
        ORIGINAL.replace("as o", "as x").replace("o.", "x."),
        ORIGINAL.replace("o.amount > 0", "((o.amount) > 0)"),
        ORIGINAL.replace("o.id", 'o."id"'),
        "with o as (select * from {{ source('raw', 'orders') }}) select o.id, o.amount from o where o.amount > 0",
    ],
)
def test_what_the_canonical_form_ignores_is_evidence(shop: World, edited: str) -> None:
    original = ORIGINAL if "with" not in edited else edited.replace(" o as", " p as").replace("from o ", "from p as o ")
    shop.model("orders", original).run()
    shop.model("orders", edited)
    run = shop.run()
    assert run.outcomes["orders"] == "reused: no_new_data"
    assert run.decision("orders").evidence["cosmetic"] is True


@pytest.mark.parametrize(
    "edited",
    [
        ORIGINAL.replace("> 0", ">= 0"),
        ORIGINAL.replace("o.id", "o.id as key"),
        ORIGINAL.replace("o.id, o.amount", "o.amount, o.id"),
        ORIGINAL.replace("> 0", "> 0 limit 1"),
        ORIGINAL.replace("> 0", "> '0'"),
        ORIGINAL.replace("select", "select /*+ hint */"),
    ],
)
def test_what_counts(shop: World, edited: str) -> None:
    shop.model("orders", ORIGINAL).run()
    shop.model("orders", edited)
    assert rebuilt(shop) == "built: code_changed"


@pytest.mark.warehouse("duckdb")
@pytest.mark.parametrize("materialized", ["table", "incremental"])
def test_an_alias_that_is_a_column_of_what_is_read_may_be_what_a_field_is_read_from(
    shop: World, materialized: str
) -> None:
    shop.sql("create table raw.boxes as select {'x': 1} as box, 2 as y").source("orders", "boxes")
    shop.model("m", "select box.x from {{ source('raw', 'boxes') }} as box", materialized=materialized).run()
    shop.model("m", "select b.x from {{ source('raw', 'boxes') }} as b", materialized=materialized)
    assert shop.run().outcomes["m"] == "failed: build_error", "there is no column x"
    shop.model("m", "select box.x from {{ source('raw', 'boxes') }} as box", materialized=materialized).run()
    shop.model("m", "select x from {{ source('raw', 'boxes') }} as box", materialized=materialized)
    assert shop.run().outcomes["m"] == "failed: build_error"


@pytest.mark.warehouse("duckdb")
def test_an_alias_counts_where_columns_are_not_known(shop: World) -> None:
    shop.sql("create table raw.other as select 1 as id").model("m", "select o.id from raw.other as o").run()
    shop.model("m", "select p.id from raw.other as p")
    assert rebuilt(shop, "m") == "built: code_changed"


def test_text_in_quotes_counts(shop: World) -> None:
    shop.model("orders", "select 'Ada' as name").run()
    shop.model("orders", "select 'ada' as name")
    assert rebuilt(shop) == "built: code_changed"


def test_a_cosmetic_edit_is_compared_with_what_was_built(shop: World) -> None:
    """Small steps do not add up to an unseen change."""
    shop.model("orders", "select id from {{ source('raw', 'orders') }}").run()
    shop.model("orders", "select x.id from {{ source('raw', 'orders') }} as x")
    assert rebuilt(shop) == "reused: no_new_data"
    shop.model("orders", "select y.customer_id as id from {{ source('raw', 'orders') }} as y")
    assert rebuilt(shop) == "built: code_changed"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"materialized": "table"}, {"materialized": "view"}),
        ({}, {"post_hook": "create table if not exists raw.log as select 1 as x"}),
        ({"materialized": "incremental"}, {"materialized": "incremental", "on_schema_change": "sync_all_columns"}),
        ({"materialized": "incremental"}, {"materialized": "incremental", "unique_key": "id"}),
    ],
)
def test_config_that_changes_the_result_counts(shop: World, before: dict[str, str], after: dict[str, str]) -> None:
    shop.model("orders", ORIGINAL, **before).run()
    shop.model("orders", ORIGINAL, **after)
    run = shop.run()
    assert run.outcomes["orders"] == "built: code_changed"
    assert "config" in run.decision("orders").evidence["parts"]


def test_config_that_does_not_change_the_result_does_not_count(shop: World) -> None:
    shop.model("orders", ORIGINAL).run()
    shop.model(
        "orders",
        ORIGINAL,
        tags=["daily"],
        meta={"owner": "ada@example.com"},
        group="sales",
        freshness={"build_after": {"count": 1, "period": "hour"}},
        volatile="daily",
    )
    shop.write(
        "models/orders.yml",
        "groups: [{name: sales, owner: {name: Ada}}]\n"
        "models: [{name: orders, description: All orders, columns: [{name: id, data_tests: [unique]}]}]",
    )
    assert rebuilt(shop) == "reused: no_new_data"


def test_a_macro_counts_through_the_sql_it_renders(shop: World) -> None:
    shop.write("macros/cents.sql", "{% macro cents(column) %}{{ column }} / 100{% endmacro %}")
    shop.model("orders", "select {{ cents('amount') }} as amount from {{ source('raw', 'orders') }}").run()
    shop.write(
        "macros/cents.sql",
        "{% macro cents(column) %}  {{ column }} / 100 -- euros\n{% endmacro %}{% macro new() %}{% endmacro %}",
    )
    assert rebuilt(shop) == "reused: no_new_data"
    shop.write("macros/cents.sql", "{% macro cents(column) %}{{ column }} / 100.0{% endmacro %}")
    assert rebuilt(shop) == "built: code_changed"


def test_variables_count_through_the_sql_they_render(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.model("orders", "select {{ var('rate', 2) }} * {{ env_var('FACTOR', '3') }} as x").run()
    assert shop.run(variables={"other": 1}).outcomes["orders"] == "reused: no_new_data"
    assert shop.run(variables={"rate": 5}).outcomes["orders"] == "built: code_changed"
    shop.run()
    monkeypatch.setenv("FACTOR", "4")
    assert rebuilt(shop) == "built: code_changed"


def test_values_of_the_run_are_pinned_for_the_fingerprint_and_real_in_the_build(shop: World) -> None:
    shop.model(
        "orders",
        "select '{{ invocation_id }}' as run, '{{ run_started_at }}' as at, '{{ modules.datetime.datetime.now() }}' as now",
    ).run()
    (row,) = shop.rows("select * from main.orders")
    assert "0000-0000" not in row[0]
    assert not row[1].startswith("2000-01-01")
    assert not row[2].startswith("2000-01-01")
    assert rebuilt(shop) == "reused: no_new_data"


def test_both_renderings_of_an_incremental_model_count(shop: World) -> None:
    sql = "select id, amount from {{ source('raw', 'orders') }} {% if is_incremental() %}where id > 0{% endif %}"
    shop.model("orders", sql, materialized="incremental", unique_key="id").run()
    assert rebuilt(shop) == "reused: no_new_data", "the first and the second run have one code version"
    shop.model("orders", sql.replace("id > 0", "id > 1"), materialized="incremental", unique_key="id")
    assert rebuilt(shop) == "built: code_changed"


def test_a_template_that_asks_the_warehouse_counts_as_text_and_macros(shop: World) -> None:
    shop.write(
        "macros/top.sql",
        "{% macro top() %}{% if execute %}{{ return(run_query('select max(amount) from raw.orders').columns[0][0]) }}{% endif %}{% endmacro %}",
    )
    shop.model("orders", "select {{ top() }} as top from {{ source('raw', 'orders') }}").run()
    assert shop.rows("select * from main.orders") == [(10,)]
    assert rebuilt(shop) == "reused: no_new_data"
    shop.sql("insert into raw.orders values (2, 7, 50)")
    assert rebuilt(shop) == "built: new_data"
    assert shop.rows("select distinct top from main.orders") == [(50,)]
    text = (shop.root / "macros/top.sql").read_text()
    shop.write("macros/top.sql", text.replace("max", "min"))
    run = shop.run()
    assert run.outcomes["orders"] == "built: code_changed"
    assert run.decision("orders").evidence["parts"] == ["macros"]


def test_an_ephemeral_is_part_of_the_query_that_reads_it(shop: World) -> None:
    shop.model("base", "select * from {{ source('raw', 'orders') }}", materialized="ephemeral")
    shop.model("orders", "with x as (select * from {{ ref('base') }}) select id from x").run()
    assert "base" not in shop.run().outcomes
    shop.model("base", "select * from {{ source('raw', 'orders') }} where id > 0", materialized="ephemeral")
    assert rebuilt(shop) == "built: code_changed"


def test_a_view_is_looked_through(shop: World) -> None:
    shop.model("base", "select id, amount from {{ source('raw', 'orders') }}", materialized="view")
    shop.model("orders", "select * from {{ ref('base') }}").run()
    shop.sql("insert into raw.orders values (2, 7, 50)")
    run = shop.run()
    assert run.outcomes == {"base": "reused: no_new_data", "orders": "built: new_data"}
    assert [each["input"] for each in run.decision("orders").evidence["news"]] == ["source:raw.orders"]
    shop.model("base", "select id, amount + 1 as amount from {{ source('raw', 'orders') }}", materialized="view")
    run = shop.run()
    assert run.outcomes == {"base": "built: code_changed", "orders": "built: code_changed"}
    assert run.decision("orders").evidence == {"parts": ["views"], "views": ["base"]}


def test_the_definition_of_a_view_counts_as_it_is_in_the_warehouse(shop: World) -> None:
    shop.model("base", "select id, amount from {{ source('raw', 'orders') }}", materialized="view")
    shop.model("orders", "select * from {{ ref('base') }}").run()
    shop.model("base", "select id, amount + 1 as amount from {{ source('raw', 'orders') }}", materialized="view")
    assert shop.run("orders").outcomes["orders"] == "reused: no_new_data", "the view has not been made anew"
    shop.run("base")
    assert shop.run("orders").outcomes["orders"] == "built: code_changed"


def test_a_view_is_made_anew_when_the_columns_below_it_change(shop: World) -> None:
    shop.model("orders", "select * from {{ source('raw', 'orders') }}", materialized="view").run()
    shop.sql("insert into raw.orders values (2, 7, 50)")
    assert rebuilt(shop) == "reused: no_new_data"
    shop.sql("alter table raw.orders add column note varchar")
    assert rebuilt(shop) == "built: new_data"
    assert shop.rows("select note from main.orders limit 1") == [(None,)]


@pytest.mark.parametrize(
    ("sql", "setting", "hours", "expected"),
    [
        (
            "select id from {{ source('raw', 'orders') }} where now() > '2000-01-01'",
            "auto",
            1,
            "built: volatile_expired",
        ),
        (
            "select id from {{ source('raw', 'orders') }} where now() > '2000-01-01'",
            "ignore",
            100,
            "reused: no_new_data",
        ),
        ("select id from {{ source('raw', 'orders') }} where now() > '2000-01-01'", "daily", 1, "reused: no_new_data"),
        (
            "select id from {{ source('raw', 'orders') }} where now() > '2000-01-01'",
            "daily",
            15,
            "built: volatile_expired",
        ),
        ("select id from {{ source('raw', 'orders') }}", "always", 0, "built: volatile_expired"),
        ("select id from {{ source('raw', 'orders') }}", "hourly", 1, "built: volatile_expired"),
        ("select id, now() as loaded_at from {{ source('raw', 'orders') }}", "auto", 100, "reused: no_new_data"),
        (
            "select id from {{ source('raw', 'orders') }} where id < random() * 100",
            "auto",
            1,
            "built: volatile_expired",
        ),
    ],
)
def test_volatile(shop: World, sql: str, setting: str, hours: int, expected: str) -> None:
    shop.model("orders", sql, volatile=setting).run()
    assert shop.wait(hours=hours).run().outcomes["orders"] == expected


def test_bare_volatile_columns_are_no_part_of_the_data_version(shop: World) -> None:
    shop.model("orders", "select id, amount, random() as row_id, now() as loaded_at from {{ source('raw', 'orders') }}")
    shop.model("below", "select id, amount from {{ ref('orders') }}").run()
    from sao_dagster.core.reasons import Mode

    shop.run("orders", mode=Mode.FORCE)
    assert shop.run().outcomes == {"orders": "reused: no_new_data", "below": "reused: no_new_data"}


def test_volatile_sql_in_a_view_expires_what_reads_it(shop: World) -> None:
    shop.model(
        "recent", "select * from {{ source('raw', 'orders') }} where current_date > '2000-01-01'", materialized="view"
    )
    shop.model("orders", "select id from {{ ref('recent') }}").run()
    run = shop.wait(days=1).run()
    assert run.outcomes == {"recent": "reused: no_new_data", "orders": "built: volatile_expired"}


def test_templates_that_ask_for_the_columns_of_a_relation(shop: World) -> None:
    shop.model("base", "select 1 as id, 'x' as note")
    shop.model(
        "wide",
        "{% set columns = adapter.get_columns_in_relation(ref('base')) %}"
        "select {% for each in columns %}{{ each.name }} as {{ each.name }}_{{ loop.index }}{{ ', ' if not loop.last }}{% endfor %} from {{ ref('base') }}",
    )
    shop.run()
    assert [name for name, _ in shop.columns("main.wide")] == ["id_1", "note_2"]


def test_what_is_built_over_a_view_that_moved_is_built_again(world: World) -> None:
    """Only the table is built at first, over the view as it still is; then the view moves, and the table follows."""
    world.sql("create table raw.one as select 1 as x", "create table raw.other as select 2 as x")
    sources = "sources: [{{name: raw, tables: [{{name: numbers, identifier: {}}}]}}]"
    world.write("models/sources.yml", sources.format("one"))
    world.model("shown", "select * from {{ source('raw', 'numbers') }}", materialized="view")
    world.model("report", "select * from {{ ref('shown') }}")
    world.write(
        "models/m.yml",
        "models: [{name: shown, columns: [{name: x, data_tests: [{accepted_values: {values: [1], quote: false}}]}]}]",
    )
    world.run()
    world.write("models/sources.yml", sources.format("other"))
    world.run("report")
    assert world.run("accepted_values_shown_x__False__1").tests["accepted_values_shown_x__False__1"] == "ran: pass"
    run = world.run()
    assert run.outcomes["shown"] == "built: code_changed"
    assert run.tests["accepted_values_shown_x__False__1"] == "ran: fail"
    world.delete("models/m.yml")
    world.run()
    assert world.rows("select x from main.report") == [(2,)]


def test_models_that_change_places_are_read_where_they_are(world: World) -> None:
    """Only what reads one of them is built before they are: what it read is not what they are to be."""
    world.model("a", "select 1 as x", alias="first").model("b", "select 2 as x", alias="second")
    world.model("report", "select * from {{ ref('a') }}")
    world.run()
    world.model("a", "select 1 as x", alias="second").model("b", "select 2 as x", alias="first")
    world.run("report")
    assert world.rows("select x from main.report") == [(2,)]
    world.run()
    assert world.rows("select x from main.report") == [(1,)]


@pytest.mark.warehouse("postgres")
def test_an_alias_that_differs_in_case_alone_is_another_relation(world: World) -> None:
    world.model("a", "select 1 as x", alias="orders").run()
    assert world.model("a", "select 1 as x", alias="Orders").run().outcomes["a"] == "built: code_changed"
    assert world.rows('select x from main."Orders"') == [(1,)]
