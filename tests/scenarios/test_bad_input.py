"""Bad input: a clear error that names the model, the file and the line, and loses nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sao_dagster import DuckDBWarehouse, SqlProject, load_project, select
from sao_dagster.errors import ProjectErrors, SaoError, SelectionError, StateError
from sao_dagster.projects.policies import BuildAfterConfig
from tests.world import World


def errors(world: World) -> str:
    """Return all that is said to be wrong: with the project, with single nodes, and what is only noticed."""
    try:
        project = world.runner().project
        return "\n".join(map(str, (*project.errors, *project.broken.values(), *project.notices)))
    except SaoError as error:
        return str(error)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("models/m.sql", "select * from {{ ref('ordres') }}", ["models/m.sql", "m reads ref('ordres')", "did you mean 'orders'"]),
        ("models/m.sql", "select * from {{ source('raw', 'x') }}", ["models/m.sql", "source('raw', 'x')", "not there"]),
        ("models/m.sql", "select * from {{ source('raw') }}", ["models/m.sql:1", "source takes the name of a source and that of its table"]),
        ("models/m.sql", "select {{ 1 + }}", ["models/m.sql:1", "Jinja cannot read"]),
        ("models/m.sql", "\n\n{{ no_such_macro() }}", ["models/m.sql:3", "'no_such_macro' is undefined"]),
        ("models/m.sql", "{{ exceptions.raise_compiler_error('not like this') }}", ["models/m.sql", "not like this"]),
        ("models/m.sql", "{{ config(materialised='table') }} select 1", ["models/m.sql", "did you mean 'materialized'"]),
        ("models/m.sql", "{{ config(materialized='cube') }} select 1", ["models/m.sql", "'cube'", "incremental", "install dbt"]),
        ("models/m.sql", "\n{{ config(materialized='tabel') }} select 1", ["models/m.sql:2", "did you mean 'table'?"]),
        ("models/m.sql", "{{ config(build_after={'count': 1, 'period': 'day'}) }} select 1", ["models/m.sql:1", "it belongs under 'freshness': freshness: {build_after: ...}"]),
        ("models/m.sql", "{{ config(freshness={'build_after': {'count': 4}}) }} select 1", ["models/m.sql", "count and period come together"]),
        ("models/m.sql", "{{ config(freshness={'build_after': {'count': 4, 'period': 'week'}}) }} select 1", ["period must be minute, hour or day"]),
        ("models/m.sql", "{{ config(freshness={'build_after': {'count': -4, 'period': 'day'}}) }} select 1", ["at least 0"]),
        ("models/m.sql", "{{ config(freshness={'build_after': {'update_on': 'all'}}) }} select 1", ["did you mean 'updates_on'"]),
        ("models/m.sql", "{{ config(state={'lag_tolerance': '4 hours'}) }} select 1", ["lag_tolerance", "4h"]),
        ("models/m.sql", "{{ config(volatile='sometimes') }} select 1", ["volatile", "hourly"]),
        ("models/m.sql", "{{ config(materialized='incremental', incremental_strategy='microbatch') }} select 1", ["'microbatch'", "install dbt"]),
        ("models/m.sql", "{{ config(contract={'enforced': true}) }} select 1", ["contract", "install dbt"]),
        ("models/m.sql", "{{ var('nope') }}", ["models/m.sql:1", "'nope' has no value"]),
        ("models/m.sql", "{{ env_var('NOPE') }}", ["NOPE is not set"]),
        ("models/m.sql", "{{ env_var('DBT_ENV_SECRET_X') }}", ["secrets belong into profiles.yml"]),
        ("models/m.sql", "{{ dbt_utils.star() }}", ["dbt_utils"]),
        ("models/m.sql", "{% for node in graph.nodes %}{% endfor %}", ["graph", "install dbt"]),
        ("models/m.sql", "", ["m has no SQL"]),
        ("models/m.sql", "select * from {{ ref('m') }}", ["in a circle: m <- m"]),
        ("models/sub/orders.sql", "select 1", ["two models or seeds called 'orders'", "models/orders.sql"]),
        ("models/m.sql", "{{ config(alias='orders') }} select 1", ["would both be built as", "orders"]),
        ("models/m.py", "def model(dbt, session): ...", ["models/m.py", "a Python model", "install dbt"]),
        ("snapshots/s.sql", "{% snapshot s %}select 1{% endsnapshot %}", ["snapshots/s.sql", "a snapshot", "install dbt"]),
        ("models/s.yml", "models: [{name: orders", ["models/s.yml", "not YAML"]),
        ("models/s.yml", "model: [{name: orders}]", ["models/s.yml", "unknown key 'model'", "did you mean 'models'"]),
        ("models/s.yml", "\nmodels:\n  - name: orders\n    colums: []\n", ["models/s.yml:4", "did you mean 'columns'"]),
        ("models/s.yml", "models: [{name: orders, columns: [{name: id, data_tests: [uniqe]}]}]", ["models/s.yml:1", "no generic test called 'uniqe'", "did you mean 'unique'"]),
        ("models/s.yml", "models: [{name: orders, columns: [{name: id, data_tests: [{accepted_values: {value: [1]}}]}]}]", ["accepted_values", "value"]),
        ("models/s.yml", "models: [{name: orders, columns: [{name: id, data_tests: [{unique: {severity: bad}}]}]}]", ["severity", "warn"]),
        ("models/s.yml", "models: [{name: orders, columns: [{name: id, data_tests: [unique, unique]}]}]", ["two data tests called 'unique_orders_id'"]),
        ("models/s.yml", "models: [{name: orders}, {name: orders}]", ["orders is described twice"]),
        ("models/s.yml", "sources: [{name: raw, tables: [{name: t, loaded_at_field: a, loaded_at_query: b}]}]", ["raw.t has both", "keep one"]),
        ("macros/m.sql", "{% materialization table, adapter='duckdb' %}{% endmaterialization %}", ["'table' of macros/m.sql", "install dbt"]),
        ("dbt_project.yml", "name: shop\nprofile: shop\nmodel-path: [models]", ["dbt_project.yml", "did you mean 'model-paths'"]),
        ("dbt_project.yml", "name: shop\nprofile: shopp", ["profiles.yml", "dbt_project.yml asks for the profile 'shopp'", "shop"]),
        ("profiles.yml", "shop: {target: prod, outputs: {dev: {type: duckdb}}}", ["no target 'prod'", "dev"]),
        ("profiles.yml", "shop: {target: dev, outputs: {dev: {type: oracle}}}", ["'oracle'", "duckdb"]),
        ("profiles.yml", "shop: {target: dev, outputs: {dev: {path: x}}}", ["profiles.yml: dev: it has no type", "duckdb, postgres"]),
        ("profiles.yml", "shop: {target: dev, outputs: {dev: {type: duckdb, pth: x}}}", ["did you mean 'path'"]),
    ],
)  # fmt: skip
def test_errors_name_the_place_and_the_way_out(world: World, path: str, text: str, expected: list[str]) -> None:
    world.model("orders", "select 1 as id")
    world.write(path, text)
    message = errors(world)
    for words in expected:
        assert words in message, message


def test_a_cycle_names_its_models(world: World) -> None:
    world.model("a", "select * from {{ ref('c') }}").model("b", "select * from {{ ref('a') }}").model(
        "c", "select * from {{ ref('b') }}"
    )
    assert "in a circle: a <- c <- b <- a" in errors(world)


def test_what_concerns_all_stops_a_plan_and_a_run(world: World) -> None:
    world.model("good", "select 1 as x").model("sub/good", "select 2 as x").model(
        "other", "select 1 as y", alias="good"
    )
    with pytest.raises(ProjectErrors, match="two models or seeds called 'good'"):
        world.plan()
    with pytest.raises(ProjectErrors, match=r"would both be built as .*\n?.*"):
        world.run()


def test_things_without_effect_are_named(world: World) -> None:
    world.write(
        "dbt_project.yml", "name: shop\nprofile: shop\nmodels:\n  shop:\n    stagging:\n      +materialized: view\n"
    )
    world.model("a", "select 1 as x", grants={"select": ["someone"]})
    world.write("models/s.yml", "models: [{name: gone}]\nunit_tests: [{name: x}]")
    notices = "\n".join(str(notice) for notice in world.runner().project.notices)
    assert "models.shop.stagging matches no file" in notices
    assert "the config 'grants' has no effect here" in notices, "which it has on PostgreSQL"
    assert "gone is described, but there is no such file" in notices
    assert "unit tests are not run" in notices


def test_selections_that_match_nothing_or_mean_nothing(world: World) -> None:
    project = world.model("a", "select 1 as x").runner().project
    with pytest.raises(SelectionError, match="'b' selects nothing"):
        select(project, "b")
    project = world.model("orders", "select 1 as x").runner().project
    with pytest.raises(SelectionError, match=r"'\+ordrs' selects nothing in project 'shop'; did you mean 'orders'\?"):
        select(project, "+ordrs")
    with pytest.raises(SelectionError, match="there are: access, config, file, fqn"):
        select(project, "tags:x")


def test_unparsable_sql_fails_its_own_model_only(world: World) -> None:
    world.model("a", "selec 1 as x").model("b", "select 1 as x")
    run = world.run()
    assert run.outcomes == {"a": "failed: build_error", "b": "built: never_built"}


def test_a_vanished_column_fails_with_the_words_of_the_warehouse(world: World) -> None:
    world.source("t").sql("create table raw.t as select 1 as id, 2 as x").model(
        "a", "select x from {{ source('raw', 't') }}"
    ).run()
    world.sql("alter table raw.t drop column x")
    assert "x" in str(world.run().decision("a").evidence["error"])
    assert world.rows("select x from a") == [(2,)]


def test_state_that_cannot_be_reached(world: World, tmp_path: Path) -> None:
    world.model("a", "select 1 as x").run()
    broken = tmp_path / "broken.db"
    broken.write_text("this is no database, and long enough to be looked at as one" * 20)
    opened = load_project(world.root)
    opened.settings = opened.settings.model_copy(update={"state_url": f"sqlite:///{broken}"})
    with pytest.raises(StateError, match=r"the state in .*broken.db cannot be"):
        opened.runner().run(select(opened.project))
    opened.settings = opened.settings.model_copy(update={"on_state_error": "build"})
    result = opened.runner().run(select(opened.project))
    assert [each.decision.reason.value for each in result.models] == ["state_unreachable"]


def test_state_of_a_newer_version_is_refused(world: World) -> None:
    import sqlite3

    world.model("a", "select 1 as x").run()
    with sqlite3.connect(world.root / "state.db") as connection:
        connection.execute("update sao_alembic_version set version_num = '9999'")
    with pytest.raises(StateError, match="newer sao_dagster"):
        world.run()


def test_python_declarations_are_checked(tmp_path: Path) -> None:
    shop = SqlProject("shop", warehouse=DuckDBWarehouse(path=":memory:"), state_url="sqlite://")
    with pytest.raises(SaoError, match="count and period come together"):
        shop.model(name="a", sql="select 1", build_after={"count": 4})
    with pytest.raises(SaoError, match="needs a name"):
        shop.model(sql="select 1")
    with pytest.raises(SaoError, match="may take ref, source and var"):

        @shop.model
        def wrong(orders: str) -> str:
            return orders

    with pytest.raises(SaoError, match=r"file of the seed 'x' is not there"):
        shop.seed("x", "nowhere.csv")
    assert BuildAfterConfig(count=4, period="hour").count == 4


def test_interrupted_in_the_middle_of_a_build(world: World) -> None:
    """A run that is killed leaves the old table and no lock; the next one builds."""
    world.model("a", "select 1 as x").run()
    world.model("a", "select count(*) as x from range(100000000000) t(i), range(1000) u(j) where i % 7 = j")
    code = textwrap.dedent(f"""
        from dataclasses import replace
        from sao_dagster import load_project, select
        project = load_project({str(world.root)!r})
        project.settings = project.settings.model_copy(update={{"state_url": "sqlite:///{world.root / "state.db"}"}})
        runner = replace(project.runner(), lease_seconds=2.0)  # after which the next run takes its place
        runner.run(select(project.project), on_event=lambda event: print(type(event).__name__, flush=True))
    """)
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    while "Started" not in running.stdout.readline():
        pass
    time.sleep(0.3)
    running.kill()
    running.wait()
    assert world.rows("select x from a") == [(1,)]
    world.model("a", "select 2 as x")
    assert world.run().outcomes["a"] == "built: code_changed"
