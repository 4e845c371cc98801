"""`sao`, as people and programs use it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
import typer
from typer.testing import CliRunner

from sao_dagster import load_project
from sao_dagster.cli import app
from sao_dagster.state.protocol import DecisionRecord
from sao_dagster.version import __version__
from tests.world import PROJECT, World


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders").sql("create table raw.orders as select 1 as id, 5 as amount")
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    world.model("report", "select sum(amount) as amount from {{ ref('orders') }}")
    world.write("models/t.yml", "models: [{name: orders, columns: [{name: id, data_tests: [unique, not_null]}]}]")
    return world


def sao(world: World, *arguments: str, said: str | None = None) -> Any:
    return CliRunner().invoke(app, [*arguments, "--project-dir", str(world.root)], input=said)


def answer(world: World, *arguments: str) -> dict[str, Any]:
    result = sao(world, *arguments, "--json")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_build_and_plan_have_one_shape(shop: World) -> None:
    planned = answer(shop, "plan")
    built = answer(shop, "build")
    assert set(planned) == set(built)
    assert set(planned["summary"]) == set(built["summary"])
    assert set(planned["models"][0]) == set(built["models"][0])
    assert set(planned["tests"][0]) == set(built["tests"][0])
    assert [(each["name"], each["outcome"], each["reason"]) for each in planned["models"]] == [
        ("orders", "built", "never_built"),
        ("report", "built", "never_built"),
    ]
    assert built["models"][0]["relation"] == '"shop"."main"."orders"'
    assert built["models"][0]["rows"] == 1
    assert built["models"][0]["data_version"].startswith("duckdb-")
    assert {each["statement"] for each in built["tests"]} == {"orders"}
    assert built["summary"]["built"] == 2
    again = answer(shop, "build")
    assert again["summary"]["reused"] == 2
    assert again["summary"]["tests_reused"] == 2


def test_exit_statuses(shop: World) -> None:
    assert sao(shop, "build").exit_code == 0
    shop.sql("insert into raw.orders values (1, 5)")
    assert sao(shop, "build").exit_code == 1, "an error test failed"
    shop.model("report", "select nope from {{ ref('orders') }}")
    shop.sql("delete from raw.orders where amount = 5", "insert into raw.orders values (3, 3)")
    assert sao(shop, "build").exit_code == 1, "a model failed"
    assert sao(shop, "build", "--select", "nothing").exit_code == 2
    shop.model("report", "select * from {{ ref('nope') }}")
    assert sao(shop, "plan").exit_code == 1, "a model is broken"
    shop.model("report", "select * from {{ ref('report') }}")
    result = sao(shop, "build", "--json")
    assert result.exit_code == 2
    assert "in a circle: report <- report (models/report.sql)" in json.loads(result.stdout)["error"]
    assert sao(shop, "plan").exit_code == 2


def test_options(shop: World) -> None:
    assert answer(shop, "build", "--select", "orders")["summary"]["built"] == 1
    assert answer(shop, "build", "--exclude", "report", "--no-tests")["tests"] == []
    assert [each["reason"] for each in answer(shop, "build", "--force", "--threads", "1")["models"]] == [
        "forced",
        "forced",
    ]
    assert answer(shop, "build", "--full-refresh")["models"][0]["reason"] == "full_refresh"
    assert answer(shop, "build", "--target", "other")["environment"].startswith("shop.other.other.")
    assert answer(shop, "test")["models"] == []
    shop.model("report", "select {{ var('n', 1) }} as n")
    assert answer(shop, "build", "--vars", "{n: 2}")["models"][1]["outcome"] == "built"
    assert answer(shop, "plan", "--vars", "{n: 2}")["models"][1]["outcome"] == "reused"


def test_several_values_in_a_row_are_a_union(shop: World) -> None:
    def named(*arguments: str) -> list[str]:
        return [each["name"] for each in answer(shop, "plan", *arguments)["models"]]

    shop.model("third", "select 1 as x")
    assert named("--select", "orders", "third") == ["orders", "third"]
    assert named("-s", "orders", "-s", "third") == ["orders", "third"]
    assert named("--select=orders", "third", "--exclude", "orders", "report") == ["third"]
    assert answer(shop, "plan", "--select", "orders", "--indirect-selection", "empty")["tests"] == []
    assert sao(shop, "plan", "orders").exit_code == 2, "a name that belongs to no option"
    answer(shop, "build")
    assert answer(shop, "state", "clear", "--select", "orders", "third")["cleared"] == 4, "two tests are with orders"


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"sao {__version__}\n")


def test_now_moves_the_clock_of_decisions(shop: World) -> None:
    shop.model("report", "select 1 as x where current_date > '2000-01-01'")
    answer(shop, "build", "--now", "2026-01-01T10:00")
    assert answer(shop, "plan", "--now", "2026-01-01T23:59")["models"][1]["reason"] == "no_new_data"
    assert answer(shop, "plan", "--now", "2026-01-02T00:00")["models"][1]["reason"] == "volatile_expired"
    assert sao(shop, "plan", "--now", "noon").exit_code == 2


def test_explain(shop: World) -> None:
    answer(shop, "build")
    shop.sql("insert into raw.orders values (2, 5)")
    found = answer(shop, "explain", "report")
    assert found["now"]["reason"] == "new_data"
    assert found["now"]["evidence"]["tentative"] is True
    assert found["inputs"] == ["orders"]
    assert found["decided_before"][0]["reason"] == "never_built"
    assert answer(shop, "explain", "unique_orders_id")["last_verdict"]["verdict"] == "pass"
    result = sao(shop, "explain", "reprot")
    assert result.exit_code == 2
    assert "did you mean 'report'" in result.stderr
    shown = " ".join(sao(shop, "explain", "report").stdout.split())
    assert "A run now would build it (new_data): news from orders, foreseen." in shown
    assert "It was built at 20" in shown
    assert 'It is a table, "shop"."main"."report"; it reads orders. Its policy: on any news.' in shown
    assert "evidence news input orders, old" in shown


def test_a_plan_names_sources_that_are_not_there_and_foresees_what_fails_for_that(shop: World) -> None:
    shop.write("models/lake.yml", "sources:\n- name: lake\n  tables:\n  - name: away\n")
    shop.model("lost", "select * from {{ source('lake', 'away') }}", materialized="view")
    shop.model("below", "select 1 as id from {{ ref('lost') }}")
    shop.write("models/b.yml", "models: [{name: below, columns: [{name: id, data_tests: [unique]}]}]")
    planned = sao(shop, "plan", "--json")
    answered = json.loads(planned.stdout)
    foreseen = {each["name"]: (each["outcome"], each["reason"]) for each in answered["models"]}
    assert foreseen["lost"] == ("failed", "build_error")
    assert foreseen["below"] == ("skipped", "upstream_failed")
    assert foreseen["orders"] == ("built", "never_built")
    assert [each["outcome"] for each in answered["tests"] if each["model"] == "below"] == ["skipped"]
    (warning,) = answered["warnings"]
    assert warning.startswith('models/lake.yml:4: the source lake.away ("shop"."lake"."away") is not in the warehouse')
    assert planned.exit_code == 1
    shown = sao(shop, "plan")
    assert "failed?" in shown.stdout
    assert "2 to build, 0 to reuse, 1 to skip, 1 to fail" in shown.stdout
    assert sao(shop, "build").exit_code == 1
    shop.write("dbt_project.yml", f"{PROJECT}\non-run-start: create schema if not exists lake\n")
    planned = sao(shop, "plan", "--json")
    assert "unless a hook makes it" in json.loads(planned.stdout)["warnings"][0]
    assert planned.exit_code == 0, "what a hook makes is not known before"
    shop.write("dbt_project.yml", PROJECT)
    shop.model("orders", "select 1 as id", post_hook="create schema if not exists lake")
    assert sao(shop, "plan").exit_code == 0
    shop.sql("create schema lake", "create table lake.away as select 1 as id")
    assert json.loads(sao(shop, "plan", "--json").stdout)["warnings"] == []


def test_a_source_that_the_project_makes_itself_is_not_missing(shop: World) -> None:
    shop.write("models/own.yml", "sources: [{name: own, schema: main, tables: [{name: orders}]}]")
    shop.model("again", "select * from {{ source('own', 'orders') }}")
    assert answer(shop, "plan")["warnings"] == []
    assert answer(shop, "build", "--select", "orders again")["summary"]["built"] == 2


def test_explain_says_why_builds_failed(shop: World) -> None:
    sao(shop, "build")
    shop.model("report", "select no_such_column as total from {{ ref('orders') }}")
    sao(shop, "build")
    last, *_ = answer(shop, "explain", "report")["decided_before"]
    assert last["outcome"] == "failed"
    assert "no_such_column" in last["error"]
    assert "failed build_error Binder Error" in " ".join(sao(shop, "explain", "report").stdout.split())


def test_a_folder_that_cannot_be_read_is_named(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(shop.root / "models"))

    monkeypatch.setattr("sao_dagster.load.load_project", refused)
    result = sao(shop, "plan")
    assert result.exit_code == 2
    assert "models cannot be read or written: Permission denied" in " ".join(result.stderr.split())
    assert "not foreseen" not in result.stderr


def test_explain_a_source(shop: World) -> None:
    answer(shop, "build")
    found = answer(shop, "explain", "raw.orders")
    assert found["relation"] == '"shop"."raw"."orders"'
    assert [(each["name"], each["news"]) for each in found["read_by"]] == [("orders", False)]
    shop.sql("insert into raw.orders values (2, 5)")
    assert answer(shop, "explain", "source:raw.orders")["read_by"][0]["news"] is True
    assert "It has news for orders." in sao(shop, "explain", "raw.orders").stdout
    assert "did you mean 'raw.orders'" in sao(shop, "explain", "raw.order").stderr


def test_explain_says_how_old_the_data_of_a_source_is(shop: World) -> None:
    tables = "{name: fresh, loaded_at_field: loaded}, {name: empty, loaded_at_field: loaded}, {name: words, loaded_at_field: loaded}"
    shop.write("models/more.yml", f"sources: [{{name: loads, schema: raw, tables: [{tables}]}}]")
    shop.sql("create table raw.fresh as select timestamptz '2026-03-01 12:00:00+00' as loaded")
    shop.sql("create table raw.empty (loaded timestamp)")
    shop.sql("create table raw.words as select 'yesterday' as loaded")

    def said(name: str) -> list[str]:
        shown = sao(shop, "explain", f"loads.{name}", "--now", "2026-03-01T15:00:00").stdout
        return [line for line in shown.splitlines() if "data" in line]

    (fresh,) = said("fresh")
    assert re.fullmatch(r"Its newest data was loaded at 2026-03-0\d \d\d:\d\d:\d\d \S+, 3 h ago\.", fresh)
    assert said("empty") == ["How old its data is cannot be told: there are no rows to tell its age by."]
    assert said("words") == ["How old its data is cannot be told: 'yesterday' is not a time; cast it to a timestamp."]
    assert answer(shop, "explain", "loads.empty")["loaded_at"] is None


def test_explain_shows_what_changed_in_the_sql(shop: World) -> None:
    assert "it was never built here" in sao(shop, "explain", "report", "--diff").stdout
    answer(shop, "build")
    assert answer(shop, "explain", "report", "--diff")["diff"] == []
    shop.model("report", "select sum(amount) as total\nfrom {{ ref('orders') }}")
    changed = answer(shop, "explain", "report", "--diff")["diff"]
    assert [line for line in changed if line[0] in "+-"][2:] == [
        "-select sum(amount) as amount from orders",
        "+select sum(amount) as total",
        "+from orders",
    ]
    assert "+select sum(amount) as total" in sao(shop, "explain", "report", "--diff").stdout.splitlines()


def test_explain_shows_what_changed_in_a_view_that_is_looked_through(shop: World) -> None:
    shop.model("orders", "select * from {{ source('raw', 'orders') }}", materialized="view")
    answer(shop, "build")
    shop.model("orders", "select id, 2 * amount as amount from {{ source('raw', 'orders') }}", materialized="view")
    changed = answer(shop, "explain", "report", "--diff")["diff"]
    assert "+select id, 2 * amount as amount from source:raw.orders" in changed


def test_state_can_be_shown_moved_and_cleared(shop: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(shop, "build")
    assert [each["name"] for each in answer(shop, "state", "show")["builds"]] == ["orders", "report"]
    file = tmp_path / "state.json"
    assert len(answer(shop, "state", "export")["builds"]) == 2
    assert answer(shop, "state", "export", str(tmp_path / "other.json"))["exported"] == 4
    missing = sao(shop, "state", "import", str(tmp_path / "nowhere.json"), "--json")
    assert (missing.exit_code, "cannot be read" in json.loads(missing.stdout)["error"]) == (2, True)
    assert sao(shop, "state", "export", str(file)).exit_code == 0
    assert answer(shop, "state", "clear", "--select", "report")["cleared"] == 1
    with monkeypatch.context() as somebody:
        somebody.setattr("sao_dagster.cli.state.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
        asked = sao(shop, "state", "clear", said="n\n")
    assert (asked.exit_code, "Forget all 3 records" in asked.stderr) == (0, True)
    assert asked.stdout.startswith("0 records")
    assert answer(shop, "plan")["models"][1]["reason"] == "never_built"
    assert sao(shop, "state", "import", str(file)).exit_code == 0
    assert answer(shop, "plan")["models"][1]["reason"] == "no_new_data"
    monkeypatch.setenv("SAO_STATE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert answer(shop, "plan")["models"][1]["reason"] == "never_built"
    assert sao(shop, "state", "import", str(file)).exit_code == 0
    assert answer(shop, "plan")["models"][1]["reason"] == "no_new_data"
    assert answer(shop, "state", "clear")["cleared"] == 4, "a script means it"
    file.write_text("{}")
    assert sao(shop, "state", "import", str(file)).exit_code == 2


def test_savings_add_up(shop: World) -> None:
    answer(shop, "build")
    answer(shop, "build")
    found = answer(shop, "savings")
    assert (found["total"]["built"], found["total"]["reused"]) == (2, 2)
    assert len(found["runs"]) == 2
    page = shop.root / "savings.html"
    shown = sao(shop, "savings", "--html", str(page)).stdout
    assert "50 % of 4 models reused" in shown
    assert "2 built, 2 reused" in shown
    assert sum(found["periods"]["7"][each] for each in ("built", "reused")) == 4
    assert set(found["jobs"]) == {"sao build"}
    text = page.read_text()
    assert all(
        each in text for each in ("last 7 days", "last 14 days", "last 30 days", "sao build", "prefers-color-scheme")
    )
    assert not re.search(r"https?://|<script|<link|@import|url\(", text), "it loads nothing"
    assert sao(shop, "savings", "--html", str(shop.root)).exit_code == 2


def test_savings_are_those_of_some_days(shop: World) -> None:
    answer(shop, "build")
    opened = load_project(shop.root)
    (run,) = opened.store.runs(opened.environment)
    for number, days in enumerate((10, 20, 40)):
        before = run.started_at - timedelta(days=days)
        summary = {"built": 1, "reused": 3, "cut_off": 1, "seconds_saved": 9.0, "seconds_saved_by_cut_off": 4.0}
        old = replace(run, run_id=f"r{number}", job="nightly", started_at=before, finished_at=before, summary=summary)
        decisions = [
            DecisionRecord(model="report", outcome="reused", reason="no_new_data", decided_at=before, seconds_saved=9.0)
        ]
        opened.store.record_run(old, decisions)
    found = answer(shop, "savings", "--days", "60")
    assert {days: each["seconds_saved"] for days, each in found["periods"].items()} == {
        "7": 0.0, "14": 9.0, "30": 18.0, "60": 27.0,
    }  # fmt: skip
    assert (found["total"]["cut_off"], found["total"]["seconds_saved_by_cut_off"]) == (3, 12.0)
    assert list(found["jobs"]) == ["nightly", "sao build"]
    assert found["models"][0] == {"name": "report", "built": 1, "reused": 3, "seconds": ANY, "seconds_saved": 27.0}
    assert set(answer(shop, "savings", "--days", "7")["periods"]) == {"7"}


def test_a_model_below_one_that_came_out_as_it_was_is_cut_off(shop: World) -> None:
    shop.model(
        "orders", "select id, amount from {{ source('raw', 'orders') }} where amount < 100", materialized="table"
    )
    shop.model("report", "select sum(amount) as amount from {{ ref('orders') }}", materialized="table")
    assert answer(shop, "build")["summary"]["cut_off"] == 0
    shop.sql("insert into raw.orders values (2, 500)")
    assert answer(shop, "build")["summary"]["cut_off"] == 1
    assert answer(shop, "build")["summary"]["cut_off"] == 0, "a reuse that was foreseen"


def test_all_commands_are_told_where_the_profile_and_the_state_are() -> None:
    command = typer.main.get_command(app)
    commands = {**command.commands, **command.commands["state"].commands}  # type: ignore[attr-defined]
    del commands["state"]
    options = {name: {opt for each in found.params for opt in each.opts} for name, found in commands.items()}
    common = {"--project-dir", "--profiles-dir", "--target", "--state-url"}
    assert {name: common - found for name, found in options.items() if common - found} == {}


def test_a_profile_and_a_state_are_taken_from_where_the_options_say(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = shop.root.parent / "away"
    away.mkdir()
    (shop.root / "profiles.yml").rename(away / "profiles.yml")
    monkeypatch.setenv("DBT_PROFILES_DIR", str(shop.root.parent / "nowhere"))
    monkeypatch.setenv("SAO_STATE_URL", f"sqlite:///{away}/other.db")
    monkeypatch.chdir(away)
    options = ("--profiles-dir", ".", "--state-url", "sqlite:///state.db")
    assert answer(shop, "build", *options)["state"] == f"sqlite:///{away}/state.db"
    assert answer(shop, "explain", "report", *options)["now"]["outcome"] == "reused"
    assert [len(each["builds"]) for each in [answer(shop, "state", "show", *options)]] == [2]
    assert not (away / "other.db").exists()
    assert "no profiles.yml in" in sao(shop, "plan").stderr
    monkeypatch.setenv("DBT_PROFILES_DIR", str(away))
    assert answer(shop, "plan")["models"][0]["reason"] == "never_built", "another state"
