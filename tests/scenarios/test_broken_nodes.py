"""An error in one node is one failed node: it says what is wrong, what is below it is skipped, and all else goes on."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from dagster import serialize_value
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import select
from sao_dagster.run.materialize import NodeBuilds
from sao_dagster.warehouses.duckdb.session import DuckDBSession
from tests.deployment import deploy, names
from tests.world import World

BROKEN = {
    "an undefined macro": ("select 1 as id\n, {{ no_such_macro() }}", "models/bad.sql:2", "'no_such_macro' is undefined"),
    "Jinja that does not parse": ("select {{ 1 + }}", "models/bad.sql:1", "Jinja cannot read this"),
    "Python that fails": ("select {{ 1 / 0 }} as id", "models/bad.sql:1", "ZeroDivisionError"),
    "an unknown ref": ("select *\nfrom {{ ref('good') }}\njoin {{ ref('goood') }}", "models/bad.sql:3", "did you mean 'good'"),
    "an unknown source": ("select *\nfrom {{ source('raw', 'x') }}", "models/bad.sql:2", "source('raw', 'x')"),
    "an impossible value": ("{{ config(tags=['daily'], on_schema_change='maybe') }} select 1", "models/bad.sql", "on_schema_change"),
    "an unknown materialization": ("{{ config(materialized='cube') }} select 1", "models/bad.sql", "materialized: 'cube'"),
    "a hook": ("{{ config(post_hook='{{ no_such_macro() }}') }} select 1 as id", "models/bad.sql", "'no_such_macro' is undefined"),
    "a strategy": ("{{ config(materialized='incremental', incremental_strategy='upsert') }} select 1", "models/bad.sql", "incremental_strategy: 'upsert'"),
}  # fmt: skip


@pytest.fixture
def project(world: World) -> World:
    world.model("good", "select 1 as id").model("below", "select * from {{ ref('bad') }}")
    world.model("view", "select * from {{ ref('below') }}", materialized="view")
    return world.write(
        "models/t.yml", "models: [{name: below, columns: [{name: id, data_tests: [unique]}]}, {name: good, columns: [{name: id, data_tests: [unique]}]}]"
    )  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_it_fails_alone(project: World, kind: str) -> None:
    text, place, words = BROKEN[kind]
    project.model("bad", text)
    run = project.run()
    assert run.outcomes == {
        "bad": "failed: build_error",
        "good": "built: never_built",
        "below": "skipped: upstream_failed",
        "view": "skipped: upstream_failed",
    }
    evidence = run.decision("bad").evidence
    assert str(evidence["file"]).startswith(place)
    assert words in evidence["error"]
    assert run.tests == {"unique_good_id": "proven: pass", "unique_below_id": "skipped: -"}
    assert not run.result.succeeded
    planned = {name: decision.outcome.value for name, decision in project.plan().items()}
    assert planned == {"bad": "failed", "good": "reused", "below": "skipped", "view": "skipped"}


def test_what_was_built_before_it_broke_stays_and_is_built_when_it_is_mended(project: World) -> None:
    project.model("bad", "select 1 as id").run()
    project.model("bad", "select {{ nothing() }} as id")
    assert project.run().outcomes["below"] == "skipped: upstream_failed"
    assert project.rows("select id from below") == [(1,)]
    project.model("bad", "select 2 as id")
    assert project.run().outcomes["bad"] == "built: code_changed"
    assert project.rows("select id from view") == [(2,)]


def test_it_counts_where_it_is_selected_or_above_what_is(project: World) -> None:
    """A model that does not render may have any tag and read anything; one whose configuration can be read has what that says."""
    project.model("bad", "{{ config(tags=['daily'], on_schema_change='maybe') }} select 1 as id")
    project.model("opaque", "select {{ 1 + }} as id").model("weekly", "select 1 as id", tags=["weekly"])
    found = project.runner().project
    assert select(found, "good").nodes == ("good",)
    assert select(found, "below").nodes == ("bad", "below"), "what is broken above it is why it is skipped"
    assert select(found, "tag:daily").nodes == ("bad", "opaque")
    assert select(found, "tag:weekly").nodes == ("opaque", "weekly")
    assert select(found, "config.materialized:table").nodes == ("bad", "below", "good", "opaque", "weekly")
    assert select(found, "good+").nodes == ("good", "opaque")
    assert select(found, "+good").nodes == ("good",)
    assert project.run("good").result.succeeded
    assert not project.run("below").result.succeeded
    assert project.run("unique_below_id").tests == {"unique_below_id": "skipped: -"}


def test_a_broken_ephemeral_fails_what_it_is_a_part_of(project: World) -> None:
    project.model("bad", "select {{ nothing() }} as id", materialized="ephemeral")
    run = project.run("below")
    assert run.outcomes == {"bad": "failed: build_error", "below": "skipped: upstream_failed"}
    project.model("bad", "select * from {{ ref('nowhere') }}", materialized="ephemeral")
    assert project.run("below").outcomes == run.outcomes


def test_a_broken_data_test_is_an_error_and_the_others_run(project: World) -> None:
    project.model("bad", "select 1 as id")
    project.write(
        "macros/t.sql", "{% test odd(model) %}\nselect * from {{ model }}\nwhere {{ nothing() }}\n{% endtest %}"
    )
    project.write("tests/alone.sql", "select * from {{ ref('nowhere') }}")
    project.write(
        "models/more.yml", "models: [{name: bad, data_tests: [odd, {unique: {column_name: id, severity: loud}}]}]"
    )
    run = project.run()
    assert run.tests == {
        "odd_bad_": "ran: error",
        "unique_bad_id": "ran: error",
        "unique_good_id": "proven: pass",
        "unique_below_id": "skipped: -",
        "alone": "ran: error",
    }
    said = {each.test.name: str(each.error) for each in run.result.tests}
    assert "macros/t.sql:3: 'nothing' is undefined" in said["odd_bad_"]
    assert "severity" in said["unique_bad_id"]
    assert said["alone"].startswith("tests/alone.sql:1: alone reads ref('nowhere')")
    assert run.outcomes["below"] == "skipped: upstream_failed", (
        "as in dbt, what an error of a test is above is held back"
    )
    assert run.outcomes["good"] == "built: never_built", "of one that does not say what it reads nothing is held back"
    assert project.run("good").tests == {"unique_good_id": "proven: pass"}


def test_a_macro_file_that_does_not_parse_fails_what_may_call_its_macros(project: World) -> None:
    project.write("macros/cents.sql", "{% macro cents(x) %}{{ x / }}{% endmacro %}")
    project.write("macros/money.sql", "{% macro money(x) %}{% if execute %}{{ cents(x) }}{% endif %}{% endmacro %}")
    project.model("bad", "select {% if false %}{{ money('id') }}{% endif %} 1 as id")
    run = project.run()
    assert run.outcomes["bad"] == "failed: build_error"
    assert run.decision("bad").evidence["file"] == "macros/cents.sql:1"
    assert run.outcomes["good"] == "built: never_built"
    assert "what calls a macro of this file fails" in "".join(map(str, project.runner().project.notices))


def test_a_materialization_of_the_projects_own_fails_what_is_made_with_it(project: World) -> None:
    project.write("macros/v.sql", "{% materialization view, default %}{% endmaterialization %}").model(
        "bad", "select 1 as id"
    )
    outcomes = project.run().outcomes
    assert outcomes["view"] == "failed: build_error"
    assert outcomes["below"] == "built: never_built"


def test_an_error_that_nobody_foresaw_fails_one_node(project: World, monkeypatch: pytest.MonkeyPatch) -> None:
    project.model("bad", "select 1 as id")
    build = NodeBuilds.build

    def stumbling(self: NodeBuilds, name: str, *rest: Any) -> Any:
        if name == "bad":
            raise TypeError("unhashable type: 'list'")
        return build(self, name, *rest)

    monkeypatch.setattr(NodeBuilds, "build", stumbling)
    run = project.run()
    assert (run.outcomes["bad"], run.outcomes["good"]) == ("failed: build_error", "built: never_built")
    assert run.decision("bad").evidence["error"] == "TypeError: unhashable type: 'list'"
    assert run.decision("bad").evidence["file"] == "models/bad.sql"


def test_an_error_of_a_driver_is_the_error_of_one_data_test(project: World, monkeypatch: pytest.MonkeyPatch) -> None:
    project.model("bad", "select 1 as id")
    query = DuckDBSession.query

    def stumbling(self: DuckDBSession, sql: str, *rest: Any) -> Any:
        if '"good"' in sql and "n_records" in sql:
            raise ValueError("year 294247 is out of range")
        return query(self, sql, *rest)

    monkeypatch.setattr(DuckDBSession, "query", stumbling)
    assert project.run(mode=Mode.FORCE).tests["unique_good_id"] == "ran: error"


def test_the_command_line_tells_of_it_once_and_of_others_as_a_notice(project: World) -> None:
    project.model("bad", "select {{ nothing() }} as id")

    def sao(*args: str) -> Any:
        return CliRunner().invoke(app, [*args, "--project-dir", str(project.root)])

    everything = sao("build")
    assert everything.exit_code == 1
    assert everything.output.count("'nothing' is undefined") == 1
    assert "models/bad.sql:1" in everything.output
    good = sao("build", "--select", "good")
    assert good.exit_code == 0
    assert "models/bad.sql:1: bad: it is broken: 'nothing' is undefined" in good.output
    assert sao("plan").exit_code == 1
    assert sao("test").exit_code == 1


def test_dagster_shows_it_and_builds_the_rest(project: World) -> None:
    project.model("bad", "select {{ nothing() }} as id")
    project.model("below", "select * from {{ ref('bad') }}").model("further", "select * from {{ ref('below') }}")
    deployed = deploy(project)
    spec = next(each for each in deployed.defs.resolve_all_asset_specs() if each.key == dg.AssetKey("bad"))
    assert "'nothing' is undefined" in str(spec.description)
    tick = deployed.tick()
    assert {key.to_user_string() for key in tick.run_requests[0].asset_selection} == {"good"}
    shown = {each.key.to_user_string(): each for each in tick.automation_condition_evaluations}
    because = shown["bad"].child_evaluations[0].condition_snapshot.name
    assert because == "models/bad.sql:1: 'nothing' is undefined"
    for name in ("below", "further"):
        assert shown[name].child_evaluations[-1].condition_snapshot.name == f"bad: {because}", (
            "the tree says what failed"
        )
    result = deployed.run()
    assert names(result, "ASSET_MATERIALIZATION") == {"good"}
    assert not result.success
    (failure,) = (each for each in result.all_events if each.event_type_value == "STEP_FAILURE")
    assert "bad failed: models/bad.sql:1: 'nothing' is undefined" in failure.event_specific_data.error.message


def test_a_failure_leaves_little_in_the_log_of_dagster(project: World) -> None:
    project.model("bad", "select no_such_column")
    for number in range(120):
        project.model(f"below_{number}", "select * from {{ ref('bad') }}")
    result = deploy(project).run()
    assert max(len(serialize_value(each)) for each in result.all_events if "FAILURE" in each.event_type_value) < 20_000
