"""The door for other readers: declarations with templates or compiled SQL, and whoever builds them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sao_dagster import DuckDBWarehouse, SqlProject, load_project, select
from sao_dagster.core.nodes import Node
from sao_dagster.core.records import Verdict
from sao_dagster.errors import Location, ProjectError, WarehouseError
from sao_dagster.load import restore_project
from sao_dagster.projects.declarations import (
    CompiledDeclaration,
    Declarations,
    Format,
    NodeDeclaration,
    TestDeclaration,
)
from sao_dagster.projects.templates.texts import MacroFile
from sao_dagster.warehouses.protocol import BuildRequest, Built
from tests.world import World

HERE = Location("somewhere.json")


def node(name: str, sql: str, *reads: str, **more: Any) -> NodeDeclaration:
    compiled = CompiledDeclaration(sql=sql, depends_on=reads)
    return NodeDeclaration(name=name, package="shop", location=HERE, fqn=("shop", name), compiled=compiled, **more)


def declared(path: Path, *nodes: NodeDeclaration, **more: Any) -> Declarations:
    warehouse = DuckDBWarehouse(path=str(path / "shop.duckdb"))
    return Declarations(
        name="shop",
        environment="shop.dev",
        dialect="duckdb",
        root=str(path),
        database=warehouse.database,
        schema=warehouse.schema,
        target=warehouse.target,
        nodes=list(nodes),
        **more,
    )


def opened(declarations: Declarations, **more: Any) -> SqlProject:
    warehouse = DuckDBWarehouse(path=str(Path(declarations.root) / "shop.duckdb"))
    return SqlProject.of(declarations, warehouse, **{"state_url": "sqlite://", **more})


def outcomes(project: SqlProject) -> dict[str, str]:
    result = project.runner().run(select(project.project))
    return {each.name: f"{each.decision.outcome.value}: {each.decision.reason.value}" for each in result.models}


TABLE = ({"materialized": "table"},)


def test_compiled_sql_needs_no_template_and_is_reused_like_any_other(tmp_path: Path) -> None:
    orders = 'select o.id from "shop"."main"."raw" o'
    project = opened(
        declared(
            tmp_path,
            node("raw", "select i as id from range(3) t(i)", layers=TABLE),
            node("orders", orders, "raw", layers=TABLE),
            node("shown", 'select * from "shop"."main"."orders"', "orders"),
        )
    )
    assert [project.project.nodes[name].depends_on for name in ("raw", "orders", "shown")] == [
        (),
        ("raw",),
        ("orders",),
    ]
    assert set(outcomes(project).values()) == {"built: never_built"}
    assert set(outcomes(project).values()) == {"reused: no_new_data"}


def test_a_compiled_test_asserts_what_its_kind_says_where_its_sql_is_the_usual_one(tmp_path: Path) -> None:
    def test(kind: str, sql: str, **args: Any) -> TestDeclaration:
        compiled = CompiledDeclaration(sql=sql, depends_on=("raw",))
        return TestDeclaration(
            kind=kind, location=HERE, package="shop", tested="raw", column="id", args=args, compiled=compiled
        )

    relation = '"shop"."main"."raw"'
    accepted = f"select id as value_field, count(*) as n_records from {relation} group by id"
    project = opened(
        declared(
            tmp_path,
            node("raw", "select 1 as id", layers=TABLE),
            tests=[
                test("not_null", f"select id from {relation} where id is null"),
                test("unique", f"select id as unique_field, count(*) as n_records from {relation} where id is not null group by id having count(*) > 1"),
                test("accepted_values", f"with all_values as ({accepted}) select * from all_values where value_field not in (1)", values=[1], quote=False),
                test("odd", f"select * from {relation} where id > 5"),
            ],
        )
    )  # fmt: skip
    asserted = {name: each.asserts is not None for name, each in project.project.tests.items()}
    assert sum(asserted.values()) == 3
    assert not asserted["odd_raw_id"]
    result = project.runner().run(select(project.project))
    assert {each.verdict for each in result.tests} == {Verdict.PASS}
    assert result.summary()["tests_proven"] == 3


def test_what_compiled_sql_reads_must_be_there(tmp_path: Path) -> None:
    project = opened(declared(tmp_path, node("orders", "select 1 as id", "raw")))
    assert "orders reads 'raw', which is not there" in str(project.project.broken["orders"])


LOG = 'create table if not exists "shop"."main"."log" (note varchar)'


def notes(path: Path) -> list[str]:
    with duckdb.connect(str(path / "shop.duckdb")) as connection:
        return [note for (note,) in connection.execute("select note from log").fetchall()]


def test_hooks_of_the_configuration_are_templates_beside_compiled_sql_too(tmp_path: Path) -> None:
    """What depends on the run, or asks the warehouse, is rendered in the run, and a changed hook is changed code."""

    def opened_with(text: str) -> SqlProject:
        config = {
            "materialized": "table",
            "pre_hook": [{"sql": LOG, "transaction": True}],
            "post_hook": [
                "insert into log values ('{{ this.identifier }} after 2000: {{ run_started_at.year > 2000 }}')",
                "insert into log values ('" + text + " {{ run_query('select 3').columns[0].values()[0] }}')",
            ],
        }  # fmt: skip
        one = node("orders", "select * from range(3) t(i)", layers=(config,))
        return opened(declared(tmp_path, one), state_url=f"sqlite:///{tmp_path / 'state.db'}")

    assert outcomes(opened_with("asked:")) == {"orders": "built: never_built"}
    assert notes(tmp_path) == ["orders after 2000: True", "asked: 3"]
    assert outcomes(opened_with("asked:")) == {"orders": "reused: no_new_data"}
    assert outcomes(opened_with("now:")) == {"orders": "built: code_changed"}
    assert notes(tmp_path)[2:] == ["orders after 2000: True", "now: 3"]


def test_hooks_that_a_reader_has_compiled_stand_for_those_of_the_configuration(tmp_path: Path) -> None:
    compiled = CompiledDeclaration(
        sql="select 1 as id", depends_on=(), pre_hooks=(LOG, "insert into log values ('{{ as it is }}')"), post_hooks=()
    )
    hooks = {"materialized": "table", "post_hook": "{{ something_else() }}"}
    project = opened(declared(tmp_path, replace(node("orders", ""), compiled=compiled, layers=(hooks,))))
    assert outcomes(project) == {"orders": "built: never_built"}
    assert notes(tmp_path) == ["{{ as it is }}"]


def test_a_hook_of_a_seed_may_ask_the_warehouse(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("id\n1\n")
    hook = "insert into log select {{ run_query('select 1').columns[0].values()[0] }}"
    csv = {"csv": str(tmp_path / "names.csv"), "csv_digest": "1", "resource_type": "seed"}
    seed = replace(node("names", ""), compiled=None, layers=({"post_hook": hook},), **csv)
    project = opened(declared(tmp_path, seed)).project
    assert not project.broken
    assert project.nodes["names"].compiler is not None


def test_configuration_that_the_reader_has_settled_is_not_heard_twice(tmp_path: Path) -> None:
    sql = "{{ config(materialized='table', tags=['a'], pre_hook='select 1') }} select 1 as id"
    layers = ({"materialized": "table", "tags": ["a"], "pre_hook": ["select 1"]},)
    for is_settled, times in ((True, 1), (False, 2)):
        template = replace(node("one", ""), compiled=None, sql=sql, layers=layers, is_settled=is_settled)
        project = opened(declared(tmp_path, template)).project
        assert project.nodes["one"].hooks == ("select 1",) * times


@dataclass
class Program:
    """Another program that builds: it has its own connection, and knows of one kind of model of its own."""

    warehouse: DuckDBWarehouse
    built: list[str] = field(default_factory=list)

    def build(self, node: Node, request: BuildRequest) -> Built:
        self.built.append(f"{node.resource_type} {node.name}: {node.materialized.value}")
        if node.name == "broken":
            raise WarehouseError("the program says no")
        request.session.execute(f"create or replace table {node.relation} as {request.compile().sql}")
        return Built()


def test_another_program_builds_models_of_any_kind(tmp_path: Path) -> None:
    """One class is all that it takes; what it does not say of a build is looked up."""
    program = Program(DuckDBWarehouse(path=str(tmp_path / "shop.duckdb")))
    project = opened(
        declared(
            tmp_path,
            node("history", "select 1 as id", resource_type="snapshot"),
            node(
                "predicted", 'select id from "shop"."main"."history"', "history", layers=({"materialized": "forecast"},)
            ),
            node("broken", "select 1 as id", layers=TABLE),
            native=False,
        ),
        materializer=program,
    )
    first = outcomes(project)
    assert first == {
        "broken": "failed: build_error",
        "history": "built: never_built",
        "predicted": "built: never_built",
    }
    assert sorted(program.built) == ["model broken: table", "model predicted: forecast", "snapshot history: snapshot"]
    assert {**outcomes(project), "broken": ""} == {
        "broken": "",
        "history": "reused: no_new_data",
        "predicted": "reused: no_new_data",
    }
    record = project.store.builds(project.environment)["history"]
    assert record.columns == (("id", "INTEGER"),)


def test_what_nobody_builds_natively_is_refused_with_its_name(tmp_path: Path) -> None:
    project = opened(declared(tmp_path, node("history", "select 1 as id", resource_type="snapshot"), native=False))
    result = project.runner().run(select(project.project))
    (failed,) = result.models
    assert "history is a snapshot with materialized: 'snapshot', which is not built natively" in str(
        failed.decision.evidence["error"]
    )


def test_a_project_may_be_written_in_a_format_of_ones_own(tmp_path: Path) -> None:
    def read(folder: Path, target: str | None, variables: Any) -> tuple[Declarations, DuckDBWarehouse]:
        nodes = [
            node(line.split(":")[0], line.split(":")[1]) for line in (folder / "models.txt").read_text().splitlines()
        ]
        return declared(folder, *nodes), DuckDBWarehouse(path=str(folder / "shop.duckdb"))

    lines = Format("models.txt", lambda folder: (folder / "models.txt").is_file(), read)
    with pytest.raises(ProjectError, match=r"there is no models\.txt in"):
        load_project(tmp_path, formats=[lines])
    (tmp_path / "models.txt").write_text("one:select 1 as id\nother:select 2 as id")
    assert list(load_project(tmp_path, formats=[lines]).project.nodes) == ["one", "other"]


def test_the_python_of_a_folder_says_who_builds(world: World) -> None:
    """So the command line and Dagster know it too; what is saved is not used without it."""
    world.model("orders", "select 1 as id").write(
        "sao_project.py",
        "class Refuses:\n"
        "    def build(self, node, request):\n"
        "        from sao_dagster.errors import WarehouseError\n"
        "        raise WarehouseError('not today')\n"
        "def declare(project):\n"
        "    project.materializer = Refuses()\n",
    )
    run = world.run()
    assert run.outcomes == {"orders": "failed: build_error"}
    assert "not today" in str(run.decision("orders").evidence["error"])
    load_project(world.root).save(world.root / "saved")
    assert restore_project(world.root / "saved", world.root) is None


def test_what_is_declared_after_the_project_was_read_counts() -> None:
    shop = SqlProject("shop", warehouse=DuckDBWarehouse(path=":memory:"), state_url="sqlite://")
    shop.model(name="a", sql="select 1 as x")
    assert list(shop.project.nodes) == ["a"]
    shop.model(name="b", sql="select 2 as x")
    assert list(shop.project.nodes) == ["a", "b"]
    shop.test("odd", "select * from {{ ref('a') }} where x = 2")
    assert list(shop.project.tests) == ["odd"]


def test_a_project_in_python_alone_leaves_its_state_where_the_process_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = SqlProject("shop", warehouse=DuckDBWarehouse(path=str(tmp_path / "shop.duckdb")))
    shop.model(name="a", sql="select 1 as x")
    runner = shop.runner()
    runner.run(select(runner.project))
    assert (tmp_path / ".sao" / "state.db").exists()
    assert not (Path(__file__).parent / ".sao").exists()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert shop.state_url == f"sqlite:///{tmp_path / 'sao_state.db'}"


def test_a_macro_that_a_hook_calls_beside_compiled_sql_is_code(tmp_path: Path) -> None:
    """The hook asks the warehouse, so it is rendered in each run; what it would say is not known before."""

    def opened_with(number: int) -> SqlProject:
        macro = (
            "{% macro noting() %}insert into log values ('{{ run_query('select "
            + str(number)
            + "').columns[0].values()[0] }}'){% endmacro %}"
        )
        config = {"materialized": "table", "pre_hook": [LOG], "post_hook": ["{{ noting() }}"]}
        one = node("orders", "select 1 as id", layers=(config,))
        files = (MacroFile("shop", "macros/noting.sql", macro),)
        return opened(declared(tmp_path, one, macro_files=files), state_url=f"sqlite:///{tmp_path / 'state.db'}")

    assert outcomes(opened_with(1)) == {"orders": "built: never_built"}
    assert outcomes(opened_with(1)) == {"orders": "reused: no_new_data"}
    assert outcomes(opened_with(2)) == {"orders": "built: code_changed"}
    assert notes(tmp_path) == ["1", "2"]


def test_policies_on_top_stay_when_more_is_declared_and_the_original_knows_of_neither() -> None:
    shop = SqlProject("shop", warehouse=DuckDBWarehouse(path=":memory:"), state_url="sqlite://")
    shop.model(name="a", sql="select 1 as x")
    patient = shop.with_policies([{"select": "a", "lag_tolerance": "1h"}])
    patient.model(name="b", sql="select 2 as x")
    assert patient.project.nodes["a"].policy.lag_tolerance == timedelta(hours=1)
    assert list(patient.project.nodes) == ["a", "b"]
    assert list(shop.project.nodes) == ["a"]
    assert shop.project.nodes["a"].policy.lag_tolerance is None
