"""What dagster-dbt says of a project, and what this package says of it: run where dagster-dbt, dbt-core and dbt-duckdb are installed too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import dagster as dg
import duckdb
import pytest

from sao_dagster import load_project
from sao_dagster.dagster import DagsterProject, SaoProjectComponent, build_assets, definitions
from sao_dagster.errors import SaoError
from tests.test_docs import NEEDS_DAGSTER_DBT

dagster_dbt = pytest.importorskip("dagster_dbt")
pytestmark = pytest.mark.slow

FILES = {
    "dbt_project.yml": """
name: shop
version: "1.0"
profile: shop
models:
  shop:
    +materialized: table
    staging: {+materialized: view, +tags: [stg, "team/crm"]}
    marts: {+schema: marts, +group: finance}
seeds: {shop: {+schema: refdata}}
""",
    "profiles.yml": "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb, threads: 2}}}",
    "models/properties.yml": """
version: 2
groups: [{name: finance, owner: {name: Fin, email: fin@example.com}}]
sources:
  - name: raw
    tables:
      - {name: orders, columns: [{name: id, data_tests: [not_null]}]}
      - {name: people, meta: {dagster: {asset_key: [crm, people]}}}
models:
  - name: stg_orders
    description: All orders.
    columns:
      - {name: id, description: The id., data_type: integer, data_tests: [unique, not_null]}
      - {name: amount, data_tests: [{accepted_values: {values: [5, 7], config: {severity: warn}}}]}
      - {name: person, data_tests: [{relationships: {to: ref('people'), field: id}}]}
  - name: people
    config: {meta: {dagster: {asset_key: [crm, persons], group: crm, owners: ["team:crm", a@example.com]}}}
    columns: [{name: id, data_tests: [{not_null: {name: has_id}}]}]
  - name: orders
    latest_version: 2
    versions: [{v: 1, config: {alias: orders_first}}, {v: 2}]
    columns: [{name: id, data_tests: [not_null]}]
  - name: total
    columns: [{name: id, data_tests: [{not_null: {name: has_id}}]}]
""",
    "models/staging/stg_orders.sql": "select id, person, amount from {{ source('raw', 'orders') }}",
    "models/people.sql": "select id, name from {{ source('raw', 'people') }}",
    "models/inlined.sql": "{{ config(materialized='ephemeral') }} select * from {{ ref('stg_orders') }}",
    "models/marts/orders_v1.sql": "select id, amount from {{ ref('stg_orders') }}",
    "models/marts/orders_v2.sql": "select id, amount * 1 as amount from {{ ref('inlined') }}",
    "models/marts/deep/total.sql": "select count(*) as id from {{ ref('orders') }}, {{ ref('rates') }}",
    "seeds/rates.csv": "id,rate\n1,2\n",
    "snapshots/people_over_time.sql": """
{% snapshot people_over_time %}{{ config(unique_key='id', strategy='check', check_cols=['name'], target_schema='history') }}
select id, name from {{ ref('people') }}
{% endsnapshot %}
""",
    "tests/no_debts.sql": "select * from {{ ref('stg_orders') }} where amount < 0",
    "tests/all_known.sql": """
{{ config(meta={'dagster': {'ref': {'name': 'people'}}}) }}
select p.id from {{ ref('people') }} p join {{ ref('stg_orders') }} on false
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, parsed by dbt, with its raw data."""
    root = tmp_path_factory.mktemp("shop")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "sao.yml").write_text("executor: dbt\n")
    with duckdb.connect(str(root / "shop.duckdb")) as connection:
        connection.execute("create schema raw; create table raw.orders as select 1 as id, 1 as person, 5 as amount")
        connection.execute("create table raw.people as select 1 as id, 'Ada' as name")
    subprocess.run([str(Path(sys.executable).parent / "dbt"), "parse", "-q"], cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def theirs(folder: Path) -> dg.Definitions:
    project = dagster_dbt.DbtProject(folder)
    settings = dagster_dbt.DagsterDbtTranslatorSettings(enable_code_references=True, enable_source_tests_as_checks=True)
    translator = dagster_dbt.DagsterDbtTranslator(settings)

    @dagster_dbt.dbt_assets(manifest=project.manifest_path, project=project, dagster_dbt_translator=translator)
    def shop(context):  # type: ignore[no-untyped-def]  # Dagster reads what is returned
        """Run nothing."""

    return dg.Definitions(assets=[shop])


@pytest.fixture(scope="module")
def ours(folder: Path) -> dg.Definitions:
    return definitions(load_project(folder))


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    found = {each.key.to_user_string(): each for each in defs.resolve_all_asset_specs()}
    return {key: each for key, each in found.items() if key != "shop/savings"}


def references(spec: dg.AssetSpec) -> list[str]:
    return [str(each.file_path) for each in spec.metadata["dagster/code_references"].code_references]


def test_assets_have_the_same_keys_groups_parents_and_tables(theirs: dg.Definitions, ours: dg.Definitions) -> None:
    expected, found = specs(theirs), specs(ours)
    assert found.keys() == expected.keys()
    for key, spec in expected.items():
        mine = found[key]
        assert mine.group_name == spec.group_name, key
        assert {each.asset_key for each in mine.deps} == {each.asset_key for each in spec.deps}, key
        assert mine.metadata["dagster/table_name"] == spec.metadata["dagster/table_name"], key
        assert mine.metadata["dagster/storage_kind"] == spec.metadata["dagster/storage_kind"], key
        assert references(mine) == references(spec), key
        assert set(mine.owners) >= set(spec.owners), key
        assert set(mine.tags) >= set(spec.tags), key
        assert mine.kinds >= spec.kinds, key
        columns = [
            [(each.name, each.type, each.description or "") for each in schema.columns] if schema else None
            for schema in (one.metadata.get("dagster/column_schema") for one in (mine, spec))
        ]
        assert columns[0] == columns[1], key


def test_checks_have_the_same_names_and_block_the_same(theirs: dg.Definitions, ours: dg.Definitions) -> None:
    def checks(defs: dg.Definitions) -> dict[str, Any]:
        graph = defs.resolve_asset_graph()
        return {key.to_user_string(): graph.get_check_spec(key).blocking for key in graph.asset_check_keys}

    expected, found = checks(theirs), checks(ours)
    assert found.keys() == expected.keys()
    assert {key: blocks for key, blocks in found.items() if not key.startswith("raw/")} == {
        key: blocks for key, blocks in expected.items() if not key.startswith("raw/")
    }


class Prefixed(dagster_dbt.DagsterDbtTranslator):  # type: ignore[misc]  # it may not be installed
    """A translator as users write them: some of it by single methods, the rest on the spec."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        return super().get_asset_key(dbt_resource_props).with_prefix("dwh")

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return str(dbt_resource_props["fqn"][1])

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"checksum": dbt_resource_props["checksum"]["checksum"]} if "checksum" in dbt_resource_props else {}

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: Any) -> dg.AssetSpec:
        assert project.name == "shop"
        return super().get_asset_spec(manifest, unique_id, project).merge_attributes(deps=["nightly_load"])


def test_a_translator_of_dagster_dbt_gives_keys_specs_and_names_of_checks(folder: Path) -> None:
    project, translator = dagster_dbt.DbtProject(folder), Prefixed()

    @dagster_dbt.dbt_assets(manifest=project.manifest_path, project=project, dagster_dbt_translator=translator)
    def shop(context):  # type: ignore[no-untyped-def]
        """Run nothing."""

    opened = load_project(folder)
    defs = definitions(opened, translator=Prefixed())
    expected, found = specs(dg.Definitions(assets=[shop])), specs(defs)
    assert expected.keys() <= found.keys()
    for key in expected.keys() - {"nightly_load", "dwh/raw/orders", "dwh/crm/people"}:
        assert found[key].group_name == expected[key].group_name
        assert found[key].description == expected[key].description
        assert {each.asset_key for each in found[key].deps} == {each.asset_key for each in expected[key].deps}
        assert found[key].metadata.get("checksum") == expected[key].metadata.get("checksum")
    nodes = opened.project.nodes
    assert found["dwh/stg_orders"].code_version == nodes["stg_orders"].code.version
    checks = {each.to_user_string() for each in defs.resolve_asset_graph().asset_check_keys}
    assert {"dwh/stg_orders:unique_stg_orders_id", "dwh/crm/persons:has_id", "dwh/crm/persons:all_known"} <= checks


def test_what_it_translates_is_built_and_found_by_dagster_dbts_own_functions(folder: Path) -> None:
    dagster_project = DagsterProject(load_project(folder), Prefixed())
    (shop,) = build_assets(dagster_project)
    assert dagster_dbt.get_asset_key_for_model([shop], "people") == dg.AssetKey(["dwh", "crm", "persons"])
    job = definitions(load_project(folder), translator=Prefixed()).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process()
    assert result.success
    built = {each.asset_key.to_user_string() for each in result.get_asset_materialization_events() if each.asset_key}
    assert {"dwh/stg_orders", "dwh/marts/total", "dwh/people_over_time", "dwh/refdata/rates"} <= built
    assert {each.check_name for each in result.get_asset_check_evaluations()} >= {"has_id", "all_known", "no_debts"}


@pytest.mark.parametrize("code", NEEDS_DAGSTER_DBT)
def test_what_the_docs_say_of_translators_runs(folder: Path, code: str, tmp_path: Path) -> None:
    (tmp_path / "shop").symlink_to(folder)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_partitions_of_a_translator_are_refused(folder: Path) -> None:
    class Daily(dagster_dbt.DagsterDbtTranslator):  # type: ignore[misc]
        def get_partitions_def(self, dbt_resource_props: Mapping[str, Any]) -> dg.PartitionsDefinition[str]:
            return dg.DailyPartitionsDefinition("2026-01-01")

    with pytest.raises(SaoError, match=r"has partitions by Daily.*leave get_partitions_def out"):
        definitions(load_project(folder), translator=Daily())


def test_a_translation_in_yaml_sees_the_nodes_of_the_manifest(folder: Path) -> None:
    component = SaoProjectComponent(
        project=str(folder),
        translation=lambda spec, node: (
            spec.replace_attributes(group_name=node["checksum"]["name"]) if node["resource_type"] == "model" else spec
        ),
    )
    defs = component.build_defs_from_state(cast("dg.ComponentLoadContext", None), None)
    assert specs(defs)["stg_orders"].group_name == "sha256"


def test_a_component_may_have_a_translator_of_dagster_dbt(folder: Path) -> None:
    class ShopComponent(SaoProjectComponent):
        @property
        def translator(self) -> Prefixed:
            return Prefixed()

    component = ShopComponent(
        project=str(folder), translation=lambda spec, _: spec.replace_attributes(key=spec.key.with_prefix("all"))
    )
    found = specs(component.build_defs_from_state(cast("dg.ComponentLoadContext", None), None))
    assert {each.asset_key.to_user_string() for each in found["all/dwh/marts/total"].deps} == {
        "all/dwh/orders_v2",
        "all/dwh/refdata/rates",
        "nightly_load",
    }
