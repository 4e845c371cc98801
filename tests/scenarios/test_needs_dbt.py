"""What a project uses that only dbt itself does: one list of it, with the node and the place of each."""

from __future__ import annotations

import pickle

from sao_dagster.core.nodes import NodeError
from sao_dagster.core.selection import Selection
from sao_dagster.errors import Location, NeedsDbtError
from tests.world import World


def listed(world: World) -> list[tuple[str | None, str, str]]:
    """Return what the project needs dbt for: node, what it uses, and where."""
    opened = world.opened()
    opened.assembled  # noqa: B018 - some is known only once templates are rendered
    return [(each.node, each.uses, str(each.location)) for each in opened.declared.needs_dbt]


def test_what_needs_dbt_is_listed_with_its_node_and_its_place(world: World) -> None:
    world.model("plain", "select 1 as id")
    world.write("models/by_python.py", "def model(dbt, session): ...")
    world.write("snapshots/kept.sql", "{% snapshot kept %}select 1 as id{% endsnapshot %}")
    world.model("cube", "select 1 as id", materialized="cube")
    world.model("nodes", "select 1 as id\n{% for node in graph.nodes %}{% endfor %}")
    assert listed(world) == [
        ("kept", "a snapshot", "snapshots/kept.sql"),
        ("by_python", "a Python model", "models/by_python.py"),
        ("cube", "materialized: 'cube', where here there are table, view, incremental, ephemeral", "models/cube.sql:1"),
        ("nodes", "`graph` in a template", "models/nodes.sql:2"),
    ]
    with_error = world.runner().plan(Selection(("plain",), (), ()))[0]
    assert set(with_error.decisions) == {"plain"}


def test_hooks_that_must_be_rendered_when_something_is_there_are_for_dbt(world: World) -> None:
    """Here all hooks are rendered before the build: what follows from that alone is refused, also where only the run shows it."""
    world.sql("create table raw.log as select 1 as id")
    asked = "{% set n = run_query('select max(id) from raw.log')[0][0] %}"
    for name, hook in {
        "drops": "{% do adapter.drop_relation(this.incorporate(type='table')) %}",
        "writes": "{% do run_query('insert into raw.log values (9)') %}",
        "counts": "insert into raw.log select {{ run_query('select count(*) from ' ~ this)[0][0] }}",
        "looks": "{% if adapter.get_columns_in_relation(this) %}select 1{% endif %}",
        "asks": asked + "insert into raw.log select {{ n }} + 1",
        "asks_first": asked + "{% do adapter.drop_relation(this) %}",
    }.items():
        world.model(name, "select 1 as id", post_hook=hook)
    world.model("before", "select 1 as id", pre_hook="{% do run_query('insert into raw.log values (5)') %}")
    world.model("second", "select 1 as id", pre_hook=["select 1", "{% do run_query('delete from raw.log') %}"])
    does = "a hook that does something while it is rendered, after other statements of the build"
    about = "a hook that asks about its own model while it is rendered"
    said = {name: uses for name, uses, _ in listed(world)}
    assert said == {"drops": does, "writes": does, "counts": about, "looks": about, "second": does}
    run = world.run()
    assert run.built == {"asks", "before"}
    assert about in run.decision("asks_first").evidence["error"]
    assert sorted(world.rows("select id from raw.log")) in ([(1,), (2,), (5,)], [(1,), (5,), (6,)])


def test_what_is_wrong_for_dbt_too_is_not_listed(world: World) -> None:
    world.model("bad", "select * from {{ ref('nowhere') }}").model("worse", "select {{ 1 + }}")
    assert listed(world) == []


def test_such_an_error_says_how_to_go_on_and_survives_another_process() -> None:
    error = NeedsDbtError("a cube", name="m", location=Location("models/m.sql", 3))
    again = pickle.loads(pickle.dumps(error))
    assert (again.uses, str(again)) == (error.uses, str(error))
    assert str(again).startswith("models/m.sql:3: m: a cube: only dbt itself does this; install dbt")
    assert NodeError.of(again, None).needs_dbt == "a cube"


def test_macros_that_dbt_alone_calls_are_listed(world: World) -> None:
    """Those that no content follows from stop nothing."""
    world.model("m", "select 1 as id")
    world.write("macros/own.sql", "{% macro default__apply_grants(relation, grants) %}{% endmacro %}")
    assert listed(world) == [
        (None, "the macro default__apply_grants in place of the one by which dbt builds", "macros/own.sql")
    ]
    assert world.run().outcomes == {"m": "built: never_built"}
    world.write("macros/own.sql", "{% macro sync_column_schemas(mode, target, changes) %}{% endmacro %}")
    assert [uses for _, uses, _ in listed(world)] == [
        "the macro sync_column_schemas in place of the one by which dbt builds"
    ]
    assert len(world.runner().project.errors) == 1


def test_what_is_left_out_without_an_error_is_listed(world: World) -> None:
    world.write("models/u.yml", "unit_tests: [{name: u, model: m}]").model("m", "select 1 as id")
    world.write("dbt_packages/more/dbt_project.yml", "name: more").write(
        "dbt_packages/more/models/x.sql", "select 1 as id"
    )
    assert [(uses, place) for _, uses, place in listed(world)] == [
        ("models of the package more", "dbt_packages/more/dbt_project.yml"),
        ("unit tests", "models/u.yml:1"),
    ]
