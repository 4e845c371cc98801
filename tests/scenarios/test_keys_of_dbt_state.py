"""The keys of dbt State: what means something here is that, what does not is named in a notice, and no model is lost to either."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import yaml

from sao_dagster.core.nodes import Node
from sao_dagster.core.policy import UpdatesOn, Volatile
from tests.world import PROJECT, World


def written(world: World, **config: Any) -> Node:
    world.model("total", "select 1 as n")
    world.write("models/total.yml", yaml.safe_dump({"models": [{"name": "total", "config": config}]}))
    return world.opened().project.nodes["total"]


def notices(world: World) -> list[str]:
    return [str(each) for each in world.opened().project.notices]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("4h", 14400), ("1w", 604800), (2700, 2700), ({"count": 4, "period": "hour"}, 14400), ("{{ '30m' }}", 1800)],
)
def test_a_tolerance_is_a_text_a_number_or_a_count_of_periods(world: World, value: Any, seconds: int) -> None:
    assert written(world, state={"lag_tolerance": value}).policy.lag_tolerance == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", [True, {"count": 4}, {"count": 4, "period": "month"}, {"count": "x", "period": "day"}]
)
def test_what_is_no_tolerance_is_an_error_of_the_model(world: World, value: Any) -> None:
    node = written(world, state={"lag_tolerance": value})
    assert node.error is not None and "state.lag_tolerance: a duration" in node.error.message


@pytest.mark.parametrize(
    ("state", "freshness", "expected"),
    [
        ({"require_fresh_data_from": "all"}, None, UpdatesOn.ALL),
        ({"require_fresh_data_from": "any"}, {"build_after": {"updates_on": "all"}}, UpdatesOn.ANY),
        ({}, {"build_after": {"updates_on": "all"}}, UpdatesOn.ALL),
    ],
)
def test_require_fresh_data_from_is_updates_on(world: World, state: Any, freshness: Any, expected: UpdatesOn) -> None:
    assert written(world, state=state, freshness=freshness).policy.updates_on is expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"state": {"evaluate_volatile_sql": True}}, Volatile.AUTO),
        ({"state": {"evaluate_volatile_sql": False}}, Volatile.IGNORE),
        ({"state": {"evaluate_volatile_sql": False}, "volatile": "hourly"}, Volatile.HOURLY),
    ],
)
def test_evaluate_volatile_sql_is_volatile(world: World, config: Any, expected: Volatile) -> None:
    assert written(world, **config).policy.volatile is expected
    says_so = any("`volatile: ignore`" in each for each in notices(world))
    assert says_so == (config["state"]["evaluate_volatile_sql"] is False)


@pytest.mark.parametrize(
    "state",
    [
        {"compare_unrendered_code": True},
        {"pre_clone": "if_missing"},
        {"execute_hooks_on_any_reuse": True},
        {"execute_hooks_on_reuse": True},
        {"compare_selected_columns": True},
        {"ignore_external_modifications": True},
    ],
)
def test_a_key_without_meaning_is_named_in_a_notice(world: World, state: dict[str, Any]) -> None:
    (key,) = state
    assert written(world, state=state).error is None
    shown = "execute_hooks_on_any_reuse" if key == "execute_hooks_on_reuse" else key
    assert any(f"total: state.{shown} has no effect here: " in each for each in notices(world))


@pytest.mark.parametrize("state", [{"pre_clone": "never"}, {"compare_unrendered_code": False}, {"lag_tolerance": "1h"}])
def test_what_asks_for_nothing_is_not_noticed(world: World, state: dict[str, Any]) -> None:
    written(world, state=state)
    assert notices(world) == []


def test_none_of_it_is_code(world: World) -> None:
    before = written(world)
    after = written(
        world, state={"require_fresh_data_from": "all", "evaluate_volatile_sql": False, "pre_clone": "always"}
    )
    assert after.code.changed_parts(before.code.scheme, before.code.parts) == ()


def test_folders_and_targets_may_say_them(world: World) -> None:
    world.write("dbt_project.yml", PROJECT.replace("models:\n", "models:\n  +state: {require_fresh_data_from: all}\n"))
    profile = "{type: duckdb, path: shop.duckdb, threads: 2, defer_to_target: prod, freshness_tolerance: 2700, allow_clones: true}"
    world.write("profiles.yml", f"shop: {{target: dev, outputs: {{dev: {profile}}}}}")
    world.model("total", "select 1 as n")
    assert world.opened().project.nodes["total"].policy.updates_on is UpdatesOn.ALL
    assert world.run().built == {"total"}
