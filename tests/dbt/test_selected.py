"""Builds by exact selection, with dbt itself; `test_stand_in.py` has what a dbt may do wrong."""

from __future__ import annotations

import re
import sys
from typing import Any

import dagster as dg
import pytest

from sao_dagster.core.records import Verdict
from sao_dagster.dagster import definitions
from sao_dagster.dbt.commands import DbtCommands, Finished
from sao_dagster.errors import UnsupportedError
from tests.dbt.project import LittleProject, outcomes

pytestmark = [pytest.mark.slow, pytest.mark.real_python]

SELECTED = "+seen rates people people_over_time"
MODELS = {"seen", "stg_orders", "orders", "totals", "rates", "people", "people_over_time"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, set[str]]]:
    """The commands that dbt was given: each its name, and what was selected."""
    found, original = list[tuple[str, set[str]]](), DbtCommands.run

    def run(self: DbtCommands, command: str, *arguments: str, **more: Any) -> Finished:
        selected = arguments[arguments.index("--select") + 1 :] if "--select" in arguments else ()
        found.append((command, {each.rpartition(".")[2] for each in selected}))
        return original(self, command, *arguments, **more)

    monkeypatch.setattr(DbtCommands, "run", run)
    return found


def test_each_step_down_the_graph_is_a_command_of_dbt_and_nothing_to_do_is_none(
    anywhere: LittleProject, calls: list[tuple[str, set[str]]]
) -> None:
    anywhere.write("sao.yml", f"executor: dbt\ndbt: {anywhere.python}\ndbt_execution: selection\n")
    anywhere.write("models/seen.sql", "{{ config(materialized='view') }} select * from {{ ref('totals') }}")
    first = anywhere.run(SELECTED)
    assert outcomes(first) == dict.fromkeys(MODELS, "never_built")
    assert {each.verdict for each in first.tests} == {Verdict.PASS}
    assert anywhere.rows("main.totals") == [(1, 1200), (2, 100)]
    levels: list[set[str]] = [{"stg_orders", "rates", "people", "people_over_time"}, {"orders"}, {"totals"}, {"seen"}]
    assert calls == [("parse", set()), *(("build", each) for each in levels)]
    assert {name for name in anywhere.run_results() if name.startswith("model.")} == {"model.little.seen"}
    calls.clear()
    second = anywhere.run(SELECTED)
    assert outcomes(second) == {}
    assert {each.decision.outcome.value for each in second.tests} <= {"reused", "proven"}
    assert calls == []
    anywhere.execute("update raw.orders set person = 2 where id = 1", "update raw.orders set person = 1 where id = 1")
    assert outcomes(anywhere.run(SELECTED)) == {}
    anywhere.execute("insert into raw.orders values (4, 2, 9)")
    seen = {"seen": "relation_missing"} if anywhere.url else {}  # dbt has dropped it with the table
    assert outcomes(anywhere.run("orders totals seen")) == {"orders": "new_data", "totals": "new_data"} | seen
    assert anywhere.rows("main.seen") == anywhere.rows("main.totals") == [(1, 1200), (2, 1000)]


def test_what_on_run_start_makes_is_there_for_models_and_data_tests(
    anywhere: LittleProject, calls: list[tuple[str, set[str]]]
) -> None:
    """On PostgreSQL each command makes the function anew, so that nobody knows of which one a model that calls it is."""
    anywhere.write("sao.yml", f"executor: dbt\ndbt: {anywhere.python}\ndbt_execution: selection\n")
    kind, types = ("function", ("n bigint", "returns bigint language sql immutable as 'select 2 * n'"))
    if anywhere.url is None:
        kind, types = "macro", ("n", "as 2 * n")
    start = f"create or replace {kind} main.doubled({types[0]}) {types[1]}"
    around = f'on-run-start: ["{start}", "create table if not exists main.ends (n int)"]\non-run-end: insert into main.ends values (1)\n'
    anywhere.replace("dbt_project.yml", 'on-run-start: "{{ note_start() }}"\n', around)
    anywhere.write("models/twice.sql", "select id, main.doubled(rate) as twice from {{ ref('rates') }}")
    anywhere.write("tests/few.sql", "select id from {{ ref('rates') }} where main.doubled(id) > 100")
    assert outcomes(anywhere.run("rates twice few")) == dict.fromkeys(("rates", "twice"), "never_built")
    assert [each for _, each in calls] == [set(), {"rates"}, {"few"}, {"twice"}]
    assert len(anywhere.rows("main.ends")) == 3
    again = {"twice": "input_unknown"} if anywhere.url else {}
    assert outcomes(anywhere.run("rates twice")) == again
    if anywhere.url is not None:
        return  # the rest is the same
    anywhere.replace("dbt_project.yml", "2 * n", "200 * n")
    calls.clear()
    (said,) = anywhere.run("few").tests
    assert (said.verdict, said.failures, calls) == (Verdict.FAIL, 2, [("parse", set()), ("build", {"few"})])
    assert outcomes(anywhere.run("rates twice few")) == {"twice": "upstream_failed"}
    (anywhere.folder / "tests/few.sql").unlink()
    assert outcomes(anywhere.run("rates twice")) == {"twice": "code_changed"}
    assert anywhere.rows("main.twice") == [(1, 400), (2, 600)]


def test_python_models_of_dbt(little: LittleProject) -> None:
    little.write("sao.yml", f"executor: dbt\ndbt: {little.python}\ndbt_execution: selection\n")
    little.write("models/counted.yml", "models: [{name: counted, config: {meta: {sao: {inputs: []}}}}]")
    counted = "def model(dbt, session):\n    return dbt.ref('orders').aggregate('count(*) as n')\n"
    little.write("models/counted.py", counted)
    little.write("models/below.sql", "select n + 1 as n from {{ ref('counted') }}")
    names = ("stg_orders", "orders", "counted", "below")
    assert outcomes(little.run("+below")) == dict.fromkeys(names, "never_built")
    assert outcomes(little.run("+below")) == {}
    little.execute("insert into raw.orders values (4, 2, 9)")
    assert outcomes(little.run("+below")) == dict.fromkeys(("orders", "counted", "below"), "new_data")
    little.replace("models/counted.py", "'count(*) as n'", "'count(*) + 0 as n'")
    assert outcomes(little.run("+below")) == {"counted": "code_changed"}
    assert little.rows("main.below") == [(5,)]


@pytest.mark.parametrize("anywhere", ["postgres"], indirect=True)
def test_in_dagster_on_postgres(anywhere: LittleProject) -> None:
    anywhere.write("sao.yml", f"executor: dbt\ndbt: {anywhere.python}\ndbt_execution: selection\n")
    job = definitions(anywhere.open()).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        for materialized in (MODELS - {"seen"} | {"big", "grown"}, set()):
            result = job.execute_in_process(instance=instance)
            assert result.success
            events = result.get_asset_materialization_events()
            found = {event.step_materialization_data.materialization.asset_key.path[-1] for event in events}
            assert found - {"savings"} == materialized
            assert all(each.passed for each in result.get_asset_check_evaluations())


STANDS_IN = """
import json, subprocess, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("dbt-fusion 2.0.0-preview.196")
    sys.exit()
if "--no-fail-fast" in arguments:
    sys.exit("error: unexpected argument '--no-fail-fast'")
done = subprocess.run([{dbt!r}, "-c", "import sys; from dbt.cli.main import cli; cli(sys.argv[1:])", *arguments])
if arguments[0] == "parse":
    file = arguments[arguments.index("--target-path") + 1] + "/manifest.json"
    manifest = json.load(open(file))
    for node in manifest["nodes"].values():
        node.update(raw_code="--placeholder--", unrendered_config={{}})
    for macro in manifest["macros"].values():
        macro["depends_on"]["macros"] = []
    json.dump(manifest, open(file, "w"))
sys.exit(done.returncode)
"""


def test_a_program_that_is_no_python_is_given_what_is_to_be_built(
    little: LittleProject, calls: list[tuple[str, set[str]]]
) -> None:
    """It stands in for dbt 2.x: fewer options, and a manifest without the texts of nodes, without what macros call, and without written configuration."""
    program = little.folder / "bin/dbt"
    program.parent.mkdir()
    little.write("bin/dbt.py", STANDS_IN.format(dbt=str(little.python)))
    little.write("bin/dbt", f'#!/bin/sh\nexec "{sys.executable}" "{program}.py" "$@"\n')
    program.chmod(0o755)
    little.write("sao.yml", f"executor: dbt\ndbt: {program}\n")
    little.write("macros/half.sql", "{% macro half(column) %}{{ cents(column) }} / 2{% endmacro %}")
    little.write("models/half.sql", "select {{ half('amount') }} as half from {{ source('raw', 'orders') }}")
    little.write("models/sized.sql", "select {{ graph.nodes | length > 0 }} as n")  # which is not rendered here
    little.write("tests/by_graph.sql", "select * from {{ ref('rates') }} where {{ graph.nodes | length }} = 0")
    selected = "half rates sized people_over_time"
    opened = little.open()
    assert opened.built_by is not None
    assert re.search(
        r"given exactly what is to be built.*: dbt-fusion 2\.0\.0-preview\.196 is a program", opened.built_by
    )
    first = little.run(selected)
    assert outcomes(first) == dict.fromkeys(selected.split(), "never_built")
    assert {each.test.name: each.verdict for each in first.tests} == {"by_graph": Verdict.PASS}
    calls.clear()
    again = little.run(selected)
    assert outcomes(again) == {"sized": "input_unknown", "people_over_time": "input_unknown"}
    assert calls == [("build", {"sized", "people_over_time", "by_graph"})]
    evidence = [
        *(each.decision.evidence for each in again.tests),
        *(each.decision.evidence for each in again.models if each.name == "sized"),
    ]
    assert [each["unrendered"] for each in evidence] == [
        f"{file}:1: `graph` in a template, which dbt alone has" for file in ("tests/by_graph.sql", "models/sized.sql")
    ]
    little.replace("macros/all.sql", "* 100", "* 1000")
    assert outcomes(little.run("half rates")) == {"half": "code_changed"}
    little.write("sao.yml", f"executor: dbt\ndbt: {program}\ndbt_execution: inside\n")
    with pytest.raises(UnsupportedError, match=r"dbt 2\.x.*leave out dbt_execution: inside"):
        little.open()
