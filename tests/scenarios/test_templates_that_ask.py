"""What a template asked the warehouse and got is an input of its model: another answer is news, and what follows from it counts."""

from __future__ import annotations

import pytest

from sao_dagster import select
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse

ASKS = "{% set most = run_query('select max(id) as id from raw.orders') %}"


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders")
    return world.sql("create table raw.orders as select 1 as id, 'de' as country")


def rebuilt(world: World, name: str = "m") -> str:
    return world.run().outcomes[name]


def test_another_answer_is_news(shop: World) -> None:
    shop.model("m", ASKS + "select {{ most.columns[0].values()[0] if most else 0 }} as most")
    shop.model("below", "select most from {{ ref('m') }}").run()
    assert rebuilt(shop) == "reused: no_new_data"
    shop.sql("insert into raw.orders values (0, 'fr')")  # which is not what was asked for
    assert rebuilt(shop) == "reused: no_new_data"
    shop.sql("insert into raw.orders values (7, 'fr')")
    assert shop.plan()["m"].reason.value == "new_data"
    assert shop.run().built == {"m", "below"}
    assert shop.rows("select most from main.below") == [(7,)]


def test_news_of_an_answer_waits_for_the_interval_and_code_does_not(shop: World) -> None:
    config = "{{ config(freshness={'build_after': {'count': 4, 'period': 'hour'}}) }}"
    shop.model("m", config + ASKS + "select {{ most.columns[0].values()[0] if most else 0 }} as most").run()
    shop.sql("insert into raw.orders values (7, 'fr')")
    assert rebuilt(shop) == "reused: within_interval"
    shop.model("m", config + ASKS + "select {{ most.columns[0].values()[0] if most else 0 }} + 1 as most")
    assert rebuilt(shop) == "built: code_changed"
    assert shop.rows("select most from main.m") == [(8,)]


def test_a_view_whose_text_follows_from_an_answer_is_made_anew_and_what_reads_it_is(shop: World) -> None:
    asks = "{% set all = run_query('select distinct country from raw.orders order by 1') %}"
    shop.model("v", asks + "select {{ all.rows | length if all else 0 }} as countries", materialized="view")
    shop.model("m", "select countries from {{ ref('v') }}").run()
    assert not shop.run().built
    shop.sql("insert into raw.orders values (7, 'fr')")
    assert shop.run().built == {"v", "m"}
    assert shop.rows("select countries from main.m") == [(2,)]


def test_what_is_more_than_a_query_is_not_asked_again(shop: World) -> None:
    shop.sql("create table raw.log as select 0 as id")
    shop.model("m", "{% do run_query('insert into raw.log values (1)') %}select 1 as x").run()
    rows = shop.rows("select count(*) from raw.log")
    shop.plan()
    assert shop.rows("select count(*) from raw.log") == rows
    assert rebuilt(shop) == "built: input_unknown"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("select 'a  b' as x", "select 'a b' as x"),
        ("select 'a \nb' as x", "select 'a\nb' as x"),
        ("select '{{ 'a' if most else '' }}' as x", "select '{{ 'c' if most else '' }}' as x"),
    ],
)
def test_the_text_of_the_template_counts(shop: World, before: str, after: str) -> None:
    shop.model("m", ASKS + before).run()
    assert shop.model("m", ASKS + after).run().outcomes["m"] == "built: code_changed"


def test_comments_around_a_template_do_not_count(shop: World) -> None:
    shop.model("m", ASKS + "select 1 as x").run()
    assert (
        shop.model("m", f"-- about it\n/* and it's more */ {ASKS}select 1 as x").run().outcomes["m"]
        == "reused: no_new_data"
    )
    assert not shop.model("m", f"{ASKS}select 1 as x\n-- about it\n\n  -- and more\n").run().built
    assert (
        shop.model("m", f"-- {{{{ run_query('select 2') }}}}\n{ASKS}select 1 as x").run().outcomes["m"]
        == "built: code_changed"
    )


def test_what_is_read_behind_an_answer_counts(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "north")
    shop.write("macros/rates.sql", "{% macro default__rate_de() %}1{% endmacro %}")
    shop.model("e", "select 1 as id", materialized="ephemeral")
    shop.model(
        "m",
        ASKS + "select '{{ env_var('REGION', '') if most else '' }}' as region,"
        " {{ adapter.dispatch('rate_' ~ run_query(\"select 'de' as x\").rows[0][0])() if execute else 0 }} as rate,"
        " id from {{ ref('e') }}",
    ).run()
    assert not shop.run().built
    monkeypatch.setenv("REGION", "south")
    assert shop.run().built == {"m"}
    shop.write("macros/rates.sql", "{% macro default__rate_de() %}2{% endmacro %}")
    assert shop.run().built == {"m"}
    assert shop.model("e", "select 3 as id", materialized="ephemeral").run().built == {"m"}
    assert shop.rows("select region, rate, id from main.m") == [("south", 2, 3)]
    assert not shop.run().built


def test_what_is_asked_of_a_model_that_is_built_in_the_run_is_asked_after_it(shop: World) -> None:
    shop.model("a", "select max(id) as id from {{ source('raw', 'orders') }}")
    shop.model(
        "m", "{% set got = run_query('select id from ' ~ ref('a')) %}select {{ got.rows[0][0] if got else 0 }} as id"
    )
    shop.run()
    assert not shop.run().built
    shop.sql("insert into raw.orders values (7, 'fr')")
    assert shop.run().built == {"a", "m"}
    assert shop.rows("select id from main.m") == [(7,)]
    assert not shop.run().built


def test_the_hour_stands_for_an_answer_that_holds_no_longer(shop: World) -> None:
    shop.model("m", "{% set at = run_query('select now() as x') %}select '{{ at.rows[0][0] if at else 0 }}' as x").run()
    assert rebuilt(shop) == "reused: no_new_data"
    shop.wait(hours=1)
    assert rebuilt(shop) == "built: new_data"


def test_what_an_incremental_model_asks_of_itself_makes_nothing_new(shop: World) -> None:
    most = "{% set most = run_query('select max(id) as id from ' ~ this).rows[0][0] %}"
    shop.model(
        "m",
        "{% if is_incremental() %}" + most + "{% endif %}select id from {{ source('raw', 'orders') }}"
        "{% if is_incremental() %} where id > {{ most }}{% endif %}",
        materialized="incremental",
    ).run()
    shop.run()  # which shows that one more build changes nothing
    alone = shop.warehouse == "duckdb"  # elsewhere another one may have written meanwhile
    assert rebuilt(shop) == ("reused: no_new_data" if alone else "built: input_unknown")
    shop.sql("insert into raw.orders values (2, 'fr')").run()
    assert shop.rows("select id from main.m order by id") == [(1,), (2,)]


def test_a_table_that_is_named_by_an_answer_is_an_input(shop: World) -> None:
    shop.sql("create table raw.names as select 'raw.orders' as name")
    shop.model(
        "m",
        "{% set from_ = run_query('select name from raw.names') %}"
        "select count(*) as n from {{ from_.rows[0][0] if from_ else 'raw.orders' }}",
    ).run()
    assert rebuilt(shop) == "reused: no_new_data"
    shop.sql("insert into raw.orders values (7, 'fr')")
    assert rebuilt(shop) == "built: new_data"
    shop.sql("create table raw.others as select 1 as id", "update raw.names set name = 'raw.others'")
    assert shop.run().built == {"m"}
    assert shop.rows("select n from main.m") == [(1,)]
    assert rebuilt(shop) == "reused: no_new_data"
    shop.model(
        "m",
        "{{ config(inputs=[]) }}{% set from_ = run_query('select name from raw.names') %}"
        "select count(*) as n from {{ from_.rows[0][0] if from_ else 'raw.orders' }}",
    ).run()
    assert rebuilt(shop) == "reused: no_new_data"


COUNTED = "{% set found = run_query('select count(*) from raw.orders') %}"
IN_TEST = COUNTED + "select id from {{ ref('m') }} where id > {{ found.rows[0][0] if execute else 0 }}"


def verdicts(world: World) -> list[str]:
    return sorted(world.run().tests.values())


def test_what_a_test_asked_is_an_input_of_its_verdict(shop: World) -> None:
    shop.model("m", "select 2 as id").write("tests/few.sql", IN_TEST)
    assert verdicts(shop) == ["ran: fail"], "there is one order"
    shop.sql("insert into raw.orders values (2, 'fr')")
    assert verdicts(shop) == ["ran: pass"]
    assert verdicts(shop) == ["reused: pass"]
    shop.sql("delete from raw.orders where id = 2")
    plan, _ = shop.runner().plan(select(shop.runner().project))
    assert plan.tests["few"].evidence == {"inputs": ["answer:test.few"]}
    assert verdicts(shop) == ["ran: fail"]


def test_the_template_of_a_test_that_asks_counts_with_the_macros_that_it_reaches(shop: World) -> None:
    macro = (
        "{% macro most() %}{{ return(run_query('select max(id) from raw.orders').rows[0][0] + NUMBER) }}{% endmacro %}"
    )
    shop.write("macros/most.sql", macro.replace("NUMBER", "1"))
    shop.model("m", "select 2 as id")
    shop.write("tests/few.sql", "select id from {{ ref('m') }} where id > {{ most() if execute else 0 }}")
    assert verdicts(shop) == ["ran: pass"]
    assert verdicts(shop) == ["reused: pass"]
    shop.write("macros/most.sql", macro.replace("NUMBER", "0"))
    assert verdicts(shop) == ["ran: fail"]


def test_a_generic_test_may_ask_for_columns(shop: World) -> None:
    shop.write(
        "macros/none_null.sql",
        "{% test none_null(model) %}{% set found = adapter.get_columns_in_relation(model) %}"
        "select * from {{ model }} where false {% for each in found %}or {{ each.quoted }} is null {% endfor %}{% endtest %}",
    )
    shop.model("m", "select id from {{ source('raw', 'orders') }}")
    shop.write("models/m.yml", "models: [{name: m, data_tests: [none_null]}]")
    assert verdicts(shop) == ["ran: pass"]
    assert verdicts(shop) == ["reused: pass"]
    shop.model("m", "select id, cast(null as int) as more from {{ source('raw', 'orders') }}")
    assert verdicts(shop) == ["ran: fail"]


def test_a_test_that_asks_and_follows_the_clock_runs_when_that_has_moved(shop: World) -> None:
    shop.model("m", "select 1 as id").write(
        "tests/now.sql", IN_TEST + " and cast(current_timestamp as varchar) is not null"
    )
    assert verdicts(shop) == ["ran: pass"]
    assert verdicts(shop) == ["reused: pass"]
    assert verdicts(shop.wait(hours=1)) == ["ran: pass"]


def test_a_test_that_asks_what_is_more_than_a_query_runs_each_time(shop: World) -> None:
    shop.sql("create table raw.log as select 0 as id")
    act = "{% if execute %}{% do run_query('insert into raw.log values (1)') %}{% endif %}"
    shop.model("m", "select 1 as id").write("tests/acts.sql", act + "select id from {{ ref('m') }} where id > 1")
    assert verdicts(shop) == verdicts(shop) == ["ran: pass"]
    assert shop.rows("select count(*) from raw.log") == [(3,)], "once in each run, and nobody asks it to decide"


def test_a_test_whose_template_fails_in_the_run_is_one_test_that_could_not_run(shop: World) -> None:
    shop.model("m", "select 1 as id")
    shop.write(
        "tests/bad.sql", "{% do run_query('select no_such_column from raw.orders') %}select id from {{ ref('m') }}"
    )
    shop.write("tests/good.sql", "select id from {{ ref('m') }} where id > 1")
    assert verdicts(shop) == ["ran: error", "ran: pass"]


@pytest.mark.parametrize(
    "template",
    [
        "{% set got = run_query('select max(id) from ' ~ target.schema ~ '.a') %}select {{ got.rows[0][0] if got else 0 }} as id",
        "{% set as_ = run_query(\"select 'a' as x\") %}select id from {{ target.schema }}.{{ as_.rows[0][0] if as_ else '' }}",
        "{% set got = run_query('select max(id) from main.by_hand') %}select {{ got.rows[0][0] if got else 0 }} as id",
        "{% set at = adapter.get_relation(target.database, target.schema, 'a') %}select max(id) as id from {{ at or 'nowhere' }}",
    ],
    ids=["asked", "read", "through a view", "looked up"],
)
def test_a_model_that_a_template_reads_by_its_name_comes_first(shop: World, template: str) -> None:
    shop.model("z", "select max(id) as id from {{ source('raw', 'orders') }}")
    shop.model("a", "select id from {{ ref('z') }}")
    shop.run()
    shop.sql("create view main.by_hand as select id from main.a")
    shop.model("__m", "{{ config(alias='m') }}" + template)
    shop.run()
    for newest in (7, 9):
        shop.sql(f"insert into raw.orders values ({newest}, 'fr')")
        assert shop.run().built == {"z", "a", "__m"}
        assert shop.rows("select id from main.m") == [(newest,)]
    shop.run()
    assert not shop.run().built
    shop.sql("insert into raw.orders values (0, 'fr')")  # which is not the newest
    assert shop.run().built == {"z"}


def test_what_a_template_asks_of_a_model_that_is_not_there_yet_is_asked_after_it(shop: World) -> None:
    shop.model("a", "select max(id) as id from {{ source('raw', 'orders') }}")
    asks = "{% set got = run_query('select id from ' ~ target.schema ~ '.a') %}"
    shop.model("__m", "{{ config(alias='m') }}" + asks + "select {{ got.rows[0][0] if got else 0 }} as id")
    assert shop.run().built == {"a", "__m"}
    assert not shop.run().built


def test_a_model_that_is_asked_by_its_name_only_later_is_not_taken_for_known(shop: World) -> None:
    shop.model("z", "select max(id) as id from {{ source('raw', 'orders') }}")
    asks = (
        "{% set which = run_query('select id from ' ~ ref('first')).rows[0][0] if execute else 0 %}"
        "{% set got = run_query('select max(id) from ' ~ target.schema ~ '.' ~ ('z' if which > 1 else 'first')) %}"
    )
    shop.model("first", "select 1 as id")
    shop.model("__m", "{{ config(alias='m') }}" + asks + "select {{ got.rows[0][0] if got else 0 }} as id")
    shop.run()
    assert not shop.run().built
    shop.model("first", "select 2 as id").sql("insert into raw.orders values (7, 'fr')")
    assert shop.run().built == {"first", "z", "__m"}
    assert shop.run().outcomes["__m"] == "built: input_unknown"
    assert shop.rows("select id from main.m") == [(7,)]
    assert not shop.run().built


@pytest.mark.parametrize("kind", ["table", "view"])
def test_what_asks_about_a_view_has_no_new_input_once_the_view_is_there(shop: World, kind: str) -> None:
    shop.model("a", "select id from {{ source('raw', 'orders') }}")
    shop.model("v", "select id from {{ ref('a') }}", materialized="view")
    asks = (
        "{% set found = adapter.get_columns_in_relation(api.Relation.create(schema=target.schema, identifier='v')) %}"
    )
    shop.model("m", asks + "select id, {{ found | length }} as columns from {{ ref('v') }}", materialized=kind)
    shop.model("below", "select * from {{ ref('m') }}")
    assert shop.run().built == {"a", "v", "m", "below"}
    assert not shop.run().built
    shop.sql("insert into raw.orders values (7, 'fr')")
    assert shop.run().built == {"a", "below", *(["m"] if kind == "table" else [])}
    assert shop.rows("select max(id), max(columns) from main.below") == [(7, 1)]
    assert not shop.run().built


def test_what_a_test_asks_of_a_model_by_its_name_is_asked_after_it(shop: World) -> None:
    shop.model("z", "select max(id) as id from {{ source('raw', 'orders') }}")
    shop.model("m", "select 1 as id")
    asks = "{% set got = run_query('select id from ' ~ target.schema ~ '.z') %}"
    shop.write(
        "tests/few.sql",
        asks + "select id from {{ ref('m') }} where {{ got.rows[0][0] if got else 0 }} > 5",
    )
    assert shop.run().tests["few"].startswith("ran")
    assert shop.run().tests["few"].startswith("reused")
    shop.sql("insert into raw.orders values (7, 'fr')")
    result = shop.run()
    assert result.tests["few"] == "ran: fail"


def test_a_test_that_is_called_like_a_model_asks_for_itself(shop: World) -> None:
    asks = "{% set got = run_query('select max(id) as id from NAME') %}"
    shop.model("x", "select max(id) as id from {{ source('raw', 'orders') }}")
    shop.model("y", "select id from {{ ref('x') }}").model("z", "select id from {{ ref('y') }}")
    shop.model("few", asks.replace("NAME", "main.z") + "select {{ got.rows[0][0] if got else 0 }} as id")
    shop.model("other", "select 1 as id")
    shop.write(
        "tests/few.sql",
        asks.replace("NAME", "raw.orders") + "select id from {{ ref('other') }} where {{ got.rows[0][0] }} < id",
    )
    shop.run()
    shop.sql("insert into raw.orders values (7, 'fr')")
    assert shop.run().built == {"x", "y", "z", "few"}
    assert shop.rows("select id from main.few") == [(7,)]


def test_tables_that_a_template_finds_are_inputs(shop: World) -> None:
    shop.sql("create table raw.part_1 as select 1 as id", "create table raw.names as select 'part_1' as name")
    shop.model(
        "m",
        "{% set found = run_query('select name from raw.names order by 1') %}"
        "{% for row in found.rows %}{{ 'union all' if not loop.first }} select id from raw.{{ row[0] }} {% endfor %}",
    ).run()
    assert rebuilt(shop) == "reused: no_new_data"
    shop.sql("insert into raw.part_1 values (2)")
    assert rebuilt(shop) == "built: new_data"
    shop.sql("create table raw.part_2 as select 3 as id", "insert into raw.names values ('part_2')")
    assert shop.run().built == {"m"}
    assert shop.rows("select sum(id) from main.m") == [(6,)]
    assert rebuilt(shop) == "reused: no_new_data"


def test_a_table_that_is_made_of_what_it_holds_is_built_each_time(shop: World) -> None:
    there = "adapter.get_relation(this.database, this.schema, this.identifier)"
    shop.model("m", f"{{% if {there} %}}select n + 1 as n from {{{{ this }}}}{{% else %}}select 1 as n{{% endif %}}")
    for times in range(1, 4):
        shop.run()
        assert shop.rows("select n from main.m") == [(times,)]


def test_a_table_that_is_told_of_itself_is_built_until_it_is_told_the_same(shop: World) -> None:
    there = "adapter.get_relation(this.database, this.schema, this.identifier)"
    shop.model("m", f"select {{{{ 1 if {there} else 0 }}}} as is_there").run()
    assert shop.run().outcomes == {"m": "built: input_unknown"}
    assert shop.rows("select is_there from main.m") == [(1,)]
    assert shop.run().outcomes == {"m": "reused: no_new_data"}


def test_a_name_in_a_comment_reads_nothing(shop: World) -> None:
    shop.model("m", "-- not from {{ this }}\nselect id from {{ source('raw', 'orders') }}").run()
    assert shop.run().outcomes == {"m": "reused: no_new_data"}
