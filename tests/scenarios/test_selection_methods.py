"""What selections select, method by method: as `dbt ls` does, which is asked itself where there is one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from sao_dagster import load_project, select
from sao_dagster.core.indirect_selection import Indirect
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
    "models/marts/orders_v3.sql": "select 1 as id",
    "models/a.yml": "models: [{name: a, columns: [{name: id, data_tests: [unique, {not_null: {config: {severity: warn, where: id > 0}}}]}]}]",
    "models/marts/properties.yml": """
groups: [{name: sales, owner: {name: s}}]
sources: [{name: raw, schema: main, tables: [{name: orders}, {name: others}]}]
models:
  - {name: wide_orders, columns: [{name: id, data_tests: [{relationships: {arguments: {to: ref('a'), field: id}}}]}]}
  - {name: orders, access: public, latest_version: 2, versions: [{v: 1}, {v: 2}, {v: 3}]}
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
    "path:models/*": "a b c c.d orders.v1 orders.v2 orders.v3 wide_orders not_null_a_id unique_a_id relationships raw.orders raw.others one",
    "path:models/**/*.sql": "a b c c.d orders.v1 orders.v2 orders.v3 wide_orders not_null_a_id unique_a_id relationships one",
    "path:models/?arts": "c.d orders.v1 orders.v2 orders.v3 wide_orders relationships raw.orders raw.others",
    "path:models/staging": "b c one",
    "models/staging/": "b c one",
    "path:models/staging/raw/c.sql": "c one",
    "path:seeds": "s",
    "path:models/a.yml": "a not_null_a_id relationships unique_a_id",
    "path:models/marts/*.yml": "orders.v1 orders.v2 orders.v3 wide_orders relationships raw.orders raw.others",
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
    "shop.marts": "c.d orders.v1 orders.v2 orders.v3 wide_orders relationships",
    "wide*": "wide_orders relationships",
    "raw.c": "",
    "orders": "orders.v1 orders.v2 orders.v3",
    "orders.v1": "orders.v1",
    "orders_v2": "orders.v2",
    "access:private": "wide_orders relationships",
    "access:public": "orders.v1 orders.v2 orders.v3",
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
    "version:latest": "orders.v2",
    "version:prerelease": "orders.v3",
    "version:old": "orders.v1",
    "version:none": "a b c c.d wide_orders not_null_a_id one relationships unique_a_id",
    "a,wide_orders": "relationships",
    "path:models,test_type:singular": "one",
    "selector:of_target": "b",
    "selector:of_variable": "a b c not_null_a_id one relationships unique_a_id",
}


INDIRECT = {
    "eager a": "a not_null_a_id relationships two unique_a_id",
    "cautious a": "a not_null_a_id unique_a_id",
    "cautious a wide_orders": "a wide_orders not_null_a_id relationships unique_a_id",
    "cautious a+1": "a b not_null_a_id relationships two unique_a_id",
    "cautious @wide_orders": "wide_orders a relationships not_null_a_id unique_a_id",
    "cautious c": "c one",
    "cautious c.d": "c.d",
    "cautious c.d source:raw.orders": "c.d raw.orders both",
    "cautious c.d,models/marts/c.d.sql source:raw": "c.d raw.orders raw.others both",
    "cautious c -a": "c one",
    "cautious models/ -wide_orders": "a b both c c.d not_null_a_id one orders.v1 orders.v2 orders.v3 raw.orders raw.others relationships two unique_a_id",
    "buildable c": "c one two",
    "buildable b": "b",
    "buildable c.d": "c.d both",
    "buildable wide_orders": "wide_orders",
    "buildable a b c": "a b c not_null_a_id one two unique_a_id",
    "empty a": "a",
    "empty a+": "a b c not_null_a_id one relationships two unique_a_id",
    "empty a -not_null_a_id": "a",
    "empty * -a": "b both c c.d not_null_a_id one orders.v1 orders.v2 orders.v3 relationships s two unique_a_id wide_orders",
    "empty selector:cautious_a": "a not_null_a_id unique_a_id",
    "eager selector:cautious_a": "a not_null_a_id unique_a_id",
    "eager selector:but_wide": "a b both c c.d not_null_a_id one orders.v1 orders.v2 orders.v3 raw.orders raw.others two unique_a_id",
}
"""`--indirect-selection`, what is selected, and after a minus what is excluded."""
READING_TWO = {
    "tests/two.sql": "select c.id from {{ ref('c') }} c join {{ ref('a') }} a using (id) where a.id < 0",
    "tests/both.sql": "select d.id from {{ ref('c.d') }} d join {{ source('raw', 'orders') }} o using (id)",
    "selectors.yml": """
selectors:
  - {name: cautious_a, definition: {method: fqn, value: a, indirect_selection: cautious}}
  - {name: but_wide, definition: {union: [{path: models}, {exclude: [{method: fqn, value: wide_orders}]}]}}
""",
}


def written(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return written(tmp_path, FILES)


@pytest.fixture
def reading_two(tmp_path: Path) -> Path:
    return written(tmp_path, {**FILES, **READING_TWO})


def parts_of(case: str) -> tuple[str, str, str | None]:
    """Return the mode, what is included, and what is excluded."""
    mode, _, text = case.partition(" ")
    include, _, exclude = text.partition(" -")
    return mode, include, exclude or None


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


def test_tests_come_with_what_is_selected_as_they_do_in_dbt(reading_two: Path) -> None:
    project = load_project(reading_two).project
    for case, names in INDIRECT.items():
        mode, include, exclude = parts_of(case)
        chosen = select(project, include, exclude, indirect=Indirect(mode))
        assert {*map(short, (*chosen.nodes, *chosen.tests, *chosen.sources))} == set(names.split()), case


@pytest.mark.slow
@pytest.mark.skipif("SAO_TEST_DBT" not in os.environ, reason="there is no dbt to ask")
def test_dbt_says_the_same(shop: Path) -> None:
    for text, found in asked_of_dbt(shop, {text: ("eager", text, None) for text in CASES}).items():
        assert {*map(short, found)} == set(CASES[text].split()), text


@pytest.mark.slow
@pytest.mark.skipif("SAO_TEST_DBT" not in os.environ, reason="there is no dbt to ask")
def test_dbt_says_the_same_of_what_comes_with_it(reading_two: Path) -> None:
    for case, found in asked_of_dbt(reading_two, {case: parts_of(case) for case in INDIRECT}).items():
        assert {*map(short, found)} == set(INDIRECT[case].split()), case


def asked_of_dbt(folder: Path, cases: dict[str, tuple[str, str, str | None]]) -> dict[str, list[str]]:
    """Return what dbt selects, for each mode, what is included and what is excluded."""
    command = [os.environ["SAO_TEST_DBT"], "-c", ASK_DBT, json.dumps(cases)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("text", ["test_type:odd", "version:odd", "resource_type:odd", "source:a.b.c.d", "odd:a"])
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
for case, (mode, text, less) in json.loads(sys.argv[1]).items():
    chosen = ["--selector", text.partition(":")[2]] if text.startswith("selector:") else ["--select", *text.split()]
    chosen += ["--indirect-selection", mode, *(["--exclude", less] if less else [])]
    keys = "name resource_type source_name version"
    said = dbt.invoke(["--quiet", "ls", "--output", "json", "--output-keys", keys, *chosen]).result
    found[case] = [name(line) for line in said]
print(json.dumps(found))
"""
