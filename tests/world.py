"""A small project that tests change at will: files, source data, and the clock. On DuckDB, or on PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from psycopg.conninfo import conninfo_to_dict

from sao_dagster.core.decide import Decision
from sao_dagster.core.decide_test import TestDecision
from sao_dagster.core.evidence import KEYS, keys_in
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import Selection, select
from sao_dagster.load import load_project
from sao_dagster.run.events import Event
from sao_dagster.run.report import RunResult
from sao_dagster.run.runner import Runner
from sao_dagster.sql_project import SqlProject
from tests.postgres import execute, fetch

START = datetime(2026, 3, 2, 9, 30, tzinfo=timezone.utc)

PROJECT = """
name: shop
profile: shop
models:
  +materialized: table
"""
PROFILES = """
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: shop.duckdb, threads: 2}
    other: {type: duckdb, path: shop.duckdb, schema: other, threads: 2}
"""


@dataclass
class World:
    """A project folder with its DuckDB file, and a clock that stands still until it is moved."""

    root: Path
    now: datetime = START
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    warehouse: str = field(default="duckdb", init=False)
    state_url: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.write("dbt_project.yml", PROJECT)
        self.write("profiles.yml", PROFILES)
        self.sql("create schema if not exists raw")

    # ------------------------------------------------------------------ changing things

    def write(self, path: str, text: str) -> World:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return self

    def model(self, name: str, sql: str, **config: Any) -> World:
        settings = ", ".join(f"{key}={value!r}" for key, value in config.items())
        head = "{{ config(" + settings + ") }}\n" if config else ""
        return self.write(f"models/{name}.sql", head + sql)

    def source(self, *tables: str, extra: str = "") -> World:
        listed = "\n".join(f"      - name: {table}" for table in tables)
        return self.write("models/sources.yml", f"sources:\n  - name: raw\n    tables:\n{listed}\n{extra}")

    def delete(self, path: str) -> World:
        (self.root / path).unlink()
        return self

    def sql(self, *statements: str) -> World:
        with duckdb.connect(str(self.root / "shop.duckdb")) as connection:
            for statement in statements:
                connection.execute(statement)
        return self

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.root / "shop.duckdb")) as connection:
            return connection.execute(query).fetchall()

    def replace(self, table: str, query: str) -> World:
        """Replace a table by other rows, as somebody else would."""
        return self.sql(f"drop table if exists {table}", f"create table {table} as {query}")

    def columns(self, table: str) -> list[tuple[str, str]]:
        """Return names and types of a table, in order."""
        schema, name = table.split(".")
        return self.rows(
            f"select column_name, lower(data_type) from information_schema.columns "
            f"where table_schema = '{schema}' and table_name = '{name}' order by ordinal_position"
        )

    def wait(self, **duration: float) -> World:
        self.now += timedelta(**duration)
        return self

    # ------------------------------------------------------------------ looking and running

    def opened(self, target: str | None = None, **variables: Any) -> SqlProject:
        state_url = self.state_url or f"sqlite:///{self.root / 'state.db'}"
        opened = load_project(self.root, target=target, variables=variables, state_url=state_url)
        opened.settings = opened.settings.model_copy(update=self.settings)
        return opened

    @property
    def environment(self) -> str:
        """What the state of the project is kept under."""
        planned, _ = self.runner().plan(Selection((), (), ()))
        return planned.environment

    def runner(self, target: str | None = None, **variables: Any) -> Runner:
        opened = self.opened(target, **variables)
        return replace(opened.runner(), clock=lambda: self.now, **self.options)

    def run(
        self,
        include: str | None = None,
        *,
        exclude: str | None = None,
        mode: Mode = Mode.STATE_AWARE,
        tests: bool = True,
        target: str | None = None,
        variables: dict[str, Any] | None = None,
        events: list[Event] | None = None,
    ) -> Run:
        runner = self.runner(target, **(variables or {}))
        selection = select(runner.project, include, exclude)
        if not tests:
            selection = selection.without_tests()
        return Run(runner.run(selection, mode, on_event=None if events is None else events.append))

    def plan(self, include: str | None = None, mode: Mode = Mode.STATE_AWARE) -> dict[str, Decision]:
        runner = self.runner()
        planned, _ = runner.plan(select(runner.project, include), mode)
        self.warnings = planned.warnings
        return dict(planned.decisions)


@dataclass
class PostgresWorld(World):
    """The same in an empty PostgreSQL database."""

    url: str = ""

    def __post_init__(self) -> None:
        self.warehouse = "postgres"
        super().__post_init__()
        at = conninfo_to_dict(self.url)
        common = f"type: postgres, host: {at['host']}, port: {at['port']}, user: {at['user']}, dbname: {at['dbname']}"
        self.write(
            "profiles.yml",
            f"shop:\n  target: dev\n  outputs:\n    dev: {{{common}, schema: main, threads: 2}}\n"
            f"    other: {{{common}, schema: other, threads: 2}}\n",
        )

    @property
    def database(self) -> str:
        return str(conninfo_to_dict(self.url)["dbname"])

    def role(self, name: str) -> str:
        """Make a role without any rights, and return its name."""
        role = f"{name}_{self.database}"
        self.sql(f"create role {role}")
        return role

    def sql(self, *statements: str) -> PostgresWorld:
        execute(self.url, *statements)
        return self

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return fetch(self.url, query)


@dataclass(frozen=True)
class Run:
    """The result of a run, in a form that is short to assert on; its evidence is what the table of keys says."""

    result: RunResult

    def __post_init__(self) -> None:
        for each in (*self.result.models, *self.result.tests):
            assert KEYS.keys() >= {*keys_in(each.decision.evidence)}, each.decision

    @property
    def outcomes(self) -> dict[str, str]:
        return {
            each.name: f"{each.decision.outcome.value}: {each.decision.reason.value}" for each in self.result.models
        }

    @property
    def built(self) -> set[str]:
        return {each.name for each in self.result.models if each.decision.outcome.value == "built"}

    def decision(self, name: str) -> Decision:
        return next(each.decision for each in self.result.models if each.name == name)

    @property
    def tests(self) -> dict[str, str]:
        return {
            each.test.name: f"{each.decision.outcome.value}: {each.verdict.value if each.verdict else '-'}"
            for each in self.result.tests
        }

    def test(self, name: str) -> TestDecision:
        return next(each.decision for each in self.result.tests if each.test.name == name)


WORLDS: dict[str, Callable[[Path, pytest.FixtureRequest], World]] = {
    "duckdb": lambda folder, _: World(folder),
    "postgres": lambda folder, request: PostgresWorld(folder, url=request.getfixturevalue("postgres").database()),
}
"""How a scenario gets an empty project on each warehouse. All that is said of warehouses in tests for all of them is said here."""

on_each_warehouse = pytest.mark.warehouse(*WORLDS)
"""The `pytestmark` of a module whose scenarios run on each of them, besides those with a mark of their own."""


def four_in_a_row(world: World) -> World:
    """Make four models, each of which reads the one before it; none is built."""
    world.sql("create table raw.orders as select 1 as id, 10 as amount").source("orders")
    world.model("stg", "select id, amount from {{ source('raw', 'orders') }}", materialized="view")
    world.model("orders", "select id, amount from {{ ref('stg') }}")
    world.model("totals", "select count(*) as n, sum(amount) as amount from {{ ref('orders') }}")
    world.model("report", "select amount from {{ ref('totals') }}")
    return world


def state_in(file: Path) -> list[str]:
    """Return all that a state in SQLite holds; its bytes may change when somebody who only reads it is the last to leave."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return [*connection.iterdump()]
