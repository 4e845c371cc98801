"""One model has one code version in every environment: what `ref`, `source` and `this` give counts as the id of the node."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sao_dagster.core.code_version import CODE_SCHEME, CodeVersion
from sao_dagster.load import load_project
from sao_dagster.sql.fingerprint import equivalent, sql_digest, with_ids
from tests.world import World

HERE, THERE = {'"dev"."main"."o"': "orders"}, {'"prod"."mart"."o"': "orders"}


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        ('select a from "dev"."main"."o"', 'select a from "prod"."mart"."o"', True),
        ('select a from "dev"."main"."o" as x join "dev"."main"."o" on 1=1', 'select a from "prod"."mart"."o" as x join "prod"."mart"."o" on 1=1', True),
        ("""select '"dev"."main"."o"'""", """select '"prod"."mart"."o"'""", False),
        ('select a from "dev"."main"."p"', 'select a from "prod"."mart"."p"', False),
        ('select a from "x"."dev"."main"."o"', 'select a from "x"."prod"."mart"."o"', False),
        ("select a from dev.main.o", "select a from prod.mart.o", False),
        ('select /*+ h */ a from "dev"."main"."o" /*+ i */', 'select /*+ h */ a from "prod"."mart"."o" /*+ j */', False),
    ],
)  # fmt: skip
def test_relations_count_as_ids(here: str, there: str, same: bool) -> None:
    assert (sql_digest(here, "duckdb", HERE) == sql_digest(there, "duckdb", THERE)) is same


def test_files_count_as_the_source() -> None:
    def digested(folder: str, expression: str) -> str:
        expression = expression.format(folder)
        return sql_digest(f"select '{folder}' as f from {expression} as t", "duckdb", {expression: "source:raw.f"})

    for expression in ("read_csv('{}/*.csv', header = true)", "'{}/x.parquet'"):
        assert digested("/a", expression) != digested("/b", expression), "text that is no relation counts as written"
    one, other = "read_csv('/a/*.csv')", "read_csv('/b/*.csv')"
    assert sql_digest(f"from {one}", "duckdb", {one: "s"}) == sql_digest(f"from {other}", "duckdb", {other: "s"})


def test_a_name_that_columns_are_qualified_by_counts() -> None:
    """Another name of the relation may be another column, here or in a query around it."""
    sql = 'select (select max(o.a) from "dev"."main"."o") from x as o'
    moved = {'"dev"."main"."p"': "orders"}
    assert sql_digest(sql, "duckdb", HERE) != sql_digest(sql.replace('"main"."o"', '"main"."p"'), "duckdb", moved)
    plain = 'select a from "dev"."main"."o"'
    assert sql_digest(plain, "duckdb", HERE) == sql_digest(plain.replace('."o"', '."p"'), "duckdb", moved)


def test_edits_are_compared_wherever_the_relations_are() -> None:
    here = with_ids('select o.a from "dev"."main"."o" where (a) > 1', "duckdb", HERE)
    there = with_ids('select x.a from "prod"."mart"."o" as x where a > 1', "duckdb", THERE)
    assert equivalent(here, there, "duckdb")
    assert not equivalent(
        here,
        with_ids('select a from "prod"."mart"."o" where a > 1', "duckdb", {'"prod"."mart"."o"': "Orders"}),
        "duckdb",
    )


@pytest.mark.parametrize(
    ("recorded", "scheme", "changed"),
    [
        ({"sql": "1"}, CODE_SCHEME, ()),
        ({"sql": "2"}, CODE_SCHEME, ("sql",)),
        ({"sql": "1", "config": "1", "relation": "1", "macros": "1"}, CODE_SCHEME, ("macros",)),
        ({"sql": "2"}, CODE_SCHEME - 1, ("scheme",)),
    ],
)
def test_parts_are_compared_as_far_as_they_were_recorded(
    recorded: dict[str, str], scheme: int, changed: tuple[str, ...]
) -> None:
    code = CodeVersion({"sql": "1", "config": "1", "relation": "1"})
    assert code.changed_parts(scheme, recorded) == changed


def test_the_example_project_has_one_code_version_in_two_environments(tmp_path: Path) -> None:
    root = shutil.copytree(Path(__file__).parents[1] / "example_project", tmp_path / "shop", ignore=_IGNORED)
    (root / "profiles.yml").write_text(
        "shop:\n  target: dev\n  outputs:\n"
        "    dev: {type: duckdb, path: shop.duckdb, schema: main, threads: 2}\n"
        "    prod: {type: duckdb, path: warehouse.duckdb, schema: marts, threads: 2}\n"
    )
    dev, prod = (load_project(root, target=target).project for target in ("dev", "prod"))
    assert len(dev.nodes) == len(prod.nodes) > 15
    for name, node in dev.nodes.items():
        other = prod.nodes[name]
        assert str(node.relation) != str(other.relation)
        assert node.code.version == other.code.version, name
        here, there = ({**each.code.parts, "relation": "", "places": ""} for each in (node, other))
        assert here == there, name
        assert node.code.parts["relation"] != other.code.parts["relation"], name
    assert {name: test.version for name, test in dev.tests.items()} == {
        name: test.version for name, test in prod.tests.items()
    }
    assert len(dev.tests) > 10


_IGNORED = shutil.ignore_patterns(".sao", "*.duckdb*", "__pycache__")


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders")
    world.sql("create table raw.orders as select 1 as id, 7 as customer_id")
    world.model("orders", "{{ config(schema=var('where', none)) }} select * from {{ source('raw', 'orders') }}")
    world.model("through", "select * from {{ ref('orders') }}", materialized="view")
    world.model("inside", "select id from {{ ref('orders') }}", materialized="ephemeral")
    world.model("over_inside", "select * from {{ ref('inside') }}", materialized="view")
    world.model("report", "select id from {{ ref('through') }} union all select id from {{ ref('inside') }}")
    world.model("again", "select max(id) as id from {{ ref('orders') }}{% if is_incremental() %} "
                "where id > (select max(id) from {{ this }}){% endif %}", materialized="incremental",
                post_hook="analyze {{ ref('orders') }}")  # fmt: skip
    return world


def test_what_reads_a_relation_that_moved_is_not_built_again_but_for_views(shop: World) -> None:
    shop.run()
    run = shop.run(variables={"where": "elsewhere"})
    assert run.outcomes == {
        "orders": "built: code_changed",
        "through": "built: code_changed",
        "over_inside": "built: code_changed",
        "report": "built: code_changed",
        "again": "reused: no_new_data",
    }
    assert run.decision("report").evidence["parts"] == ["views"], "which it may have read before they moved"
    for name in ("orders", "through", "over_inside"):
        assert run.decision(name).evidence["parts"] == ["relation"]
    shop.sql("drop table main.orders")
    assert shop.rows("select * from main.through") == shop.rows("select * from main_elsewhere.orders")
    assert shop.run(variables={"where": "elsewhere"}).built == set()


def test_a_cosmetic_edit_is_recognised_although_a_relation_moved(shop: World) -> None:
    shop.model("direct", "select id from {{ ref('orders') }} union all select id from {{ ref('inside') }}").run()
    shop.model("direct", "select (id) from {{ ref('orders') }} as t union all select id from {{ ref('inside') }}")
    run = shop.run(variables={"where": "elsewhere"})
    assert run.outcomes["direct"] == "reused: no_new_data"
    assert run.decision("direct").evidence["cosmetic"] is True


def test_times_of_different_tables_are_not_compared(world: World) -> None:
    world.sql(
        "create schema other",
        *(f"create table {each}.orders as select 1 as id, 1 as loaded_at" for each in ("raw", "other")),
    )
    source = "sources: [{{name: raw, schema: {0}, tables: [{{name: orders, loaded_at_field: loaded_at}}]}}]"
    world.write("models/sources.yml", source.format("raw")).model(
        "orders", "select * from {{ source('raw', 'orders') }}"
    )
    world.run()
    assert world.run().built == set()
    world.write("models/sources.yml", source.format("other"))
    assert world.run().outcomes["orders"] == "built: input_unknown"
    assert world.run().built == set()


def test_how_files_are_read_counts(world: World) -> None:
    world.write("in/a.csv", "x\n1\n2\n")
    source = (
        "sources: [{{name: raw, tables: [{{name: f, meta: {{external_location: \"read_csv('in/*.csv', {0})\"}}}}]}}]"
    )
    world.write("models/sources.yml", source.format("header = true")).model(
        "f", "select * from {{ source('raw', 'f') }}"
    )
    world.run()
    assert world.run().built == set()
    world.write("models/sources.yml", source.format("header = false"))
    assert world.run().outcomes["f"] == "built: new_data"
    assert world.rows("select count(*) from main.f") == [(3,)]
