"""`sao ci` where dbt builds: a schema of the branch's own, what it changes, the comparison with production, and the end."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from sao_dagster import load_project, select
from sao_dagster.cli import app
from tests.dbt.project import LittleProject

pytestmark = pytest.mark.slow


def sao(project: LittleProject, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["ci", *arguments, "--schema", "ci_totals", "--project-dir", str(project.folder)])


def built(project: LittleProject, status: int) -> dict[str, Any]:
    found = sao(project, "--against", "prod", "--json", "--report", str(project.folder / "out"))
    assert found.exit_code == status, found.output
    said: dict[str, Any] = json.loads(found.stdout)
    return said


def outcomes(said: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in said["models"]}


def test_a_branch_that_dbt_builds(anywhere: LittleProject) -> None:
    profiles = yaml.safe_load((anywhere.folder / "profiles.yml").read_text())
    outputs = profiles["little"]["outputs"]
    outputs["prod"], outputs["dev"] = (
        outputs["dev"],
        {**outputs["dev"], "schema": "{{ env_var('NOBODY_SETS_IT', 'nowhere') }}"},
    )
    anywhere.write("profiles.yml", yaml.safe_dump(profiles))
    anywhere.replace("dbt_project.yml", 'on-run-start: "{{ note_start() }}"', "")
    anywhere.write(
        "models/seen.sql", "{{ config(materialized='view', schema='shown') }} select * from {{ ref('totals') }}"
    )
    opened = load_project(anywhere.folder, target="prod")
    assert opened.runner().run(select(opened.project)).succeeded

    anywhere.replace("models/totals.sql", "sum(cents)", "sum(cents) + person")
    anywhere.write("tests/none.sql", "select * from {{ ref('big') }}")
    said = built(anywhere, status=1)
    assert outcomes(said) == {"totals": "built", "big": "built", "seen": "built"}
    assert {each["name"]: each["verdict"] for each in said["tests"]} == {
        "not_null_totals_person": "pass",
        "none": "fail",
    }
    assert said["deferred"]["relations"].keys() == {"orders"}
    assert anywhere.rows("ci_totals.totals") == [(1, 1201), (2, 102)]
    assert anywhere.rows("ci_totals_shown.seen") == anywhere.rows("ci_totals.totals")
    assert anywhere.rows("main.totals") == [(1, 1200), (2, 100)]
    rows = said["compared"]["totals"]["rows"]
    assert (rows["here"], rows["there"], rows["added"], rows["gone"]) == (2, 2, 2, 2)
    assert said["compared"]["big"]["same_content"]
    assert "`ci_totals` against `prod`" in (anywhere.folder / "out/sao_ci.md").read_text()

    refused = sao(anywhere, "--against", "prod", "--select", "people_over_time")
    assert (refused.exit_code, "whatever the schema of the target is" in refused.output) == (2, True)
    anywhere.execute("create table ci_totals.note (id int)")
    dropped = sao(anywhere, "drop", "--yes", "--json")
    (left,) = json.loads(dropped.stdout)["left"].items()
    assert (left[0].split(".")[-1], [each.split(".")[-1] for each in left[1]]) == ("ci_totals", ["note"])
    anywhere.execute("drop table ci_totals.note")
    assert "dropped" in sao(anywhere, "drop", "--yes").stdout
    found = "information_schema.schemata where schema_name like 'ci_%'"
    assert anywhere.rows(found) == []


def test_where_dbt_cannot_build_a_branch_it_says_so(little: LittleProject) -> None:
    little.write("sao.yml", f"executor: dbt\ndbt: {little.python}\ndbt_execution: selection\n")
    said = " ".join(sao(little, "--against", "prod").output.split())
    assert "as sao.yml says (dbt_execution: selection)" in said
    little.write("sao.yml", f"executor: dbt\ndbt: {little.python}\n")
    little.write("profiles.yml", "little: {target: dev, outputs: {dev: {type: snowflake, schema: main}}}")
    said = " ".join(sao(little, "drop", "--yes").output.split())
    assert "what is in snowflake is seen through dbt's adapter alone" in said
