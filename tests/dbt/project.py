"""A small project that only dbt can build, on DuckDB and PostgreSQL, and what can be done to it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import yaml

from sao_dagster import SqlProject, load_project, select
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.run.events import Event
from sao_dagster.run.report import RunResult
from tests.postgres import execute

FILES = {
    "dbt_project.yml": """
name: little
version: "1.0"
profile: little
models:
  little:
    +materialized: table
on-run-start: "{{ note_start() }}"
""",
    "macros/all.sql": """
{% macro cents(column) %}({{ column }} * 100){% endmacro %}
{% macro note_start() %}{% if execute %}create table if not exists {{ target.schema }}.starts (id text){% endif %}{% endmacro %}
{% macro columns_of(relation) %}{% for each in adapter.get_columns_in_relation(relation) %}{{ each.name }}{{ ", " if not loop.last }}{% endfor %}{% endmacro %}
""",
    "models/sources.yml": """
version: 2
sources:
  - name: raw
    tables: [{name: orders}, {name: people}]
models:
  - name: orders
    columns:
      - name: id
        data_tests: [unique, not_null]
  - name: totals
    columns:
      - name: person
        data_tests: [not_null]
""",
    "models/stg_orders.sql": "{{ config(materialized='view') }} select id, person, amount from {{ source('raw', 'orders') }}",
    "models/orders.sql": "select id, person, {{ cents('amount') }} as cents from {{ ref('stg_orders') }}",
    "models/people.sql": "select {{ columns_of(source('raw', 'people')) }} from {{ source('raw', 'people') }}",
    "models/totals.sql": "select person, sum(cents) as cents from {{ ref('orders') }} group by 1",
    "models/big.sql": "select count(*) as n from {{ ref('totals') }} where cents > 100000",
    "models/grown.sql": """
{{ config(materialized='incremental', unique_key='id') }}
select id, cents from {{ ref('orders') }} {% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}
""",
    "snapshots/people_over_time.sql": """
{% snapshot people_over_time %}
{{ config(unique_key='id', strategy='check', check_cols=['name'], target_schema='main') }}
select id, name from {{ source('raw', 'people') }}
{% endsnapshot %}
""",
    "tests/no_debts.sql": "select * from {{ ref('orders') }} where cents < 0",
    "seeds/rates.csv": "id,rate\n1,2\n2,3\n",
}
RAW = (
    "create schema raw",
    "create table raw.orders (id int, person int, amount int)",
    "insert into raw.orders values (1, 1, 5), (2, 1, 7), (3, 2, 1)",
    "create table raw.people (id int, name text)",
    "insert into raw.people values (1, 'Ada'), (2, 'Bob')",
)


@dataclass
class LittleProject:
    """The project in a folder.

    Attributes:
        folder: Where it is.
        python: The Python that has dbt.
        url: The PostgreSQL database; None for DuckDB.
        events: What the last run told.
    """

    folder: Path
    python: Path
    url: str | None = None
    events: list[Event] = field(default_factory=list)

    def create(self) -> LittleProject:
        """Write the project and its raw data."""
        for name, text in FILES.items():
            self.write(name, text)
        self.write("profiles.yml", yaml.safe_dump({"little": {"target": "dev", "outputs": {"dev": self._output()}}}))
        self.write("sao.yml", f"executor: dbt\ndbt: {self.python}\n")
        self.execute(*RAW)
        return self

    def _output(self) -> dict[str, Any]:
        if self.url is None:
            return {"type": "duckdb", "path": str(self.folder / "little.duckdb"), "schema": "main", "threads": 2}
        at = psycopg.conninfo.conninfo_to_dict(self.url)
        place = {"host": at["host"], "port": int(str(at["port"])), "user": at["user"], "dbname": at["dbname"]}
        return {"type": "postgres", **place, "password": "none", "schema": "main", "threads": 2}

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace something in a file of the project."""
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def execute(self, *statements: str) -> Any:
        """Run statements in the warehouse."""
        if self.url is not None:
            execute(self.url, *statements)
            return
        with duckdb.connect(str(self.folder / "little.duckdb")) as connection:
            for each in statements:
                connection.execute(each)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return the rows of a table, sorted."""
        if self.url is not None:
            with psycopg.connect(self.url) as server:
                return sorted(server.execute(f"select * from {table}".encode()).fetchall(), key=str)
        with duckdb.connect(str(self.folder / "little.duckdb"), read_only=True) as connection:
            return sorted(connection.execute(f"select * from {table}").fetchall(), key=str)

    def open(self, **options: Any) -> SqlProject:
        """Return the project as it is now."""
        return load_project(self.folder, **options)

    def run(self, *selected: str, mode: Mode = Mode.STATE_AWARE) -> RunResult:
        """Run it."""
        opened = self.open()
        self.events.clear()
        return opened.runner().run(select(opened.project, *selected), mode, on_event=self.events.append)

    def dbt(self, *arguments: str) -> dict[str, tuple[str, int | None]]:
        """Run dbt itself; return status and failures by unique id."""
        program = "import sys; from dbt.cli.main import cli; cli(sys.argv[1:])"
        environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        subprocess.run(
            [self.python, "-c", program, *arguments], cwd=self.folder, env=environment, capture_output=True, check=False
        )
        return self.run_results()

    def run_results(self) -> dict[str, tuple[str, int | None]]:
        """Return what dbt's artifact of the last invocation says: status and failures by unique id."""
        found = json.loads((self.folder / "target/run_results.json").read_text())
        return {each["unique_id"]: (each["status"], each["failures"]) for each in found["results"]}


def outcomes(result: RunResult) -> dict[str, str]:
    """Return what was not reused, with the reason."""
    return {
        each.name: each.decision.reason.value for each in result.models if each.decision.outcome is not Outcome.REUSED
    }
