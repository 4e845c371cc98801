"""What selections select, method by method: as `dbt ls` does, which is asked itself where there is one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from sao_dagster import load_project, select
from sao_dagster.errors import ProjectError, SelectionError

FILES = {
    "dbt_project.yml": "{name: shop, profile: shop, version: '1.0', models: {+materialized: table}}",
    "profiles.yml": "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}",
    "models/a.sql": "select 1 as id",
    "models/staging/b.sql": "{{ config(materialized='view', tags=['nightly', 'big'], meta={'owner': 'anna'}) }} select id from {{ ref('a') }}",
    "models/staging/raw/c.sql": "select id from {{ ref('b') }}",
    "models/marts/c.d.sql": "select id from {{ source('raw', 'orders') }}",
    "models/marts/wide_orders.sql": "{{ config(group='sales', access='private') }} select 1 as id",
    "models/marts/orders_v1.sql": "select 1 as id",
    "models/marts/orders_v2.sql": "select 1 as id",
    "models/a.yml": "models: [{name: a, columns: [{name: id, data_tests: [unique, {not_null: {config: {severity: warn, where: id > 0}}}]}]}]",
    "models/marts/properties.yml": """
groups: [{name: sales, owner: {name: s}}]
sources: [{name: raw, schema: main, tables: [{name: orders}, {name: others}]}]
models:
  - {name: wide_orders, columns: [{name: id, data_tests: [{relationships: {arguments: {to: ref('a'), field: id}}}]}]}
  - {name: orders, access: public, latest_version: 2, versions: [{v: 1}, {v: 2}]}
""",
    "seeds/s.csv": "id\n1\n",
    "tests/one.sql": "select id from {{ ref('c') }} where id < 0",
    "selectors.yml": """
selectors:
  - name: of_target
    definition: "{{ 'tag:' ~ ('nightly' if target.name == 'dev' else 'big') }}"
  - name: of_variable
    definition: {union: [{method: path, value: "models/{{ var('folder', 'staging') }}"}, "{{ env_var('NO_SUCH', 'a') }}"]}
""",
}
CASES = {
    "path:models/*.sql": "a not_null_a_id relationships unique_a_id",
    "path:models/*": "a b c c.d orders.v1 orders.v2 wide_orders not_null_a_id unique_a_id relationships raw.orders raw.others one",
    "path:models/**/*.sql": "a b c c.d orders.v1 orders.v2 wide_orders not_null_a_id unique_a_id relationships one",
    "path:models/?arts": "c.d orders.v1 orders.v2 wide_orders relationships raw.orders raw.others",
    "path:models/staging": "b c one",
    "models/staging/": "b c one",
    "path:models/staging/raw/c.sql": "c one",
    "path:seeds": "s",
    "path:tests/one.sql": "one",
    "c.d.sql": "c.d",
    "file:c.d.sql": "c.d",
    "file:c.d": "c.d",
    "file:*.csv": "s",
    "file:one.sql": "one",
    "file:a.yml": "not_null_a_id unique_a_id",
    "A.SQL": "",
    "c": "c one",
    "c.d": "c.d",
    "staging": "b c one",
    "staging.raw": "c one",
    "staging.*c": "c one",
    "shop.marts": "c.d orders.v1 orders.v2 wide_orders relationships",
    "wide*": "wide_orders relationships",
    "raw.c": "",
    "orders": "orders.v1 orders.v2",
    "orders.v1": "orders.v1",
    "orders_v2": "orders.v2",
    "access:private": "wide_orders relationships",
    "access:public": "orders.v1 orders.v2",
    "group:sal*": "wide_orders relationships",
    "package:sh*,resource_type:seed": "s",
    "source:raw": "raw.orders raw.others",
    "source:raw.o*s": "raw.orders raw.others",
    "source:shop.raw.orders": "raw.orders",
    "source:nowhere.raw.orders": "",
    "config.severity:WARN": "not_null_a_id",
    "config.severity:error": "one relationships unique_a_id",
    "config.materialized:view": "b",
    "config.tags:big": "b",
    "config.meta.owner:anna": "b",
    "test_name:not*": "not_null_a_id",
    "test_type:data": "not_null_a_id one relationships unique_a_id",
    "test_type:generic": "not_null_a_id relationships unique_a_id",
    "test_type:singular": "one",
    "tag:night*": "b",
    "selector:of_target": "b",
    "selector:of_variable": "a b c not_null_a_id one relationships unique_a_id",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def short(name: str) -> str:
    return "relationships" if name.startswith("relationships") else name.removeprefix("source:")


def test_a_selection_selects_what_it_does_in_dbt(shop: Path) -> None:
    project = load_project(shop).project
    for text, names in CASES.items():
        if names:
            chosen = select(project, text)
            assert {*map(short, (*chosen.nodes, *chosen.tests, *chosen.sources))} == set(names.split()), text
        else:
            with pytest.raises(SelectionError, match="selects nothing"):
                select(project, text)


@pytest.mark.slow
@pytest.mark.skipif("SAO_TEST_DBT" not in os.environ, reason="there is no dbt to ask")
def test_dbt_says_the_same(shop: Path) -> None:
    command = [os.environ["SAO_TEST_DBT"], "-c", ASK_DBT, json.dumps(list(CASES))]
    done = subprocess.run(command, cwd=shop, capture_output=True, text=True, check=True)
    for text, found in json.loads(done.stdout.splitlines()[-1]).items():
        assert {*map(short, found)} == set(CASES[text].split()), text


@pytest.mark.parametrize("text", ["test_type:odd", "resource_type:odd", "source:a.b.c.d", "odd:a"])
def test_what_is_no_selection_is_an_error(shop: Path, text: str) -> None:
    with pytest.raises(SelectionError, match=r"there (are|is)|is too long|no selection method"):
        select(load_project(shop).project, text)


def test_a_selector_whose_jinja_fails_is_said(shop: Path) -> None:
    (shop / "selectors.yml").write_text("selectors: [{name: a, definition: \"{{ env_var('NOT_SET_ANYWHERE') }}\"}]")
    with pytest.raises(ProjectError, match=r"selectors\.yml.*NOT_SET_ANYWHERE is not set"):
        load_project(shop)


ASK_DBT = """
import json, sys
from dbt.cli.main import dbtRunner

def name(line):
    said = json.loads(line)
    version = f".v{said['version']}" if said.get("version") else ""
    return f"{said['source_name']}.{said['name']}" if said["resource_type"] == "source" else said["name"] + version

found, dbt = {}, dbtRunner(manifest=dbtRunner().invoke(["--quiet", "parse"]).result)
for text in json.loads(sys.argv[1]):
    chosen = ["--selector", text.partition(":")[2]] if text.startswith("selector:") else ["--select", text]
    keys = "name resource_type source_name version"
    said = dbt.invoke(["--quiet", "ls", "--output", "json", "--output-keys", keys, *chosen]).result
    found[text] = [name(line) for line in said]
print(json.dumps(found))
"""
