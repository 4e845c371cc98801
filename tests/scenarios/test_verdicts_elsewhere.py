"""A data test that passed in another environment on the same content is not run: its verdict is taken from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sao_dagster.core.decide_test import TestReason
from sao_dagster.core.reasons import Mode
from tests.scenarios.test_reuse_from import as_another_deployment, on_duckdb, there
from tests.world import Run, World, four_in_a_row, on_each_warehouse

pytestmark = [on_each_warehouse, pytest.mark.slow]
UNIQUE, SMALL, SHOWN = "unique_orders_id", "small", "not_null_shown_amount"
TESTS = {UNIQUE, SMALL, SHOWN}
CONFIG = "models: [{name: orders, columns: [{name: id, data_tests: [{unique: {config: %s}}]}]}]"


@pytest.fixture
def shop(world: World) -> World:
    """Four models in a row and a view over one of them, with three data tests, all of which passed in `other`; `dev` is fresh."""
    four_in_a_row(world)
    world.model("shown", "select amount from {{ ref('totals') }}", materialized="view")
    world.write("models/orders.yml", "models: [{name: orders, columns: [{name: id, data_tests: [unique]}]}]")
    world.write("models/shown.yml", "models: [{name: shown, columns: [{name: amount, data_tests: [not_null]}]}]")
    small = "select o.id from {{ ref('orders') }} as o join {{ ref('totals') }} as t on o.amount > t.amount"
    world.write("tests/small.sql", small)
    assert there(world).tests == dict.fromkeys(TESTS, "ran: pass")
    world.settings |= {"reuse_from": ["other"], "clone": "copy"}
    return world


def both(world: World) -> Run:
    """Run `other`, which asks nobody, and then `dev`."""
    settings = dict(world.settings)
    world.settings.clear()
    there(world)
    world.settings |= settings
    return world.run()


def taken(run: Run) -> set[str]:
    """Return the data tests whose verdicts were taken from elsewhere."""
    found = {each.test.name for each in run.result.tests if each.decision.reason is TestReason.SAME_ELSEWHERE}
    assert {run.tests[name] for name in found} <= {"reused: pass"}
    return found


def test_a_fresh_schema_runs_no_test(shop: World) -> None:
    runner = shop.runner()
    planned, _ = runner.plan(shop.opened().selection(None))
    assert {name: each.reason.value for name, each in planned.tests.items()} == {
        UNIQUE: "same_elsewhere",
        SMALL: "same_elsewhere",
        SHOWN: "never_run",  # the view is to be made first
    }
    assert set(planned.to_record) == TESTS
    run = shop.run()
    assert taken(run) == TESTS
    evidence = run.test(UNIQUE).evidence
    assert (evidence["environment"], evidence["instead_of"]) == ("other", "never_run")
    assert run.result.summary()["tests_reused"] == 3
    record = shop.opened().store.tests(run.result.environment)[UNIQUE]
    original = shop.opened("other").store.tests(str(record.same_as))[UNIQUE]
    assert (record.same_as_run, record.run_at) == (original.run_id, original.run_at)
    again = shop.run()
    assert (taken(again), again.tests) == (set(), dict.fromkeys(TESTS, "reused: pass"))


def test_what_is_built_here_to_the_same_rows_passed_there_and_other_rows_did_not(shop: World) -> None:
    shop.model("orders", "select id, amount + 0 as amount from {{ ref('stg') }}")
    run = shop.run()
    assert ("orders" in run.built, taken(run)) == (True, TESTS)
    shop.model("orders", "select id, amount + 1 as amount from {{ ref('stg') }}")
    run = shop.run()
    assert run.tests == dict.fromkeys(TESTS, "ran: pass")
    shop.model("orders", "select id, amount from {{ ref('stg') }}")
    assert taken(shop.run()) == TESTS, "as it was there; here it was tested on other rows since"


def test_other_tests_of_one_name_run(shop: World) -> None:
    shop.write("models/orders.yml", CONFIG % "{where: id > 0}")
    shop.write("tests/small.sql", "select id from {{ ref('orders') }} where amount > 100")
    run = shop.run()
    assert (taken(run), run.tests[UNIQUE], run.tests[SMALL]) == ({SHOWN}, "ran: pass", "ran: pass")
    shop.write("models/orders.yml", CONFIG % "{}")
    assert UNIQUE in taken(shop.run())


def test_what_follows_from_the_target_runs_where_it_is_another_one(shop: World) -> None:
    severity = "\"{{ 'error' if target.name == 'other' else 'warn' }}\""
    shop.write("models/orders.yml", CONFIG % f"{{severity: {severity}}}")
    shop.write(
        "tests/small.sql", "select id from {{ ref('orders') }} where '{{ target.schema }}' = 'main' and amount > 10"
    )
    assert taken(both(shop)) == {SHOWN}


@pytest.mark.parametrize("asked", ["current_user", "current_setting('search_path')", "(select current_schema())"])
def test_what_depends_on_who_asks_runs(shop: World, asked: str) -> None:
    shop.write("tests/small.sql", f"select id from {{{{ ref('orders') }}}} where {asked} is null")
    shop.model(
        "shown", f"select amount, cast({asked} as varchar) as who from {{{{ ref('totals') }}}}", materialized="view"
    )
    assert taken(both(shop)) == {UNIQUE}


def test_one_that_keeps_its_failures_runs(shop: World) -> None:
    shop.write("models/orders.yml", CONFIG % "{store_failures: true}")
    assert UNIQUE not in taken(both(shop))


def test_nothing_but_a_pass_is_taken(shop: World) -> None:
    zero = "columns: [{name: amount, data_tests: [{accepted_values: {values: [0]%s}}]}]"
    both_zero = f"{{name: report, {zero % ''}}}, {{name: shown, {zero % ', config: {severity: warn}'}}}"
    shop.write("models/shown.yml", f"models: [{both_zero}]")
    failing, warning = "accepted_values_report_amount__0", "accepted_values_shown_amount__0"
    run = both(shop)
    assert (taken(run), run.tests[failing], run.tests[warning]) == ({UNIQUE, SMALL}, "ran: fail", "ran: warn")
    shop.sql("update raw.orders set amount = 0")
    run = both(shop)
    assert taken(run) == {UNIQUE, SMALL, warning}
    assert run.tests[failing] == "ran: pass", "what failed here runs until it passes here"


def test_a_view_counts_by_what_it_means_there(shop: World) -> None:
    shop.model("shown", "select amount * 2 as amount from {{ ref('totals') }}", materialized="view")
    run = shop.run()
    assert (taken(run), run.tests[SHOWN]) == (TESTS - {SHOWN}, "ran: pass")
    assert taken(both(shop)) == set()
    shop.model("shown", "select amount from {{ ref('totals') }}", materialized="view")
    assert shop.run().tests[SHOWN] == "ran: pass", "what passed there was about another view"


def test_a_verdict_that_has_expired_runs_and_one_that_was_taken_expires_when_it_does_there(shop: World) -> None:
    shop.write("tests/small.sql", "select id from {{ ref('orders') }} where amount > extract(hour from now()) + 100")
    shop.settings.clear()
    there(shop)
    shop.settings["reuse_from"] = ["other"]
    shop.wait(minutes=10)
    assert SMALL in taken(shop.run())
    shop.wait(minutes=55)
    assert shop.run().test(SMALL).reason is TestReason.VOLATILE_EXPIRED


def test_a_column_that_each_build_makes_anew_is_tested_here(shop: World) -> None:
    shop.model("orders", "select id, amount, now() as loaded_at from {{ ref('stg') }}")
    shop.write("tests/small.sql", "select id from {{ ref('orders') }} where loaded_at < timestamp '2020-01-01'")
    assert SMALL not in taken(both(shop))


def test_a_source_that_both_read_was_tested_there(shop: World) -> None:
    orders = "{name: orders, columns: [{name: id, data_tests: [unique]}]}"
    paid = "{name: paid, loaded_at_field: at_, columns: [{name: at_, data_tests: [not_null]}]}"
    shop.write("models/sources.yml", f"sources: [{{name: raw, tables: [{orders}, {paid}]}}]")
    shop.sql("create table raw.paid as select timestamp '2026-01-01' as at_")
    run = both(shop)
    assert "source_unique_raw_orders_id" in taken(run)
    assert run.tests["source_not_null_raw_paid_at_"] == "ran: pass", "a time that is the same is no content"


def test_force_runs_all(shop: World) -> None:
    assert set(shop.run(mode=Mode.FORCE).tests.values()) == {"ran: pass"}


@on_duckdb
def test_functions_of_ones_own_may_be_others_there(shop: World) -> None:
    shop.sql("create macro is_odd(n) as n % 2 = 1")
    shop.write("tests/small.sql", "select id from {{ ref('orders') }} where is_odd(amount)")
    shop.settings.clear()
    there(shop)
    shop.settings["reuse_from"] = ["other"]
    assert taken(shop.run()) == {UNIQUE, SHOWN}


@on_duckdb
def test_other_settings_there_are_other_tests(shop: World) -> None:
    profiles = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles.replace("threads: 2}", "threads: 2, settings: {default_collation: nocase}}", 1))
    assert taken(shop.run()) == set()


@on_duckdb
def test_another_file_and_the_state_of_another_deployment(shop: World, tmp_path: Path) -> None:
    shop.write("seeds/days.yml", "seeds: [{name: days, columns: [{name: day, data_tests: [unique]}]}]")
    as_another_deployment(shop, tmp_path, "days")
    assert taken(shop.run("days", target="mine")) == {"unique_days_day"}
