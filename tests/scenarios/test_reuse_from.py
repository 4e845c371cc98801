"""What another environment has built from the same code and the same inputs is taken from there in place of a build."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.core.explain import explain
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import select
from sao_dagster.errors import ProjectError, SelectionError
from sao_dagster.projects.sao_file import DeferTo
from sao_dagster.warehouses.duckdb.session import DuckDBSession
from sao_dagster.warehouses.shared.native import NativeMaterializer
from tests.world import PostgresWorld, Run, World, four_in_a_row, on_each_warehouse, state_in

pytestmark = [on_each_warehouse, pytest.mark.slow]
on_duckdb = pytest.mark.warehouse("duckdb")
MODELS = ("orders", "totals", "report")


@pytest.fixture
def shop(world: World) -> World:
    """Four models in a row, of which `other` has built all; there, `other` is production, and `dev` is fresh."""
    built_there(world).settings["clone"] = "copy"
    return world


@pytest.fixture
def seen_there(shop: World) -> World:
    """The same, of which `dev` has taken all as views over what production has."""
    shop.settings["clone"] = "view"
    assert same(shop.run()) == {*MODELS}
    assert {kind_of(shop, f"main.{name}") for name in MODELS} == {"VIEW"}
    return shop


def built_there(world: World) -> World:
    """Make four models in a row, which `other` builds, and from which the default target takes what is the same."""
    four_in_a_row(world)
    assert there(world).built == {"stg", *MODELS}
    world.settings["reuse_from"] = ["other"]
    return world


def kind_of(world: World, relation: str) -> str:
    schema, name = relation.split(".")
    found = f"from information_schema.tables where table_schema = '{schema}' and table_name = '{name}'"
    return str(world.rows(f"select table_type {found}")[0][0])


def there(world: World, include: str | None = None, **options: Mode) -> Run:
    return world.run(include, target="other", **options)


def same(run: Run) -> set[str]:
    """Return what was taken from elsewhere."""
    return {name for name, outcome in run.outcomes.items() if outcome == "reused: same_elsewhere"}


def why_not(run: Run, model: str) -> list[tuple[str, list[str]]]:
    """Return why something was not taken from `other`, with the names that are meant."""
    not_taken = run.decision(model).evidence["not_taken"]
    assert {each["environment"] for each in not_taken} == {"other"}
    return [(each["difference"], list(each.get("names", ()))) for each in not_taken]


def test_a_fresh_schema_takes_what_is_the_same(shop: World) -> None:
    planned = shop.plan()
    assert {name: each.reason.value for name, each in planned.items()} == {
        "stg": "never_built",
        **dict.fromkeys(MODELS, "same_elsewhere"),
    }
    run = shop.run()
    assert (run.built, same(run)) == ({"stg"}, {*MODELS})
    evidence = run.decision("orders").evidence
    assert (evidence["environment"], evidence["instead_of"]) == ("other", "never_built")
    assert "other" in evidence["relation"]
    assert shop.rows("select id, amount from main.orders") == [(1, 10)]
    assert shop.rows("select n, amount from main.totals") == [(1, 10)]
    assert set(shop.run().outcomes.values()) == {"reused: no_new_data"}
    assert there(shop).built == set()


def test_an_edit_builds_what_differs(shop: World) -> None:
    shop.model("totals", "select count(*) as n, sum(amount) + 1 as amount from {{ ref('orders') }}")
    run = shop.run()
    assert (run.built, same(run)) == ({"stg", "totals", "report"}, {"orders"})
    assert why_not(run, "totals") == [("code", ["sql"])]
    assert why_not(run, "report") == [("inputs", ["totals"])]
    assert "not_taken" not in run.decision("stg").evidence, "a view is made as ever"
    shop.model("totals", "select count(id) as n, sum(amount) as amount from {{ ref('orders') }}")
    run = shop.run()
    assert (run.built, same(run)) == ({"totals"}, {"report"}), "the rows are those that it has there"
    shop.model("totals", "select count(*) as n, sum(amount) as amount from {{ ref('orders') }}")
    assert same(shop.run()) == {"totals"}
    assert shop.rows("select amount from main.report") == [(10,)]


def test_a_plan_foresees_views_over_what_is_taken_with_other_columns(shop: World) -> None:
    shop.model("shown", "select * from {{ ref('totals') }}", materialized="view").run()
    shop.model("totals", "select count(*) as n, sum(amount) as amount, 1 as more from {{ ref('orders') }}")
    there(shop)
    planned = shop.plan()
    assert (planned["totals"].reason.value, planned["shown"].reason.value) == ("same_elsewhere", "new_data")
    run = shop.run()
    assert (run.built, same(run)) == ({"shown"}, {"totals", "report"})


def test_news_that_are_built_there_are_taken_from_there(shop: World) -> None:
    shop.run()
    shop.sql("insert into raw.orders values (2, 20)")
    there(shop)
    run = shop.run()
    assert same(run) == {*MODELS}
    assert run.decision("totals").evidence["instead_of"] == "new_data"
    assert shop.rows("select n, amount from main.totals") == [(2, 30)]
    shop.sql("insert into raw.orders values (3, 5)")
    assert shop.run().built == {*MODELS}, "nobody has built these yet"
    assert shop.rows("select n, amount from main.totals") == [(3, 35)]


def test_other_inputs_are_built(shop: World) -> None:
    shop.sql("insert into raw.orders values (2, 20)")
    run = shop.run()
    assert (run.built, same(run)) == ({"stg", *MODELS}, set())
    assert why_not(run, "orders") == [("inputs", ["source:raw.orders"])]


@pytest.mark.parametrize("asks", ["current_user", "current_setting('search_path')", "(select current_schema())"])
def test_what_depends_on_who_asks_is_built(shop: World, asks: str) -> None:
    shop.model("mine", f"select id from {{{{ ref('orders') }}}} where {asks} is not null")
    there(shop)
    run = shop.run()
    assert "mine" in run.built
    assert why_not(run, "mine") == [("session", [])]
    assert same(run) == {*MODELS}


@on_duckdb
@pytest.mark.parametrize(
    "column", ["(select max(id) from {{ ref('orders') }})", "max({{ ref('orders') }}.id)", "{{ ref('orders') }}.id + 1"]
)
def test_what_is_called_by_where_it_reads_is_built(shop: World, column: str) -> None:
    """DuckDB calls such a column by its text, with the schema in it."""
    shop.model("most", f"select {column} from {{{{ ref('orders') }}}}")
    shop.model("seen", f"select {column} as most from {{{{ ref('orders') }}}}")
    there(shop)
    run = shop.run()
    assert "most" in run.built
    assert why_not(run, "most") == [("place", [])]
    assert same(run) == {*MODELS, "seen"}


@pytest.mark.warehouse("postgres")
@pytest.mark.parametrize("column", ["pg_typeof(o)::text", "o", "array_agg(o.*)"])
def test_what_has_the_type_of_a_row_is_built(shop: World, column: str) -> None:
    """On PostgreSQL that type is called by the table, with the schema in it."""
    shop.model("typed", f"select {column} as t from {{{{ ref('orders') }}}} as o")
    test = "select 1 as x from {{ ref('orders') }} as o where pg_typeof(o)::text like 'main.%'"
    shop.write("tests/rows.sql", f"{{{{ config(severity='warn') }}}} {test}")
    there(shop)
    run = shop.run()
    assert why_not(run, "typed") == [("place", [])]
    assert run.tests["rows"] == "ran: warn"


def test_what_was_changed_there_by_hand_is_built_here(shop: World) -> None:
    shop.sql("update other.totals set amount = 11")
    run = shop.run()
    assert (run.built, same(run)) == ({"stg", "totals"}, {"orders", "report"})
    assert why_not(run, "totals") == [("altered", [])]
    assert shop.rows("select amount from main.totals") == [(10,)]
    assert shop.rows("select amount from other.totals") == [(11,)]


def test_what_was_dropped_there_is_built_here(shop: World) -> None:
    shop.sql("drop table other.totals")
    run = shop.run()
    assert run.built == {"stg", "totals"}
    assert why_not(run, "totals") == [("altered", [])]


def test_a_copy_is_a_table_of_its_own(shop: World) -> None:
    shop.run()
    shop.sql("update main.totals set amount = 11")
    assert shop.run().outcomes["totals"] == "built: relation_altered"
    shop.sql("drop table main.totals")
    assert shop.run().outcomes["totals"] == "reused: same_elsewhere"
    shop.sql("update other.totals set amount = 12", "drop table other.orders")
    assert set(shop.run().outcomes.values()) == {"reused: no_new_data"}
    assert shop.rows("select amount from main.totals") == [(10,)]


def test_a_view_between_counts_by_what_it_shows(shop: World) -> None:
    shop.model("stg", "select id, amount * 2 as amount from {{ source('raw', 'orders') }}", materialized="view")
    run = shop.run()
    assert (run.built, same(run)) == ({"stg", *MODELS}, set())
    assert why_not(run, "orders") == [("views", ["stg"])]
    shop.model("stg", "select id, amount from {{ source('raw', 'orders') }}", materialized="view")
    assert same(shop.run()) == {*MODELS}
    shop.sql("create or replace view other.stg as select id, amount + 1 as amount from raw.orders")
    assert same(shop.run("orders", mode=Mode.STATE_AWARE)) == set()


def test_what_holds_more_than_one_build_is_built(shop: World) -> None:
    shop.model("orders", "select id, amount from {{ ref('stg') }}", materialized="incremental", unique_key="id")
    shop.model("totals", "select sum(amount) as amount from {{ ref('orders') }}", post_hook="select 1")
    shop.settings.clear()
    there(shop)
    shop.settings["reuse_from"] = ["other"]
    run = shop.run()
    assert (run.built, same(run)) == ({"stg", "orders", "totals"}, {"report"})
    assert (why_not(run, "orders"), why_not(run, "totals")) == ([("kind", [])], [("hooks", [])])


def test_what_reads_itself_is_built(shop: World) -> None:
    shop.model("again", "select id + 1 as id from {{ this }}")
    shop.sql("create schema if not exists main")
    shop.sql("create table other.again as select 1 as id", "create table main.again as select 7 as id")
    there(shop, "again")
    run = shop.run("again")
    assert run.built == {"again"}
    assert why_not(run, "again") == [("kind", [])]
    assert shop.rows("select id from main.again") == [(8,)]


def test_force_and_full_refresh_build(shop: World) -> None:
    assert shop.run(mode=Mode.FORCE).built == {"stg", *MODELS}
    assert shop.run(mode=Mode.FULL_REFRESH).built == {"stg", *MODELS}


def test_a_result_that_has_expired_is_built_and_a_copy_expires_when_the_original_does(shop: World) -> None:
    shop.model("report", "select amount, extract(hour from now()) as hour from {{ ref('totals') }}")
    shop.settings.clear()
    there(shop)
    shop.settings["reuse_from"] = ["other"]
    shop.wait(minutes=10)
    assert same(shop.run("stg orders totals report")) == {*MODELS}
    shop.wait(minutes=55)
    run = shop.run()
    assert run.outcomes["report"] == "built: volatile_expired"
    assert why_not(run, "report") == [("expired", [])]


def test_an_interval_counts_from_the_build_there(shop: World) -> None:
    shop.model(
        "report", "select amount from {{ ref('totals') }}", freshness={"build_after": {"count": 2, "period": "hour"}}
    )
    shop.wait(hours=1)
    assert same(shop.run()) == {*MODELS}
    shop.sql("insert into raw.orders values (2, 20)")
    assert shop.run().outcomes["report"] == "reused: within_interval"
    shop.wait(minutes=61)
    assert shop.run().outcomes["report"] == "built: new_data"


def test_savings_count_the_build_there(shop: World) -> None:
    run = shop.run("stg orders")
    result = next(each for each in run.result.models if each.name == "orders")
    assert result.record is not None
    original = shop.opened("other").store.builds(str(result.record.same_as))["orders"]
    assert (result.record.seconds, result.record.built_at) == (original.seconds, original.built_at)
    assert (result.record.same_as_run, result.record.run_id) == (original.run_id, run.result.run_id)
    assert run.result.summary()["reused"] == 1


def test_nothing_is_taken_in_an_environment_that_is_named_itself(shop: World) -> None:
    shop.settings["reuse_from"] = ["other", "dev"]
    assert shop.run().built == {"stg", *MODELS}


def test_the_first_that_has_it_is_asked_and_what_is_not_known_is_said(shop: World) -> None:
    shop.settings["reuse_from"] = ["prod", "other"]
    run = shop.run()
    assert same(run) == {*MODELS}
    assert "nothing is reused from prod, which the state does not know" in run.result.warnings


def test_what_nobody_has_built_there_is_said_and_what_is_foreseen_is_not(shop: World) -> None:
    shop.model("early", "select id from {{ ref('orders') }}")
    shop.model("late", "select id from {{ ref('early') }}")
    planned = shop.plan()
    assert explain(planned["early"]) == "never built here before; not taken from other: nothing has built it there"
    assert "not_taken" not in planned["late"].evidence
    assert why_not(shop.run(), "late") == [("not_built", [])]


def test_tests_run_on_what_was_taken(shop: World) -> None:
    shop.write("models/tests.yml", "models: [{name: orders, columns: [{name: id, data_tests: [unique]}]}]")
    assert shop.run().tests == {"unique_orders_id": "ran: pass"}
    assert shop.run().tests == {"unique_orders_id": "reused: pass"}


@on_duckdb
def test_chains(shop: World) -> None:
    profiles = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles + "    ci: {type: duckdb, path: shop.duckdb, schema: ci}\n")
    assert same(shop.run(target="ci")) == {*MODELS}
    shop.sql("drop schema other cascade")
    shop.settings["reuse_from"] = ["ci"]
    run = shop.run()
    assert (run.built, same(run)) == ({"stg"}, {*MODELS})


@on_duckdb
def test_it_is_refused_where_somebody_else_builds(shop: World) -> None:
    opened = shop.opened()
    opened.materializer = NativeMaterializer(cast("Any", None))
    with pytest.raises(
        ProjectError, match="reuse_from is set, and builds are taken from other environments only where"
    ):
        opened.runner().plan(select(opened.project))


@on_duckdb
def test_what_was_taken_is_explained(shop: World) -> None:
    shop.write("sao.yml", "reuse_from: [other]")
    at = ["--project-dir", str(shop.root), "--state-url", f"sqlite:///{shop.root / 'state.db'}"]
    built = CliRunner().invoke(app, ["build", *at])
    assert "the same is in other" in " ".join(built.stdout.split())
    found = CliRunner().invoke(app, ["explain", "totals", *at])
    assert "and taken from there as a view over" in " ".join(found.stdout.split())


@on_duckdb
def test_two_of_one_name_have_to_be_told_apart(shop: World) -> None:
    profiles = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles.replace("schema: other", "schema: more"))
    shop.settings.clear()
    there(shop)
    shop.settings["reuse_from"] = ["other"]
    with pytest.raises(SelectionError, match="several environments of shop are called 'other'"):
        shop.run()
    shop.settings["reuse_from"] = ["other/other"]
    assert same(shop.run()) == {*MODELS}


def as_another_deployment(shop: World, place: Path, include: str) -> None:
    """Load a seed, and build what is selected, in `other`; then go on with the target `mine`, which has a file of DuckDB and a state of its own."""
    profiles = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles + "    mine: {type: duckdb, path: mine.duckdb, attach: []}\n")
    shop.write("seeds/days.csv", "day\n1\n")
    shop.settings.clear()
    there(shop, include)
    theirs = f"sqlite:///{shop.root / 'state.db'}"
    shop.state_url = f"sqlite:///{place / 'mine.db'}"
    shop.settings["reuse_from"] = [DeferTo(environment="other", state_url=theirs)]


@on_duckdb
def test_another_file_and_the_state_of_another_deployment(shop: World, tmp_path: Path) -> None:
    shop.model("days_twice", "select day, day * 2 as twice from {{ ref('days') }}")
    as_another_deployment(shop, tmp_path, "days+")
    before = state_in(shop.root / "state.db")
    run = shop.run("days+", target="mine")
    assert run.outcomes == {"days": "built: never_built", "days_twice": "reused: same_elsewhere"}
    assert state_in(shop.root / "state.db") == before
    assert shop.run("days+", target="mine").built == set()


# ------------------------------------------------------------------ views over what is there


@on_duckdb
def test_a_view_over_what_is_there_is_as_good_as_a_table(seen_there: World) -> None:
    assert set(seen_there.run().outcomes.values()) == {"reused: no_new_data"}
    assert there(seen_there, mode=Mode.FORCE).built == {"stg", *MODELS}
    assert set(seen_there.run().outcomes.values()) == {"reused: no_new_data"}, "the same rows, built again"
    seen_there.model("report", "select amount + 1 as amount from {{ ref('totals') }}")
    assert seen_there.run().outcomes["report"] == "built: code_changed"
    assert kind_of(seen_there, "main.report") == "BASE TABLE"
    assert seen_there.rows("select amount from main.report") == [(11,)]
    assert set(seen_there.run().outcomes.values()) == {"reused: no_new_data"}


@on_duckdb
def test_what_moves_on_there_is_noticed_and_taken_again_where_it_is_the_same(seen_there: World) -> None:
    seen_there.sql("insert into raw.orders values (2, 20)")
    there(seen_there)
    run = seen_there.run()
    assert same(run) == {*MODELS}
    assert {run.decision(name).evidence["instead_of"] for name in MODELS} == {"changed_elsewhere"}
    assert seen_there.rows("select n, amount from main.totals") == [(2, 30)]
    seen_there.sql("insert into raw.orders values (3, 5)")
    assert seen_there.run().built == {*MODELS}
    assert {kind_of(seen_there, f"main.{name}") for name in MODELS} == {"BASE TABLE"}


@on_duckdb
def test_what_somebody_puts_in_the_place_of_a_view_counts_for_what_reads_it(seen_there: World) -> None:
    seen_there.sql(
        "drop view main.totals", "create table main.totals as select n, amount + 67 as amount from other.totals"
    )
    assert seen_there.run("report").outcomes == {"report": "built: new_data"}
    assert seen_there.rows("select amount from main.report") == [(77,)]
    seen_there.sql(
        "drop table main.totals", "create view main.totals as select n, amount + 1 as amount from other.totals"
    )
    assert seen_there.run("report").built == {"report"}
    seen_there.sql("drop view main.totals")
    assert seen_there.run("report").outcomes == {"report": "failed: build_error"}, "it is not here"
    assert seen_there.run().outcomes["totals"] == "reused: same_elsewhere"


@on_duckdb
def test_other_code_there_is_no_result_here_whatever_the_interval(seen_there: World) -> None:
    every = {"build_after": {"count": 2, "period": "hour"}}
    seen_there.model(
        "totals", "select count(*) as n, sum(amount) + 1 as amount from {{ ref('orders') }}", freshness=every
    )
    seen_there.settings.clear()
    there(seen_there)
    seen_there.settings |= {"reuse_from": ["other"]}
    seen_there.model("totals", "select count(*) as n, sum(amount) as amount from {{ ref('orders') }}", freshness=every)
    run = seen_there.run("totals")
    assert run.outcomes == {"totals": "built: changed_elsewhere"}
    assert "other" in run.decision("totals").evidence["relation"]
    assert seen_there.rows("select amount from main.totals") == [(10,)]


@on_duckdb
def test_what_reads_it_alone_sees_what_is_there_now(seen_there: World) -> None:
    seen_there.model("more", "select amount * 2 as amount from {{ ref('totals') }}")
    assert seen_there.run("more").built == {"more"}
    seen_there.sql("update other.totals set amount = 12")
    assert seen_there.run("more").outcomes == {"more": "built: new_data"}
    assert seen_there.rows("select amount from main.more") == [(24,)]
    assert seen_there.run("totals more").outcomes == {"totals": "built: changed_elsewhere", "more": "built: new_data"}
    assert seen_there.rows("select amount from main.more") == [(20,)]


@on_duckdb
def test_a_view_over_what_is_dropped_there_is_built(seen_there: World) -> None:
    seen_there.sql("drop table other.totals")
    assert seen_there.run().outcomes == {
        "stg": "reused: no_new_data",
        "orders": "reused: no_new_data",
        "totals": "built: changed_elsewhere",
        "report": "reused: no_new_data",
    }


@on_duckdb
def test_a_view_that_shows_what_is_dropped_there_is_no_reuse(seen_there: World) -> None:
    seen_there.model("shown", "select n from {{ ref('totals') }}", materialized="view")
    seen_there.model("over", "select n from {{ ref('shown') }}", materialized="view")
    assert seen_there.run("shown over").built == {"shown", "over"}
    assert seen_there.run("shown over").built == set()
    seen_there.sql("drop table other.totals")
    run = seen_there.run("shown")
    assert run.outcomes == {"shown": "failed: build_error"}
    assert "totals" in run.decision("shown").evidence["error"]
    assert seen_there.run("over").outcomes == {"over": "failed: build_error"}
    assert seen_there.run("totals shown").outcomes["totals"] == "built: changed_elsewhere"
    assert seen_there.rows("select n from main.shown") == [(1,)]


@on_duckdb
def test_a_view_that_somebody_replaces_is_altered(seen_there: World) -> None:
    seen_there.sql("create or replace view main.totals as select 1 as n, 11 as amount")
    assert seen_there.run("totals").outcomes["totals"] == "built: relation_altered"
    seen_there.sql("drop view main.report")
    assert seen_there.run("report").outcomes["report"] == "reused: same_elsewhere"


@on_duckdb
def test_what_is_a_view_there_is_seen_where_it_is(shop: World) -> None:
    profiles = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles + "    ci: {type: duckdb, path: shop.duckdb, schema: ci}\n")
    shop.settings["clone"] = "view"
    assert same(shop.run(target="ci")) == {*MODELS}
    shop.settings["reuse_from"] = ["ci"]
    run = shop.run()
    assert same(run) == {*MODELS}
    assert '"other"."totals"' in run.decision("totals").evidence["relation"]
    shop.sql("drop schema ci cascade")
    assert set(shop.run().outcomes.values()) == {"reused: no_new_data"}


@on_duckdb
def test_what_no_version_tells_apart_is_copied(shop: World) -> None:
    shop.model("report", "select amount, now() as built_at from {{ ref('totals') }}")
    shop.settings.clear()
    there(shop)
    shop.settings |= {"reuse_from": ["other"], "clone": "view"}
    assert same(shop.run()) == {*MODELS}
    assert kind_of(shop, "main.report") == "BASE TABLE"


def test_a_view_here_that_shows_what_is_there_is_why_nothing_is_taken(shop: World) -> None:
    """What reads the view is built from what production has, whatever is here: that is no other input."""
    shop.model("v", "select id, amount from {{ ref('orders') }}", materialized="view")
    shop.model("t", "select sum(amount) as amount from {{ ref('v') }}")
    taking = dict(shop.settings)
    shop.settings.clear()
    there(shop)
    shop.settings["defer"] = "other"
    assert shop.run("v").built == {"v"}
    shop.settings.clear()
    shop.model("orders", "select id, amount + 1 as amount from {{ ref('stg') }}")
    shop.run("stg orders")
    shop.settings |= taking
    run = shop.run("t")
    assert (run.built, why_not(run, "t")) == ({"t"}, [("views", ["v"])])
    assert shop.rows("select amount from main.t") == [(10,)]
    run = shop.run("v t")
    assert (run.built, why_not(run, "t")) == ({"v", "t"}, [("inputs", ["orders"])])


@pytest.mark.warehouse("postgres")
@pytest.mark.parametrize("clone", ["view", "copy"])
def test_what_may_not_be_read_there_is_said_to_be_that(shop: World, clone: str) -> None:
    """As somebody who may not use the schema that production is built into, though the catalog shows what is in it."""
    shop.settings["clone"] = clone
    role = cast("PostgresWorld", shop).role("reader")
    shop.sql(f"create schema main authorization {role}")
    shop.sql(f"grant usage on schema raw to {role}", f"grant select on raw.orders to {role}")
    profile = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profile.replace("schema: main", f"schema: main, role: {role}"))
    run = shop.run()
    assert run.built == {"stg", *MODELS}
    ((difference, names),) = why_not(run, "orders")
    assert difference == "refused"
    assert "permission denied for schema other" in names[0]


@pytest.mark.warehouse("postgres")
@pytest.mark.parametrize("clone", ["view", "copy"])
def test_what_shows_writes_to_what_was_taken_is_recorded_of_it_and_not_of_what_is_there(
    shop: World, clone: str
) -> None:
    shop.settings["clone"] = clone
    assert same(shop.run()) == {*MODELS}
    runner = shop.runner()
    records = runner.open_store().builds(shop.environment)
    relations = {name: runner.project.nodes[name].relation for name in MODELS}
    with runner.warehouse.session() as session:
        shown = session.movements(session.catalog(), relations.values())
    assert {name: records[name].movement for name in MODELS} == {name: shown[relations[name]] for name in MODELS}


@on_duckdb
def test_what_cannot_be_read_there_in_time_is_said_to_be_that(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = DuckDBSession.versions

    def in_time(session: Any, catalog: Any, omit: Any, seconds: float) -> Any:
        found = versions(session, catalog, omit, seconds)
        return {relation: None if relation.schema == "other" else version for relation, version in found.items()}

    monkeypatch.setattr(DuckDBSession, "versions", in_time)
    shop.settings["clone"] = "view"
    assert why_not(shop.run(), "orders") == [("unreadable", [])]
