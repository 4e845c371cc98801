"""What a project puts in the place of dbt's own: settings in a test's block, and macros that dbt would call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sao_dagster.errors import SaoError
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse

LOW = "{% test low(model, column_name) %}CONFIG select * from {{ model }} where {{ column_name }} < 3{% endtest %}"


@pytest.fixture
def shop(world: World) -> World:
    """Two amounts that the test `low` finds, and one that it does not."""
    world.model("orders", "select * from (values (1, 1), (2, 2), (3, 9)) t(id, amount)")
    return world.model("report", "select sum(amount) as amount from {{ ref('orders') }}")


def verdict_of_low(shop: World, block: str, config: dict[str, Any], project: str = "") -> str:
    """Return what the generic test says, with settings in its block, where it is used, and in the project."""
    shop.write("tests/generic/low.sql", LOW.replace("CONFIG", block))
    shop.write("dbt_project.yml", (shop.root / "dbt_project.yml").read_text() + project)
    column = {"name": "amount", "data_tests": [{"low": {"config": config}}]}
    shop.write("models/tests.yml", json.dumps({"models": [{"name": "orders", "columns": [column]}]}))
    found = {
        each.test.name: f"{each.verdict.value}: {each.failures}" for each in shop.run().result.tests if each.verdict
    }
    return found.get("low_orders_amount", "none")


@pytest.mark.parametrize(
    ("block", "config", "verdict"),
    [
        ("{{ config(severity='warn') }}", {}, "warn: 2"),
        ("{{ config(severity='warn') }}", {"severity": "error"}, "fail: 2"),
        ("{{ config(where='id = 1') }}", {}, "fail: 1"),
        ("{{ config(where='id = 3') }}", {}, "pass: 0"),
        ("{{ config(where='id = 3') }}", {"where": "id > 0"}, "fail: 2"),
        ("", {"where": "id = {{ 3 - 2 }}"}, "fail: 1"),
        ("{{ config(limit=1) }}", {}, "fail: 1"),
        ("{{ config(fail_calc='sum(amount)') }}", {}, "fail: 3"),
        ("{{ config(warn_if='> 1', error_if='> 2') }}", {}, "warn: 2"),
        ("{{ config(enabled=false) }}", {}, "none"),
        ("{{ config(of_its_own=1) }}{% if config.get('of_its_own') != 1 %}wrong{% endif %}", {}, "fail: 2"),
    ],
)
def test_settings_in_the_block_of_a_test_hold_unless_it_is_used_with_others(
    shop: World, block: str, config: dict[str, Any], verdict: str
) -> None:
    assert verdict_of_low(shop, block, config) == verdict


def test_settings_in_the_block_go_over_those_of_the_project(shop: World) -> None:
    project = "data_tests:\n  +severity: warn\n"
    assert verdict_of_low(shop, "{{ config(severity='error') }}", {}, project) == "fail: 2"


@pytest.mark.parametrize("macro", ["get_where_subquery", "default__get_where_subquery"])
def test_a_macro_of_the_project_puts_where_into_a_test(shop: World, macro: str) -> None:
    """Also into a test without: it may leave rows out by itself."""
    shop.write(
        "macros/where.sql",
        "{% macro " + macro + "(relation) %}{% set where = (config.get('where') or 'true') | replace('__first__', 'id = 1') %}"
        "{% do return('(select * from ' ~ relation ~ ' where id < 3 and ' ~ where ~ ') kept') %}{% endmacro %}",
    )  # fmt: skip
    assert verdict_of_low(shop, "", {"where": "__first__"}) == "fail: 1"
    shop.write(
        "models/tests.yml",
        "models: [{name: orders, columns: [{name: id, data_tests: [{accepted_values: {values: [1, 2], quote: false}}]}]}]",
    )
    assert set(shop.run().tests.values()) == {"ran: pass"}


def test_a_macro_of_the_project_takes_the_place_of_ref_and_source(shop: World) -> None:
    shop.source("amounts").sql("create table raw.amounts as select 5 as amount")
    shop.write(
        "macros/own.sql",
        "{% macro ref(name) %}{{ return(builtins.ref('new_' ~ name)) }}{% endmacro %}\n"
        "{% macro source(group, name) %}{{ return(builtins.source('raw', name)) }}{% endmacro %}",
    )
    shop.delete("models/report.sql").model("new_base", "select amount from {{ source('lake', 'amounts') }}")
    shop.model("report", "select amount + 1 as amount from {{ ref('base') }}")
    assert shop.run().built == {"orders", "new_base", "report"}
    assert shop.rows("select amount from main.report") == [(6,)]
    shop.write("macros/own.sql", (shop.root / "macros/own.sql").read_text().replace("'new_' ~ name", "'orders'"))
    assert shop.run().outcomes["report"] == "built: code_changed"


@pytest.mark.parametrize("macro", ["create_table_as", "default__get_delete_insert_merge_sql", "collect_freshness"])
def test_macros_by_which_only_dbt_builds_are_refused_by_name(shop: World, macro: str) -> None:
    shop.write("macros/own.sql", "{% macro " + macro + "(a, b, c) %}select 1{% endmacro %}")
    with pytest.raises(SaoError, match=rf"macros/own.sql.*{macro}.*install dbt"):
        shop.run()


def test_a_singular_test_calls_macros_of_dbt_and_says_its_settings(shop: World) -> None:
    shop.write(
        "tests/long.sql",
        "{{ config(severity='warn') }} select * from {{ ref('orders') }} where {{ dbt.length(\"'abc'\") }} = 3",
    )
    assert shop.run().tests == {"long": "ran: warn"}


@pytest.mark.warehouse("duckdb")
@pytest.mark.parametrize(
    ("macros", "order", "expected"),
    [
        ("{% macro default__split_part(a, b, c) %}'own'{% endmacro %}", "", "b"),
        ("{% macro duckdb__split_part(a, b, c) %}'own'{% endmacro %}", "", "own"),
        ("{% macro split_part(a, b, c) %}'own'{% endmacro %}", "", "b"),
        (
            "{% macro default__split_part(a, b, c) %}'own'{% endmacro %}",
            "dispatch: [{macro_namespace: dbt, search_order: [shop, dbt]}]",
            "own",
        ),
    ],
)
def test_a_macro_for_the_engine_comes_first_unless_the_project_has_an_order(
    world: World, macros: str, order: str, expected: str
) -> None:
    """As in dbt; and `dbt.split_part` is dbt's, whatever the project calls so."""
    world.write("dbt_project.yml", (world.root / "dbt_project.yml").read_text() + order)
    world.write("macros/own.sql", macros).model("m", "select {{ dbt.split_part(\"'a,b'\", \"','\", 2) }} as x")
    world.run()
    assert world.rows("select x from m") == [(expected,)]
