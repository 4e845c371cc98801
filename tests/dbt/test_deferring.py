"""What is neither selected nor here is read from another environment by what dbt builds, too: its `ref` gives what was decided."""

from __future__ import annotations

import json

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner

from sao_dagster import load_project, select
from sao_dagster.cli import app
from sao_dagster.core.reasons import Mode
from sao_dagster.core.records import Verdict
from sao_dagster.dagster import definitions
from sao_dagster.dagster.project_view import DEFER_TAG
from sao_dagster.run.report import RunResult
from tests.dbt.project import LittleProject, outcomes

pytestmark = pytest.mark.slow


def with_branch(anywhere: LittleProject) -> LittleProject:
    """Let production build all of a project; `dev`, the default, is another schema, in which there is nothing."""
    profiles = yaml.safe_load((anywhere.folder / "profiles.yml").read_text())
    outputs = profiles["little"]["outputs"]
    outputs["prod"], outputs["dev"] = outputs["dev"], {**outputs["dev"], "schema": "branch"}
    anywhere.write("profiles.yml", yaml.safe_dump(profiles))
    opened = load_project(anywhere.folder, target="prod")
    assert opened.runner().run(select(opened.project)).succeeded
    return anywhere


@pytest.fixture
def branch(anywhere: LittleProject) -> LittleProject:
    """A project that production has built, on each warehouse."""
    return with_branch(anywhere)


@pytest.fixture
def little_branch(little: LittleProject) -> LittleProject:
    """The same on DuckDB."""
    return with_branch(little)


def run(
    project: LittleProject, *selected: str, defer: str | None = "prod", favor: bool = False, **options: object
) -> RunResult:
    opened = load_project(project.folder).deferring(defer, favor=favor)
    return opened.runner().run(select(opened.project, " ".join(selected)), **options)  # type: ignore[arg-type]


def deferred(result: RunResult) -> dict[str, str]:
    assert result.deferral is not None
    return {name: each.schema for name, each in result.deferral.relations.items()}


def prod(project: LittleProject, *selected: str, mode: Mode = Mode.STATE_AWARE) -> set[str]:
    opened = load_project(project.folder, target="prod")
    return {*outcomes(opened.runner().run(select(opened.project, " ".join(selected)), mode))}


def test_one_model_is_built_from_what_production_has(branch: LittleProject) -> None:
    branch.replace("models/totals.sql", "sum(cents)", "sum(cents) + 1")
    first = run(branch, "totals")
    assert (outcomes(first), deferred(first)) == ({"totals": "never_built"}, {"orders": "main"})
    assert branch.rows("branch.totals") == [(1, 1201), (2, 101)]
    said = json.loads((branch.folder / "target/run_results.json").read_text())
    assert said["args"]["defer"] is True
    code = {each["unique_id"]: each["compiled_code"] for each in said["results"]}
    assert '"main"."orders"' in code["model.little.totals"]
    with pytest.MonkeyPatch.context() as no_dbt:
        no_dbt.setattr("sao_dagster.dbt.warehouse.dbt_process", lambda *_, **__: pytest.fail("dbt was started"))
        assert outcomes(run(branch, "totals")) == {}
    branch.execute("insert into raw.orders values (4, 2, 9)")
    assert outcomes(run(branch, "totals")) == {}, "what is read there is as it was"
    assert "orders" in prod(branch, "orders")
    assert outcomes(run(branch, "totals")) == {"totals": "new_data"}
    assert branch.rows("branch.totals") == [(1, 1201), (2, 1001)]
    assert "orders" in prod(branch, "orders", mode=Mode.FORCE)
    assert outcomes(run(branch, "totals")) == {}, "the same rows, built again"
    below = run(branch, "totals+")
    assert (outcomes(below), deferred(below)) == ({"big": "never_built"}, {"orders": "main"})


def test_what_is_built_here_is_read_here_and_favored_is_what_is_there(branch: LittleProject) -> None:
    run(branch, "totals")
    here = run(branch, "stg_orders", "orders")
    assert deferred(here) == {}
    again = run(branch, "totals")
    assert deferred(again) == {}
    assert outcomes(again) == {}, "the same rows, elsewhere"
    branch.replace("models/orders.sql", "cents('amount')", "cents('2 * amount')")
    assert {*outcomes(run(branch, "orders", "totals"))} == {"orders", "totals"}
    assert branch.rows("branch.totals") == [(1, 2400), (2, 200)]
    favored = run(branch, "totals", favor=True)
    assert ({*outcomes(favored)}, deferred(favored)) == ({"totals"}, {"orders": "main"})
    assert branch.rows("branch.totals") == [(1, 1200), (2, 100)]


def test_whatever_reads_there_is_rendered_there(little_branch: LittleProject) -> None:
    """Templates that ask, ephemerals, increments, views, data tests and hooks; and what is gone there is named."""
    branch = little_branch
    branch.write("models/recent.sql", "{{ config(materialized='ephemeral') }} select * from {{ ref('orders') }}")
    branch.write("models/counted.sql", "select count(*) as n from {{ ref('recent') }}")
    branch.write("models/asks.sql", "select {{ columns_of(ref('orders')) }} from {{ ref('orders') }}")
    branch.write("models/seen.sql", "{{ config(materialized='view') }} select id from {{ ref('orders') }}")
    branch.write(
        "models/noted.sql",
        "{{ config(post_hook=\"create or replace table branch.note as select count(*) as n from {{ ref('orders') }}\") }} select 1 as n",
    )
    branch.write(
        "tests/as_many.sql", "select * from {{ ref('counted') }} where n <> (select count(*) from {{ ref('orders') }})"
    )
    chosen = ("counted", "asks", "seen", "noted", "grown", "stg_orders")
    first = run(branch, *chosen)
    assert outcomes(first) == dict.fromkeys(chosen, "never_built")
    assert deferred(first) == {"orders": "main"}
    assert {each.test.name: each.verdict.value for each in first.tests if each.verdict}["as_many"] == "pass"
    assert (branch.rows("branch.counted"), branch.rows("branch.note")) == ([(3,)], [(3,)])
    assert branch.rows("branch.asks") == branch.rows("main.orders")
    assert branch.rows("branch.seen") == [(1,), (2,), (3,)]
    assert outcomes(run(branch, *chosen)) == {}
    branch.execute("insert into main.orders values (9, 9, 9)")
    assert {*outcomes(run(branch, *chosen))} == {"counted", "asks", "grown", "noted"}
    branch.execute("alter table main.orders add column more int")
    assert {*outcomes(run(branch, *chosen))} >= {"asks"}
    assert branch.rows("branch.asks") == branch.rows("main.orders")
    branch.execute("drop table main.orders cascade")
    gone = run(branch, "totals")
    assert outcomes(gone) == {"totals": "build_error"}
    assert gone.deferral is not None and gone.deferral.missing == ("orders",)


def test_another_file_is_attached_and_only_read(little_branch: LittleProject) -> None:
    profiles = yaml.safe_load((little_branch.folder / "profiles.yml").read_text())
    outputs = profiles["little"]["outputs"]
    outputs["dev"] = {**outputs["dev"], "path": str(little_branch.folder / "mine.duckdb")}
    little_branch.write("profiles.yml", yaml.safe_dump(profiles))
    little_branch.write("models/asks.sql", "select {{ columns_of(ref('orders')) }} from {{ ref('orders') }}")
    little_branch.write(
        "tests/as_many.sql", "select * from {{ ref('asks') }} where id not in (select id from {{ ref('orders') }})"
    )
    first = run(little_branch, "totals", "asks")
    assert outcomes(first) == {"totals": "never_built", "asks": "never_built"}
    assert first.deferral is not None
    assert str(first.deferral.relations["orders"]) == '"sao_prod"."main"."orders"'
    assert [each.verdict for each in first.tests if each.test.name == "as_many"] == [Verdict.PASS]
    assert outcomes(run(little_branch, "totals", "asks")) == {}
    little_branch.execute("update main.orders set cents = 0 where id = 1")
    assert outcomes(run(little_branch, "totals", "asks")) == {"totals": "new_data", "asks": "new_data"}


def test_the_command_line_and_a_tag_of_a_run_defer(little_branch: LittleProject) -> None:
    arguments = ["build", "--project-dir", str(little_branch.folder), "--select", "totals", "--json"]
    found = CliRunner().invoke(app, [*arguments, "--defer", "prod"])
    said = json.loads(found.stdout)
    assert [(each["name"], each["outcome"]) for each in said["models"]] == [("totals", "built")]
    assert [*said["deferred"]["relations"]] == ["orders"]
    defs = definitions(load_project(little_branch.folder))
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        keys = [each for each in job.asset_layer.executable_asset_keys if each.path[-1] == "big"]
        done = job.execute_in_process(instance=instance, asset_selection=keys, tags={DEFER_TAG: "prod"})
    assert done.success
    assert little_branch.rows("branch.big") == little_branch.rows("main.big")


def test_a_view_here_that_is_not_made_again_shows_what_is_here(little_branch: LittleProject) -> None:
    branch = little_branch
    branch.write("models/seen.sql", "{{ config(materialized='view') }} select id from {{ ref('orders') }}")
    branch.write(
        "models/both.sql",
        "select count(*) as seen, (select count(*) from {{ ref('orders') }}) as n from {{ ref('seen') }}",
    )
    run(branch, "stg_orders", "orders", "seen", defer=None)
    first = run(branch, "both", favor=True)
    assert ({*outcomes(first)}, deferred(first)) == ({"both"}, {"orders": "main"})
    assert outcomes(run(branch, "both", favor=True)) == {}
    [(seen, there)] = branch.rows("branch.both")
    branch.execute("insert into branch.orders select * from branch.orders limit 1")
    assert {*outcomes(run(branch, "both", favor=True))} == {"both"}
    assert branch.rows("branch.both") == [(seen + 1, there)]
