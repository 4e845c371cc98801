"""What is wrong in a file fails what it speaks of: in properties, in seeds, in texts that cannot be read; or all, with its line."""

from __future__ import annotations

import pytest

from sao_dagster.errors import ProjectError
from tests.world import World


@pytest.fixture
def project(world: World) -> World:
    world.sql("create table raw.t as select 1 as id")
    return world.model("orders", "select 1 as id").model("other", "select 2 as id")


@pytest.mark.parametrize(
    ("properties", "place", "words"),
    [
        ("models:\n- name: other\n- name: orders\n  columns: 5", "models/s.yml:4", "columns: Input should be a valid list"),
        ("models:\n- name: other\n- name: orders\n  columns:\n  - description: x", "models/s.yml:5", "name: Field required"),
        ("models:\n- name: orders\n  description: \"{{ doc('gone') }}\"", "models/s.yml:2", "no docs block called 'gone'"),
        ("models:\n- name: orders\n  config: {alias: \"{{ var('gone') }}\"}", "models/s.yml:2", "'gone' has no value"),
        ("models:\n- name: orders\n  config: {on_schema_change: maybe}", "models/s.yml:3", "on_schema_change"),
        ("models:\n- name: orders\n  config:\n    materialized: tabel", "models/s.yml:4", "did you mean 'table'? There are table, view, incremental, ephemeral"),
        (
            "models:\n- name: orders\n  config:\n    freshness:\n      build_after: {count: 4}",
            "models/s.yml:5",
            "count and period come together",
        ),
        (
            "models:\n- name: orders\n  config:\n    materialized: incremental\n    incremental_strategy: apend",
            "models/s.yml:5",
            "'apend', where here there are append",
        ),
        ("models:\n- name: orders\n  config:\n    contract:\n      enforced: true", "models/s.yml:5", "contract"),
    ],
)  # fmt: skip
def test_a_value_in_properties_is_the_error_of_its_model(
    project: World, properties: str, place: str, words: str
) -> None:
    run = project.write("models/s.yml", properties).run()
    assert run.outcomes == {"orders": "failed: build_error", "other": "built: never_built"}
    evidence = run.decision("orders").evidence
    assert str(evidence["file"]) == place
    assert words in evidence["error"]


def test_a_value_is_looked_for_where_it_is_said_most_specifically(project: World) -> None:
    """In the SQL, else in the properties of the version, or of the model, else in `dbt_project.yml`."""
    project.write("dbt_project.yml", "name: shop\nprofile: shop\nmodels:\n  +on_schema_change: perhaps\n")
    versions = "  - v: 1\n  - v: 2\n    config:\n      on_schema_change: maybe"
    project.write("models/s.yml", f"models:\n- name: lines\n  versions:\n{versions}\n")
    project.model("lines_v1", "select 1 as id").model("lines_v2", "select 1 as id")
    project.write("models/other.sql", "select 2 as id\n{{ config(on_schema_change='never') }}")
    broken = project.runner().project.broken
    assert {name: str(error.location) for name, error in broken.items()} == {
        "orders": "dbt_project.yml:4",
        "lines.v1": "dbt_project.yml:4",
        "lines.v2": "models/s.yml:7",
        "other": "models/other.sql:2",
    }


@pytest.mark.parametrize(
    ("properties", "line", "words"),
    [
        ("config:\n    build_after: {count: 1, period: day}", 4, "it belongs under 'freshness': freshness: {build_after: ...}"),
        ("config:\n    lag_tolerance: 4h", 4, "it belongs under 'state': state: {lag_tolerance: ...}"),
        ("config:\n    materialised: table", 4, "did you mean 'materialized'?"),
        ("materialized: table", 3, "it belongs under 'config'"),
    ],
)  # fmt: skip
def test_a_key_that_stands_in_the_wrong_place_is_told_where_it_belongs(
    project: World, properties: str, line: int, words: str
) -> None:
    project.write("models/s.yml", f"models:\n- name: orders\n  {properties}\n")
    (notice,) = project.runner().project.notices
    assert str(notice.location) == f"models/s.yml:{line}"
    assert words in notice.message


def test_a_key_that_is_not_known_is_a_notice_that_names_it(project: World) -> None:
    project.write(
        "models/s.yml",
        "models:\n- name: orders\n  colums: []\n  columns: [{name: id, data_tests: [not_null], typ: x}]\nmodel: []",
    )
    run = project.run()
    assert run.outcomes["orders"] == "built: never_built"
    assert list(run.tests) == ["not_null_orders_id"]
    notices = [str(each) for each in project.runner().project.notices]
    assert any(each.startswith("models/s.yml:3: unknown key") and "did you mean 'columns'" in each for each in notices)
    assert sum("unknown key" in each for each in notices) == 3


def test_a_broken_source_skips_what_reads_it_and_is_told(project: World) -> None:
    project.write(
        "models/s.yml",
        "sources:\n- name: raw\n  tables:\n  - name: t\n    freshness: {warn_after: {count: many, period: day}}\n"
        "    columns: [{name: id, data_tests: [unique]}]\n  - name: fine\n",
    )
    project.sql("create table raw.fine as select 1 as id")
    project.model("orders", "select * from {{ source('raw', 't') }}").model(
        "other", "select * from {{ source('raw', 'fine') }}"
    )
    run = project.run()
    assert run.outcomes == {"orders": "skipped: upstream_failed", "other": "built: never_built"}
    assert run.tests == {"source_unique_raw_t_id": "skipped: -"}
    (said,) = run.result.broken_sources
    assert said.startswith("source:raw.t: models/s.yml:4: ")
    assert not run.result.succeeded
    assert project.run("other").result.succeeded
    assert not project.run("orders").result.succeeded


def test_an_entry_that_is_no_data_test_is_one_broken_test(project: World) -> None:
    project.write(
        "models/s.yml",
        "models:\n- name: orders\n  data_tests:\n  - [unique]\n  columns:\n  - {name: id, data_tests: [not_null]}",
    )
    run = project.run()
    assert run.outcomes["orders"] == "built: never_built"
    assert sorted(run.tests.values()) == ["proven: pass", "ran: error"]
    assert "a data test is a name or a mapping" in str([each.error for each in run.result.tests])


def test_what_is_not_done_here_is_a_broken_node(project: World) -> None:
    project.write("models/forecast.py", "def model(dbt, session): ...")
    project.write("snapshots/history.sql", "{% snapshot orders_history %}select 1{% endsnapshot %}")
    project.write("models/s.yml", "snapshots: [{name: orders_history}, {name: later, relation: ref('orders')}]")
    project.model("below", "select * from {{ ref('orders_history') }}")
    run = project.run()
    assert run.outcomes == {
        "below": "skipped: upstream_failed",
        "forecast": "failed: build_error",
        "later": "failed: build_error",
        "orders": "built: never_built",
        "orders_history": "failed: build_error",
        "other": "built: never_built",
    }
    assert run.decision("orders_history").evidence["file"] == "snapshots/history.sql"


def test_a_file_that_is_no_text_is_one_broken_model(project: World) -> None:
    (project.root / "models" / "orders.sql").write_bytes(b"select 1\n-- caf\xe9\n")
    run = project.run()
    assert run.outcomes == {"orders": "failed: build_error", "other": "built: never_built"}
    assert run.decision("orders").evidence["file"] == "models/orders.sql:2"


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("dbt_project.yml", "name: shop\nprofile: shop\nmodels:\n  +tags: x\n  +schema: \"{{ gone() }}\"", "dbt_project.yml:5: 'gone' is undefined"),
        ("dbt_project.yml", "name: shop\nprofile: shop\nmodels:\n  shop:\n    marts:\n      +schema: \"{{ gone() }}\"", "dbt_project.yml:6: 'gone'"),
        ("models/s.yml", "models:\n- name: orders\n  meta: {since: 2024-13-45}", "models/s.yml: this is not YAML"),
        ("models/s.yml", "models: {orders: {}}", "models/s.yml:1: models: Input should be a valid list"),
        ("models/s.yml", "models:\n- description: whose?", "models/s.yml:2: models.0.name: Field required"),
        ("models/s.yml", "sources:\n- name: raw\n  tables: [{description: whose?}]", "sources.0.tables.0.name: Field required"),
    ],
)  # fmt: skip
def test_what_belongs_to_no_node_concerns_all(project: World, path: str, text: str, words: str) -> None:
    with pytest.raises(ProjectError) as raised:
        project.write(path, text).run()
    assert words in str(raised.value)
