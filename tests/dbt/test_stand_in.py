"""Builds by exact selection, with a program that stands in for dbt (`stand_in.py`): what is asked for, what is believed of it, and what is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from sao_dagster import load_project, select
from sao_dagster.cli import app
from sao_dagster.core.explain import explain
from sao_dagster.core.messages import Message
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.errors import UnsupportedError
from sao_dagster.run.report import RunResult
from tests.dbt import stand_in

MODELS = {
    "orders": "select id, person, amount from {{ source('raw', 'orders') }}",
    "people": "select 1 as id",
    "totals": "select person, sum(amount) as total from {{ ref('orders') }} group by 1",
    "big": "select count(*) as n from {{ ref('totals') }} where total > 10",
}


class Shop:
    """The project, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "models").mkdir()
        program = folder / "dbt"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in.__file__}" "$@"\n')
        program.chmod(0o755)
        self.write("dbt_project.yml", "name: shop\nversion: '1'\nprofile: shop\n")
        self.profile("{type: duckdb, path: shop.duckdb, threads: 2}")
        self.write("sao.yml", "executor: dbt\ndbt: dbt\n")
        self.write("tests.json", json.dumps([["unique", "orders.id"]]))
        for name, text in MODELS.items():
            self.write(f"models/{name}.sql", text)
        self.execute(
            "create schema raw",
            "create table raw.orders (id int, person int, amount int)",
            "insert into raw.orders values (1, 1, 5), (2, 1, 7), (3, 2, 1)",
        )
        self.said: list[str] = []

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def profile(self, output: str) -> None:
        self.write("profiles.yml", f"shop: {{target: dev, outputs: {{dev: {output}}}}}\n")

    def behave(self, **how: Any) -> None:
        """Tell the program what to do from now on; it is no file of the project."""
        self.write("behave.json", json.dumps(how))

    def execute(self, *statements: str) -> None:
        with duckdb.connect(str(self.folder / "shop.duckdb")) as connection:
            for each in statements:
                connection.execute(each)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.folder / "shop.duckdb"), read_only=True) as connection:
            return sorted(connection.execute(f"select * from {table}").fetchall())

    def run(self, *selected: str, mode: Mode = Mode.STATE_AWARE) -> RunResult:
        opened = load_project(self.folder)
        self.said = []

        def hear(event: object) -> None:
            if isinstance(event, Message):
                self.said.append(event.text)

        return opened.runner().run(select(opened.project, *selected), mode, on_event=hear)

    def calls(self) -> list[str]:
        """Return the commands since this was asked the last time."""
        file = self.folder / "calls.txt"
        found = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return found


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr("sao_dagster.dbt.prepare.READ", (".sql", ".yml"))
    return Shop(tmp_path)


def built(result: RunResult) -> dict[str, str]:
    return {
        each.name: each.decision.reason.value for each in result.models if each.decision.outcome is not Outcome.REUSED
    }


def test_each_step_down_the_graph_is_one_command_and_nothing_to_do_is_none(shop: Shop) -> None:
    assert built(shop.run()) == dict.fromkeys(MODELS, "never_built")
    assert shop.calls() == ["parse", "build orders people", "build totals", "build big"]
    assert shop.rows("main.totals") == [(1, 12), (2, 1)]
    again = shop.run()
    assert built(again) == {}
    assert {each.decision.outcome.value for each in again.tests} == {"reused"}
    assert shop.calls() == []
    shop.execute("update raw.orders set amount = 6 where id < 3")
    assert built(shop.run()) == {"orders": "new_data", "totals": "new_data"}  # which are as before
    assert shop.calls() == ["build orders", "build totals"]
    shop.write("models/big.sql", "-- how many\n" + MODELS["big"])
    assert built(shop.run()) == {}
    assert built(shop.run("people", mode=Mode.FORCE)) == {"people": "forced"}


def test_what_reads_a_model_of_a_package_is_known(shop: Shop) -> None:
    """It is protected there, which only `restrict-access` of the package enforces: that is for dbt to say."""
    shop.write("models/lib_days.sql", "select 1 as day")
    shop.write("models/people.sql", "select day as id from {{ ref('lib_days') }}")
    assert built(shop.run("+people")) == {"lib_days": "never_built", "people": "never_built"}
    assert shop.calls() == ["parse", "build fqn:lib.lib_days", "build people"]
    assert built(shop.run("+people")) == {}
    shop.write("models/lib_days.sql", "select 2 as day")
    assert built(shop.run("+people")) == {"lib_days": "code_changed", "people": "new_data"}


def test_why_a_template_is_built_each_time_is_said(shop: Shop) -> None:
    shop.write("models/people.sql", f"select 1 as id,\n  {stand_in.GRAPH} as n")
    assert built(shop.run("people")) == {"people": "never_built"}
    (again,) = shop.run("people").models
    assert again.decision.reason.value == "input_unknown"
    assert again.decision.evidence["unknown"] == ["answer:people"]
    words = "models/people.sql:2: `graph` in a template, which dbt alone has"
    assert again.decision.evidence["unrendered"] == words
    assert explain(again.decision) == f"its template cannot be rendered here ({words}), so that nobody knows what it is"
    shop.write("models/people.sql", f"select 2 as id,\n  {stand_in.GRAPH} as n")
    said = " ".join(CliRunner().invoke(app, ["explain", "people", "--project-dir", str(shop.folder)]).output.split())
    assert "build it (code_changed): its definition changed (sql). " in said
    assert f"Its template cannot be rendered here, so that it is built each time: {words}." in said


def test_what_fails_is_one_failed_node_and_a_failed_test_holds_back(shop: Shop) -> None:
    shop.write("models/totals.sql", "select nothing from {{ ref('orders') }}")
    result = shop.run()
    failed = {
        each.name: each.decision.evidence["error"] for each in result.models if each.decision.outcome is Outcome.FAILED
    }
    assert failed.keys() == {"totals"}
    assert "nothing" in str(failed["totals"])
    assert built(result)["big"] == "upstream_failed"
    shop.write("models/totals.sql", MODELS["totals"])
    shop.execute("insert into raw.orders values (3, 2, 1)")
    shop.calls()
    assert built(shop.run()) == {"orders": "new_data", "totals": "upstream_failed", "big": "upstream_failed"}
    assert shop.calls() == ["parse", "build orders"]


MISBEHAVING: tuple[tuple[dict[str, Any], str], ...] = (
    ({"killed": True}, "does not say that it was built"),
    ({"silent": True}, "does not say that it was built"),
    ({"says": {"orders": "silent", "people": "reused"}}, "does not say that it was built"),
    ({"says": {"orders": "reused", "people": "silent"}}, "dbt says reused"),
    ({"more": ["totals"]}, "dbt has built more than it was given: model.shop.totals"),
    ({"edits": "models/big.sql"}, "files of the project have changed"),
)


@pytest.mark.slow
def test_what_dbt_does_not_say_to_have_built_as_it_was_given_is_not_recorded(shop: Shop) -> None:
    for how, said in MISBEHAVING:
        shop.behave(**how)
        result = shop.run("orders people")
        failed = {
            each.name: each.decision.evidence for each in result.models if each.decision.outcome is Outcome.FAILED
        }
        assert failed.keys() == {"orders", "people"}
        assert said in str(failed["orders"]["error"])
    shop.behave()
    assert built(shop.run("orders people")) == {"orders": "never_built", "people": "never_built"}
    assert built(shop.run("orders people")) == {}


@pytest.mark.slow
def test_an_input_that_was_another_one_only_while_dbt_read_it_is_noticed(shop: Shop) -> None:
    """Content before and after is the same; that another process has had the file shows it."""
    shop.run("orders")
    shop.execute("insert into raw.orders values (4, 2, 9)")
    shop.behave(
        before=["update raw.orders set amount = 99 where id = 1"],
        after=["update raw.orders set amount = 5 where id = 1"],
    )
    shop.calls()
    result = shop.run("orders")
    assert "3 times in a row" in str(result.models[0].decision.evidence["error"])
    assert shop.calls() == ["build orders"] * 3
    assert len([each for each in shop.said if each.endswith("orders is built again")]) == 2
    shop.behave()
    assert built(shop.run("orders")) == {"orders": "never_built"}
    assert shop.rows("main.orders")[0] == (1, 1, 5)


def test_where_a_hook_fails_before_anything_is_built_no_more_commands_are_given(shop: Shop) -> None:
    shop.behave(hook=True, says=dict.fromkeys(MODELS, "skipped"))
    result = shop.run("people orders+")
    assert "no hook today" in str(result.models[0].decision.evidence["error"])
    assert shop.calls() == ["parse", "build orders people"]
    shop.behave()


@pytest.mark.slow
def test_two_runs_at_once_take_turns_at_a_file(shop: Shop) -> None:
    """Between two commands the file is let go; who came in then would wait for the leases of the other run, which would wait for the file."""
    command = [sys.executable, "-m", "sao_dagster.cli", "build", "--json", "--project-dir", str(shop.folder)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    said = [json.loads(run.communicate(timeout=120)[0]) for run in runs]
    assert sorted(each["name"] for one in said for each in one["models"] if each["outcome"] == "built") == sorted(
        MODELS
    )
    assert [each for each in shop.calls() if each != "parse"] == ["build orders people", "build totals", "build big"]


@pytest.mark.parametrize(
    "profile",
    [
        "{type: snowflake, account: a, user: u, database: d, schema: s}",
        "{type: duckdb, path: ':memory:'}",
        "{type: duckdb, path: shop.duckdb, attach: [{path: 'ducklake:lake.ducklake'}]}",
    ],
)
def test_what_only_an_adapter_sees_is_refused_before_dbt_is_started(shop: Shop, profile: str) -> None:
    shop.profile(profile)
    with pytest.raises(UnsupportedError, match=r"program without Python.* is seen through dbt's adapter alone"):
        load_project(shop.folder)
    assert shop.calls() == []


def test_where_nobody_says_who_has_a_file_it_is_not_given_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as on Windows."""
    monkeypatch.setattr("sao_dagster.dbt.read.LOCKS_ARE_SEEN", False)
    with pytest.raises(UnsupportedError, match="does not say who has a file of DuckDB"):
        load_project(shop.folder)
    assert shop.calls() == []


def test_another_program_that_is_called_dbt_is_not_given_anything(shop: Shop) -> None:
    shop.write("dbt", "#!/bin/sh\necho dbt Cloud CLI - 0.40.5\n")
    with pytest.raises(UnsupportedError, match=r"no dbt 2\.x: to --version it says 'dbt Cloud CLI"):
        load_project(shop.folder)
    assert shop.calls() == []


@pytest.mark.slow
def test_nothing_is_read_in_another_environment(shop: Shop) -> None:
    shop.run("orders")
    shop.write(
        "profiles.yml",
        "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}, ci: {type: duckdb, path: shop.duckdb, schema: ci}}}\n",
    )
    shop.write("sao.yml", "executor: dbt\ndbt: dbt\ntargets: {ci: {defer: dev}}\n")
    opened = load_project(shop.folder, target="ci")
    with pytest.raises(UnsupportedError, match="nothing is read in"):
        opened.runner().run(select(opened.project, "totals"))
