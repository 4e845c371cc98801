"""Projects that read one another: public models of another project are found by the shared state, read, and never built here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sao_dagster.core.environment import Environment
from sao_dagster.core.others import OtherProject
from sao_dagster.core.reasons import Mode
from sao_dagster.errors import ProjectError, UnsupportedError
from sao_dagster.run.others import check_reached
from tests.world import Run, World, on_each_warehouse

pytestmark = [on_each_warehouse, pytest.mark.slow]
on_duckdb = pytest.mark.warehouse("duckdb")

READS = "select id, amount from {{ ref('core', 'orders') }}"


def named(world: World, name: str, schema: str) -> World:
    """Give a world a project of another name, in a schema of its own."""
    project, profiles = (world.root / each for each in ("dbt_project.yml", "profiles.yml"))
    project.write_text(project.read_text().replace("name: shop", f"name: {name}"))
    profiles.write_text(profiles.read_text().replace("schema: other", f"schema: {schema}_other"))
    text = profiles.read_text()
    if world.warehouse == "postgres":
        profiles.write_text(text.replace("schema: main", f"schema: {schema}"))
    else:
        profiles.write_text(text.replace("path: shop.duckdb, threads", f"path: shop.duckdb, schema: {schema}, threads"))
    return world


@pytest.fixture
def core(world: World) -> World:
    """A project with a public model and others above it, in the database that `shop` builds into, too."""
    named(world, "core", "core")
    world.sql("create table raw.orders as select 1 as id, 10 as amount").source("orders")
    world.model("stg", "select id, amount from {{ source('raw', 'orders') }}", materialized="view")
    world.model("orders", "select id, amount from {{ ref('stg') }}", access="public")
    return world.model("costs", "select 1 as id", access="private", group="money").write(
        "models/groups.yml", "groups: [{name: money, owner: {name: Money}}]"
    )


@pytest.fixture
def shop(core: World) -> World:
    """A project that reads it, by a state that both share."""
    return beside(core).model("totals", READS)


def beside(core: World, folder: str = "reader") -> World:
    made: Any = type(core)
    given = {"url": core.url} if hasattr(core, "url") else {}
    shop: World = made(core.root.parent / folder, **given)
    shop.state_url = core.state_url = f"sqlite:///{core.root / 'state.db'}"
    profiles = shop.root / "profiles.yml"
    if core.warehouse == "duckdb":
        profiles.write_text(profiles.read_text().replace("path: shop.duckdb", f"path: {core.root / 'shop.duckdb'}"))
    return shop.write("dependencies.yml", "projects:\n  - name: core\n")


def error(run: Run, name: str) -> str:
    return str(run.decision(name).evidence["error"])


def test_a_public_model_is_read_and_is_neither_built_nor_recorded_here(core: World, shop: World) -> None:
    assert core.run().built == {"stg", "orders", "costs"}
    run = shop.run()
    assert run.outcomes == {"totals": "built: never_built"}
    assert core.rows("select id, amount from main.totals") == [(1, 10)]
    assert shop.run().outcomes == {"totals": "reused: no_new_data"}


def test_news_cross_the_border_and_the_same_content_is_none(core: World, shop: World) -> None:
    core.run()
    shop.run()
    core.sql("insert into raw.orders values (2, 20)")
    assert shop.run().built == set(), "what is read is as it was"
    core.run()
    run = shop.run()
    assert run.outcomes == {"totals": "built: new_data"}
    assert [each["input"] for each in run.decision("totals").evidence["news"]] == ["project:core.orders"]
    assert core.rows("select sum(amount) from main.totals") == [(30,)]
    assert core.run(mode=Mode.FORCE).built == {"stg", "orders", "costs"}
    assert shop.run().outcomes == {"totals": "reused: no_new_data"}
    core.sql("insert into core.orders values (3, 3)")
    assert shop.run().built == {"totals"}, "what is really there counts, whoever changed it"


def test_a_view_there_is_looked_through(core: World, shop: World) -> None:
    core.model(
        "stg", "select id, amount from {{ source('raw', 'orders') }}", materialized="view", access="public"
    ).run()
    shop.model("totals", "select amount from {{ ref('core', 'stg') }}").run()
    assert shop.run().built == set()
    core.sql("insert into raw.orders values (2, 20)")
    assert shop.run().outcomes == {"totals": "built: new_data"}


@on_duckdb
def test_a_view_over_a_view_there_whose_table_is_gone_cannot_be_made_again(core: World, shop: World) -> None:
    core.model("shown", "select id, amount from {{ ref('orders') }}", materialized="view", access="public").run()
    shop.model("totals", "select amount from {{ ref('core', 'shown') }}", materialized="view")
    assert shop.run().built == {"totals"}
    assert shop.run().built == set()
    core.sql("drop table core.orders")
    assert shop.plan()["totals"].reason.value == "input_unknown"
    run = shop.run()
    assert run.outcomes == {"totals": "failed: build_error"}
    assert "orders" in run.decision("totals").evidence["error"]
    core.run()
    assert shop.run().built == set()


def test_what_is_not_public_or_not_there_is_refused_in_dbts_words(core: World, shop: World) -> None:
    core.model("orders", "select 1 as id, 2 as amount").run()
    shop.model("reads_costs", "select * from {{ ref('core', 'costs') }}")
    shop.model("reads_none", "select *\nfrom {{ ref('core', 'ordres') }}")
    run = shop.run()
    assert {name: text.partition(":")[0] for name, text in run.outcomes.items()} == dict.fromkeys(
        run.outcomes, "failed"
    )
    assert error(run, "totals") == (
        "Node model.shop.totals attempted to reference node model.core.orders, which is not allowed because the referenced node is protected "
        "to the 'core' package; make orders public in core"
    )
    assert "which is not allowed because the referenced node is private to the 'money' group" in error(
        run, "reads_costs"
    )
    assert error(run, "reads_none") == (
        "Node model.shop.reads_none depends on a node named 'ordres' in package or project 'core' which was not found; did you mean 'orders'?"
    )
    assert run.decision("reads_none").evidence["file"] == "models/reads_none.sql:2"
    shop.model(
        "reads_both", "select 1 as id from {{ ref('core', 'costs') }}, {{ ref('core', 'orders') }}", materialized="view"
    )
    shop.model("below", "select id from {{ ref('reads_both') }}")
    assert shop.run().outcomes["below"].startswith("skipped")
    core.model("orders", "select 1 as id, 2 as amount", access="public")
    core.run()  # in which nothing is built
    assert shop.run().built == {"totals"}


def test_a_project_of_which_the_state_knows_nothing_says_how_to_go_on(core: World, shop: World) -> None:
    core.run(target="other")
    shop.model("beside", "select 1 as one")
    run = shop.run()
    assert run.outcomes == {"totals": "skipped: upstream_failed", "beside": "built: never_built"}
    (said,) = run.result.broken_sources
    assert said.startswith(
        "project:core.orders: models/totals.sql:1: the state knows no environment 'dev' of core; there are: other/core_other"
    )
    assert said.endswith("build core there, or say under `projects` in sao.yml which environment of core is read")
    shop.settings["projects"] = {"core": "other"}
    assert shop.run().built == {"totals"}


def test_versions_and_the_latest_of_them(core: World, shop: World) -> None:
    core.delete("models/orders.sql")
    for number in (1, 2):
        core.model(f"orders_v{number}", f"select {number} as id, {number} as amount")
    core.write(
        "models/orders.yml",
        "models: [{name: orders, latest_version: 1, access: public, versions: [{v: 1}, {v: 2}, {v: 3, access: protected, defined_in: costs}]}]",
    )
    core.run()
    shop.model("second", "select id from {{ ref('core', 'orders', v=2) }}")
    shop.model("third", "select id from {{ ref('core', 'orders', version=3) }}")
    shop.model("fourth", "select id from {{ ref('core', 'orders', v=4) }}")
    run = shop.run()
    assert run.built == {"totals", "second"}
    assert (core.rows("select id from main.totals"), core.rows("select id from main.second")) == ([(1,)], [(2,)])
    assert "node model.core.orders.v3, which is not allowed" in error(run, "third")
    assert "a node named 'orders' with version '4' in package or project 'core'" in error(run, "fourth")


def test_a_model_that_moves_there_is_read_where_it_is(core: World, shop: World) -> None:
    core.run()
    shop.run()
    core.model("orders", "select id, amount from {{ ref('stg') }}", access="public", alias="orders_all")
    assert shop.run().built == set(), "it is where it was until it is built elsewhere"
    core.run()
    assert shop.run().built == set(), "the same rows, at another place"
    core.sql("insert into raw.orders values (2, 20)").run()
    assert shop.run().built == {"totals"}
    assert core.rows("select count(*) from main.totals") == [(2,)]


def test_a_test_that_failed_there_holds_back_what_is_below_it_here(core: World, shop: World) -> None:
    core.write("models/stg.yml", "models: [{name: stg, columns: [{name: id, data_tests: [unique]}]}]")
    shop.model("below", "select id from {{ ref('totals') }}").model("beside", "select 1 as one")
    core.run()
    shop.run()
    core.sql("insert into raw.orders values (1, 20)")
    core.run(tests=False)
    core.run()  # in which the test runs, and fails
    run = shop.run()
    assert run.outcomes["totals"] == "skipped: upstream_failed"
    assert (run.outcomes["below"], run.outcomes["beside"]) == ("skipped: upstream_failed", "reused: no_new_data")
    evidence = run.decision("totals").evidence
    assert (evidence["inputs"], evidence["standing"]) == (["core.stg"], ["core.unique_stg_id"])
    assert evidence["projects"] == ["core"]
    assert shop.plan()["totals"].outcome.value == "skipped"
    assert shop.run(tests=False).built == {"totals", "below"}
    core.sql("delete from raw.orders where amount = 20").run()
    assert shop.run().built == {"totals", "below"}


def test_a_test_there_holds_back_only_what_is_below_all_that_it_reads(core: World, shop: World) -> None:
    core.model("people", "select 7 as id", access="public")
    core.write(
        "models/orders.yml",
        "models: [{name: orders, columns: [{name: id, data_tests: [{relationships: {arguments: {to: ref('people'), field: id}}}]}]}]",
    )
    core.run()
    shop.model("both", "select id from {{ ref('core', 'people') }} union all select id from {{ ref('totals') }}")
    assert shop.run().outcomes == {"totals": "built: never_built", "both": "skipped: upstream_failed"}
    core.write("models/orders.yml", "")
    core.run()
    assert shop.run().built == {"both"}, "the test is gone"


def test_a_project_in_python_names_the_others_in_its_settings(core: World, shop: World) -> None:
    core.run()
    shop.delete("dependencies.yml").write("sao.yml", "projects: {core: dev}\n")
    assert shop.run().built == {"totals"}
    shop.write("sao.yml", "")
    run = shop.run()
    assert error(run, "totals") == (
        "totals reads ref('orders') in package 'core', which is not there; if core is another project, name it under `projects` in dependencies.yml"
    )


@on_duckdb
def test_another_file_is_attached_to_be_read(core: World, shop: World) -> None:
    profiles = shop.root / "profiles.yml"
    profiles.write_text(profiles.read_text().replace(str(core.root / "shop.duckdb"), "own.duckdb"))
    core.run()
    shop.model("shown", READS, materialized="view")
    assert shop.run().built == {"totals", "shown"}
    assert shop.run().built == set()
    core.sql("insert into raw.orders values (2, 20)").run()
    assert shop.run().built == {"totals"}
    (core.root / "shop.duckdb").rename(core.root / "moved.duckdb")
    run = shop.run()
    assert run.outcomes["totals"] == "skipped: upstream_failed"
    assert "shop.duckdb is no file that is there, so nothing can be read from it" in run.result.broken_sources[0]


@on_duckdb
def test_one_file_of_two_others_is_attached_once(core: World, shop: World) -> None:
    core.run()
    third = beside(core, "third")
    (third.root / "profiles.yml").write_text(
        "shop: {target: dev, outputs: {dev: {type: duckdb, path: own.duckdb}, prod: {type: duckdb, path: %s, schema: third}}}"
        % (core.root / "shop.duckdb")
    )
    third.model("below", "select id from {{ ref('totals') }}").model("totals", READS)
    third.settings["projects"] = {"core": "dev"}
    assert third.run(target="prod").built == {"totals", "below"}
    third.settings["defer"] = "prod"
    assert third.run("below").built == {"below"}


def manifest(core: World, **changes: Any) -> dict[str, Any]:
    """Return as much of a `manifest.json` as is read of it."""

    def node(name: str, access: str) -> dict[str, Any]:
        return {
            "name": name, "resource_type": "model", "package_name": "core", "access": access, "database": database, "schema": "core", "alias": name,
            "config": {"materialized": "table"}, "columns": {"id": {"name": "id", "description": "Which", "data_type": None}}, "description": "",
        }  # fmt: skip

    database = core.opened().warehouse.database
    nodes = {f"model.core.{name}": node(name, access) for name, access in (("orders", "public"), ("costs", "private"))}
    return {"metadata": {"project_name": "core", "adapter_type": core.warehouse, **changes}, "nodes": nodes}


def test_a_manifest_says_where_a_project_is_that_is_built_by_others(core: World, shop: World) -> None:
    import json

    core.run()
    shop.settings["projects"] = {"core": {"manifest": "../manifest.json"}}
    shop.settings["projects"] = shop.opened().settings.model_validate({"projects": shop.settings["projects"]}).projects
    write: Callable[[Any], int] = (core.root.parent / "manifest.json").write_text
    assert "manifest.json of core cannot be read: No such file" in shop.run().result.broken_sources[0]
    write(json.dumps(manifest(core)))
    shop.model("reads_costs", "select * from {{ ref('core', 'costs') }}")
    run = shop.run()
    assert run.outcomes == {"totals": "built: never_built", "reads_costs": "failed: build_error"}
    core.sql("insert into core.orders values (3, 3)")
    assert shop.run("totals").outcomes == {"totals": "built: new_data"}
    write(json.dumps(manifest(core, project_name="other")))
    assert "is of the project other, and not of core" in shop.run().result.broken_sources[0]
    write("{}")
    assert "is no manifest.json of dbt" in shop.run().result.broken_sources[0]
    write(json.dumps(manifest(core, adapter_type="snowflake")))
    assert "core is built in snowflake, and this project in" in shop.run().result.broken_sources[0]


def test_what_others_may_know_is_written_only_where_it_is_news(core: World) -> None:
    core.run()
    store = core.opened().store
    known = store.published(core.environment)
    assert known is not None
    assert {each.id: (each.access.value, each.relation is None) for each in known.models} == {
        "stg": ("protected", True), "orders": ("public", False), "costs": ("private", True),
    }  # fmt: skip


def test_a_project_that_dbt_builds_reads_no_other(shop: World) -> None:
    shop.write("sao.yml", "executor: dbt\n")
    with pytest.raises(
        ProjectError, match=r"dependencies.yml:2: models of the project core are read, which dbt does not do"
    ):
        shop.opened()


def test_another_database_of_a_server_is_refused() -> None:
    there = Environment(name="core.dev", schema="core", database="one")
    other = OtherProject(name="core", environment="dev", key=there.key, schema="core")
    check_reached([other], "one")
    with pytest.raises(UnsupportedError, match="the project core is built in another database than this one"):
        check_reached([other], "two")


def test_a_wrong_dependencies_file_is_named(tmp_path: Path) -> None:
    shop = World(tmp_path / "shop").write("dependencies.yml", "projects:\n  - core\n")
    (error,) = shop.opened().project.errors
    assert str(error) == "dependencies.yml:2: a project is named by its name, as in `- name: core`"
