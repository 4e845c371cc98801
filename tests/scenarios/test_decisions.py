"""Every row of the truth table and every consequence of it, through runs on DuckDB."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sao_dagster.core.explain import explain
from sao_dagster.core.reasons import Mode
from tests.world import World, on_each_warehouse

pytestmark = on_each_warehouse


def shop(world: World) -> World:
    """Two sources, a model on each, and one that joins them."""
    world.source("orders", "customers")
    world.sql(
        "create table raw.orders as select 1 as id, 7 as customer_id, 10 as amount",
        "create table raw.customers as select 7 as id, 'Ada' as name",
    )
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    world.model("customers", "select * from {{ source('raw', 'customers') }}")
    world.model(
        "report",
        "select name, sum(amount) as amount from {{ ref('orders') }} o "
        "join {{ ref('customers') }} c on c.id = o.customer_id group by name",
    )
    return world


def test_first_run_builds_and_second_reuses(world: World) -> None:
    shop(world)
    assert set(world.run().outcomes.values()) == {"built: never_built"}
    assert set(world.run().outcomes.values()) == {"reused: no_new_data"}


def test_new_data_builds_only_what_reads_it(world: World) -> None:
    shop(world).run()
    world.sql("insert into raw.orders values (2, 7, 5)")
    run = world.run()
    assert run.outcomes == {
        "orders": "built: new_data",
        "customers": "reused: no_new_data",
        "report": "built: new_data",
    }
    (news,) = run.decision("orders").evidence["news"]
    assert news["input"] == "source:raw.orders"
    assert news["old"] != news["new"]
    assert world.rows("select amount from report") == [(15,)]


def test_early_cutoff_stops_where_the_content_is_the_same(world: World) -> None:
    shop(world)
    world.model("orders", "select id, customer_id, amount from {{ source('raw', 'orders') }} where amount > 0")
    world.run()
    world.sql("insert into raw.orders values (2, 7, -5)")  # filtered out
    run = world.run()
    assert run.outcomes["orders"] == "built: new_data"
    assert run.outcomes["report"] == "reused: no_new_data"


def test_plan_foresees_what_is_below_as_tentative(world: World) -> None:
    shop(world).run()
    world.sql("insert into raw.orders values (2, 7, -5)")
    plan = world.plan()
    assert plan["orders"].evidence.get("tentative") is None
    assert plan["report"].reason.value == "new_data"
    assert plan["report"].evidence["tentative"] is True


def test_any_difference_counts_not_only_newer(world: World) -> None:
    shop(world).run()
    world.sql("insert into raw.orders values (2, 7, 5)")
    world.run()
    world.sql("delete from raw.orders where id = 2")
    assert world.run().outcomes["orders"] == "built: new_data"


def test_news_in_and_out_again_is_no_news(world: World) -> None:
    shop(world).run()
    world.sql("insert into raw.orders values (2, 7, 5)", "delete from raw.orders where id = 2")
    assert world.run().built == set()


def test_force_builds_all_and_records(world: World) -> None:
    shop(world).run()
    assert set(world.run(mode=Mode.FORCE).outcomes.values()) == {"built: forced"}
    assert world.run().built == set()


def test_full_refresh_has_its_own_reason(world: World) -> None:
    shop(world).run()
    assert set(world.run(mode=Mode.FULL_REFRESH).outcomes.values()) == {"built: full_refresh"}


def test_a_state_agnostic_run_keeps_the_shared_state_true(world: World) -> None:
    shop(world).run()
    world.sql("insert into raw.orders values (2, 7, 5)")
    world.run("orders", mode=Mode.FORCE)
    run = world.run()
    assert run.outcomes["orders"] == "reused: no_new_data"
    assert run.outcomes["report"] == "built: new_data"


def test_a_dropped_relation_is_built_again_with_a_warning(world: World) -> None:
    shop(world).run()
    world.sql("drop table main.orders")
    run = world.run()
    assert run.outcomes["orders"] == "built: relation_missing"
    assert "is gone" in run.decision("orders").warnings[0]
    assert run.outcomes["report"] == "reused: no_new_data"


def test_a_relation_that_someone_changed_is_built_again_with_a_warning(world: World) -> None:
    shop(world).run()
    world.replace("main.orders", "select 1 as id, 7 as customer_id, 99 as amount")
    run = world.run()
    assert run.outcomes["orders"] == "built: relation_altered"
    assert "changed by someone else" in run.decision("orders").warnings[0]
    assert run.outcomes["report"] == "reused: no_new_data"


@pytest.mark.warehouse("duckdb")
def test_rows_that_someone_changed_are_noticed_where_content_is_cheap(world: World) -> None:
    shop(world).run()
    world.sql("update main.orders set amount = 99")
    assert world.run().outcomes["orders"] == "built: relation_altered"


def test_a_parent_that_someone_changed_is_news_for_a_child_that_is_built_alone(world: World) -> None:
    shop(world).run()
    world.replace("main.orders", "select 1 as id, 7 as customer_id, 99 as amount")
    run = world.run("report orders")
    assert run.outcomes == {"orders": "built: relation_altered", "report": "reused: no_new_data"}


def test_a_table_replaced_by_a_view_is_altered(world: World) -> None:
    shop(world).run()
    world.sql("drop table main.orders", "create view main.orders as select 1 as id, 7 as customer_id, 10 as amount")
    assert world.run().outcomes["orders"] == "built: relation_altered"
    assert world.rows(
        "select table_type from information_schema.tables where table_name = 'orders' and table_schema = 'main'"
    ) == [("BASE TABLE",)]


def test_code_change_names_the_part_and_reverts_build_again(world: World) -> None:
    shop(world).run()
    world.model("orders", "select id, customer_id, amount * 2 as amount from {{ source('raw', 'orders') }}")
    run = world.run()
    assert run.outcomes["orders"] == "built: code_changed"
    assert run.decision("orders").evidence["parts"] == ["sql"]
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    assert world.run().outcomes["orders"] == "built: code_changed"


def test_code_change_beats_the_interval(world: World) -> None:
    shop(world)
    rule = {"build_after": {"count": 4, "period": "hour"}}
    world.model("orders", "select * from {{ source('raw', 'orders') }}", freshness=rule).run()
    world.model("orders", "select *, 1 as one from {{ source('raw', 'orders') }}", freshness=rule)
    assert world.run().outcomes["orders"] == "built: code_changed"


def test_build_after_holds_back_until_it_has_elapsed(world: World) -> None:
    shop(world)
    rule = {"build_after": {"count": 4, "period": "hour"}}
    world.model("orders", "select * from {{ source('raw', 'orders') }}", freshness=rule).run()
    world.sql("insert into raw.orders values (2, 7, 5)").wait(hours=1)
    run = world.run()
    evidence = run.decision("orders").evidence
    assert run.outcomes["orders"] == "reused: within_interval"
    assert (evidence["age_seconds"], evidence["window_seconds"]) == (3600, 4 * 3600)
    assert [each["input"] for each in evidence["news"]] == ["source:raw.orders"]
    assert run.outcomes["report"] == "reused: no_new_data", "its subtree waits with it"
    world.wait(hours=2)
    assert world.run().outcomes["orders"] == "reused: within_interval", "a reuse does not restart the interval"
    world.wait(hours=1)
    assert world.run().outcomes["orders"] == "built: new_data"


def test_the_interval_counts_from_the_last_build_by_any_job(world: World) -> None:
    shop(world)
    rule = {"build_after": {"count": 4, "period": "hour"}}
    world.model("orders", "select * from {{ source('raw', 'orders') }}", freshness=rule).run()
    world.wait(hours=3).run("orders", mode=Mode.FORCE)
    world.sql("insert into raw.orders values (2, 7, 5)").wait(hours=2)
    assert world.run().outcomes["orders"] == "reused: within_interval"


def test_a_window_never_holds_back_the_first_build(world: World) -> None:
    shop(world)
    world.model("orders", "select 1 as id", freshness={"build_after": {"count": 9, "period": "day"}})
    assert world.run("orders").outcomes["orders"] == "built: never_built"


def test_a_build_from_the_future_has_no_age(world: World) -> None:
    """Another clock made it, so no window counts from it; a minute is what clocks may differ by."""
    shop(world)
    world.model(
        "orders",
        "select * from {{ source('raw', 'orders') }}",
        freshness={"build_after": {"count": 1, "period": "hour"}},
    )
    world.run()
    world.sql("insert into raw.orders values (2, 7, 5)").wait(minutes=-1)
    assert world.run().outcomes["orders"] == "reused: within_interval"
    assert world.wait(hours=-4).run().outcomes["orders"] == "built: new_data"


def test_a_volatile_result_from_the_future_has_expired(world: World) -> None:
    shop(world)
    world.model("orders", "select * from {{ source('raw', 'orders') }} where current_date > date '2000-01-01'")
    world.run()
    assert world.wait(days=-2).run().outcomes["orders"] == "built: volatile_expired"
    assert world.run().outcomes["orders"] == "reused: no_new_data"


def test_news_that_was_noted_in_the_future_is_tolerated_no_longer(world: World) -> None:
    shop(world).model("orders", "select * from {{ source('raw', 'orders') }}", state={"lag_tolerance": "9h"})
    world.run()
    world.sql("insert into raw.orders values (2, 7, 5)").plan()
    assert world.wait(hours=1).run().outcomes["orders"] == "reused: within_tolerance"
    assert world.wait(hours=-5).run().outcomes["orders"] == "built: new_data"


def test_what_the_last_build_did_not_know_is_unknown_and_no_news(world: World) -> None:
    shop(world).run()
    store = world.runner().open_store()
    environment = world.environment
    record = store.builds(environment)["orders"]
    store.record_build(environment, replace(record, inputs={}), "", None)
    decision = world.run("orders").decision("orders")
    assert decision.reason.value == "input_unknown"
    assert (decision.evidence["unknown"], decision.evidence["unrecorded"]) == (["source:raw.orders"],) * 2
    assert explain(decision) == "the version of raw.orders that the last build read is not known"
    assert world.run("orders").outcomes["orders"] == "reused: no_new_data"


def test_updates_on_all_adds_up_over_runs(world: World) -> None:
    shop(world)
    report = (world.root / "models/report.sql").read_text()
    world.model("report", report, freshness={"build_after": {"updates_on": "all"}})
    world.run()
    world.sql("insert into raw.orders values (2, 7, 5)")
    run = world.run()
    assert run.outcomes["report"] == "reused: waiting_for_inputs"
    assert run.decision("report").evidence["waiting_for"] == ["customers"]
    world.sql("insert into raw.customers values (8, 'Bea')")
    assert world.run().outcomes["report"] == "built: new_data"
    assert world.run().outcomes["report"] == "reused: no_new_data"


def test_lag_tolerance_counts_from_the_oldest_unconsumed_change(world: World) -> None:
    shop(world)
    world.model("orders", "select * from {{ source('raw', 'orders') }}", state={"lag_tolerance": "4h"}).run()
    world.wait(days=1).sql("insert into raw.orders values (2, 7, 5)")
    run = world.run()
    assert run.outcomes["orders"] == "reused: within_tolerance"
    assert run.decision("orders").evidence["tolerance_seconds"] == 4 * 3600
    world.wait(hours=3).sql("insert into raw.orders values (3, 7, 5)")
    assert world.run().outcomes["orders"] == "reused: within_tolerance"
    world.wait(hours=1)
    assert world.run().outcomes["orders"] == "built: new_data", "the later change does not restart it"


def unreadable(world: World) -> None:
    """Make a source a view whose tables cannot be told."""
    rows = "duckdb_schemas()"
    if world.warehouse == "postgres":
        world.sql("create function raw.rows() returns table (id int) language sql as 'select 1'")
        rows = "raw.rows()"
    world.sql("drop table raw.orders", f"create view raw.orders as select * from {rows}")


def test_an_unreadable_input_builds(world: World) -> None:
    unreadable(shop(world))
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    world.run("orders")
    run = world.run("orders")
    assert run.outcomes["orders"] == "built: input_unknown"
    assert run.decision("orders").evidence["unknown"] == ["source:raw.orders"]


def test_an_unknown_input_does_not_beat_the_interval(world: World) -> None:
    unreadable(shop(world))
    world.model(
        "orders",
        "select * from {{ source('raw', 'orders') }}",
        freshness={"build_after": {"count": 1, "period": "hour"}},
    )
    world.run("orders")
    assert world.run("orders").outcomes["orders"] == "reused: within_interval"
    world.wait(hours=1)
    assert world.run("orders").outcomes["orders"] == "built: input_unknown"


def test_volatile_sql_expires_at_the_turn_of_the_day(world: World) -> None:
    world.model("today", "select 1 as x where current_date > date '2000-01-01'")
    world.run()
    assert world.wait(hours=14).run().outcomes["today"] == "reused: no_new_data"
    run = world.wait(hours=1).run()
    assert run.outcomes["today"] == "built: volatile_expired"
    assert run.decision("today").evidence["expired_at"] == "2026-03-03T00:00:00+00:00"


def test_a_model_without_inputs_builds_each_time_its_interval_elapses(world: World) -> None:
    world.model("numbers", "select 1 as x", freshness={"build_after": {"count": 1, "period": "hour"}})
    world.run()
    assert world.wait(minutes=59).run().outcomes["numbers"] == "reused: no_new_data"
    assert world.wait(minutes=1).run().outcomes["numbers"] == "built: interval_elapsed"


def test_a_model_without_inputs_and_interval_is_reused(world: World) -> None:
    world.model("numbers", "select 1 as x").run()
    assert world.wait(days=900).run().outcomes["numbers"] == "reused: no_new_data"


def test_a_failed_build_is_tried_again_and_stops_what_is_below(world: World) -> None:
    shop(world).run()
    world.model("orders", "select no_such_column from {{ source('raw', 'orders') }}")
    run = world.run()
    assert run.outcomes["orders"] == "failed: build_error"
    assert "no_such_column" in str(run.decision("orders").evidence["error"])
    assert run.outcomes["report"] == "skipped: upstream_failed"
    assert run.decision("report").evidence["inputs"] == ["orders"]
    assert not run.result.succeeded
    assert world.rows("select amount from main.orders") == [(10,)], "the old table stays"
    assert world.run().outcomes["orders"] == "failed: build_error"
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    assert world.run().outcomes == {
        "orders": "reused: no_new_data",
        "customers": "reused: no_new_data",
        "report": "reused: no_new_data",
    }


def test_versions_are_compared_with_what_this_model_saw(world: World) -> None:
    """Built in an earlier run in which the child was not selected."""
    shop(world).run()
    world.sql("insert into raw.orders values (2, 7, 5)")
    world.run("orders")
    assert world.run("report").outcomes == {"report": "built: new_data"}


def test_environments_have_states_of_their_own(world: World) -> None:
    shop(world).run()
    assert set(world.run(target="other").outcomes.values()) == {"built: never_built"}
    assert world.run().built == set()
    assert world.rows("select count(*) from other.report") == [(1,)]


def test_an_alias_is_a_change_of_the_code(world: World) -> None:
    shop(world).run()
    world.model("orders", "select * from {{ source('raw', 'orders') }}", alias="orders_2")
    run = world.run("orders")
    assert run.decision("orders").evidence["parts"] == ["relation"]
    assert run.outcomes["orders"] == "built: code_changed"


def test_plan_warns_of_a_window_longer_than_that_of_a_descendant(world: World) -> None:
    shop(world)
    world.model(
        "orders",
        "select * from {{ source('raw', 'orders') }}",
        freshness={"build_after": {"count": 1, "period": "day"}},
    )
    report = (world.root / "models/report.sql").read_text()
    world.model("report", report, freshness={"build_after": {"count": 1, "period": "hour"}})
    world.plan()
    (warning,) = world.warnings
    assert warning.startswith("orders builds at most every 1 d, so report below it")


def test_intervals_are_inherited_from_children_when_all_have_one(world: World) -> None:
    shop(world)
    world.write("dbt_project.yml", (world.root / "dbt_project.yml").read_text() + "  +inherit_from_children: true\n")
    report = (world.root / "models/report.sql").read_text()
    world.model("report", report, freshness={"build_after": {"count": 4, "period": "hour"}})
    world.run()
    world.sql("insert into raw.orders values (2, 7, 5)").wait(hours=1)
    run = world.run()
    assert run.outcomes["orders"] == "reused: within_interval"
    assert run.decision("orders").evidence["window"] == "4 h (from report)"
    world.model("other", "select * from {{ ref('orders') }}")  # a child without an interval
    assert world.run("orders").outcomes["orders"] == "built: new_data"


def test_the_interval_may_depend_on_the_weekday(world: World) -> None:
    shop(world)
    world.write(
        "models/orders.yml",
        """
models:
  - name: orders
    config:
      freshness:
        build_after:
          count: "{{ 48 if modules.datetime.datetime.now().weekday() in (5, 6) else 1 }}"
          period: hour
""",
    )
    world.run()  # a Monday
    world.sql("insert into raw.orders values (2, 7, 5)").wait(hours=2)
    assert world.run().outcomes["orders"] == "built: new_data"
    world.wait(days=5).run("orders", mode=Mode.FORCE)  # a Saturday
    world.sql("insert into raw.orders values (3, 7, 5)").wait(hours=2)
    assert world.run().decision("orders").evidence["window"] == "2 d"


def test_freshness_null_cancels_an_inherited_rule(world: World) -> None:
    shop(world)
    extra = "  +freshness: {build_after: {count: 4, period: hour}}\n"
    world.write("dbt_project.yml", (world.root / "dbt_project.yml").read_text() + extra)
    world.write("models/orders.yml", "models: [{name: orders, config: {freshness: null}}]")
    world.run()
    world.sql("insert into raw.orders values (2, 7, 5)", "insert into raw.customers values (8, 'Bea')")
    run = world.run()
    assert run.outcomes["orders"] == "built: new_data"
    assert run.outcomes["customers"] == "reused: within_interval"


def test_on_test_failure_rebuild(world: World) -> None:
    shop(world)
    world.model("orders", "select * from {{ source('raw', 'orders') }}", on_test_failure="rebuild")
    world.write(
        "models/t.yml",
        "models: [{name: orders, columns: [{name: amount, data_tests: [{accepted_values: {values: [1]}}]}]}]",
    )
    world.run()
    assert world.run().outcomes["orders"] == "built: test_failed"


def test_only_sources_above_the_selection_are_read(world: World) -> None:
    shop(world).run()
    runner = world.runner()
    from sao_dagster.core.selection import select

    _, seen = runner.plan(select(runner.project, "customers"))
    assert set(seen.facts.versions) == {"source:raw.customers"}
