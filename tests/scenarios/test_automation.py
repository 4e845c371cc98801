"""The evaluator in the UI: it is the automation sensor of its assets, and shows a tree for each decision that changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorType

from sao_dagster import load_project
from sao_dagster.core.conditions import Condition, conditions_of
from sao_dagster.core.nodes import Source
from sao_dagster.core.policy import BuildAfter, Expiry, Period, RefreshPolicy, UpdatesOn
from sao_dagster.core.reasons import Outcome
from sao_dagster.core.records import Lease
from sao_dagster.core.situation import ResolvedPolicy
from sao_dagster.core.truth_table import TRUTH_TABLE, Kind
from sao_dagster.dagster import DagsterProject, SaoTranslator, automation, build_evaluator_sensor, evaluator
from tests.deployment import Deployment, deploy, metadata, names, write_shop
from tests.situations import NOON, V1, V2, Case, cases, seen_as
from tests.world import World

NO_RULES = ResolvedPolicy()
WAITS = RefreshPolicy(updates_on=UpdatesOn.ALL)
PATIENT = ResolvedPolicy(configured=WAITS, build_after=BuildAfter(4, Period.HOUR))


def tree(policy: ResolvedPolicy = NO_RULES, **seen: Any) -> tuple[str, dict[str, bool | None]]:
    decision = Case(policy, seen_as(**seen)).decision()
    found = conditions_of(decision, policy)
    return f"{decision.outcome.value}: {found.children[0].label}", {each.name: each.holds for each in found.walk()}


def test_the_tree_says_what_was_asked_and_what_it_gave() -> None:
    label, holds = tree(inputs={"a": V2, "b": V1})
    assert label == "built: news from a"
    assert holds["state_aware"] and holds["new_data_due"] and holds["input_news"]
    assert not holds["code_changed"]

    label, holds = tree(inputs={"a": V1, "b": V1})
    assert label == "reused: nothing changed"
    assert holds["state_aware"] is holds["new_data"] is False

    label, holds = tree(code={"sql": "2"}, inputs={"a": V2, "b": None})
    assert label == "built: its definition changed (sql)"
    assert holds["code_changed"] and holds["input_news"] is None, "the data was not looked at"
    assert holds["relation_missing"] is False


def test_what_holds_news_back_is_in_the_tree() -> None:
    label, holds = tree(PATIENT, inputs={"a": V2, "b": V1})
    assert label == "reused: built 1 h ago, at most every 4 h; news from a waits"
    assert holds["new_data"] is True
    assert holds["within_interval"] is True
    assert holds["interval_elapsed"] is holds["new_data_due"] is False
    assert holds["waiting_for_inputs"] is None, "the interval had decided"

    label, holds = tree(ResolvedPolicy(configured=WAITS), inputs={"a": V2, "b": V1})
    assert label == "reused: news from a; waits for b"
    assert holds["all_inputs_have_news"] is False

    label, holds = tree(ResolvedPolicy(configured=WAITS, expiry=Expiry.HOUR))
    assert label.startswith("built: its SQL depends on the time")
    assert holds["volatile_expired"] is True
    assert holds["waiting_for_inputs"] is None

    tolerant = ResolvedPolicy(configured=RefreshPolicy(lag_tolerance=timedelta(hours=2)))
    label, holds = tree(tolerant, inputs={"a": V2, "b": V1}, changed_since={"a": NOON - timedelta(minutes=5)})
    assert label == "reused: news from a is 5 min old, 2 h are tolerated"
    assert holds["tolerance_exceeded"] is False


def follows(condition: Condition) -> bool:
    """Return whether a condition's result follows from its children by its operator."""
    results = [child.holds for child in condition.children]
    if condition.holds is None or not results:
        return True
    known = [each for each in results if each is not None]
    expected = {"or": any(known), "and": all(known), "not": not results[0]}[condition.operator]
    return condition.holds is expected and all(map(follows, condition.children))


def test_every_tree_is_logically_what_it_says() -> None:
    """Over all situations, in which every row is met: each node follows from its children, the root is the outcome."""
    reasons = set()
    for case in cases():
        decision = case.decision()
        found = conditions_of(decision, case.policy)
        builds = decision.outcome is Outcome.BUILT
        assert found.holds is builds
        assert any(each.holds for each in found.children[1:]) is builds, "also without the sentence"
        assert follows(found), (decision, found)
        names = [each.name for each in found.walk()]
        assert len(names) == len(set(names)), names
        assert all(each.label for each in found.walk())
        leased = conditions_of(decision, case.policy, left_out="waits for raw.orders, which is not there")
        assert leased.holds is False
        assert follows(leased)
        reasons.add(decision.reason)
    expected = {row.reason for row in TRUTH_TABLE if row.kind not in (Kind.ERROR, Kind.ELSEWHERE)}
    assert reasons == expected, "see tests/situations.py"


@pytest.fixture
def shop(world: World) -> World:
    return write_shop(world)


def evaluations(tick: Any) -> dict[str, Any]:
    return {each.key.to_user_string(): each for each in tick.automation_condition_evaluations}


def test_the_evaluator_is_the_automation_sensor_of_its_assets(shop: World) -> None:
    deployed = deploy(shop)
    found = deployed.repository.get_sensor_def("shop_evaluator")
    assert found.sensor_type is SensorType.AUTOMATION
    assert found.with_attributes(metadata={"a": "b"}).sensor_type is SensorType.AUTOMATION, "copies stay what they are"
    assert [each.name for each in deployed.repository.sensor_defs] == ["shop_evaluator"], "there is no default sensor"
    spec = next(each for each in deployed.defs.resolve_all_asset_specs() if each.key == dg.AssetKey("orders"))
    assert spec.automation_condition is not None
    assert spec.automation_condition.get_label() == "state-aware: on any news"
    assert not spec.automation_condition.is_serializable, "host processes of other versions must not need the class"


def test_other_automation_keeps_its_own_sensor(shop: World) -> None:
    @dg.asset(automation_condition=dg.AutomationCondition.eager(), deps=["report"])
    def dashboard() -> None:
        pass

    deployed = deploy(shop, assets=[dashboard])
    default = deployed.repository.get_sensor_def("default_automation_condition_sensor")
    graph = deployed.repository.asset_graph
    assert default.asset_selection is not None
    assert default.asset_selection.resolve(graph) == {dg.AssetKey("dashboard")}


def test_what_the_evaluator_looks_after_is_said_in_dagsters_own_words(shop: World) -> None:
    deployed = deploy(shop)
    target = deployed.repository.get_sensor_def("shop_evaluator").asset_selection
    assert str(target) == 'key:"customers" or key:"orders" or key:"report" or key:"raw/orders"'
    checks = target.resolve_checks(deployed.repository.asset_graph)
    assert {each.name for each in checks} == {
        "unique_orders_id",
        "not_null_orders_id",
        "source_not_null_raw_orders_id",
    }


def test_an_observation_that_is_automated_keeps_its_own_sensor(shop: World) -> None:
    class Observing(SaoTranslator):
        def get_asset_spec(self, project: Any, node: Any) -> dg.AssetSpec:
            spec = super().get_asset_spec(project, node)
            on_cron = dg.AutomationCondition.on_cron("@hourly")
            return spec.replace_attributes(automation_condition=on_cron) if isinstance(node, Source) else spec

    deployed = deploy(shop, translator=Observing())
    default = deployed.repository.get_sensor_def("default_automation_condition_sensor").asset_selection
    assert default is not None
    assert dg.AssetKey(["raw", "orders"]) in default.resolve(deployed.repository.asset_graph)


def test_a_tree_is_shown_when_a_decision_changes(shop: World) -> None:
    deployed = deploy(shop)
    first = evaluations(deployed.tick())
    assert set(first) == {"orders", "customers", "report"}
    root = first["orders"]
    assert root.condition_snapshot.label == "built: never built"
    assert root.child_evaluations[0].condition_snapshot.name == "never built here before"
    assert root.true_subset.size == 1
    assert set(evaluations(deployed.tick())) == set(first), "what is requested is shown with each request"
    deployed.run()
    reused = deployed.tick()
    assert evaluations(reused)["orders"].condition_snapshot.label == "reused: no new data"
    assert evaluations(reused)["orders"].true_subset.size == 0
    assert evaluations(deployed.tick()) == {}
    assert "all 3 models are reused" in deployed.tick().skip_message
    shop.sql("insert into raw.orders values (2, 7)")
    assert set(evaluations(deployed.tick())) == {"orders", "report"}


def test_what_is_taken_from_another_environment_is_requested_and_materialized(shop: World) -> None:
    assert shop.run(target="other").result.succeeded
    shop.write("sao.yml", f"state_url: sqlite:///{shop.root / 'state.db'}\nreuse_from: [other]")
    deployed = deploy(shop)
    tick = deployed.tick()
    (request,) = tick.run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {"orders", "customers", "report"}
    root = evaluations(tick)["report"]
    assert root.condition_snapshot.label == "reused: same elsewhere"
    assert root.child_evaluations[0].condition_snapshot.name.startswith("other has built the same at ")
    assert root.true_subset.size == 1
    run = deployed.run()
    assert names(run, "ASSET_MATERIALIZATION") == {"orders", "customers", "report"}
    about = metadata(run, "report")
    assert (about["sao/outcome"], about["sao/reason"]) == ("reused", "same_elsewhere")
    assert {"sao/built_at", "sao/built_by_run", "sao/seconds_saved", "dagster/row_count"} <= about.keys()
    assert "all 3 models are reused" in deployed.tick().skip_message


def test_what_is_read_in_another_environment_is_neither_requested_nor_materialized(shop: World) -> None:
    assert shop.run(target="other").result.succeeded
    shop.write("sao.yml", f"state_url: sqlite:///{shop.root / 'state.db'}\nreuse_from: [other]\nclone: defer")
    deployed = deploy(shop)
    tick = deployed.tick()
    (request,) = tick.run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {"customers"}, "which is a view"
    root = evaluations(tick)["report"]
    assert root.condition_snapshot.label == "reused: same elsewhere"
    assert root.child_evaluations[0].condition_snapshot.name.endswith("which is read in its place")
    assert names(deployed.run(), "ASSET_MATERIALIZATION") == {"customers"}
    assert "all 3 models are reused" in deployed.tick().skip_message
    shop.write("models/reports/report.sql", "select amount + 1 as amount from {{ ref('orders') }}")
    edited = deploy(shop)
    (request,) = edited.tick().run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {"report"}
    assert names(edited.run(), "ASSET_MATERIALIZATION") == {"report"}
    assert shop.rows("select amount from main.report") == [(6,)]


def test_many_trees_are_spread_over_ticks(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "TREES_A_TICK", 2)
    deployed = deploy(shop)
    deployed.run()
    assert [len(evaluations(deployed.tick())) for _ in range(3)] == [2, 1, 0]


def test_old_evaluations_are_purged_and_unchanged_ones_shown_again(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged: list[datetime] = []
    monkeypatch.setattr(evaluator, "purge_evaluations", lambda _, before: purged.append(before))
    deployed = deploy(shop)
    deployed.run()
    deployed.tick()
    deployed.tick()
    assert len(purged) == 1, "once a day"
    monkeypatch.setattr(evaluator, "SHOWN_AGAIN", timedelta(days=-1))
    assert len(evaluations(deployed.tick())) == 3
    automation.purge_evaluations(dg.DagsterInstance.ephemeral(), NOON)


def test_without_the_hook_the_evaluator_is_a_plain_sensor(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automation, "HOOKED", False)
    deployed = deploy(shop)
    assert deployed.repository.get_sensor_def("shop_evaluator").sensor_type is SensorType.STANDARD
    assert [each.name for each in deployed.repository.sensor_defs] == ["shop_evaluator"], "nothing marks the assets"
    first = deployed.tick()
    assert first.automation_condition_evaluations == []
    (request,) = first.run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {"orders", "customers", "report"}
    deployed.run()
    assert "all 3 models are reused" in deployed.tick().skip_message


def test_the_daemon_stores_trees_with_the_run_they_led_to(shop: World) -> None:
    """What a tick gives is what Dagster stores, through its own serialization."""
    tick = deploy(shop).tick()
    storage = dg.DagsterInstance.local_temp(str(shop.root)).schedule_storage
    assert storage is not None
    storage.add_auto_materialize_asset_evaluations(
        1, [each.with_run_ids({"run"}) for each in tick.automation_condition_evaluations]
    )
    (record,) = storage.get_auto_materialize_asset_evaluations(dg.AssetKey("report"), limit=1)
    stored = record.get_evaluation_with_run_ids()
    assert stored.run_ids == {"run"}
    labels = [each.condition_snapshot.label for each in stored.evaluation.iter_nodes()]
    assert labels[0] == "built: never built"
    ids = [each.condition_snapshot.unique_id for each in stored.evaluation.iter_nodes()]
    assert len(set(ids)) == len(ids)


def test_what_another_run_is_building_is_left_to_it(shop: World) -> None:
    deployed = deploy(shop)
    store, environment = load_project(shop.root).store, shop.environment
    lease = store.take_lease(environment, "orders", "h", "run-of-others", 60)
    assert isinstance(lease, Lease)
    tick = deployed.tick()
    assert {key.to_user_string() for key in tick.run_requests[0].asset_selection} == {"customers", "report"}
    assert {key.name for key in tick.run_requests[0].asset_check_keys} == {"source_not_null_raw_orders_id"}
    nodes = list(evaluations(tick)["orders"].iter_nodes())
    assert nodes[0].condition_snapshot.label == "waits for run run-of-others, which is building it"
    assert nodes[0].true_subset.size == 0
    assert nodes[-1].condition_snapshot.name == "waits for run run-of-others, which is building it"
    store.release_lease(environment, lease)
    again = deployed.tick()
    assert "orders" in {key.to_user_string() for key in again.run_requests[0].asset_selection}
    assert evaluations(again)["orders"].condition_snapshot.label == "built: never built"


def test_two_evaluators_share_a_project(shop: World) -> None:
    deployed = deploy(
        shop,
        evaluator=False,
        parts=[
            lambda dagster_project: build_evaluator_sensor(dagster_project, name="daily", select="tag:daily"),
            lambda dagster_project: build_evaluator_sensor(dagster_project, name="others", exclude="tag:daily"),
        ],
    )
    spec = next(each for each in deployed.defs.resolve_all_asset_specs() if each.key == dg.AssetKey("orders"))
    assert spec.automation_condition is not None
    assert {each.name for each in deployed.repository.sensor_defs} == {"daily", "others"}
    (daily,), (others,) = deployed.tick("daily").run_requests, deployed.tick("others").run_requests
    assert {key.to_user_string() for key in daily.asset_selection} == {"customers"}
    assert {key.to_user_string() for key in others.asset_selection} == {"orders", "report"}


def test_a_tick_that_runs_out_of_time_leaves_the_decision_to_the_run(shop: World) -> None:
    deployed = deploy(
        shop,
        parts=[lambda dagster_project: build_evaluator_sensor(dagster_project, name="hasty", tick_seconds=0.0)],
        evaluator=False,
    )
    deployed.run()
    assert "are reused" in deployed.tick("hasty").skip_message or deployed.tick("hasty"), "kept versions are used"
    shop.sql("insert into raw.orders values (2, 7)")
    (request,) = deployed.tick("hasty").run_requests
    assert request.tags["sao/input_unknown"]
    result = deployed.run([each.to_user_string() for each in request.asset_selection])
    assert result.success


def test_edges_without_an_evaluator_mark_nothing(shop: World) -> None:
    from sao_dagster.dagster import ProjectWarehouse, build_assets

    dagster_project = DagsterProject(load_project(shop.root), evaluator=False)
    defs = dg.Definitions(assets=[*build_assets(dagster_project)], resources={"sao_warehouse": ProjectWarehouse()})
    assert not Deployment(defs).repository.sensor_defs
