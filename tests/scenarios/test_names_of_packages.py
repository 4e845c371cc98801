"""Nodes, sources and data tests of several packages that have one name, as dbt's manifest has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import duckdb
import pytest

from sao_dagster import DuckDBWarehouse, SqlProject, select
from sao_dagster.core.reasons import Outcome
from sao_dagster.core.relations import Relation
from sao_dagster.dagster import definitions
from sao_dagster.errors import ProjectError, ProjectErrors, SelectionError, UnknownNodeError
from sao_dagster.projects.dbt_manifest import ManifestReader, PreparedManifest
from sao_dagster.projects.declarations import Declarations
from sao_dagster.projects.manifest_changes import manifest_changes
from sao_dagster.run.defer import deferral_of

NOTHING: dict[str, Any] = {"description": "", "columns": {}, "tags": [], "meta": {}, "language": "sql"}


def model(package: str, name: str, sql: str, *reads: str, **config: Any) -> tuple[str, dict[str, Any]]:
    """Return a model of a package, which is built in a schema called as that."""
    place = {"database": "shop", "schema": package, "alias": config.pop("alias", name), "relation_name": None}
    named = {"resource_type": "model", "package_name": package, "name": name, "fqn": [package, "all", name]}
    config = {"materialized": "table", **config}
    return f"model.{package}.{name}", {
        **NOTHING, **place, **named, "config": config, "unrendered_config": config, "raw_code": sql,
        "original_file_path": f"models/all/{name}.sql", "depends_on": {"nodes": list(reads), "macros": []},
    }  # fmt: skip


def source(package: str, schema: str) -> tuple[str, dict[str, Any]]:
    """Return the source `raw.orders` of a package."""
    place = {"database": "shop", "schema": schema, "identifier": "orders", "relation_name": None}
    named = {"source_name": "raw", "name": "orders", "fqn": [package, "raw", "orders"], "package_name": package}
    more = {"original_file_path": "models/all.yml", "freshness": None, "loaded_at_field": None, "config": {}}
    return f"source.{package}.raw.orders", {**NOTHING, **place, **named, **more}


def unique_id_of_orders(package: str, reads: str) -> tuple[str, dict[str, Any]]:
    """Return a data test, which belongs to the model of its package, and reads whatever `ref` gives there."""
    kwargs = {"column_name": "id", "model": "{{ get_where_subquery(ref('orders')) }}"}
    named = {"name": "unique_orders_id", "alias": "unique_orders_id", "fqn": [package, "unique_orders_id"]}
    return f"test.{package}.unique_orders_id.1360ecc70e", {
        **NOTHING, **named, "resource_type": "test", "package_name": package, "raw_code": "", "config": {}, "unrendered_config": {},
        "test_metadata": {"name": "unique", "namespace": None, "kwargs": kwargs}, "original_file_path": "models/all.yml",
        "attached_node": f"model.{package}.orders", "depends_on": {"nodes": [reads], "macros": []},
    }  # fmt: skip


OWN = (
    model("shop", "orders", "select id from {{ source('raw', 'orders') }}", "source.shop.raw.orders"),
    model("shop", "totals", "select count(*) as n from {{ ref('orders') }}", "model.shop.orders"),
    unique_id_of_orders("shop", "model.shop.orders"),
)
LIB = (
    model("lib", "orders", "select id + 1 as id from {{ source('raw', 'orders') }}", "source.shop.raw.orders"),
    model("lib", "counted", "select count(*) as n from {{ ref('orders') }}", "model.shop.orders"),
    unique_id_of_orders("lib", "model.shop.orders"),
    model("shop", "lib_totals", "select count(*) as n from {{ ref('lib', 'orders') }}", "model.lib.orders"),
)
SOURCES = (source("shop", "raw"), source("lib", "lib_raw"))


class Shop:
    """A project and its packages, which dbt has read and this package renders and builds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.execute(
            *("create schema shop", "create schema lib", "create schema raw", "create schema lib_raw"),
            *("create table raw.orders as select 1 as id", "create table lib_raw.orders as select 5 as id"),
        )

    def execute(self, *statements: str) -> Any:
        with duckdb.connect(str(self.folder / "shop.duckdb")) as connection:
            return [connection.execute(each).fetchall() for each in statements][-1]

    def open(
        self,
        *nodes: tuple[str, Mapping[str, Any]],
        sources: tuple[tuple[str, Mapping[str, Any]], ...] = SOURCES,
        own_package_first: bool = False,
    ) -> SqlProject:
        warehouse = DuckDBWarehouse(path=str(self.folder / "shop.duckdb"))
        declared = Declarations.into(warehouse, name="shop", root=self.folder)
        declared.own_package_first = own_package_first
        manifest = {
            "metadata": {"adapter_type": "duckdb", "project_name": "shop"}, "nodes": dict(nodes), "sources": dict(sources),
            "macros": {}, "groups": {}, "unit_tests": {}, "docs": {},
        }  # fmt: skip
        (self.folder / "manifest.json").write_text(json.dumps(manifest))
        read = ManifestReader(PreparedManifest(manifest, {}), declared, native=True, renders=True).read()
        return SqlProject.of(read, warehouse, state_url=f"sqlite:///{self.folder / 'state.db'}")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def built(opened: SqlProject, *selected: str) -> dict[str, str]:
    result = opened.runner().run(select(opened.project, *selected))
    assert not [each for each in result.models if each.decision.outcome is Outcome.FAILED]
    decided = {each.name: each.decision for each in result.models}
    return {name: each.reason.value for name, each in decided.items() if each.outcome is Outcome.BUILT}


def test_all_are_built_and_what_the_project_itself_has_keeps_its_name_and_its_state(shop: Shop) -> None:
    assert built(shop.open(*OWN, sources=SOURCES[:1])) == {"orders": "never_built", "totals": "never_built"}
    new = dict.fromkeys(("lib.orders", "counted", "lib_totals"), "never_built")
    assert built(shop.open(*OWN, *LIB)) == new
    assert shop.execute("select id from shop.shop.orders union all select id from lib.orders") == [(1,), (2,)]
    both = shop.open(*OWN, *LIB)
    assert built(both) == {}
    lib = dict(LIB) | dict([model("lib", "orders", "select id + 2 as id from {{ source('raw', 'orders') }}")])
    assert built(shop.open(*OWN, *lib.items())) == {"lib.orders": "code_changed", "lib_totals": "new_data"}
    assert manifest_changes(shop.open(*OWN, *lib.items()).project, shop.folder) == {}


def test_ref_and_source_lead_first_to_the_project_and_by_a_flag_to_the_package(shop: Shop) -> None:
    own_first = model("lib", "orders", "select id from {{ source('raw', 'orders') }}")
    for is_set, read, raw in ((False, "orders", "raw.orders"), (True, "lib.orders", "lib.raw.orders")):
        project = shop.open(*OWN, *(dict(LIB) | dict([own_first])).items(), own_package_first=is_set).project
        assert project.nodes["counted"].depends_on == (read,)
        assert project.nodes["lib.orders"].depends_on == (f"source:{raw}",)
        assert project.nodes["totals"].depends_on == ("orders",)
        assert project.nodes["lib_totals"].depends_on == ("lib.orders",)
    assert str(project.sources["source:lib.raw.orders"].relation) == '"shop"."lib_raw"."orders"'


def test_data_tests_of_packages_are_about_what_they_read(shop: Shop) -> None:
    project = shop.open(*OWN, *LIB).project
    tests = {name: (test.tested, test.reads) for name, test in project.tests.items()}
    name = "unique_orders_id.1360ecc70e"
    assert tests == {name: ("orders", ("orders",)), f"lib.{name}": ("orders", ("orders",))}
    verdicts = [
        each.verdict.value for each in shop.open(*OWN, *LIB).runner().run(select(project)).tests if each.verdict
    ]
    assert verdicts == ["pass", "pass"]


def test_a_name_selects_all_that_have_it_and_one_with_its_package_that_alone(shop: Shop) -> None:
    project = shop.open(*OWN, *LIB).project
    assert select(project, "orders").nodes == ("lib.orders", "orders")
    assert select(project, "lib.orders+").nodes == ("lib.orders", "lib_totals")
    assert select(project, "lib.all.orders shop.all.orders").nodes == ("lib.orders", "orders")
    assert set(select(project, "package:lib").nodes) == {"lib.orders", "counted"}
    assert set(select(project, "package:this").nodes) == {"orders", "totals", "lib_totals"}
    assert set(select(project, "source:raw.orders").sources) == set(project.sources)
    assert select(project, "source:lib.raw.orders").sources == ("source:lib.raw.orders",)
    with pytest.raises(SelectionError, match=r"'shop\.orders' selects nothing"):
        select(project, "shop.orders")


def test_assets_have_the_keys_of_dagster_dbt_and_are_below_their_package_where_that_has_none(shop: Shop) -> None:
    reading = model("shop", "read", "select * from {{ ref('lib', 'orders') }}, {{ ref('orders') }}")
    specs = {tuple(spec.key.path): spec for spec in _specs(shop.open(*OWN, *LIB, reading))}
    assert {("orders",), ("lib", "orders"), ("raw", "orders"), ("lib", "raw", "orders")} <= specs.keys()
    assert {tuple(each.asset_key.path) for each in specs[("read",)].deps} == {("orders",), ("lib", "orders")}
    own_schema = dict([model("lib", "orders", "select 1 as id", schema="other")])
    assert {("orders",), ("other", "orders")} <= {
        tuple(spec.key.path) for spec in _specs(shop.open(*OWN, *(dict(LIB) | own_schema).items()))
    }
    checks = definitions(shop.open(*OWN, *LIB)).resolve_asset_graph().asset_check_keys
    assert {each.name for each in checks} == {"unique_orders_id", "lib_unique_orders_id_1360ecc70e"}


def _specs(opened: SqlProject) -> list[dg.AssetSpec]:
    return list(definitions(opened).resolve_all_asset_specs())


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([model("lib", "days", "select 1"), model("more", "days", "select 1"), model("shop", "m", "select * from {{ ref('days') }}")],
         r"m reads ref\('days'\), which several packages have \(lib, more\); name one: ref\('lib', 'days'\)"),
        ([model("shop", "m", "select * from {{ ref('lib', 'orders') }}")], r"m reads ref\('orders'\) in package 'lib', which is not there"),
    ],
)  # fmt: skip
def test_what_a_ref_does_not_say_is_an_error_of_its_reader(
    shop: Shop, nodes: list[tuple[str, dict[str, Any]]], said: str
) -> None:
    project = shop.open(*OWN, *nodes).project
    with pytest.raises(ProjectError, match=said):
        raise ProjectError(str(project.nodes["m"].error))


def test_real_collisions_are_errors(shop: Shop) -> None:
    there = model("lib", "orders", "select 1 as id")
    there[1]["schema"] = "shop"
    snapshot = ("snapshot.lib.days", {**model("lib", "days", "")[1], "resource_type": "snapshot"})
    for nodes, said in (
        ([there], r"orders and lib\.orders would both be built as \"shop\".\"shop\".\"orders\""),
        ([model("lib", "days", "select 1"), snapshot], "there are two models or seeds called 'lib.days'"),
        ([model("lib", "orders", "select 1"), model("shop", "lib.orders", "select 1")], "called 'lib.orders'"),
    ):
        with pytest.raises(ProjectErrors, match=said):
            shop.open(*OWN, *nodes).project.check()


def test_a_name_that_packages_alone_have_is_not_guessed(shop: Shop) -> None:
    project = shop.open(model("lib", "days", "select 1"), model("more", "days", "select 1")).project
    assert set(project.nodes) == {"lib.days", "more.days"}
    with pytest.raises(
        UnknownNodeError, match=r"no model or seed is called 'days'; did you mean 'lib\.days' or 'more\.days'"
    ):
        project.node("days")


def test_what_another_environment_calls_so_is_not_taken_for_what_is_called_so_here(shop: Shop) -> None:
    both, lib_alone = (shop.open(*nodes, *LIB).project for nodes in (OWN, ()))
    for project, known, expected in (
        (both, ["orders"], {}),  # which was that of the package, before the project had one
        (both, ["orders", "lib.orders"], {"orders": "orders", "lib.orders": "lib.orders"}),
        (lib_alone, ["orders"], {"orders": "orders"}),
        (lib_alone, ["orders", "lib.orders"], {"orders": "lib.orders"}),  # the project had one
    ):
        there = {name: Relation("shop", "prod", name) for name in known}
        elsewhere: Any = SimpleNamespace(name="prod", favored=False, relations=lambda _, there=there: there)
        selection = select(project, "shop.all.totals shop.all.lib_totals" if project is both else "lib_totals")
        found = deferral_of(project, selection, elsewhere, {}, [each.key for each in there.values()])
        assert {name: each.identifier for name, each in found.relations.items()} == expected
