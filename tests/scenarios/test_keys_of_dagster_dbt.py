"""Keys, groups, tags and names of checks are those that dagster-dbt gives the same project; `tests/dbt/test_like_dagster_dbt.py` asks it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from sao_dagster import load_project
from sao_dagster.dagster import DagsterProject, definitions
from sao_dagster.errors import SaoError
from tests.deployment import Deployment, deploy, write_shop
from tests.world import World


@pytest.fixture
def shop(world: World) -> World:
    return write_shop(world)


def keys_of(shop: World) -> dict[str, str]:
    return {name: key.to_user_string() for name, key in DagsterProject(load_project(shop.root)).keys.items()}


def checks_of(deployed: Deployment) -> set[str]:
    return {key.to_user_string() for key in deployed.repository.asset_graph.asset_check_keys}


def test_a_schema_of_its_own_stands_before_the_name_of_a_model_or_seed(shop: World) -> None:
    shop.write(
        "dbt_project.yml",
        "name: shop\nprofile: shop\nmodels: {shop: {reports: {+schema: marts}}}\nseeds: {+schema: rates}",
    )
    shop.write("seeds/vat.csv", "country,rate\nat,20\n")
    keys = keys_of(shop)
    assert (keys["report"], keys["orders"], keys["vat"]) == ("marts/report", "orders", "rates/vat")
    deployed = deploy(shop)
    assert deployed.run().success
    assert deployed.instance.get_latest_materialization_event(dg.AssetKey(["marts", "report"]))


def test_a_version_is_called_by_its_alias(shop: World) -> None:
    shop.write(
        "models/core/t.yml",
        "models: [{name: orders, config: {schema: marts}, "
        "versions: [{v: 1, defined_in: orders}, {v: 2, defined_in: orders_two, config: {alias: orders_now}}]}]",
    )
    shop.write("models/core/orders_two.sql", "select * from {{ source('raw', 'orders') }}")
    keys = keys_of(shop)
    assert (keys["orders.v1"], keys["orders.v2"]) == ("orders_v1", "orders_now")


def test_a_folder_is_no_group_and_a_source_has_the_one_that_is_written(shop: World) -> None:
    shop.write(
        "models/sources.yml",
        "sources: [{name: raw, tables: [{name: orders, meta: {dagster: {group: landing}}}, {name: customers}]}]",
    )
    specs = {each.key.to_user_string(): each for each in deploy(shop).defs.resolve_all_asset_specs()}
    groups = {name: specs[name].group_name for name in ("orders", "raw/orders", "raw/customers")}
    assert groups == {"orders": "default", "raw/orders": "landing", "raw/customers": "default"}


@pytest.mark.parametrize(
    ("tag", "shown"), [("team/crm", "team/crm"), ("daily run", "daily_run"), ("dagster/x", "dagster_x")]
)
def test_tags_stay_as_they_are_where_dagster_takes_them(shop: World, tag: str, shown: str) -> None:
    shop.model("tagged", "select 1 as one", tags=[tag])
    assert shown in DagsterProject(load_project(shop.root)).asset_spec("tagged").tags


def test_tests_of_one_name_on_two_models_are_checks_of_that_name(shop: World) -> None:
    named = "columns: [{name: id, data_tests: [{not_null: {name: has_id}}]}]"
    shop.write("models/core/t.yml", f"models: [{{name: orders, {named}}}, {{name: customers, {named}}}]")
    deployed = deploy(shop)
    assert checks_of(deployed) >= {"orders:has_id", "customers:has_id"}
    asked = {each.check_name for each in deployed.run().get_asset_check_evaluations() if each.passed}
    assert asked >= {"has_id"}


def test_tests_of_one_name_on_one_model_are_two_checks(shop: World) -> None:
    same = "{accepted_values: {name: known, values: [%d], config: {severity: warn}}}"
    tests = ", ".join(same % value for value in (1, 2))
    shop.write("models/core/t.yml", f"models: [{{name: orders, columns: [{{name: id, data_tests: [{tests}]}}]}}]")
    found = [each for each in checks_of(deploy(shop)) if each.startswith("orders:")]
    assert len(found) == 2 and all(each.startswith("orders:known_") for each in found)


@pytest.mark.parametrize(
    ("meta", "model"),
    [
        ({"dagster": {"ref": {"name": "orders"}}}, "orders"),
        ({}, "report"),
        ({"dagster": {"ref": {"name": "gone"}}}, "report"),
    ],
)
def test_a_singular_test_says_whose_check_it_is(shop: World, meta: dict[str, Any], model: str) -> None:
    shop.write(
        "tests/sums.sql",
        f"{{{{ config(meta={meta!r}) }}}} select 1 from {{{{ ref('orders') }}}} join {{{{ ref('report') }}}} using (amount) where false",
    )
    assert f"{model}:sums" in checks_of(deploy(shop))


def test_sources_show_their_columns_and_where_they_are_described(shop: World) -> None:
    spec = DagsterProject(load_project(shop.root)).asset_spec("source:raw.orders")
    (column,) = spec.metadata["dagster/column_schema"].columns
    assert (column.name, column.type) == ("id", "?")
    assert spec.metadata["dagster/storage_kind"] == "duckdb"
    (reference,) = spec.metadata["dagster/code_references"].code_references
    assert reference.file_path.endswith("models/sources.yml")


def test_a_translator_of_dagster_dbt_needs_a_manifest_and_says_so(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class DagsterDbtTranslator:
        """As dagster-dbt has one."""

    monkeypatch.setitem(sys.modules, "dagster_dbt", SimpleNamespace(DagsterDbtTranslator=DagsterDbtTranslator))
    with pytest.raises(SaoError, match=r"write `reader: manifest` in sao\.yml"):
        definitions(load_project(shop.root), translator=DagsterDbtTranslator())


def test_what_is_no_translator_is_refused(shop: World) -> None:
    with pytest.raises(SaoError, match="is no translator; give a SaoTranslator, or a DagsterDbtTranslator"):
        definitions(load_project(shop.root), translator="dwh")


def test_two_nodes_of_one_key_are_an_error_that_names_both(shop: World) -> None:
    shop.write("models/core/t.yml", "models: [{name: orders, config: {schema: raw}}]")
    with pytest.raises(SaoError, match=r"orders and source:raw\.orders both have the asset key raw/orders"):
        deploy(shop)


def test_two_sources_may_be_made_by_one_asset(shop: World) -> None:
    tables = ", ".join(
        f"{{name: {name}, meta: {{dagster: {{asset_key: [loader]}}}}}}" for name in ("orders", "customers")
    )
    shop.write("models/sources.yml", f"sources: [{{name: raw, tables: [{tables}]}}]")
    shop.model(
        "both", "select id from {{ source('raw', 'orders') }} union all select id from {{ source('raw', 'customers') }}"
    )
    deployed = deploy(shop)
    assert deployed.run().success
    assert deployed.repository.asset_graph.get(dg.AssetKey("both")).parent_keys == {dg.AssetKey("loader")}
    shop.sql("insert into raw.customers values (9)")
    (request,) = deployed.tick().run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {"report", "both"}


def test_an_asset_that_makes_a_source_may_be_defined_elsewhere(shop: World) -> None:
    @dg.asset(key=["raw", "orders"])
    def loader() -> None:
        """Load nothing."""

    ours = definitions(load_project(shop.root), upstream_assets=["raw/ord*"])
    deployed = Deployment(dg.Definitions.merge(ours, dg.Definitions(assets=[loader])))
    result = deployed.run()
    assert result.success
    built = [event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key]
    assert built.index("raw/orders") < built.index("orders")
    assert dg.AssetKey(["raw", "customers"]) in deployed.repository.asset_graph.observable_asset_keys


def test_projects_are_merged_into_one_code_location(shop: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other").model("people", "select 1 as id")
    other.write("dbt_project.yml", "name: crm\nprofile: shop\nmodels: {+materialized: table}\n")
    both = dg.Definitions.merge(definitions(load_project(shop.root)), definitions(load_project(other.root)))
    assert Deployment(both).run().success
    assert other.rows("select id from main.people") == [(1,)]
