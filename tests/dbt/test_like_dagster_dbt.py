"""What dagster-dbt says of a project, and what this package says of it: run where dagster-dbt, dbt-core and dbt-duckdb are installed too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from sao_dagster import load_project
from sao_dagster.dagster import definitions

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
