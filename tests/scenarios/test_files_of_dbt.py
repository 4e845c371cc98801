"""Projects as they were written for dbt: old names of keys, properties in other places, Jinja in YAML, profiles of dbt-duckdb."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sao_dagster.core.selection import select
from sao_dagster.dagster.attempts import waiting_for_sources
from sao_dagster.run.missing import missing_sources, with_missing_inputs
from tests.world import World

PROJECT = "name: shop\nprofile: shop\nmodels:\n  +materialized: table\n"


def described(world: World, kind: str, *entries: dict[str, Any]) -> None:
    """Write a properties file."""
    world.write("models/described.yml", json.dumps({kind: entries}))


def test_folders_may_have_the_names_that_they_had_in_old_versions(world: World) -> None:
    world.write("dbt_project.yml", PROJECT + "source-paths: [sql]\ndata-paths: [data]\nmodules-path: packs\n")
    world.write("sql/m.sql", "select * from {{ ref('s') }} where id = {{ tools.one() }}").write(
        "data/s.csv", "id\n1\n2\n"
    )
    world.write("packs/tools/dbt_project.yml", "name: tools")
    world.write("packs/tools/macros/one.sql", "{% macro one() %}1{% endmacro %}")
    world.run()
    assert world.rows("select * from m") == [(1,)]


def test_a_seed_may_be_described_as_a_model_and_a_model_as_a_seed(world: World) -> None:
    """As in dbt, what is said counts; a notice says that it stands in another place."""
    world.write("seeds/s.csv", "id\n1\n1\n").model("m", "select null as id")
    described(
        world,
        "models",
        {"name": "s", "config": {"tags": ["of_seed"]}, "columns": [{"name": "id", "data_tests": ["unique"]}]},
    )
    world.write(
        "seeds/m.yml", json.dumps({"seeds": [{"name": "m", "columns": [{"name": "id", "data_tests": ["not_null"]}]}]})
    )
    run = world.run()
    assert run.tests == {"unique_s_id": "ran: fail", "not_null_m_id": "ran: fail"}
    project = world.runner().project
    assert project.nodes["s"].tags == ("of_seed",)
    assert [notice.message for notice in project.notices] == [
        "s is described under models, and stands under seeds; what is said there counts",
        "m is described under seeds, and stands under models; what is said there counts",
    ]


def test_values_in_yaml_are_what_their_expressions_give(world: World) -> None:
    """A text stays a text, whatever it looks like, unless a filter says otherwise."""
    world.write(
        "dbt_project.yml",
        PROJECT + "  +enabled: \"{{ target.name == 'dev' }}\"\nvars: {n: '007', switch: 'True', tags: [a, b]}\n",
    )
    world.model(
        "m",
        "select '{{ config.get('text') }}' as a, '{{ config.get('number') + 1 }}' as b, '{{ config.get('on') }}' as c",
    )
    config = {
        "text": "{{ var('n') }}",
        "number": "{{ '41' | as_number }}",
        "on": "{{ var('switch') | as_bool }}",
        "tags": "{{ var('tags') }}",
        "alias": "{{ 'm_' ~ 1 }}",
    }
    described(world, "models", {"name": "m", "config": config})
    run = world.run()
    assert world.rows("select * from m_1") == [("007", "42", "True")], run.decision("m").evidence
    assert world.runner().project.nodes["m"].tags == ("a", "b")
    described(world, "models", {"name": "m", "config": {"on": "{{ 'maybe' | as_bool }}"}})
    assert "'maybe' is no boolean" in str(world.runner().project.broken["m"])


@pytest.mark.parametrize(
    ("place", "meta"),
    [
        ("{{ env_var('NOWHERE', 'land') }}/{name}.csv", {}),
        ("{% if true %}land/%(name)s.csv{% endif %}", {"formatter": "oldstyle"}),
        ("land/${name}.csv", {"formatter": "template"}),
        ("land/{file}.csv", {"file": "orders"}),
        ("read_csv('land/{identifier}.csv', header=true)", {}),
    ],
)
def test_an_external_location_is_a_template(world: World, place: str, meta: dict[str, str]) -> None:
    world.write("land/orders.csv", "id\n1\n").model("m", "select * from {{ source('raw', 'orders') }}")
    table = {"name": "orders", "meta": {"external_location": place, **meta}}
    described(world, "sources", {"name": "raw", "tables": [table]})
    world.run()
    assert world.rows("select * from m") == [(1,)]
    world.write("land/orders.csv", "id\n1\n2\n")
    assert world.run().outcomes["m"] == "built: new_data"


@pytest.mark.parametrize("place", ["land/orders.csv", "read_csv('land/*.csv')"])
def test_files_that_are_gone_are_a_source_that_is_not_there(world: World, place: str) -> None:
    file = world.write("land/orders.csv", "id\n1\n").root / "land/orders.csv"
    world.model("m", "select * from {{ source('raw', 'orders') }}")
    described(world, "sources", {"name": "raw", "tables": [{"name": "orders", "meta": {"external_location": place}}]})
    world.run()
    file.unlink()
    runner = world.runner()
    plan, seen = runner.plan(select(runner.project))
    foreseen = with_missing_inputs(plan, runner.project, seen)
    assert "it reads raw.orders, which is not there" in str(foreseen.decisions["m"].evidence["error"])
    (warning,) = foreseen.warnings
    assert "the source raw.orders has no file land/" in warning
    assert waiting_for_sources(runner.project, plan, seen.facts, seen.catalog) == {"m": ("source:raw.orders",)}
    file.parent.rename(world.root / "elsewhere")
    assert missing_sources(runner.project, seen.catalog) == frozenset(), "where no folder is, nothing is known"


def test_what_an_external_location_names_has_to_be_known(world: World) -> None:
    world.model("m", "select * from {{ source('raw', 'orders') }}")
    described(
        world, "sources", {"name": "raw", "tables": [{"name": "orders", "meta": {"external_location": "{month}.csv"}}]}
    )
    assert "external_location '{month}.csv' cannot be read" in str(world.runner().project.broken["source:raw.orders"])


def test_names_of_sources_are_templates_with_blocks(world: World) -> None:
    world.sql("create table raw.orders_v2 as select 2 as id").model("m", "select * from {{ source('shop', 'orders') }}")
    table = {"name": "orders", "identifier": "{% if true %}orders_v{% endif %}{{ 1 + 1 }}"}
    described(world, "sources", {"name": "shop", "schema": "{# where it is #}raw", "tables": [table]})
    world.run()
    assert world.rows("select * from m") == [(2,)]


def test_what_is_disabled_needs_nothing(world: World) -> None:
    """Neither what only dbt builds, nor what cannot be read."""
    world.write(
        "dbt_project.yml", PROJECT + "  shop:\n    later:\n      +enabled: false\nsnapshots:\n  +enabled: false\n"
    )
    world.write("models/later/by_python.py", "def model(dbt, session): ...")
    world.write("models/later/cube.sql", "{{ config(materialized='cube') }} select {{ 1 + }}")
    world.write("models/off.py", "def model(dbt, session): ...").model("m", "select 1 as id")
    world.write("snapshots/s.sql", "{% snapshot s %}select 1{% endsnapshot %}")
    described(
        world,
        "models",
        {"name": "off", "config": {"enabled": False}, "columns": [{"name": "id", "data_tests": ["unique"]}]},
    )
    opened = world.opened()
    assert (opened.project.broken, opened.declared.needs_dbt) == ({}, [])
    assert world.run().outcomes == {"m": "built: never_built"}


def test_a_test_that_names_no_model_runs_and_holds_nothing_back(world: World) -> None:
    world.model("m", "select 1 as id").write("tests/never.sql", "select 1 as x where 1 = 1").write(
        "tests/fine.sql", "select 1 limit 0"
    )
    run = world.run()
    assert run.tests == {"never": "ran: fail", "fine": "ran: pass"}
    assert run.outcomes == {"m": "built: never_built"}
    assert ["no asset check" in notice.message for notice in world.runner().project.notices] == [True, True]
    assert world.run().tests == {"never": "ran: fail", "fine": "reused: pass"}
    assert world.run("m").tests == {}
    assert world.run("never").tests == {"never": "ran: fail"}


def test_a_test_that_names_a_table_without_ref_runs_when_that_changes(world: World) -> None:
    world.sql("create table raw.orders as select 1 as id").write(
        "tests/none.sql", "select * from raw.orders where id > 1"
    )
    assert [world.run().tests["none"] for _ in range(2)] == ["ran: pass", "reused: pass"]
    world.sql("insert into raw.orders values (2)")
    assert world.run().tests["none"] == "ran: fail"


def test_settings_of_a_test_that_are_not_known_cost_no_test(world: World) -> None:
    """They may be meant for somebody else; what looks like a slip of the pen is named."""
    world.model("m", "select 1 as id").write(
        "tests/t.sql", "{{ config(my_own=1) }} select * from {{ ref('m') }} where id > 1"
    )
    tests = [{"unique": {"config": {"my_own": 1}}}, {"not_null": {"config": {"severty": "warn"}}}]
    described(world, "models", {"name": "m", "columns": [{"name": "id", "data_tests": tests}]})
    verdicts = [each.partition(": ")[2] for each in world.run().tests.values()]
    assert verdicts == ["pass"] * 3
    assert [(notice.name, notice.message) for notice in world.runner().project.notices] == [
        ("not_null_m_id", "unknown config 'severty' has no effect; did you mean 'severity'?")
    ]


def test_an_ephemeral_model_may_ask_the_warehouse(world: World) -> None:
    """What reads it, directly or through another one, a test of it too, is rendered in each run, and built where the answer is another one."""
    world.sql("create table raw.limits as select 5 as most")
    world.model(
        "asks",
        "{% set n = run_query('select most from raw.limits').rows[0][0] if execute else 0 %}select {{ n }} as n",
        materialized="ephemeral",
    )
    world.model("between", "select n + 1 as n from {{ ref('asks') }}", materialized="ephemeral")
    world.model("m", "select * from {{ ref('between') }}")
    described(
        world,
        "models",
        {
            "name": "asks",
            "columns": [
                {
                    "name": "n",
                    "data_tests": [
                        {"accepted_values": {"values": [5], "quote": False, "config": {"severity": "warn"}}}
                    ],
                }
            ],
        },
    )
    first = world.run()
    assert (first.outcomes, set(first.tests.values())) == ({"m": "built: never_built"}, {"ran: pass"})
    again = world.run()
    assert (again.outcomes, set(again.tests.values())) == ({"m": "reused: no_new_data"}, {"reused: pass"})
    world.sql("update raw.limits set most = 7")
    changed = world.run()
    assert (changed.outcomes["m"][:5], set(changed.tests.values())) == ("built", {"ran: warn"})
    assert world.rows("select n from m") == [(8,)]
    world.model(
        "asks",
        "{% set n = run_query('select most from raw.limits').rows[0][0] if execute else 0 %}select {{ n }} * 10 as n",
        materialized="ephemeral",
    )
    assert world.run().outcomes == {"m": "built: code_changed"}
    assert world.rows("select n from m") == [(71,)]


def test_keys_of_dbt_duckdbs_profiles_are_known(world: World) -> None:
    """What they set is set; what is about dbt itself says nothing here; what only dbt does is named, and the rest goes on."""
    output: dict[str, Any] = {
        "type": "duckdb", "path": "{{ 'shop' }}.duckdb", "threads": "{{ '2' | as_number }}", "settings": {"TimeZone": "UTC"},
        "config_options": {"allow_unsigned_extensions": True}, "retries": {"connect_attempts": 2}, "external_root": "out",
        "keep_open": True, "disable_transactions": False, "module_paths": ["."], "is_ducklake": False,
        "plugins": [{"module": "excel"}],
    }  # fmt: skip
    world.write("profiles.yml", json.dumps({"shop": {"target": "dev", "outputs": {"dev": output}}}))
    world.model("m", "select 1 as id")
    assert world.run().outcomes == {"m": "built: never_built"}
    output["plugins"] += [{"module": "my.own", "alias": "own"}]
    output["filesystems"] = [{"fs": "s3"}]
    world.write("profiles.yml", json.dumps({"shop": {"target": "dev", "outputs": {"dev": output}}}))
    assert [(each.node, each.uses) for each in world.opened().declared.needs_dbt] == [
        (None, "the plugin my.own in the target 'dev'"),
        (None, "the key filesystems in the target 'dev'"),
    ]


def test_a_source_that_a_plugin_reads_needs_dbt(world: World) -> None:
    world.model("m", "select * from {{ source('raw', 'sheet') }}").model("other", "select 1 as id")
    described(world, "sources", {"name": "raw", "tables": [{"name": "sheet", "meta": {"plugin": "excel"}}]})
    opened = world.opened()
    opened.assembled  # noqa: B018 - which looks for more
    assert [(each.node, each.uses) for each in opened.declared.needs_dbt] == [
        ("source:raw.sheet", "the plugin 'excel' of dbt-duckdb for the source raw.sheet")
    ]
    assert world.run().outcomes["other"] == "built: never_built"


@pytest.mark.warehouse("postgres")
def test_names_without_quotes_are_those_that_postgres_makes_of_them(world: World) -> None:
    world.sql("create table raw.orders as select 1 as id").model(
        "Report", "select * from {{ source('raw', 'ORDERS') }}"
    )
    world.write("dbt_project.yml", PROJECT + "quoting: {identifier: false}\n")
    described(world, "sources", {"name": "raw", "tables": [{"name": "ORDERS"}]})
    assert world.run().outcomes == {"Report": "built: never_built"}
    assert world.rows("select * from main.report") == [(1,)]
    world.sql('create table raw."Items" as select 2 as id')
    described(world, "sources", {"name": "raw", "tables": [{"name": "Items", "quoting": {"identifier": True}}]})
    world.model("Report", "select * from {{ source('raw', 'Items') }}")
    world.run()
    assert world.rows("select * from main.report") == [(2,)]
