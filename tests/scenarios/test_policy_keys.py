"""Each policy key can be written wherever the table says, and is no code; every other key of a node is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime, timezone
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import yaml

from sao_dagster import DuckDBWarehouse, SqlProject, load_project
from sao_dagster.core.explain import describe_policy
from sao_dagster.core.nodes import Node
from sao_dagster.core.policy import POLICY_KEYS, Place, PolicyKey, RefreshPolicy
from sao_dagster.dagster import SaoProjectComponent
from sao_dagster.projects.config import CONFIG_KEYS, KEYS_BY_USE, NODE_CONFIG, ConfigUse
from tests.world import PROJECT, World

SQL = "select 1 as id"
NOW = datetime(2026, 3, 2, tzinfo=timezone.utc)


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def of_folder(world: World) -> Node:
    return load_project(world.root).project.nodes["m"]


def in_the_folder(world: World, key: PolicyKey) -> Node:
    own = {f"+{name}": value for name, value in nested(key.path, key.example).items()}
    world.write(
        "dbt_project.yml", yaml.safe_dump({**yaml.safe_load(PROJECT), "models": {"+materialized": "table", **own}})
    )
    return of_folder(world)


def in_the_folder_without_a_plus(world: World, key: PolicyKey) -> Node:
    own = nested(key.path, key.example)
    world.write(
        "dbt_project.yml", yaml.safe_dump({**yaml.safe_load(PROJECT), "models": {"+materialized": "table", **own}})
    )
    return of_folder(world)


def in_properties(world: World, key: PolicyKey) -> Node:
    world.write("models/m.yml", yaml.safe_dump({"models": [{"name": "m", "config": nested(key.path, key.example)}]}))
    return of_folder(world)


def in_meta(world: World, key: PolicyKey) -> Node:
    own = {} if key.from_dbt else {"meta": {"sao": {key.name: key.example}}}
    config = own or nested(key.path, key.example)
    world.write("models/m.yml", yaml.safe_dump({"models": [{"name": "m", "config": config}]}))
    return of_folder(world)


def in_the_sql(world: World, key: PolicyKey) -> Node:
    world.model("m", SQL, **nested(key.path, key.example))
    return of_folder(world)


def in_python(world: World, key: PolicyKey) -> Node:
    project = SqlProject("shop", warehouse=DuckDBWarehouse(path=str(world.root / "shop.duckdb")))
    project.model(name="m", sql=SQL, materialized="table", **nested(key.argument, key.example))
    return project.project.nodes["m"]


def in_a_component(world: World, key: PolicyKey) -> Node:
    policies = [{"select": "m", **nested(key.argument, key.example)}]
    component = SaoProjectComponent.resolve_from_yaml(
        yaml.safe_dump({"project": str(world.root), "policies": policies}), scope={}
    )
    return load_project(world.root).with_policies(component.policies).project.nodes["m"]


WRITTEN: Mapping[Place, tuple[Callable[[World, PolicyKey], Node], ...]] = {
    Place.FOLDER: (in_the_folder, in_the_folder_without_a_plus),
    Place.PROPERTIES: (in_properties, in_meta),
    Place.CONFIG: (in_the_sql,),
    Place.PYTHON: (in_python,),
    Place.COMPONENT: (in_a_component,),
}
WAYS = [(key, write) for key in POLICY_KEYS for place in Place if place in key.places for write in WRITTEN[place]]


@pytest.mark.parametrize(("key", "write"), WAYS, ids=[f"{key.name}-{write.__name__}" for key, write in WAYS])
def test_a_policy_is_settable_and_no_code(
    world: World, key: PolicyKey, write: Callable[[World, PolicyKey], Node]
) -> None:
    world.model("m", SQL)
    before = of_folder(world)
    after = write(world, key)
    plain = RefreshPolicy()
    differing = [each.name for each in fields(plain) if getattr(after.policy, each.name) != getattr(plain, each.name)]
    assert differing == [key.name]
    assert after.code.changed_parts(before.code.scheme, before.code.parts) == ()
    assert (describe_policy(after.policy, NOW) != describe_policy(plain, NOW)) == (key.words is not None)


def test_what_stands_in_meta_is_a_key_of_this_package(world: World) -> None:
    world.model("m", SQL).write("models/m.yml", "models: [{name: m, config: {meta: {sao: {volatil: daily}}}}]")
    error = of_folder(world).error
    assert error is not None
    assert "meta: `sao` takes a mapping of" in error.message
    assert "'volatil': 'daily'" in error.message
    assert (error.location.path, error.location.line) == ("models/m.yml", 1)


def test_the_table_has_each_field_once_with_its_type() -> None:
    assert [key.name for key in POLICY_KEYS] == [each.name for each in fields(RefreshPolicy)]
    hints = get_type_hints(RefreshPolicy)
    for key in POLICY_KEYS:
        assert key.kind in {get_origin(hint) or hint for hint in (hints[key.name], *get_args(hints[key.name]))}
        assert CONFIG_KEYS[key.config_key] is ConfigUse.POLICY


def test_each_config_key_has_one_use() -> None:
    listed = [key for _, keys in KEYS_BY_USE for key in keys]
    assert len(listed) == len(set(listed)) == len(CONFIG_KEYS)
    assert {field.alias or name for name, field in NODE_CONFIG.model_fields.items()} <= set(CONFIG_KEYS)
    assert {use for use, _ in KEYS_BY_USE} == set(ConfigUse)


NOT_CODE: Mapping[str, Any] = {
    "tags": ["daily"],
    "meta": {"owner": "ada@example.com"},
    "group": "finance",
    "description": "orders",
    "full_refresh": False,
    "enabled": True,
}
OTHERS = (ConfigUse.PEOPLE, ConfigUse.RUN, ConfigUse.NO_EFFECT, ConfigUse.HARMLESS)


@pytest.mark.parametrize("key", [key for key, use in CONFIG_KEYS.items() if use in OTHERS])
def test_what_is_no_code_changes_no_code_version(world: World, key: str) -> None:
    before = load_project(world.model("m", SQL).root).project.nodes["m"].code
    opened = load_project(world.model("m", SQL, **{key: NOT_CODE.get(key, "x")}).root)
    assert opened.project.nodes["m"].code == before
    noticed = [each for each in opened.project.notices if f"{key!r} has no effect" in each.message]
    assert len(noticed) == CONFIG_KEYS[key].is_noticed


@pytest.mark.parametrize("key", [key for key, use in CONFIG_KEYS.items() if use is ConfigUse.CODE_ELSEWHERE])
def test_what_would_be_code_elsewhere_counts_and_is_noticed(world: World, key: str) -> None:
    before = load_project(world.model("m", SQL).root).project.nodes["m"].code
    opened = load_project(world.model("m", SQL, **{key: "x"}).root)
    assert opened.project.nodes["m"].code.changed_parts(before.scheme, before.parts) == ("config",)
    assert [each for each in opened.project.notices if f"{key!r} has no effect" in each.message]
