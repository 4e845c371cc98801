"""What a folder in dbt's layout may contain."""

from __future__ import annotations

import compileall
from pathlib import Path

import pytest

from sao_dagster import Column, DuckDBWarehouse, SqlProject, load_project, select
from sao_dagster.projects import cache
from tests.world import World


def test_config_is_inherited_by_folder_and_the_most_specific_wins(world: World) -> None:
    world.write(
        "dbt_project.yml",
        """
name: shop
profile: shop
models:
  +tags: base
  shop:
    +materialized: view
    marts:
      +materialized: table
      +schema: marts
      +tags: [mart]
      daily:
        materialized: incremental
""",
    )
    world.write("models/a.sql", "select 1 as x")
    world.write("models/marts/b.sql", "select 1 as x")
    world.write("models/marts/daily/c.sql", "select 1 as x")
    world.write("models/marts/daily/d.sql", "{{ config(materialized='table', tags='own') }} select 1 as x")
    nodes = world.runner().project.nodes
    assert {name: node.materialized.value for name, node in nodes.items()} == {
        "a": "view",
        "b": "table",
        "c": "incremental",
        "d": "table",
    }
    assert nodes["b"].relation.schema == "main_marts"
    assert nodes["d"].tags == ("base", "mart", "own")
    assert world.run().result.succeeded


def test_jinja_of_all_kinds(world: World) -> None:
    world.source("orders")
    world.sql("create table raw.orders as select 1 as id, 'x' as kind")
    world.write(
        "macros/tools.sql",
        """
{% macro columns(names) %}{% for name in names %}{{ name }}{{ ', ' if not loop.last }}{% endfor %}{% endmacro %}
{% macro double(x) %}{{ return(x * 2) }}{% endmacro %}
{% macro quadruple(x) %}{{ return(double(double(x))) }}{% endmacro %}
{% macro engine() %}{{ return(adapter.dispatch('engine')()) }}{% endmacro %}
{% macro default__engine() %}'other'{% endmacro %}
{% macro duckdb__engine() %}'duck'{% endmacro %}
{% macro here() %}'{{ this.identifier }}'{% endmacro %}
""",
    )
    world.model(
        "m",
        """
{%- set names = ['id', 'kind'] -%}
{% set kinds = run_query('select distinct kind from raw.orders').columns[0].values() if execute else [] %}
{% call statement('top', fetch_result=True) %}select max(id) from raw.orders{% endcall %}
select {{ columns(names) }}, {{ quadruple(3) }} as twelve, {{ engine() }} as engine, {{ here() }} as here,
  '{{ target.name }}' as target, {{ var('missing', 5) }} as five, {{ dbt.date_trunc('day', "timestamp '2026-01-02 03:04'") }} as day,
  {{ kinds | length }} as kinds, {{ load_result('top')['data'][0][0] if execute else 0 }} as top,
  {% if is_incremental() %}1{% else %}0{% endif %} as again,
  '{{ modules.re.sub('a', 'b', 'banana') }}' as re, {{ tojson([1]) }} as json, '{{ model.name }}' as model
from {{ source('raw', 'orders') }}{{ log('hello', info=True) }}
{% do names.append('x') %}
""",
    )
    assert world.run().result.succeeded
    (row,) = world.rows("select * exclude (json, day) from main.m")
    assert row == (1, "x", 12, "duck", "m", "dev", 5, 1, 1, 0, "bbnbnb", "m")


def test_versions_packages_and_latest(world: World) -> None:
    world.write("models/orders_v1.sql", "select 1 as v")
    world.write("models/orders_v2.sql", "select 2 as v")
    world.write(
        "models/orders.yml",
        "models: [{name: orders, latest_version: 2, versions: [{v: 1}, {v: 2}], columns: [{name: v, data_tests: [not_null]}]}]",
    )
    world.model(
        "m",
        "select a.v as one, b.v as two, c.v as latest from {{ ref('orders', v=1) }} a, {{ ref('orders', version=2) }} b, {{ ref('shop', 'orders') }} c",
    )
    run = world.run()
    assert run.result.succeeded
    assert world.rows("select * from m") == [(1, 2, 2)]
    assert {"orders.v1", "orders.v2"} < set(run.outcomes)
    assert len(run.tests) == 2


def test_what_is_said_of_one_version_goes_over_what_is_said_of_all(world: World) -> None:
    world.write(
        "tests/generic/other.sql",
        "{% test other(model, than) %} select * from {{ model }} where id = {{ than }} {% endtest %}",
    )
    world.write("models/orders_v1.sql", "select 1 as id, 2 as n").write("models/orders_v2.sql", "select 2 as id")
    world.write(
        "models/orders.yml",
        """
models:
  - name: orders
    description: all orders
    config: {tags: [all], meta: {of: {all: 1}}}
    data_tests: [other: {than: 7}]
    columns:
      - {name: id, tags: [key], data_tests: [not_null]}
      - {name: n, data_tests: [not_null]}
    versions:
      - v: 1
        description: those of old
        config: {tags: [old], meta: {of: {old: 2}}}
        data_tests: [other: {than: 8}]
      - v: 2
        columns:
          - {include: all, exclude: [n]}
          - {name: id, description: which, config: {tags: [first]}, data_tests: [unique]}
""",
    )
    project = world.runner().project
    old, new = project.nodes["orders.v1"], project.nodes["orders.v2"]
    assert (old.description, new.description) == ("those of old", "all orders")
    assert (set(old.tags), set(new.tags)) == ({"all", "old"}, {"all"})
    assert (old.meta, new.meta) == ({"of": {"all": 1, "old": 2}}, {"of": {"all": 1}})
    assert [(each.name, each.description) for each in new.columns] == [("id", "which")]
    assert {name: set(test.tags) for name, test in project.tests.items()} == {
        "other_orders_v1_8": set(),
        "not_null_orders_v1_id": {"key"},
        "not_null_orders_v1_n": set(),
        "other_orders_v2_7": set(),
        "not_null_orders_v2_id": {"key"},
        "unique_orders_v2_id": {"first"},
    }


def test_data_tests_have_the_tags_of_their_source_and_their_column(world: World) -> None:
    columns = "columns: [{name: id, tags: [c], data_tests: [not_null: {config: {tags: [own]}}]}]"
    world.write(
        "models/raw.yml",
        f"sources: [{{name: raw, tags: [s], tables: [{{name: orders, tags: [t], data_tests: [any], {columns}}}]}}]",
    )
    world.write("tests/generic/any.sql", "{% test any(model) %} select * from {{ model }} where false {% endtest %}")
    tests = world.runner().project.tests
    assert {name: set(test.tags) for name, test in tests.items()} == {
        "source_any_raw_orders_": {"s", "t"},
        "source_not_null_raw_orders_id": {"s", "t", "c", "own"},
    }


def test_yaml_anchors_old_spellings_and_docs(world: World) -> None:
    world.write("models/docs.md", "{% docs money %}In cents.{% enddocs %}")
    world.write(
        "models/any_name.yaml",
        """
version: 2
models:
  - name: a
    description: "{{ doc('money') }}"
    columns: &columns
      - name: x
        tests: [not_null]
  - name: b
    columns: *columns
""",
    )
    world.model("a", "select 1 as x").model("b", "select 1 as x")
    project = world.runner().project
    assert project.nodes["a"].description == "In cents."
    assert set(world.run().tests) == {"not_null_a_x", "not_null_b_x"}


def test_naming_macros_of_the_project_are_used(world: World) -> None:
    world.write(
        "macros/names.sql",
        """
{% macro generate_schema_name(custom_schema_name, node) %}{{ custom_schema_name or target.schema }}{% endmacro %}
{% macro generate_alias_name(custom_alias_name=none, node=none) %}t_{{ node.name }}{% endmacro %}
""",
    )
    world.model("a", "select 1 as x", schema="marts")
    assert str(world.runner().project.nodes["a"].relation) == '"shop"."marts"."t_a"'


def test_disabled_models_are_left_out_and_named_when_they_are_read(world: World) -> None:
    world.model("a", "select 1 as x", enabled=False).model("b", "select * from {{ ref('a') }}")
    assert "which is disabled" in str(world.runner().project.broken["b"])


def test_profiles_are_rendered_and_found_in_the_usual_places(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    home = world.root.parent / "profiles"
    home.mkdir()
    (home / "profiles.yml").write_text(
        "shop: {target: dev, outputs: {dev: {type: duckdb, path: \"{{ env_var('SHOP_FILE') }}\", threads: 3}}}"
    )
    monkeypatch.setenv("DBT_PROFILES_DIR", str(home))  # which comes before the project's folder, as in dbt
    monkeypatch.setenv("SHOP_FILE", "else.duckdb")
    warehouse = load_project(world.root).warehouse
    assert isinstance(warehouse, DuckDBWarehouse)
    assert warehouse.path.endswith("else.duckdb")
    assert warehouse.threads == 3


def test_installed_packages_lend_their_macros(world: World) -> None:
    world.write("dbt_packages/tools/dbt_project.yml", "name: tools")
    world.write(
        "dbt_packages/tools/macros/m.sql",
        """
{% macro two() %}{{ return(adapter.dispatch('two', 'tools')()) }}{% endmacro %}
{% macro default__two() %}{{ one() }} + {{ one() }}{% endmacro %}
{% macro one() %}1{% endmacro %}
{% macro test_never(model) %}select 1 from {{ model }} where false{% endmacro %}
""",
    )
    world.model("a", "select {{ tools.two() }} as x")
    world.write("models/a.yml", "models: [{name: a, data_tests: [tools.never]}]")
    run = world.run()
    assert world.rows("select x from a") == [(2,)]
    assert run.tests == {"tools_never_a_": "ran: pass"}


def test_selection_syntax(world: World) -> None:
    world.source("orders").sql("create table raw.orders as select 1 as id")
    world.write("models/stg/a.sql", "{{ config(tags=['daily']) }} select * from {{ source('raw', 'orders') }}")
    world.write("models/stg/b.sql", "select * from {{ ref('a') }}")
    world.write("models/c.sql", "{{ config(tags=['daily'], materialized='view') }} select * from {{ ref('b') }}")
    world.write("models/d.sql", "select * from {{ ref('c') }}")
    project = world.runner().project

    def chosen(text: str, exclude: str | None = None) -> str:
        return " ".join(sorted(select(project, text, exclude).nodes))

    assert chosen("a") == "a"
    assert chosen("a+") == "a b c d"
    assert chosen("a+1") == "a b"
    assert chosen("+c") == "a b c"
    assert chosen("1+c") == "b c"
    assert chosen("tag:daily") == "a c"
    assert chosen("tag:daily,path:models/stg") == "a"
    assert chosen("a d") == "a d"
    assert chosen("source:raw.orders+") == "a b c d"
    assert chosen("source:raw+1") == "a"
    assert chosen("stg") == "a b" == chosen("shop.stg") == chosen("models/stg") == chosen("fqn:stg.*")
    assert chosen("*") == "a b c d"
    assert chosen("config.materialized:view") == "c"
    assert chosen("resource_type:model") == "a b c d"
    assert chosen("@b") == "a b c d"
    assert chosen("a+", "c+") == "a b"
    assert chosen("file:a.sql file:c") == "a c"


def test_selection_of_versions_and_of_data_tests(world: World) -> None:
    world.write("models/v_v1.sql", "select 1 as id").write("models/v_v2.sql", "select 2 as id")
    versions = "versions: [{v: 1}, {v: 2}], columns: [{name: id, data_tests: [unique]}]"
    world.write("models/v.yml", f"models: [{{name: v, {versions}}}]")
    world.model("m", "select * from {{ ref('v', v=1) }}").write("tests/few.sql", "select 1 from {{ ref('m') }} limit 0")
    project = world.runner().project

    def chosen(text: str | None, exclude: str | None = None) -> str:
        found = select(project, text, exclude)
        return " ".join(sorted((*found.nodes, *found.tests)))

    assert chosen("v") == "unique_v_v1_id unique_v_v2_id v.v1 v.v2"
    assert chosen("v_v1") == chosen("v.v1") == "unique_v_v1_id v.v1"
    assert chosen("+few") == "few m unique_v_v1_id v.v1"
    assert chosen("1+few") == "few m"
    assert chosen("@v.v1") == chosen(None, "v.v2")
    assert chosen("test_type:generic", "v.v2") == "unique_v_v1_id"  # what is excluded takes its data tests along
    assert chosen("package:shop", "m") == "unique_v_v1_id unique_v_v2_id v.v1 v.v2"


def test_data_tests_are_configured_by_the_folder_of_their_file_and_by_name(world: World) -> None:
    config = "data_tests: {shop: {far: {+severity: warn, unique_b_id: {+severity: error}}, unique_a_id: {+limit: 4}}}"
    world.write("dbt_project.yml", (world.root / "dbt_project.yml").read_text() + config + "\n")
    for name, folder in (("a", ""), ("b", "far/"), ("c", "far/")):
        columns = "columns: [{name: id, data_tests: [unique]}]"
        world.model(name, "select 1 as id").write(
            f"models/{folder}{name}.yml", f"models: [{{name: {name}, {columns}}}]"
        )
    tests = world.runner().project.tests
    assert {name: (test.severity.value, test.limit) for name, test in tests.items()} == {
        "unique_a_id": ("error", 4),
        "unique_b_id": ("error", None),
        "unique_c_id": ("warn", None),
    }


def test_python_and_folder_together(world: World) -> None:
    world.model("a", "select 1 as x")
    world.write(
        "sao_project.py",
        """
from sao_dagster import Column, SqlProject

def declare(project: SqlProject) -> None:
    @project.model(materialized="table", columns={"y": Column(data_tests=("not_null",))})
    def from_python(ref):
        '''Made in Python.'''
        return f"select x + 1 as y from {ref('a')}"
""",
    )
    world.model("b", "select y from {{ ref('from_python') }}")
    run = world.run()
    assert run.outcomes == {"a": "built: never_built", "from_python": "built: never_built", "b": "built: never_built"}
    assert run.tests == {"not_null_from_python_y": "proven: pass"}
    assert world.runner().project.nodes["from_python"].description == "Made in Python."
    assert str(world.runner().project.nodes["from_python"].location) == "sao_project.py:5"


def test_declared_in_python_alone(tmp_path: object) -> None:
    shop = SqlProject("shop", warehouse=DuckDBWarehouse(path=":memory:"), state_url="sqlite://")
    with shop.warehouse.session() as session:
        session.execute("create schema raw; create table raw.orders as select 1 as id, 5 as amount")
    shop.source("raw", "orders", data_tests=[{"unique": {"column_name": "id"}}])
    shop.model(
        name="orders",
        sql="select * from {{ source('raw', 'orders') }}",
        materialized="table",
        build_after={"count": 4, "period": "hour"},
        columns={"id": Column(description="The key", data_tests=("unique", {"not_null": {"severity": "warn"}}))},
    )
    shop.test("positive", "select * from {{ ref('orders') }} where amount < 0", severity="warn")
    result = shop.runner().run(select(shop.project))
    assert result.succeeded
    assert [each.test.name for each in result.tests] == [
        "source_unique_raw_orders_id",
        "unique_orders_id",
        "not_null_orders_id",
        "positive",
    ]
    assert shop.runner().run(select(shop.project)).summary()["reused"] == 1


def test_what_is_kept_of_a_project_outlives_the_byte_code_of_this_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code.py").write_text("x = 1\n")
    monkeypatch.setattr(cache, "_OWN", tmp_path)
    before = cache._own_files()
    assert compileall.compile_dir(tmp_path, quiet=1)
    assert cache._own_files() == before
    (tmp_path / "code.py").write_text("x = 12\n")
    assert cache._own_files() != before
