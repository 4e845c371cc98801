"""Warehouses that are reached through an adapter of dbt alone, and a small project in each of them."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import yaml

from tests.dbt.project import LittleProject

FILES = {
    "dbt_project.yml": """
name: bakery
version: "1.0"
profile: bakery
models:
  bakery:
    +materialized: table
""",
    "models/schema.yml": """
version: 2
sources:
  - name: raw
    schema: "{{ target.schema }}"
    tables:
      - name: sales
        loaded_at_field: loaded_at
      - name: prices
models:
  - name: loaves
    columns: [{name: loaf, data_tests: [unique, not_null]}]
""",
    "models/stg_sales.sql": "{{ config(materialized='view') }} select id, loaf, pieces from {{ source('raw', 'sales') }}",
    "models/loaves.sql": "select loaf, sum(pieces) as pieces from {{ ref('stg_sales') }} group by loaf",
    "models/dark.sql": "select l.loaf from {{ ref('loaves') }} l join {{ ref('kinds') }} k on k.loaf = l.loaf where k.kind = 'dark'",
    "models/log.sql": """
{{ config(materialized='incremental', unique_key='id') }}
select id, pieces from {{ ref('stg_sales') }} {% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}
""",
    "tests/never_less_than_none.sql": "select * from {{ ref('loaves') }} where pieces < 0",
    "seeds/kinds.csv": "loaf,kind\nrye,dark\noat,light\n",
}
RAW = (
    "create table sales (id int, loaf varchar, pieces int, loaded_at timestamp)",
    "insert into sales values (1, 'rye', 3, '2026-01-01 00:00:00'), (2, 'oat', 4, '2026-01-01 00:00:00')",
    "create table prices (loaf varchar, price int)",
    "insert into prices values ('rye', 5), ('oat', 6)",
)
MODELS = {"stg_sales", "loaves", "dark", "log", "kinds"}


@dataclass
class Bakery(LittleProject):
    """The project on one warehouse."""

    def create(self) -> Bakery:
        """Write the project and its raw data."""
        for name, text in FILES.items():
            self.write(name, text)
        output = {"target": "dev", "outputs": {"dev": self._output()}}
        self.write("profiles.yml", yaml.safe_dump({"bakery": output}))
        self.write("sao.yml", f"dbt: {self.python}\n")
        self.execute(*RAW)
        return self

    @abstractmethod
    def _output(self) -> dict[str, Any]: ...

    @abstractmethod
    def execute(self, *statements: str) -> None: ...

    @abstractmethod
    def rows(self, table: str) -> list[tuple[Any, ...]]: ...


@dataclass
class OnSQLite(Bakery):
    """On SQLite: no schemas, no versions of any kind, and dbt-sqlite drops a table before it builds it."""

    def _output(self) -> dict[str, Any]:
        place = self.folder / "db"
        place.mkdir(exist_ok=True)
        return {
            "type": "sqlite",
            "threads": 1,
            "database": "database",
            "schema": "main",
            "schemas_and_paths": {"main": str(place / "main.db")},
            "schema_directory": str(place),
        }

    def execute(self, *statements: str) -> None:
        """Run statements in the warehouse."""
        with closing(sqlite3.connect(self.folder / "db/main.db")) as connection, connection:
            for each in statements:
                connection.execute(each)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return the rows of a table, sorted."""
        with closing(sqlite3.connect(self.folder / "db/main.db")) as connection:
            return sorted(connection.execute(f"select * from {table}").fetchall(), key=str)


BEDS: dict[str, tuple[str, type[Bakery]]] = {"sqlite": ("SAO_TEST_DBT_SQLITE", OnSQLite)}
"""By name, the environment variable that names a Python with the adapter, and the project there."""
