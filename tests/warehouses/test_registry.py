"""Warehouses are found by the `type` of a profile, those of other packages through their entry points; resources are made from profiles."""

from __future__ import annotations

import types
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from typing import get_args

import dagster as dg
import pytest

from sao_dagster import DuckDBWarehouse
from sao_dagster.dagster import DeployedWarehouse, DuckDBResource, PostgresResource, resource_for
from sao_dagster.errors import ProjectError, WarehouseError
from sao_dagster.warehouses import registry
from sao_dagster.warehouses.duckdb.profile import DuckDBProfile
from sao_dagster.warehouses.registry import known, profile_of
from tests.world import World


@dataclass(frozen=True)
class Package:
    """An installed package, as far as an entry point knows it."""

    name: str


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points as packages would bring them."""
    found: list[EntryPoint] = []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: EntryPoints(found).select(group=group))
    return found


def entry(name: str, value: str, package: str) -> EntryPoint:
    made = EntryPoint(name, value, registry.GROUP)
    vars(made)["dist"] = Package(package)
    return made


def test_a_package_brings_a_warehouse(installed: list[EntryPoint]) -> None:
    installed.append(entry("duck", "sao_dagster.warehouses.duckdb.profile:DuckDBProfile", "sao-duck"))
    assert known() == ["duck", "duckdb", "postgres"]
    assert profile_of("duck") is DuckDBProfile


def test_a_type_that_nobody_has_names_those_there_are_and_the_way(world: World) -> None:
    world.write("profiles.yml", "shop: {target: dev, outputs: {dev: {type: oracle}}}")
    with pytest.raises(ProjectError) as refused:
        world.runner().project.check()
    message = str(refused.value)
    assert message.startswith("profiles.yml: dev: a warehouse of type 'oracle' (there are duckdb, postgres, and")
    assert registry.GROUP in message
    assert "install dbt (dbt-core and the adapter)" in message


def test_a_type_that_two_packages_have_names_both(installed: list[EntryPoint]) -> None:
    installed += [entry("duck", "elsewhere:Profile", each) for each in ("sao-mallard", "sao-duck")]
    with pytest.raises(ProjectError, match="sao-duck and sao-mallard have a warehouse of type 'duck' each"):
        profile_of("duck")


def test_the_types_of_this_package_are_its_own(installed: list[EntryPoint]) -> None:
    installed.append(entry("duckdb", "elsewhere:Profile", "sao-duck"))
    assert profile_of("duckdb") is DuckDBProfile


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("no_such_module:Profile", "that of sao-x, which cannot be imported: No module named 'no_such_module'"),
        ("sao_dagster.errors:Nothing", "that of sao-x, which cannot be imported: .*Nothing"),
        ("sao_dagster.errors:SaoError", "sao_dagster.errors:SaoError is no WarehouseProfile"),
    ],
)
def test_a_package_that_is_broken_is_named(installed: list[EntryPoint], value: str, expected: str) -> None:
    installed.append(entry("x", value, "sao-x"))
    with pytest.raises(ProjectError, match=expected):
        profile_of("x")


@pytest.mark.parametrize("written", [DuckDBResource, PostgresResource])
def test_resources_that_are_written_out_are_those_of_their_profiles(written: type[DeployedWarehouse]) -> None:
    made = resource_for(written.kind)
    assert list(made.model_fields) == list(written.model_fields) == list(profile_of(written.kind).deployment)
    for name, field in made.model_fields.items():
        theirs, ours = (each.annotation for each in (field, written.model_fields[name]))
        assert set(get_args(theirs)) - {types.NoneType} == set(get_args(ours) or (ours,)) - {types.NoneType}, name
    assert made.__name__ == written.__name__


def test_a_resource_that_is_made_takes_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_FILE", "/elsewhere/shop.duckdb")
    given = resource_for("duckdb")(path=dg.EnvVar("SHOP_FILE"), wait_seconds=7)
    resource = given.process_config_and_initialize()
    declared = DuckDBWarehouse(path="shop.duckdb", threads=3)
    assert resource.warehouse(declared) == DuckDBWarehouse(path="/elsewhere/shop.duckdb", threads=3, wait_seconds=7)
    with pytest.raises(WarehouseError, match="a database 'shop', and that of the project is 'other'"):
        resource.warehouse(DuckDBWarehouse(path="other.duckdb"))


def test_how_long_to_wait_for_a_file_may_stand_in_the_profile(world: World) -> None:
    world.write(
        "profiles.yml", "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb, wait_seconds: 5}}}"
    )
    warehouse = world.runner().warehouse
    assert isinstance(warehouse, DuckDBWarehouse)
    assert warehouse.wait_seconds == 5
