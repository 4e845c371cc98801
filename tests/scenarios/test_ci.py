"""`sao ci`: a branch is built into a schema of its own, compared with production, and dropped."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sao_dagster import load_project
from sao_dagster.cli import app
from sao_dagster.cli.ci import BRANCH_VARIABLES
from sao_dagster.core.environment import schema_of
from sao_dagster.run.branch_schemas import BUILDING, DROPPING, in_use
from sao_dagster.run.settings import RunSettings
from tests.world import World, four_in_a_row, on_each_warehouse

pytestmark = [on_each_warehouse, pytest.mark.slow]
on_duckdb = pytest.mark.warehouse("duckdb")


@pytest.fixture
def shop(world: World) -> World:
    """Four models in a row, which production, called `other`, has built."""
    four_in_a_row(world).sql("insert into raw.orders values (2, 20)")
    world.model("orders", "select id, amount, 'x' as old from {{ ref('stg') }}")
    world.model("report", "select n from {{ ref('totals') }}")
    world.write("models/tests.yml", "models: [{name: orders, columns: [{name: id, data_tests: [unique, not_null]}]}]")
    assert world.run(target="other").built == {"stg", "orders", "totals", "report"}
    return world


def sao(world: World, *arguments: str, branch: str = "totals", **variables: str) -> Result:
    """Run `sao ci` on a branch; other variables of services are not set."""
    state = f"sqlite:///{world.root / 'state.db'}"
    unset = dict.fromkeys(BRANCH_VARIABLES, "")
    return CliRunner().invoke(
        app,
        ["ci", *arguments, "--project-dir", str(world.root)],
        env={**unset, "GITHUB_HEAD_REF": branch, "SAO_STATE_URL": state, **variables},
    )


def built(world: World, *arguments: str, status: int = 0, **variables: str) -> dict[str, Any]:
    """Return what `sao ci` against production says as JSON."""
    found = sao(world, "--against", "other", "--json", *arguments, **variables)
    assert found.exit_code == status, found.output
    said: dict[str, Any] = json.loads(found.stdout)
    return said


def outcomes(said: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in said["models"]}


def schemas(world: World) -> set[str]:
    rows = world.rows("select distinct table_schema from information_schema.tables where table_schema like 'ci_%'")
    return {row[0] for row in rows}


def test_nothing_is_built_for_a_branch_that_changes_nothing(shop: World) -> None:
    said = built(shop, "--report", str(shop.root / "out"))
    assert (said["models"], said["compared"], schemas(shop)) == ([], {}, set())
    assert "Nothing of this branch differs" in (shop.root / "out/sao_ci.md").read_text()
    assert "nothing of this branch differs from what other was built from" in sao(shop, "--against", "other").stdout
    opened = load_project(shop.root, state_url=f"sqlite:///{shop.root / 'state.db'}")
    kept = {each.schema for each in opened.store.environments()}
    assert "ci_totals" not in kept, "there is nothing in it"
    assert "nothing that sao ci has made" in sao(shop, "drop", "--yes").stdout
    assert {each.schema for each in opened.store.environments()} == kept


def test_a_branch_is_built_beside_production_and_compared_with_it(shop: World) -> None:
    before = shop.rows("select id, amount, old from other.orders order by id")
    shop.model(
        "orders",
        "select id, case when id = 2 then 21 else amount end as amount, 1.5 as rate from {{ ref('stg') }} union all select 3, 30, 1.5",
    )
    shop.model("fresh", "select id from {{ ref('orders') }}")
    shop.delete("models/report.sql")
    said = built(shop, "--report", str(shop.root / "out"))
    assert outcomes(said) == {"orders": "built", "fresh": "built", "totals": "built"}
    assert said["deferred"]["relations"].keys() == {"stg"}
    assert said["schema"] == "ci_totals"
    orders, totals = said["compared"]["orders"], said["compared"]["totals"]
    assert orders["rows"] == {"here": 3, "there": 2, "key": ["id"], "added": 1, "gone": 0, "changed": 1}
    assert (orders["columns"]["added"].keys(), orders["columns"]["gone"].keys()) == ({"rate"}, {"old"})
    assert totals["rows"] == {"here": 1, "there": 1, "key": [], "added": 1, "gone": 1, "changed": None}
    assert (said["new"], said["gone"]) == (["fresh"], ["report"])
    assert said["changes"] == {"orders": ["body"], "fresh": ["new"]}
    text = (shop.root / "out/sao_ci.md").read_text()
    assert text.startswith("<!-- sao ci -->\n## ✅ `ci_totals` against `other`\n")
    assert "2 → 3 rows: 1 added, 1 changed (told apart by id)" in text
    assert "Read in `other`: `stg`." in text
    assert json.loads((shop.root / "out/sao_ci.json").read_text())["compared"] == said["compared"]
    assert shop.rows("select id, amount, old from other.orders order by id") == before, "nothing there was written"


def test_the_second_push_builds_what_it_changes_and_reads_production_for_what_it_takes_back(shop: World) -> None:
    shop.model("orders", "select id, amount * 2 as amount, 'x' as old from {{ ref('stg') }}")
    shop.model("totals", "select count(*) as n, sum(amount) + 0 as amount from {{ ref('orders') }}")
    assert set(outcomes(built(shop)).values()) == {"built"}
    assert set(outcomes(built(shop)).values()) == {"reused"}
    shop.model("orders", "select id, amount, 'x' as old from {{ ref('stg') }}")
    said = built(shop)
    assert outcomes(said) == {"totals": "built", "report": "built"}
    assert shop.rows("select amount from ci_totals.totals") == [(30,)]
    assert said["compared"]["totals"]["same_content"]


def test_an_edit_that_gives_the_same_rows_is_said_to(shop: World) -> None:
    shop.model("orders", "select id, 2 * amount - amount as amount, 'x' as old from {{ ref('stg') }}")
    assert sao(shop, "--against", "other", "--quiet").stdout == ""
    found = sao(shop, "--against", "other", "--report", str(shop.root / "report.md"))
    assert found.exit_code == 0
    assert "the same content in spite of the edit" in found.stdout
    assert "the same content in spite of the edit" in (shop.root / "report.md").read_text()


def test_a_relation_that_cannot_be_read_is_said_and_the_rest_is_compared(shop: World) -> None:
    shop.model("totals", "select count(*) as n, 1 as amount from {{ ref('orders') }}")
    shop.model("report", "select cast(1 as integer) as n from {{ ref('totals') }}")
    broken = "create view other.report as select cast('`x|' || id as integer) as n from raw.orders"
    shop.sql("drop table other.report", broken)
    said = built(shop, "--report", str(shop.root / "out"))
    assert (set(said["compared"]), set(said["unread"])) == ({"totals"}, {"report"})
    assert said["compared"]["totals"]["rows"]["here"] == 1
    (line,) = [
        each for each in (shop.root / "out/sao_ci.md").read_text().splitlines() if "could not be compared" in each
    ]
    assert line.startswith("| `report` | body |  |  | it could not be compared: ")
    assert r"\`x\|1" in line, "what means something in Markdown is shown as it is"


def test_columns_are_told_apart_by_their_names_as_they_are(shop: World) -> None:
    shop.model(
        "orders", "select id, amount as \"Amount\", 'x' as old, now() as at from {{ ref('stg') }}", unique_key="ID"
    )
    shop.write("models/totals.sql", "select count(*) as n, sum(\"Amount\") as amount from {{ ref('orders') }}")
    diff = built(shop)["compared"]["orders"]
    columns, rows = diff["columns"], diff["rows"]
    assert (set(columns["added"]), set(columns["gone"]), columns["left_out"]) == ({"Amount", "at"}, {"amount"}, [])
    assert (rows["key"], rows["changed"], diff["same_content"]) == (["id"], 0, False)
    if shop.warehouse == "postgres":
        shop.model("orders", "select id, id + 1 as \"Id\", amount, 'x' as old from {{ ref('stg') }}", unique_key="id")
        shop.run("stg orders", target="other")
        shop.model("orders", "select id, id + 2 as \"Id\", amount, 'x' as old from {{ ref('stg') }}", unique_key="id")
        rows = built(shop, "--select", "orders")["compared"]["orders"]["rows"]
        assert rows == {"here": 2, "there": 2, "key": ["id"], "added": 0, "gone": 0, "changed": 2}


def test_what_is_taken_from_elsewhere_is_taken_in_a_branch_of_that_target_too(shop: World) -> None:
    shop.write("sao.yml", "reuse_from: [other]\n")
    said = built(shop, "--target", "other", "--select", "totals")
    assert [(each["outcome"], each["reason"]) for each in said["models"]] == [("reused", "same_elsewhere")]
    assert shop.run(target="other").built == set(), "and not in that itself"


@pytest.mark.parametrize("clone", ["view", "defer"])
def test_what_production_takes_from_a_branch_is_copied(shop: World, clone: str) -> None:
    """With the next push the branch has something else there, and in the end it is dropped."""
    shop.model("totals", "select count(*) as n, 7 as more from {{ ref('orders') }}")
    built(shop)
    environment = {
        "SAO_REUSE_FROM": "dev/ci_totals",
        "SAO_CLONE": clone,
        "SAO_STATE_URL": f"sqlite:///{shop.root}/state.db",
    }
    merged = ["build", "--json", "--target", "other", "--project-dir", str(shop.root)]
    said = json.loads(CliRunner().invoke(app, merged, env=environment).stdout)
    (totals,) = (each for each in said["models"] if each["name"] == "totals")
    assert (totals["outcome"], totals["reason"]) == ("reused", "same_elsewhere")
    kind = "select table_type from information_schema.tables where table_name = 'totals' and table_schema = 'other'"
    assert shop.rows(kind) == [("BASE TABLE",)]
    shop.model("totals", "select 1000 + count(*) as n, 7 as more from {{ ref('orders') }}")
    assert "the same content" not in sao(shop, "--against", "other").stdout
    assert shop.rows("select n from other.totals") == [(2,)]


def test_what_is_read_in_place_is_not_compared(shop: World) -> None:
    shop.write("sao.yml", "reuse_from: [other]\nclone: defer\n")
    shop.model("report", "select n + 1 as n from {{ ref('totals') }}")
    said = built(shop, "--select", "totals report")
    assert [(each["name"], each["outcome"]) for each in said["models"]] == [("totals", "reused"), ("report", "built")]
    assert set(said["compared"]) == {"report"}
    assert said["unread"] == {}


def test_a_failing_test_ends_with_one_and_is_in_the_report(shop: World) -> None:
    shop.model("orders", "select 1 as id, amount, 'x' as old from {{ ref('stg') }}")
    said = built(shop, "--report", str(shop.root), status=1)
    assert outcomes(said) == {"orders": "built", "totals": "skipped", "report": "skipped"}
    assert said["compared"]["orders"]["rows"]["key"] == [], "id is no key, whatever the test is called"
    text = (shop.root / "sao_ci.md").read_text()
    assert "## ❌" in text
    assert "| `unique_orders_id` | fail | 1 failure |" in text


def test_what_it_has_made_is_dropped_and_nothing_else(shop: World) -> None:
    shop.sql("create schema ci_theirs", "create table ci_theirs.t as select 1 as one")
    shop.model("totals", "select count(*) as n, 1 as amount from {{ ref('orders') }}")
    refused = sao(shop, "--against", "other", branch="theirs")
    assert (refused.exit_code, "sao ci has not made it" in refused.stderr) == (2, True)
    store = load_project(shop.root, state_url=f"sqlite:///{shop.root / 'state.db'}").store
    assert "ci_theirs" not in {each.schema for each in store.environments()}, "what was refused leaves nothing"
    assert sao(shop, "drop", "--yes", branch="theirs").exit_code == 2
    assert "ci_theirs" not in {each.schema for each in store.environments()}
    built(shop)
    built(shop, branch="feature/two")
    assert schemas(shop) == {"ci_theirs", "ci_totals", schema_of("feature/two")}
    assert sao(shop, "drop").exit_code == 2, "nobody can be asked"
    shop.sql("create schema mine", "create view mine.v as select * from ci_totals.totals")
    assert "mine.v reads what is in" in sao(shop, "drop", "--yes").stderr
    shop.sql("drop view mine.v")
    assert "dropped" in sao(shop, "drop", "--yes").stdout
    assert schemas(shop) == {"ci_theirs", schema_of("feature/two")}
    assert outcomes(built(shop)) == {"totals": "built", "report": "built"}
    assert shop.run(target="other").built == {"totals", "report"}, "production is found as it was"


def test_a_schema_that_somebody_made_anew_is_neither_built_into_nor_dropped(shop: World) -> None:
    shop.model("totals", "select count(*) as n, 1 as amount from {{ ref('orders') }}")
    built(shop)
    [[kind, _], [other, _]] = [(kind, name) for name, kind in shop.columns("ci_totals.totals")]
    theirs = f"create table ci_totals.totals as select cast(7 as {kind}) as n, cast(1 as {other}) as amount"
    shop.sql(
        "drop schema ci_totals cascade",
        "create schema ci_totals",
        theirs,
        "create table ci_totals.t as select 1 as one",
    )
    assert "so somebody has made it anew" in built(shop, status=2)["error"]
    said = json.loads(sao(shop, "drop", "--yes", "--json").stdout)
    assert [name.rpartition(".")[2] for [names] in [said["left"].values()] for name in names] == ["t", "totals"]
    assert (said["schemas"], shop.rows("select n from ci_totals.totals")) == ([], [(7,)])


def test_what_somebody_put_beside_what_it_has_built_is_left_and_named(shop: World) -> None:
    shop.model("totals", "{{ config(materialized='view') }} select count(*) as n, 1 as amount from {{ ref('orders') }}")
    tested = "{name: totals, columns: [{name: n, data_tests: [{unique: {config: {store_failures: true}}}]}]}"
    shop.write("models/totals.yml", f"models: [{tested}]")
    built(shop)
    assert len(schemas(shop)) == 2, "one of them for failing rows"
    shop.delete("models/totals.yml")
    shop.sql(
        "create table ci_totals.mine as select * from ci_totals.totals",
        "create view ci_totals.over as select * from ci_totals.mine",
    )
    said = sao(shop, "drop", "--yes")
    assert said.exit_code == 0, said.stderr
    assert "ci_totals is left, with" in said.stderr and "ci_totals.mine" in said.stderr
    assert ": drop schema ci_totals cascade" in said.stderr
    tables = shop.rows(
        "select table_name from information_schema.tables where table_schema like 'ci_%' and table_name <> 'sao_build_ids' order by 1"
    )
    assert tables == [("mine",), ("over",)]
    assert "so somebody has made it anew" in built(shop, status=2)["error"]
    shop.sql("drop view ci_totals.over", "drop table ci_totals.mine")
    said_of_build = built(shop)
    assert outcomes(said_of_build) == {"totals": "built", "report": "built"}
    clear = ["state", "clear", "--environment", said_of_build["environment"], "--project-dir", str(shop.root)]
    CliRunner().invoke(app, clear, env={"SAO_STATE_URL": f"sqlite:///{shop.root / 'state.db'}"})
    said = sao(shop, "drop", "--yes")
    assert "knows of no build of this branch any more" in said.stderr, said.stderr
    assert "ci_totals cascade" in said.stderr
    assert "knows of no build of this branch any more" in built(shop, status=2)["error"]
    shop.sql("drop schema ci_totals cascade")
    assert outcomes(built(shop)) == {"totals": "built", "report": "built"}
    assert "dropped" in sao(shop, "drop", "--yes").stdout
    assert sao(shop, "drop", "--yes").stdout.startswith("there is nothing that sao ci has made")


def test_a_branch_is_not_dropped_while_it_is_built_nor_built_while_it_is_dropped(shop: World) -> None:
    shop.model("totals", "select count(*) as n, 1 as amount from {{ ref('orders') }}")
    built(shop)
    store = shop.opened().store
    [branch] = store.branches()
    with in_use(store, branch.environment, BUILDING, RunSettings()):
        assert f"{branch.environment} is in use by sao ci (process" in sao(shop, "drop", "--yes").stderr
        assert set(outcomes(built(shop)).values()) == {"reused"}, "two runs of one branch queue for each model"
        assert "is in use by sao ci (process" in sao(shop, "drop", "--yes").stderr
    with in_use(store, branch.environment, DROPPING, RunSettings()):
        assert "is in use by sao ci drop (process" in built(shop, status=2)["error"]
    assert "dropped" in sao(shop, "drop", "--yes").stdout
    assert store.leases(branch.environment) == []


def test_a_custom_schema_is_its_own_too(shop: World) -> None:
    shop.model("totals", "select count(*) as n, 1 as amount from {{ ref('orders') }}", schema="sums")
    built(shop)
    assert schemas(shop) == {"ci_totals", "ci_totals_sums"}
    sao(shop, "drop", "--yes")
    assert schemas(shop) == set()


def test_a_schema_that_every_target_has_is_not_a_branchs_own(shop: World) -> None:
    shop.write(
        "macros/names.sql",
        "{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}",
    )
    shop.model("totals", "{{ config(schema='marts') }} select count(*) as n from {{ ref('orders') }}")
    said = sao(shop, "--against", "other")
    assert said.exit_code == 2
    assert "into the schema" in said.stderr and "marts" in said.stderr, said.stderr
    assert "generate_schema_name" in said.stderr


def test_what_another_environment_has_built_there_meanwhile_is_not_dropped(shop: World) -> None:
    shop.model("totals", "select count(*) as n from {{ ref('orders') }}")
    assert outcomes(built(shop))["totals"] == "built"
    [schema] = schemas(shop)
    profiles = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles.replace("schema: other", f"schema: {schema}", 1))
    assert shop.run("stg orders", target="other").built == {"stg", "orders"}
    shop.write("profiles.yml", profiles)
    said = sao(shop, "drop", "--yes")
    assert said.exit_code == 2
    assert "another environment has built" in said.stderr
    assert schemas(shop) == {schema}


def test_a_run_that_was_refused_is_in_nobodys_way(shop: World) -> None:
    """Also where it was asked for the target of production."""
    shop.sql(f"create schema {schema_of('totals')}")
    shop.model("totals", "select count(*) as n from {{ ref('orders') }}")
    refused = sao(shop, "--against", "other", "--target", "other")
    assert (refused.exit_code, "sao ci has not made it" in refused.stderr) == (2, True)
    assert outcomes(built(shop, branch="more"))["totals"] == "built"


def test_production_is_never_built_into(shop: World) -> None:
    shop.model("totals", "select count(*) as n, 1 as amount from {{ ref('orders') }}")
    found = sao(shop, "--against", "other", "--schema", "other")
    assert (found.exit_code, "other is that of other" in found.stderr) == (2, True)
    shop.write("macros/names.sql", "{% macro generate_schema_name(name, node) %}{{ name or 'other' }}{% endmacro %}")
    found = sao(shop, "--against", "other")
    assert (found.exit_code, "it would not be this branch's own" in found.stderr) == (2, True)
    assert shop.rows("select amount from other.totals") == [(30,)]


@on_duckdb
def test_production_may_be_another_file(shop: World) -> None:
    profiles = (shop.root / "profiles.yml").read_text()
    shop.write("profiles.yml", profiles + "    ci: {type: duckdb, path: ci.duckdb}\n")
    shop.model("totals", "select count(*) as n, 1 as amount from {{ ref('orders') }}")
    said = built(shop, "--target", "ci")
    assert said["compared"]["totals"]["relation"] == '"ci"."ci_totals"."totals"'
    assert said["compared"]["totals"]["compared_with"] == '"sao_other"."other"."totals"'
    assert said["compared"]["report"]["same_content"]
    assert "dropped ci.ci_totals" in sao(shop, "drop", "--yes", "--target", "ci").stdout


@on_duckdb
def test_what_is_asked_for_wrongly_is_said(shop: World, tmp_path: Path) -> None:
    assert "sao ci --against prod" in sao(shop).stderr
    assert "ends in .md or .json" in sao(shop, "--against", "other", "--report", "x.txt").stderr
    assert "knows no environment 'prod'" in sao(shop, "--against", "prod").stderr
    assert "name the schema with --schema" in sao(shop, "--against", "other", branch="").stderr
    subprocess.run(["git", "init", "-q", "-b", "mine", shop.root], check=True)
    assert built(shop, branch="")["schema"] == "ci_mine"
    assert built(shop, "--schema", "elsewhere")["schema"] == "elsewhere"
