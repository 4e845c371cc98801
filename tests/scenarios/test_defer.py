"""What a selection reads, and its environment does not have, is read from another environment."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import select
from sao_dagster.errors import SelectionError, StateError, UnsupportedError
from sao_dagster.projects.assembly.assembled import assemble
from sao_dagster.projects.sao_file import DeferTo
from sao_dagster.run.defer import deferral_of
from sao_dagster.run.missing import with_missing_inputs
from tests.world import Run, World, four_in_a_row, on_each_warehouse, state_in

pytestmark = [on_each_warehouse, pytest.mark.slow]
on_duckdb = pytest.mark.warehouse("duckdb")


@pytest.fixture
def shop(world: World) -> World:
    """Four models in a row, of which `other` has built all; there, `other` is production."""
    four_in_a_row(world)
    world.write("models/tests.yml", "models: [{name: orders, columns: [{name: id, data_tests: [unique, not_null]}]}]")
    assert world.run(target="other").built == {"stg", "orders", "totals", "report"}
    world.settings["defer"] = "other"
    return world


def deferred(run: Run) -> dict[str, str]:
    assert run.result.deferral is not None
    return {name: each.schema for name, each in run.result.deferral.relations.items()}


def test_one_model_is_built_from_what_another_environment_has(shop: World) -> None:
    shop.model("totals", "select count(*) as n, sum(amount) + 1 as amount from {{ ref('orders') }}")
    run = shop.run("totals")
    assert run.outcomes == {"totals": "built: never_built"}
    assert deferred(run) == {"orders": "other"}
    assert shop.rows("select n, amount from main.totals") == [(1, 11)]
    assert shop.run("totals").outcomes == {"totals": "reused: no_new_data"}
    below = shop.run("totals+")
    assert below.outcomes == {"totals": "reused: no_new_data", "report": "built: never_built"}
    assert shop.rows("select amount from main.report") == [(11,)]


def test_without_it_a_selection_reads_its_own_environment(shop: World) -> None:
    shop.settings.clear()
    assert shop.run("totals").outcomes == {"totals": "failed: build_error"}


def test_news_there_are_news_here_and_the_same_content_is_none(shop: World) -> None:
    shop.run("totals")
    shop.sql("insert into raw.orders values (2, 20)")
    assert shop.run("totals").outcomes == {"totals": "reused: no_new_data"}, "what is read there is as it was"
    shop.settings.clear()
    assert shop.run("orders", target="other").built == {"orders"}
    shop.settings["defer"] = "other"
    assert shop.run("totals").outcomes == {"totals": "built: new_data"}
    assert shop.rows("select n, amount from main.totals") == [(2, 30)]
    shop.settings.clear()
    assert shop.run("orders", target="other", mode=Mode.FORCE).built == {"orders"}
    shop.settings["defer"] = "other"
    assert shop.run("totals").outcomes == {"totals": "reused: no_new_data"}


def test_what_is_built_here_is_read_here_and_is_news_only_if_it_differs(shop: World) -> None:
    shop.run("totals")
    assert deferred(shop.run("stg orders")) == {}
    run = shop.run("totals")
    assert run.outcomes == {"totals": "reused: no_new_data"}, "the same rows, elsewhere"
    assert deferred(run) == {}
    shop.model("orders", "select id, amount * 2 as amount from {{ ref('stg') }}")
    assert shop.run("orders totals").built == {"orders", "totals"}
    assert shop.rows("select amount from main.totals") == [(20,)]
    shop.settings["favor_state"] = True
    run = shop.run("totals")
    assert (run.outcomes, deferred(run)) == ({"totals": "built: new_data"}, {"orders": "other"})
    assert shop.rows("select amount from main.totals") == [(10,)]


def test_a_view_there_is_read_as_what_it_shows(shop: World) -> None:
    run = shop.run("orders")
    assert (run.outcomes, deferred(run)) == ({"orders": "built: never_built"}, {"stg": "other"})
    assert run.tests == {"unique_orders_id": "ran: pass", "not_null_orders_id": "ran: pass"}
    shop.sql("insert into raw.orders values (1, 20)")
    run = shop.run("orders")
    assert run.outcomes == {"orders": "built: new_data"}
    assert run.tests["unique_orders_id"] == "ran: fail"


@on_duckdb
def test_a_view_over_a_view_there_whose_table_is_gone_cannot_be_made_again(shop: World) -> None:
    shop.model("seen", "select id from {{ ref('stg') }}", materialized="view")
    assert shop.run("seen").built == {"seen"}
    assert shop.run("seen").built == set()
    shop.sql("alter table raw.orders rename to gone")
    assert shop.run("seen").outcomes == {"seen": "failed: build_error"}


def test_a_view_here_shows_what_is_there_and_is_made_again_once_that_is_built_here(shop: World) -> None:
    shop.model("totals", "select sum(amount) as amount from {{ ref('orders') }}", materialized="view")
    assert shop.run("totals").outcomes == {"totals": "built: never_built"}
    shop.model("orders", "select id, amount * 3 as amount from {{ ref('stg') }}")
    run = shop.run("stg orders totals")
    assert run.built == {"stg", "orders", "totals"}
    assert shop.rows("select amount from main.totals") == [(30,)]


@pytest.mark.parametrize("read", ["model", "data test"])
def test_a_view_here_is_read_for_what_it_shows_there_until_it_is_made_again(shop: World, read: str) -> None:
    """What reads it is not deferred any more, and the view is not selected: it shows the other environment all the same."""
    shop.model("v", "select id, amount from {{ ref('orders') }}", materialized="view")
    shop.model("totals", "select sum(amount) as amount from {{ ref('v') }}")
    shop.write("models/v.yml", "models: [{name: v, columns: [{name: id, data_tests: [unique]}]}]")
    assert shop.run("v").built == {"v"}
    shop.settings.clear()
    asked = "totals" if read == "model" else "unique_v_id"
    shop.run("stg orders")
    shop.run(asked)
    shop.sql("insert into raw.orders values (1, 20)")
    assert "orders" in shop.run("stg orders", target="other", tests=False).built
    run = shop.run(asked)
    if read == "model":
        assert run.built == {"totals"}
        assert shop.rows("select amount from main.totals") == [(30,)]
        assert shop.run(asked).built == set()
        assert shop.run("v totals", tests=False).built == {"v", "totals"}
        assert shop.rows("select amount from main.totals") == [(10,)]
    else:
        assert run.tests == {"unique_v_id": "ran: fail"}


def test_a_view_here_that_is_not_made_again_shows_what_is_here(shop: World) -> None:
    shop.settings.clear()
    shop.model("seen", "select amount from {{ ref('orders') }}", materialized="view")
    shop.model(
        "both", "select sum(amount) as seen, (select count(*) from {{ ref('orders') }}) as n from {{ ref('seen') }}"
    )
    shop.run("stg orders seen")
    shop.settings.update(defer="other", favor_state=True)
    run = shop.run("both")
    assert (run.outcomes, deferred(run)) == ({"both": "built: never_built"}, {"orders": "other"})
    assert shop.run("both").outcomes == {"both": "reused: no_new_data"}
    shop.sql("insert into main.orders values (7, 70)")
    assert shop.run("both").built == {"both"}
    assert shop.rows("select seen, n from main.both") == [(80, 1)]


def test_a_view_here_is_what_was_built_when_the_table_there_is_another_one(shop: World) -> None:
    """PostgreSQL lets no table go that a view reads: the view is made again with it."""
    shop.model("shown", "select id from {{ ref('orders') }}", materialized="view")
    shop.model("counted", "select count(*) as n from {{ ref('shown') }}")
    assert shop.run("shown counted").built == {"shown", "counted"}
    shop.settings.clear()
    shop.run("orders", target="other", mode=Mode.FORCE)
    shop.settings["defer"] = "other"
    assert set(shop.run("shown counted").outcomes.values()) == {"reused: no_new_data"}


def test_a_view_over_what_is_favored_there_is_built_once(shop: World) -> None:
    shop.settings.clear()
    shop.model("shown", "select id from {{ ref('orders') }}", materialized="view")
    shop.run("stg orders")
    shop.settings.update(defer="other", favor_state=True)
    assert shop.run("shown").built == {"shown"}
    assert shop.run("shown").outcomes == {"shown": "reused: no_new_data"}


def test_what_is_gone_in_both_is_named(shop: World) -> None:
    shop.sql("drop table other.orders")
    run = shop.run("totals")
    assert run.outcomes == {"totals": "failed: build_error"}
    assert run.result.deferral is not None
    assert run.result.deferral.missing == ("orders",)
    runner = shop.runner()
    planned, seen = runner.plan(select(runner.project, "totals report"))
    foreseen = with_missing_inputs(planned, runner.project, seen)
    assert {name: each.outcome.value for name, each in foreseen.decisions.items()} == {
        "totals": "failed",
        "report": "skipped",
    }
    assert "it reads orders, which is not there" in str(foreseen.decisions["totals"].evidence["error"])
    assert len([each for each in foreseen.warnings if "orders" in each]) == 1


def test_what_was_built_here_from_other_code_is_named(shop: World) -> None:
    shop.model("orders", "select id, amount + 1 as amount from {{ ref('stg') }}").run("orders")
    assert not [each for each in shop.run("totals").result.warnings if "other code" in each]
    shop.model("orders", "select id, amount from {{ ref('stg') }}")
    run = shop.run("totals")
    assert "orders is read as it was built here, from other code than it has now" in "\n".join(run.result.warnings)
    assert shop.rows("select amount from main.totals") == [(11,)]
    shop.settings["favor_state"] = True
    run = shop.run("totals")
    assert not [each for each in run.result.warnings if "other code" in each]
    assert shop.rows("select amount from main.totals") == [(10,)]


def test_an_ephemeral_model_is_read_through(shop: World) -> None:
    shop.model("recent", "select * from {{ ref('orders') }} where id > 0", materialized="ephemeral")
    shop.model("report", "select count(*) as n from {{ ref('recent') }}")
    run = shop.run("report")
    assert (run.outcomes, deferred(run)) == ({"report": "built: never_built"}, {"orders": "other"})


def test_a_test_reads_there_too(shop: World) -> None:
    shop.write(
        "models/more.yml",
        "models: [{name: totals, columns: [{name: n, data_tests: [{relationships: {arguments: {to: ref('orders'), field: id}}}]}]}]",
    )
    run = shop.run("totals")
    assert run.tests == {"relationships_totals_n__id__ref_orders_": "ran: pass"}
    assert set(shop.run("totals").tests.values()) == {"reused: pass"}


@on_duckdb
def test_what_may_say_where_it_reads_is_built_where_that_is_elsewhere_now(shop: World) -> None:
    """DuckDB calls a column without a name by its expression, with the schema in it, and `to_json` brings that into rows."""
    named = "from (select 1 as id, (select max(id) from {{ ref('orders') }})) as q"
    shop.model("called", f"select to_json(q)::text like '%other%' as there {named}")
    shop.model("plain", "select max(id) as id from {{ ref('orders') }}")
    shop.write(
        "tests/not_there.sql",
        "{{ config(severity='warn') }}" + f"select id {named} where to_json(q)::text like '%other%'",
    )
    run = shop.run("called plain not_there")
    assert (shop.rows("from main.called"), run.tests["not_there"]) == ([(True,)], "ran: warn")
    assert shop.run("stg orders").tests["not_there"] == "ran: pass"
    run = shop.run("called plain not_there")
    assert run.outcomes == {"called": "built: code_changed", "plain": "reused: no_new_data"}
    assert run.decision("called").evidence["parts"] == ["places"]
    assert (shop.rows("from main.called"), run.tests["not_there"]) == ([(False,)], "reused: pass")
    assert shop.run("called plain not_there").built == set()
    shop.settings["favor_state"] = True
    run = shop.run("called plain not_there")
    assert (run.built, run.tests["not_there"]) == ({"called"}, "ran: warn")


@on_duckdb
def test_a_source_that_is_elsewhere_now_counts_for_what_may_say_where_it_reads(world: World) -> None:
    world.source("orders").sql("create table raw.orders as select 1 as id", "create schema moved")
    world.model("called", "select 1 as id, (select max(id) from {{ source('raw', 'orders') }})")
    world.model("plain", "select max(id) as id from {{ source('raw', 'orders') }}")
    world.run()
    world.sql("create table moved.orders as from raw.orders")
    world.write("models/sources.yml", "sources: [{name: raw, schema: moved, tables: [{name: orders}]}]")
    assert world.run().outcomes == {"called": "built: code_changed", "plain": "reused: no_new_data"}
    assert "moved" in world.rows("select column_name from duckdb_columns() where table_name = 'called'")[1][0]


def test_deferring_to_itself_is_nothing(shop: World) -> None:
    run = shop.run("totals", target="other")
    assert (run.outcomes, run.result.deferral) == ({"totals": "reused: no_new_data"}, None)


def test_an_environment_that_is_not_known_is_named(shop: World) -> None:
    shop.settings["defer"] = "prod"
    with pytest.raises(SelectionError, match=r"knows no environment 'prod' of shop; there are: .*other/other"):
        shop.run("totals")


@on_duckdb
def test_the_state_of_another_deployment_is_only_read(shop: World, tmp_path: Path) -> None:
    theirs = f"sqlite:///{shop.root / 'state.db'}"
    shop.state_url = f"sqlite:///{tmp_path / 'mine.db'}"
    shop.settings["defer"] = DeferTo(environment="other", state_url=theirs)
    (shop.root / "state.db").chmod(0o444)
    before = state_in(shop.root / "state.db")
    run = shop.run("totals")
    assert (run.outcomes, deferred(run)) == ({"totals": "built: never_built"}, {"orders": "other"})
    assert state_in(shop.root / "state.db") == before
    shop.settings["defer"] = DeferTo(environment="other", state_url=f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(StateError, match=r"there is no file .*none\.db"):
        shop.run("totals")


@on_duckdb
def test_another_file_is_attached_and_only_read(shop: World) -> None:
    profiles = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles + "    mine: {type: duckdb, path: mine.duckdb}\n")
    opened = shop.opened("mine")
    planned, _ = opened.runner().plan(select(opened.project, "totals"))  # the file is not there yet
    assert planned.deferral is not None
    assert [*planned.deferral.relations] == ["orders"]
    run = shop.run("totals", target="mine")
    assert run.outcomes == {"totals": "built: never_built"}
    assert run.result.deferral is not None
    assert str(run.result.deferral.relations["orders"]) == '"sao_other"."other"."orders"'
    assert shop.run("totals", target="mine").outcomes == {"totals": "reused: no_new_data"}
    shop.sql("update other.orders set amount = 11")
    assert shop.run("totals", target="mine").outcomes == {"totals": "built: new_data"}


@on_duckdb
def test_a_file_that_was_moved_is_read_where_it_is(shop: World) -> None:
    """Its old name stands before the new one in the order of letters."""
    profiles = (shop.root / "profiles.yml").read_text()
    (shop.root / "z").mkdir()
    (shop.root / "shop.duckdb").rename(shop.root / "z/shop.duckdb")
    moved = profiles.replace("path: shop.duckdb", "path: z/shop.duckdb")
    shop.write("profiles.yml", moved + "    mine: {type: duckdb, path: mine.duckdb}\n")
    shop.settings.clear()
    assert shop.run("orders", target="other").built == set()
    shop.settings["defer"] = "other"
    assert shop.run("totals", target="mine").outcomes == {"totals": "built: never_built"}


@on_duckdb
def test_a_copied_folder_reads_its_own_copy(shop: World) -> None:
    """With its file and its state: what is built and changed in the original is nothing to the copy, whoever is written to last."""
    profiles = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles + "    mine: {type: duckdb, path: mine.duckdb}\n")
    shutil.copytree(shop.root, shop.root.parent / "copied")
    copied = World(shop.root.parent / "copied", settings={"defer": "other"})
    copied.write("profiles.yml", (shop.root / "profiles.yml").read_text())
    copied.model("totals", "select sum(amount) as amount from {{ ref('orders') }}")
    shop.sql("update other.orders set amount = 11")
    assert copied.run("totals", target="mine").built == {"totals"}
    found = f"attach '{copied.root / 'mine.duckdb'}' as mine"
    with duckdb.connect() as connection:
        assert connection.execute(f"{found}; select amount from mine.main.totals").fetchall() == [(10,)]
    copied.settings.clear()
    copied.run("orders", target="other")  # from now on the state knows both
    copied.settings["defer"] = "other"
    shop.sql("update other.orders set amount = 12")
    assert copied.run("totals", target="mine").outcomes == {"totals": "reused: no_new_data"}


@on_duckdb
def test_what_is_in_the_file_that_is_built_into_is_read_there_when_that_was_moved(shop: World) -> None:
    profiles = shop.root / "profiles.yml"
    before = profiles.read_text()
    (shop.root / "z").mkdir()
    (shop.root / "shop.duckdb").rename(shop.root / "z/shop.duckdb")
    profiles.write_text(before.replace("path: shop.duckdb", "path: z/shop.duckdb"))
    run = shop.run("totals")
    assert run.outcomes == {"totals": "built: never_built"}
    assert run.result.deferral is not None
    assert '"other"."orders"' in str(run.result.deferral.relations["orders"])
    profiles.write_text(before.replace("path: shop.duckdb", "path: new.duckdb"))
    with pytest.raises(UnsupportedError, match=r"other is in .*shop.duckdb.*: .*is no file that is there"):
        shop.run("totals")


def compared(world: World, include: str, environment: str | None = None) -> set[str]:
    return {*world.opened().selection(include, state=environment).nodes}


def test_what_is_new_or_modified_as_compared_with_another_environment(shop: World) -> None:
    assert compared(shop, "state:modified") == set()
    assert compared(shop, "state:unmodified") == {"stg", "orders", "totals", "report"}
    shop.model("totals", "select count(*) as n, 1 + sum(amount) as amount from {{ ref('orders') }}")
    shop.model("more", "select 1 as one")
    shop.model("report", "select amount from {{ ref('totals') }}", unique_key="amount")
    assert compared(shop, "state:new") == {"more"}
    assert compared(shop, "state:old") == {"stg", "orders", "totals", "report"}
    assert compared(shop, "state:modified") == {"more", "totals", "report"}
    assert compared(shop, "state:modified.body") == {"totals"}
    assert compared(shop, "state:modified.configs") == {"report"}
    assert compared(shop, "state:modified.relation") == set()
    shop.model("report", "select amount from {{ ref('totals') }}", alias="reports")
    assert compared(shop, "state:modified.relation") == {"report"}
    assert compared(shop, "state:modified,tag:x") == set()
    assert compared(shop, "state:modified+", environment="other/other") == {"more", "totals", "report"}
    with pytest.raises(SelectionError, match=r"state:changed is unknown; there are: modified, new"):
        compared(shop, "state:changed")


def test_a_data_test_is_new_or_modified_by_itself(shop: World) -> None:
    def tests(include: str) -> set[str]:
        return {*shop.opened().selection(include).tests}

    shop.write("tests/positive.sql", "select * from {{ ref('orders') }} where amount < 0")
    assert tests("state:new") == {"positive"}
    shop.settings.clear()
    shop.run(target="other")
    shop.settings["defer"] = "other"
    assert tests("state:modified") == set()
    shop.write("tests/positive.sql", "select * from {{ ref('orders') }} where amount < 1")
    assert tests("state:modified") == {"positive"}
    assert tests("state:new") == set()


def test_a_data_test_that_is_proven_there_is_not_modified(shop: World) -> None:
    def tests(include: str) -> set[str]:
        return {*shop.opened().selection(include).tests}

    shop.settings.clear()
    described = "models: [{name: totals, columns: [{name: n, data_tests: [not_null]}]}]"
    shop.write("models/totals.yml", described)
    assert shop.run(target="other").tests["not_null_totals_n"] == "proven: pass"
    shop.settings["defer"] = "other"
    assert tests("state:modified") == set()
    shop.write("models/totals.yml", described.replace("not_null", "not_null: {config: {severity: warn}}"))
    assert (tests("state:modified"), tests("state:new")) == ({"not_null_totals_n"}, set())


def test_a_branch_builds_what_it_changes_and_what_is_below(shop: World) -> None:
    shop.model("totals", "select count(*) as n, sum(amount) as amount, 1 as more from {{ ref('orders') }}")
    found = CliRunner().invoke(
        app,
        ["build", "--project-dir", str(shop.root), "--select", "state:modified+", "--defer", "other", "--json"],
        env={"SAO_STATE_URL": f"sqlite:///{shop.root / 'state.db'}"},
    )
    said = json.loads(found.stdout)
    assert [(each["name"], each["outcome"]) for each in said["models"]] == [("totals", "built"), ("report", "built")]
    assert said["deferred"]["environment"] == "other"
    assert [*said["deferred"]["relations"]] == ["orders"]
    without = CliRunner().invoke(
        app,
        ["plan", "--project-dir", str(shop.root), "--select", "state:modified"],
        env={"SAO_STATE_URL": f"sqlite:///{shop.root / 'state.db'}"},
    )
    assert without.exit_code == 2
    assert "name it with --state or --defer" in without.stderr


def test_policies_on_top_hold_wherever_their_selection_begins(shop: World) -> None:
    opened = shop.opened().with_policies([{"select": "orders+", "build_after": {"count": 6, "period": "hour"}}])
    runner = replace(opened.runner(), clock=lambda: shop.now)
    chosen = select(opened.project, "totals")
    runner.run(chosen)
    shop.sql("insert into other.orders values (9, 9)")
    assert [str(each.decision.reason.value) for each in runner.run(chosen).models] == ["within_interval"]


@on_duckdb
def test_what_is_put_together_anew_is_what_putting_all_together_gives(shop: World) -> None:
    """Also where models are read by their names, through ephemerals and views, and where data tests share a name for dbt."""
    shop.model("through", "select id, amount from {{ ref('orders') }}", materialized="ephemeral")
    shop.model("seen", "select amount, now() as at from {{ ref('through') }}", materialized="view")
    shop.model("named", "select t.amount, s.at from main.totals as t, {{ ref('seen') }} as s")
    shop.write(
        "models/tests.yml",
        "models: [{name: named, columns: [{name: amount, data_tests: [unique, {unique: {name: again, config: {where: amount > 1}}}]}]},"
        " {name: seen, columns: [{name: amount, data_tests: [unique]}]}]",
    )
    shop.run(target="other")
    opened = shop.opened()
    project = opened.project
    for text in ("named", "orders", "seen+", "totals named", "unique_seen_amount", "stg+"):
        for favored in (False, True):
            selection = select(project, text)
            to = replace(opened.deferring("other").deferring_to(), favored=favored)
            there = {each.key for each in to.relations(project.dialect).values()}
            deferral = deferral_of(project, selection, to, {}, there)
            anew = opened.runner().assemble(deferral, selection, None)  # type: ignore[arg-type] - the warehouse is for dbt
            whole = assemble(opened.declared.deferring(deferral.environment, deferral.relations)).project
            assert anew is not None
            assert (anew.nodes.keys(), anew.tests.keys()) == (project.nodes.keys(), project.tests.keys())
            read = {each for name in selection.tests for each in project.tests[name].reads}
            for name in read | set(selection.nodes):
                assert anew.nodes.get(name) == whole.nodes.get(name), (text, name)
            assert {name: anew.tests[name] for name in selection.tests} == {
                name: whole.tests[name] for name in selection.tests
            }
