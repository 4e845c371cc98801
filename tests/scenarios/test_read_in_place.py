"""What another environment has built from the same code and the same inputs is read there (`clone: defer`), and is nowhere here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.selection import select
from sao_dagster.projects.sao_file import DeferTo
from tests.meanwhile import Meanwhile
from tests.scenarios.test_reuse_from import MODELS, built_there, on_duckdb, there
from tests.world import Run, World, on_each_warehouse, state_in

pytestmark = [on_each_warehouse, pytest.mark.slow]


@pytest.fixture
def shop(world: World) -> World:
    """Four models in a row, of which `other` has built all; `dev` is fresh, and reads there what is the same."""
    built_there(world).settings["clone"] = "defer"
    return world


def in_place(run: Run) -> set[str]:
    """Return what is read elsewhere, of what was selected."""
    return {each.name for each in run.result.models if each.decision.evidence.get("in_place")}


def here(world: World) -> set[str]:
    found = world.rows("select table_name from information_schema.tables where table_schema = 'main'")
    return {name for (name,) in found} - {"sao_build_ids"}


def test_what_is_the_same_is_read_there_and_nothing_is_made_of_it(shop: World) -> None:
    assert {name: each.reason.value for name, each in shop.plan().items()} == {
        "stg": "never_built",
        **dict.fromkeys(MODELS, "same_elsewhere"),
    }
    run = shop.run()
    assert (run.built, in_place(run), here(shop)) == ({"stg"}, {*MODELS}, {"stg"})
    evidence = run.decision("orders").evidence
    assert (evidence["environment"], evidence["instead_of"]) == ("other", "never_built")
    result = next(each for each in run.result.models if each.name == "orders")
    assert "other" in result.relation
    again = shop.run()
    assert (again.built, in_place(again)) == (set(), {*MODELS})
    assert there(shop).built == set()


def test_an_edit_builds_what_differs_from_what_is_there(shop: World) -> None:
    shop.model("totals", "select count(*) as n, sum(amount) + 1 as amount from {{ ref('orders') }}")
    run = shop.run()
    assert (run.built, in_place(run), here(shop)) == (
        {"stg", "totals", "report"},
        {"orders"},
        {"stg", "totals", "report"},
    )
    assert shop.rows("select amount from main.report") == [(11,)]
    assert shop.run().built == set()


def test_what_is_not_selected_and_not_here_is_read_there_where_it_is_the_same(shop: World) -> None:
    shop.model("report", "select amount + 1 as amount from {{ ref('totals') }}")
    run = shop.run("report")
    assert (run.outcomes, here(shop)) == ({"report": "built: never_built"}, {"report"})
    assert run.result.deferral is not None
    assert {*run.result.deferral.relations} == {"totals", "orders"}
    assert shop.rows("select amount from main.report") == [(11,)]
    assert shop.run("report").outcomes == {"report": "reused: no_new_data"}
    shop.model("totals", "select count(*) as n, sum(amount) + 5 as amount from {{ ref('orders') }}")
    assert shop.run("report").outcomes == {"report": "failed: build_error"}, "it is another one there, and is not here"
    assert shop.run("totals+").built == {"totals", "report"}
    assert shop.rows("select amount from main.report") == [(16,)]


def test_what_others_build_there_is_news_here_where_it_differs(shop: World) -> None:
    shop.model("report", "select amount + 1 as amount from {{ ref('totals') }}")
    shop.run()
    there(shop, "totals", mode=Mode.FORCE)
    assert shop.run().built == set(), "the same rows, built again"
    shop.sql("insert into raw.orders values (2, 20)")
    assert shop.run().built == {"orders", "totals", "report"}, "nobody has built these yet"
    assert shop.rows("select amount from main.report") == [(31,)]


def test_what_moves_on_there_is_followed(shop: World) -> None:
    shop.model("report", "select amount + 1 as amount from {{ ref('totals') }}")
    shop.run()
    shop.sql("insert into raw.orders values (2, 20)")
    there(shop, "stg orders totals")
    run = shop.run()
    assert (run.built, in_place(run)) == ({"report"}, {"orders", "totals"})
    assert shop.rows("select amount from main.report") == [(31,)]


def test_once_it_is_built_here_it_stays(shop: World) -> None:
    assert shop.run("totals", mode=Mode.FORCE).built == {"totals"}
    run = shop.run()
    assert in_place(run) == {"orders", "report"}
    assert run.outcomes["totals"] == "reused: no_new_data"
    shop.sql("insert into raw.orders values (2, 20)")
    there(shop)
    run = shop.run()
    assert in_place(run) == {"orders", "report"}
    assert run.outcomes["totals"] == "reused: same_elsewhere", "what is here must not be left as it was"
    assert shop.rows("select amount from main.totals") == [(30,)]


def test_what_was_changed_or_dropped_there_by_hand_is_built_here(shop: World) -> None:
    shop.sql("update other.totals set amount = 11", "drop table other.report")
    run = shop.run()
    assert (run.built, in_place(run)) == ({"stg", "totals", "report"}, {"orders"})
    assert shop.rows("select amount from main.report") == [(10,)]


def test_a_view_over_it_names_what_is_there(shop: World) -> None:
    shop.model("shown", "select amount from {{ ref('totals') }}", materialized="view")
    shop.model("below", "select amount from {{ ref('shown') }}")
    run = shop.run()
    assert run.built == {"stg", "shown", "below"}
    assert shop.rows("select amount from main.shown") == [(10,)]
    shop.sql("insert into raw.orders values (2, 20)")
    there(shop, "stg orders totals")
    assert shop.run().built == {"report", "below"}
    assert shop.rows("select amount from main.below") == [(30,)]
    shop.sql("insert into raw.orders values (3, 5)")
    assert shop.run().built == {"orders", "totals", "report", "shown", "below"}
    assert shop.rows("select amount from main.below") == [(35,)]


def test_tests_run_where_it_is_and_verdicts_are_those_of_what_is_read(shop: World) -> None:
    shop.write("models/tests.yml", "models: [{name: orders, columns: [{name: id, data_tests: [unique]}]}]")
    assert shop.run().tests == {"unique_orders_id": "ran: pass"}
    assert shop.run().tests == {"unique_orders_id": "reused: pass"}
    shop.sql("insert into raw.orders values (1, 3)")
    there(shop, "stg orders")
    run = shop.run()
    assert run.tests == {"unique_orders_id": "ran: fail"}
    assert run.outcomes["totals"] == "skipped: upstream_failed"


def test_force_builds_what_is_selected_and_reads_the_rest_there(shop: World) -> None:
    run = shop.run("report", mode=Mode.FORCE)
    assert (run.built, here(shop)) == ({"report"}, {"report"})
    assert shop.run(mode=Mode.FORCE).built == {"stg", *MODELS}


@pytest.mark.warehouse("postgres")
def test_what_is_built_again_there_while_it_is_read_ends_what_reads_it(shop: World) -> None:
    shop.model("report", "select amount + 1 as amount from {{ ref('totals') }}")

    def built_again() -> None:
        shop.sql("insert into raw.orders values (2, 20)")
        there(shop, "stg orders totals")

    runner = shop.runner()
    meanwhile = Meanwhile(built_again, lambda: None, frozenset(["report"]))
    result = replace(runner, materializer=meanwhile).run(select(runner.project))
    (failed,) = [each.decision for each in result.models if each.decision.outcome is Outcome.FAILED]
    assert failed.model == "report"
    assert (
        "which is read in place of totals, was the same when the run began, and may be another one now"
        in failed.evidence["error"]
    )
    assert shop.run().outcomes["report"] == "built: never_built"
    assert shop.rows("select amount from main.report") == [(31,)]


@on_duckdb
def test_it_is_explained_as_what_it_is(shop: World) -> None:
    shop.write("sao.yml", "reuse_from: [other]\nclone: defer")
    at = ["--project-dir", str(shop.root), "--state-url", f"sqlite:///{shop.root / 'state.db'}"]
    said = " ".join(CliRunner().invoke(app, ["explain", "totals", *at]).stdout.split())
    assert "which is read in its place" in said
    assert 'It is a table, which is not here: what reads it reads "shop"."other"."totals"' in said
    shop.write("sao.yml", "")
    shop.model("report", "select amount + 1 as amount from {{ ref('totals') }}")
    assert CliRunner().invoke(app, ["build", "--select", "report", "--defer", "other", *at]).exit_code == 0
    said = " ".join(CliRunner().invoke(app, ["explain", "report", "--defer", "other", *at]).stdout.split())
    assert "A run now would reuse it (no_new_data)" in said


@on_duckdb
def test_what_is_in_another_file_is_read_there(shop: World, tmp_path: Path) -> None:
    shop.write(
        "profiles.yml",
        (shop.root / "profiles.yml").read_text() + "    mine: {type: duckdb, path: mine.duckdb, attach: []}\n",
    )
    shop.write("seeds/days.csv", "day\n1\n")
    shop.model("days_twice", "select day, day * 2 as twice from {{ ref('days') }}")
    shop.model("most", "select max(twice) as most from {{ ref('days_twice') }}")
    settings = {**shop.settings}
    shop.settings.clear()
    there(shop, "days+")
    theirs = f"sqlite:///{shop.root / 'state.db'}"
    shop.state_url = f"sqlite:///{tmp_path / 'mine.db'}"
    shop.settings |= {**settings, "reuse_from": [DeferTo(environment="other", state_url=theirs)]}
    shop.model("most", "select max(twice) + 1 as most from {{ ref('days_twice') }}")
    before = state_in(shop.root / "state.db")
    run = shop.run("days+", target="mine")
    assert run.outcomes == {
        "days": "reused: same_elsewhere",
        "days_twice": "reused: same_elsewhere",
        "most": "built: never_built",
    }
    assert in_place(run) == {"days", "days_twice"}
    assert state_in(shop.root / "state.db") == before
    assert shop.run("days+", target="mine").built == set()
