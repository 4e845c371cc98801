"""Another program that builds: psql, or one that knows SQLite. One class calls it for each model; all else goes on as ever."""

from __future__ import annotations

import csv
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sao_dagster import SqlProject, select
from sao_dagster.core.nodes import Model, Node
from sao_dagster.core.reasons import Mode
from sao_dagster.errors import WarehouseError
from sao_dagster.run.report import RunResult
from sao_dagster.warehouses.protocol import BuildRequest, Built, Warehouse
from tests.postgres import Postgres, execute, fetch, warehouse_at

PACKAGE = Path(__file__).parents[1] / "sqlite_warehouse"
OF_SQLITE = (
    "import pathlib, sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(pathlib.Path(sys.argv[2]).read_text())"
)


@dataclass(frozen=True)
class Program:
    """Builds each model by a call of a program with a file of statements; seeds natively.

    Attributes:
        command: The program, with its arguments before the file.
        also: Statements after those that build.
        built: The models that it was called for.
    """

    command: tuple[str, ...]
    also: str = ""
    built: list[str] = field(default_factory=list)

    def build(self, node: Node, request: BuildRequest) -> Built:
        if not isinstance(node, Model):
            return request.session.materializer().build(node, request)
        self.built.append(node.name)
        with TemporaryDirectory() as place:
            file = Path(place) / f"{node.name}.sql"
            drop = f"drop table if exists {node.relation};\n"
            file.write_text(f"{drop}create table {node.relation} as\n{request.compile().sql};\n{self.also}")
            try:
                done = subprocess.run([*self.command, str(file)], capture_output=True, text=True, check=False)
            except OSError as error:  # what is no error of this package would end the run
                raise WarehouseError(f"{self.command[0]}: {error.strerror}") from error
        if done.returncode != 0:
            raise WarehouseError(done.stderr.strip())
        return Built()


@dataclass(frozen=True)
class Place:
    """A warehouse, how its program is called, and how a test speaks with it."""

    warehouse: Warehouse
    command: tuple[str, ...]
    execute: Callable[..., None]
    rows: Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.database()
        execute(url, "create schema main")
        psql = shutil.which("psql")
        if psql is None:
            pytest.skip("needs psql (Debian: postgresql-client)")
        command = (psql, url, "-qX", "-v", "ON_ERROR_STOP=1", "-f")
        return Place(warehouse_at(url), command, lambda *texts: execute(url, *texts), lambda query: fetch(url, query))
    monkeypatch.syspath_prepend(PACKAGE)
    from sao_sqlite import SQLiteWarehouse

    file = str(tmp_path / "shop.db")

    def rows(query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(file) as connection:
            return connection.execute(query).fetchall()

    def run(*texts: str) -> None:
        for text in texts:
            rows(text)

    return Place(SQLiteWarehouse(path=file, threads=2), (sys.executable, "-c", OF_SQLITE, file), run, rows)


@pytest.fixture
def shop(tmp_path: Path, place: Place) -> Path:
    """Two models in a row, one beside them, and a seed, over a source that says when it was loaded."""
    folder = tmp_path / "shop"
    (folder / "models").mkdir(parents=True)
    (folder / "seeds").mkdir()
    (folder / "dbt_project.yml").write_text("name: shop\nprofile: shop\nmodels: {+materialized: table}\n")
    with (folder / "seeds/names.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "name"), (1, "one")])
    texts = {
        "sources.yml": "sources:\n  - name: main\n    tables: [{name: raw_orders, loaded_at_field: loaded_at}]\n",
        "orders.sql": "select id, amount from {{ source('main', 'raw_orders') }}",
        "paid.sql": "select sum(amount) as paid from {{ ref('orders') }}",
        "named.sql": "select name from {{ ref('names') }}",
    }
    for name, text in texts.items():
        (folder / "models" / name).write_text(text)
    place.execute(
        "create table main.raw_orders (id integer, amount integer, loaded_at timestamp)",
        "insert into main.raw_orders values (1, 10, '2026-03-01 00:00:00')",
    )
    return folder


def run(folder: Path, place: Place, program: Program, mode: Mode = Mode.STATE_AWARE) -> RunResult:
    state = f"sqlite:///{folder / 'state.db'}"
    project = SqlProject(folder=folder, warehouse=place.warehouse, materializer=program, state_url=state)
    assert project.project.errors == ()
    return project.runner().run(select(project.project), mode)


def outcomes(result: RunResult) -> dict[str, str]:
    return {each.name: f"{each.decision.outcome.value}: {each.decision.reason.value}" for each in result.models}


def test_each_model_is_built_by_the_program_and_then_reused(shop: Path, place: Place) -> None:
    program = Program(place.command)
    first = run(shop, place, program)
    assert set(outcomes(first).values()) == {"built: never_built"}
    assert sorted(program.built) == ["named", "orders", "paid"]
    assert place.rows("select paid from main.paid") == [(10,)]
    project = SqlProject(folder=shop, warehouse=place.warehouse, state_url=f"sqlite:///{shop / 'state.db'}")
    records = project.store.builds(project.environment)
    assert [name for name, _ in records["orders"].columns] == ["id", "amount"]
    assert len({record.data_version for record in records.values()}) == 4

    program = Program(place.command)
    assert set(outcomes(run(shop, place, program)).values()) == {"reused: no_new_data"}
    assert program.built == []

    place.execute("insert into main.raw_orders values (2, 5, '2026-03-02 00:00:00')")
    again = outcomes(run(shop, place, program))
    assert again == {
        "names": "reused: no_new_data",
        "named": "reused: no_new_data",
        "orders": "built: new_data",
        "paid": "built: new_data",
    }
    assert place.rows("select paid from main.paid") == [(15,)]


def test_a_program_that_fails_is_one_failed_node_with_its_words(shop: Path, place: Place) -> None:
    (shop / "models/orders.sql").write_text("select id, no_such from {{ source('main', 'raw_orders') }}")
    result = run(shop, place, Program(place.command))
    assert outcomes(result) == {
        "names": "built: never_built",
        "named": "built: never_built",
        "orders": "failed: build_error",
        "paid": "skipped: upstream_failed",
    }
    failed = next(each for each in result.models if each.name == "orders")
    words = str(failed.decision.evidence["error"])
    assert "no_such" in words
    assert "no such column" in words or "does not exist" in words


def test_a_program_that_is_not_there_is_named(shop: Path, place: Place) -> None:
    result = run(shop, place, Program(("/nowhere/psql",)))
    assert outcomes(result)["named"] == "failed: build_error"
    errors = [str(each.decision.evidence.get("error")) for each in result.models]
    assert "/nowhere/psql: No such file or directory" in errors


def test_what_a_program_left_behind_before_it_failed_is_not_reused(shop: Path, place: Place) -> None:
    run(shop, place, Program(place.command))
    broken = Program(place.command, also="delete from main.paid; select nothing from nowhere;")
    forced = outcomes(run(shop, place, broken, Mode.FORCE))
    assert forced["orders"] == "failed: build_error"
    assert place.rows("select count(*) from main.paid") == [(0,)]
    after = outcomes(run(shop, place, Program(place.command)))
    assert after["orders"].startswith("built")
    assert place.rows("select paid from main.paid") == [(10,)]
