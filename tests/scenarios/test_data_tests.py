"""Data tests: dbt's meaning, reuse by record, blocking, and statements."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from sao_dagster import select
from sao_dagster.core.reasons import Mode
from tests.world import Run, World, on_each_warehouse

pytestmark = on_each_warehouse


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders", "customers")
    world.sql(
        "create table raw.orders as select * from (values (1, 7, 'a', 10), (2, 8, 'b', null), (3, null, null, 5)) t(id, customer_id, status, amount)",
        "create table raw.customers as select * from (values (7), (8)) t(id)",
    )
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    world.model("customers", "select * from {{ source('raw', 'customers') }}")
    world.model("report", "select count(*) as n from {{ ref('orders') }}")
    return world


def describe(world: World, text: str) -> World:
    return world.write("models/tests.yml", text)


ALL_FOUR = """
models:
  - name: orders
    columns:
      - name: id
        data_tests: [unique, not_null]
      - name: status
        data_tests:
          - accepted_values: {values: [a, b]}
      - name: customer_id
        data_tests:
          - relationships: {to: ref('customers'), field: id}
"""


def test_the_four_of_dbt_share_one_statement_and_ignore_nulls_as_dbt_does(shop: World) -> None:
    describe(shop, ALL_FOUR)
    run = shop.run()
    assert run.tests == {
        "unique_orders_id": "ran: pass",
        "not_null_orders_id": "ran: pass",
        "accepted_values_orders_status__a__b": "ran: pass",
        "relationships_orders_customer_id__id__ref_customers_": "ran: pass",
    }
    assert run.result.summary()["test_statements"] == 1


@pytest.mark.warehouse("duckdb")
@pytest.mark.parametrize(("rows", "statements"), [(999_999, 1), (1_000_000, 2)])
def test_tests_of_a_large_table_have_statements_of_their_own(world: World, rows: int, statements: int) -> None:
    world.model("large", f"select nullif(range, -1) as a, nullif(range, -2) as b from range({rows})")
    describe(
        world,
        "models: [{name: large, columns: [{name: a, data_tests: [not_null]}, {name: b, data_tests: [not_null]}]}]",
    )
    run = world.run()
    assert run.tests == {"not_null_large_a": "ran: pass", "not_null_large_b": "ran: pass"}
    assert run.result.summary()["test_statements"] == statements


def test_failures_are_counted_as_dbt_counts_them(shop: World) -> None:
    describe(shop, ALL_FOUR)
    shop.sql("insert into raw.orders values (1, 99, 'c', 1), (1, 99, 'c', 1), (null, 98, 'd', 1)")
    run = shop.run()
    counts = {each.test.kind: each.failures for each in run.result.tests}
    assert counts == {"unique": 1, "not_null": 1, "accepted_values": 2, "relationships": 3}
    assert {row["unique_field"] for each in run.result.tests if each.test.kind == "unique" for row in each.sample} == {
        "1"
    }


def test_a_verdict_stands_while_nothing_it_reads_has_changed(shop: World) -> None:
    describe(shop, ALL_FOUR).run()
    assert set(shop.run().tests.values()) == {"reused: pass"}
    shop.sql("insert into raw.customers values (9)")
    run = shop.run()
    assert run.tests["unique_orders_id"] == "reused: pass"
    assert run.tests["relationships_orders_customer_id__id__ref_customers_"] == "ran: pass", "it reads both"
    assert run.test("relationships_orders_customer_id__id__ref_customers_").evidence["inputs"] == ["customers"]


def test_a_model_rebuilt_to_the_same_content_reruns_no_test(shop: World) -> None:
    describe(shop, ALL_FOUR).run()
    shop.model("orders", "select id, customer_id, status, amount from {{ source('raw', 'orders') }} where true")
    run = shop.run()
    assert run.outcomes["orders"] == "built: code_changed"
    assert set(run.tests.values()) == {"reused: pass"}


def test_a_changed_test_runs(shop: World) -> None:
    describe(shop, ALL_FOUR).run()
    describe(shop, ALL_FOUR.replace("[a, b]", "[a, b, c]"))
    run = shop.run()
    assert run.tests["accepted_values_orders_status__a__b__c"] == "ran: pass"
    assert run.tests["unique_orders_id"] == "reused: pass"


def test_a_failure_runs_again_until_it_passes_and_rebuilds_nothing(shop: World) -> None:
    describe(shop, ALL_FOUR)
    shop.sql("insert into raw.orders values (1, 7, 'a', 1)")
    shop.run()
    for _ in range(2):
        run = shop.run()
        assert run.tests["unique_orders_id"] == "ran: fail"
        assert run.test("unique_orders_id").reason.value == "failed_before"
        assert run.outcomes["orders"] == "reused: no_new_data"
    shop.sql("delete from raw.orders where amount = 1")
    assert shop.run().tests["unique_orders_id"] == "ran: pass"


def test_an_error_blocks_everything_below_and_a_warning_does_not(shop: World) -> None:
    describe(shop, ALL_FOUR)
    shop.sql("insert into raw.orders values (1, 7, 'a', 1)")
    run = shop.run()
    assert run.outcomes["report"] == "skipped: upstream_failed"
    assert run.decision("report").evidence["inputs"] == ["orders"]
    assert not run.result.succeeded
    assert shop.run().outcomes["report"] == "skipped: upstream_failed", "the failing test runs again and blocks again"
    describe(shop, ALL_FOUR.replace("[unique, not_null]", "[{unique: {config: {severity: warn}}}]"))
    run = shop.run()
    assert run.tests["unique_orders_id"] == "ran: warn"
    assert run.outcomes["report"] == "built: never_built"
    assert run.result.succeeded
    assert shop.run().tests["unique_orders_id"] == "reused: warn", "a warning is reused as a warning"


@pytest.mark.parametrize(
    ("config", "verdict", "failures"),
    [
        ("{severity: warn}", "warn", 3),
        ("{error_if: '>5'}", "warn", 3),
        ("{warn_if: '>5', error_if: '>5'}", "pass", 0),
        ("{error_if: '>2', warn_if: '>0'}", "fail", 3),
        ("{severity: warn, error_if: '>1', warn_if: '>10'}", "pass", 0),
        ("{limit: 2}", "fail", 2),
        ("{where: 'id > 100'}", "pass", 0),
        ("{fail_calc: 'sum(amount)'}", "fail", 6),
        ("{store_failures: true}", "fail", 3),
    ],
)
@pytest.mark.parametrize("aggregate", ["default", "all"])
def test_custom_config_has_the_meaning_of_dbt(
    shop: World, config: str, verdict: str, failures: int, aggregate: str
) -> None:
    """Alone, and in one statement with the others where `aggregate: all` and the verdict is made of a count."""
    project = (shop.root / "dbt_project.yml").read_text()
    shop.write("dbt_project.yml", f"{project}data_tests:\n  +aggregate: {aggregate}\n")
    shop.sql("insert into raw.orders values (null, 7, 'a', 1), (null, 7, 'a', 2), (null, 7, 'a', 3)")
    describe(
        shop,
        f"models: [{{name: orders, columns: [{{name: id, data_tests: [unique, {{not_null: {{config: {config}}}}}]}}]}}]",
    )
    run = shop.run()
    (result,) = (each for each in run.result.tests if each.test.kind == "not_null")
    assert result.verdict is not None
    assert (result.verdict.value, result.failures) == (verdict, failures)
    shares = aggregate == "all" and "fail_calc" not in config and "store_failures" not in config
    assert run.result.summary()["test_statements"] == (1 if shares else 2)


def test_stored_failures_can_be_read(shop: World) -> None:
    shop.sql("insert into raw.orders values (null, 7, 'a', 1)")
    describe(
        shop,
        "models: [{name: orders, columns: [{name: id, data_tests: [{not_null: {config: {store_failures: true}}}]}]}]",
    )
    shop.run()
    assert shop.rows("select amount from main_dbt_test__audit.not_null_orders_id") == [(1,)]


@pytest.mark.parametrize(("count", "is_whole"), [(9, True), (60, False)])
def test_names_are_those_of_dbt_and_relations_with_failures_have_its_short_ones(
    shop: World, count: int, is_whole: bool
) -> None:
    values = [f"value_{number}" for number in range(count)]
    test = {"accepted_values": {"arguments": {"values": values}, "config": {"store_failures": True}}}
    describe(shop, json.dumps({"models": [{"name": "orders", "columns": [{"name": "status", "data_tests": [test]}]}]}))
    shop.sql("insert into raw.orders values (9, 7, 'other', 1)")
    (name,) = shop.run().tests
    whole = f"accepted_values_orders_status__{'__'.join(values)}"
    short = f"accepted_values_orders_{hashlib.md5(whole.encode(), usedforsecurity=False).hexdigest()}"
    assert name == (whole if is_whole else short)  # which has a place in the shared state
    assert ("other",) in shop.rows(f"select value_field from main_dbt_test__audit.{short}")


def test_config_for_all_tests_of_the_project(shop: World) -> None:
    shop.write("dbt_project.yml", (shop.root / "dbt_project.yml").read_text() + "data_tests:\n  +severity: warn\n")
    describe(shop, ALL_FOUR)
    shop.sql("insert into raw.orders values (1, 7, 'a', 1)")
    assert shop.run().tests["unique_orders_id"] == "ran: warn"


def test_singular_and_generic_tests_of_the_project(shop: World) -> None:
    shop.write(
        "tests/no_big_orders.sql", "{{ config(severity='warn') }} select * from {{ ref('orders') }} where amount > 5"
    )
    shop.write(
        "tests/generic/positive.sql",
        "{% test positive(model, column_name, strict=false) %}select * from {{ model }} where {{ column_name }} {{ '<=' if strict else '<' }} 0{% endtest %}",
    )
    describe(
        shop,
        "models: [{name: orders, columns: [{name: amount, tests: [positive, {positive: {strict: true, name: strictly}}]}]}]",
    )
    assert shop.run().tests == {
        "positive_orders_amount": "ran: pass",
        "strictly": "ran: pass",
        "no_big_orders": "ran: warn",
    }


def test_a_project_may_override_a_builtin_test(shop: World) -> None:
    shop.write(
        "macros/unique.sql", "{% macro default__test_unique(model, column_name) %}select 1 as always{% endmacro %}"
    )
    describe(shop, ALL_FOUR)
    assert shop.run().tests["unique_orders_id"] == "ran: fail"


def test_tests_of_sources_block_what_reads_them(shop: World) -> None:
    shop.write(
        "models/sources.yml",
        "sources: [{name: raw, tables: [{name: orders, columns: [{name: id, data_tests: [unique]}]}, {name: customers}]}]",
    )
    shop.sql("insert into raw.orders values (1, 7, 'a', 1)")
    run = shop.run()
    assert run.tests == {"source_unique_raw_orders_id": "ran: fail"}
    assert run.outcomes["orders"] == "skipped: upstream_failed"
    assert run.outcomes["customers"] == "built: never_built"


def test_a_test_that_reads_something_below_comes_later(shop: World) -> None:
    shop.write(
        "tests/counts.sql", "select 1 from {{ ref('report') }} where n <> (select count(*) from {{ ref('orders') }})"
    )
    describe(
        shop,
        "models: [{name: orders, columns: [{name: id, data_tests: [{relationships: {to: ref('report'), field: n, name: odd, config: {severity: warn}}}, unique]}]}]",
    )
    run = shop.run()
    assert run.outcomes["report"] == "built: never_built"
    assert run.tests["counts"] == "ran: pass"
    assert run.tests["odd"].startswith("ran")


def test_tests_that_read_below_each_others_models_do_not_wait_for_themselves(shop: World) -> None:
    """Each is over a view of the one and a model below the other's, so what is below both waits for both, and nothing else."""
    for name in ("orders", "customers"):
        shop.model(f"{name}_view", f"select * from {{{{ ref('{name}') }}}}", materialized="view")
        shop.model(f"below_{name}", f"select id from {{{{ ref('{name}_view') }}}}")
    shop.model(
        "both", "select o.id from {{ ref('below_orders') }} o join {{ ref('below_customers') }} c on o.id = c.id"
    )
    shop.write(
        "tests/one.sql",
        "select a.id from {{ ref('below_customers') }} b join {{ ref('orders_view') }} a on a.id = b.id",
    )
    shop.write(
        "tests/other.sql",
        "select b.id from {{ ref('below_orders') }} a join {{ ref('customers_view') }} b on a.id = b.id",
    )
    tests = "{{name: {}_view, columns: [{{name: id, data_tests: [{{relationships: {{to: ref('below_{}'), field: id, name: {}}}}}]}}]}}"
    describe(
        shop,
        f"models: [{tests.format('orders', 'customers', 'first')}, {tests.format('customers', 'orders', 'second')}]",
    )
    run = shop.run()
    assert set(run.tests.values()) == {"ran: pass", "ran: fail"}
    assert run.tests["first"] == run.tests["second"] == "ran: fail"
    assert run.outcomes["below_orders"] == run.outcomes["below_customers"] == "built: never_built"
    assert run.outcomes["both"] == "skipped: upstream_failed"
    assert run.decision("both").evidence["inputs"] == ["customers_view", "orders_view"]


def test_a_test_holds_back_only_what_is_below_all_that_it_reads(shop: World) -> None:
    """As in dbt: what is below one of two relations goes on, and is held back further down, below both of them."""
    describe(
        shop,
        "models: [{name: orders, columns: [{name: customer_id, data_tests: [{relationships: {to: ref('customers'), field: id, name: known}}]}]}]",
    )
    shop.sql("insert into raw.orders values (9, 99, 'a', 1)")
    shop.model("people", "select id from {{ ref('customers') }}")
    shop.model("dashboard", "select n from {{ ref('report') }} cross join {{ ref('people') }}")
    run = shop.run()
    assert run.tests["known"] == "ran: fail"
    assert run.outcomes["report"] == "built: never_built", "customers is not above it"
    assert run.outcomes["dashboard"] == "skipped: upstream_failed"
    assert not run.result.succeeded
    assert shop.run("dashboard known").outcomes == {"dashboard": "skipped: upstream_failed"}, (
        "whatever lies between is not selected"
    )


def test_a_test_that_cannot_run_is_an_error_of_its_own(shop: World) -> None:
    describe(
        shop,
        "models: [{name: orders, columns: [{name: id, data_tests: [unique]}, {name: nope, data_tests: [not_null]}]}]",
    )
    run = shop.run()
    assert run.tests == {"unique_orders_id": "ran: pass", "not_null_orders_nope": "ran: error"}
    (result,) = (each for each in run.result.tests if each.error)
    assert "nope" in str(result.error)


def test_tests_of_an_ephemeral_below_a_failure_are_skipped(world: World) -> None:
    world.source("orders").sql("create table raw.orders as select 1 as id")
    world.model("orders", "select id from {{ source('raw', 'orders') }}")
    world.model("few", "select id from {{ ref('orders') }} where id < 9", materialized="ephemeral")
    world.model("fewer", "select id from {{ ref('few') }} where id < 5", materialized="ephemeral")
    world.write("tests/no_twins.sql", "select id from {{ ref('orders') }} group by id having count(*) > 1")
    columns = "columns: [{name: id, data_tests: [not_null]}]"
    world.write("models/few.yml", f"models: [{{name: few, {columns}}}, {{name: fewer, {columns}}}]")
    passed = dict.fromkeys(("no_twins", "not_null_few_id", "not_null_fewer_id"), "ran: pass")
    assert world.run().tests == passed
    world.sql("insert into raw.orders values (1)")
    skipped = dict.fromkeys(("not_null_few_id", "not_null_fewer_id"), "skipped: -")
    assert world.run().tests == {"no_twins": "ran: fail", **skipped}
    runner = world.runner()
    whole = select(runner.project)
    for selection in (whole, replace(whole, nodes=())):
        plan, _ = runner.plan(selection)
        foreseen = {name: each.outcome.value for name, each in plan.tests.items()}
        assert foreseen == {"no_twins": "ran"} | dict.fromkeys(skipped, "skipped")
        assert Run(runner.run(selection)).tests == {"no_twins": "ran: fail", **skipped}


def test_tests_of_skipped_models_are_skipped(shop: World) -> None:
    describe(shop, ALL_FOUR).run()
    shop.model("orders", "select no_such_column from {{ source('raw', 'orders') }}")
    assert set(shop.run().tests.values()) == {"skipped: -"}


def test_volatile_tests_expire(shop: World) -> None:
    shop.write("tests/recent.sql", "select * from {{ ref('orders') }} where current_date < date '2000-01-01'")
    shop.run()
    assert shop.run().tests["recent"] == "reused: pass"
    run = shop.wait(days=1).run()
    assert run.tests["recent"] == "ran: pass"
    assert run.test("recent").reason.value == "volatile_expired"


def test_tests_on_views_follow_the_tables_below(shop: World) -> None:
    shop.model("orders", "select * from {{ source('raw', 'orders') }}", materialized="view")
    describe(shop, ALL_FOUR).run()
    assert set(shop.run().tests.values()) == {"reused: pass"}
    shop.sql("insert into raw.orders values (9, 7, 'a', 1)")
    assert shop.run().tests["unique_orders_id"] == "ran: pass"


def test_tests_on_ephemerals_see_their_query(shop: World) -> None:
    shop.model("base", "select id from {{ source('raw', 'orders') }}", materialized="ephemeral")
    shop.model("orders", "select id, 1 as customer_id, 'a' as status from {{ ref('base') }}")
    describe(shop, "models: [{name: base, columns: [{name: id, data_tests: [unique]}]}]")
    assert shop.run().tests == {"unique_base_id": "ran: pass"}


def test_a_forced_run_runs_all_tests(shop: World) -> None:
    describe(shop, ALL_FOUR).run()
    assert set(shop.run(mode=Mode.FORCE).tests.values()) == {"ran: pass"}


def test_sql_that_ends_with_a_comment_shares_a_statement(shop: World) -> None:
    shop.write("tests/commented.sql", "select * from {{ ref('orders') }} where id < 0 -- nothing;")
    describe(shop, ALL_FOUR)
    shop.write("tests/semicolon.sql", "select * from {{ ref('orders') }} where id < 0;\n")
    assert set(shop.run().tests.values()) == {"ran: pass"}


@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        ({"warn_if": "between 1 and 2"}, "fail: 2"),
        ({"warn_if": "between 1 and 2", "error_if": "in (3, 4)"}, "warn: 2"),
        ({"warn_if": "> 5", "error_if": "between 5 and 10"}, "pass: 0"),
        ({"warn_if": "> 5", "error_if": "> 10"}, "pass: 0"),
        ({"severity": "warn", "warn_if": "% 2 = 1"}, "pass: 0"),
        ({"error_if": "is not null or 1 = 1"}, "fail: 2"),
        ({"fail_calc": "max(amount)", "error_if": "not in (11, 12)", "warn_if": "<> 11"}, "pass: 0"),
        ({"error_if": "about 5"}, "error: 0"),
    ],
)
@pytest.mark.parametrize("aggregate", ["default", "all"])
def test_conditions_are_any_that_sql_can_ask_and_a_pass_has_no_failures(
    shop: World, config: dict[str, str], outcome: str, aggregate: str
) -> None:
    shop.write("tests/two.sql", "select amount from {{ ref('orders') }} where amount > 10")
    shop.sql("insert into raw.orders values (4, 7, 'a', 11), (5, 7, 'a', 11)")
    shop.write(
        "models/tests.yml", json.dumps({"data_tests": [{"name": "two", "config": {**config, "aggregate": aggregate}}]})
    )
    (result,) = shop.run().result.tests
    assert f"{result.verdict.value if result.verdict else '-'}: {result.failures}" == outcome
    assert bool(result.sample) is (result.failures != 0)
