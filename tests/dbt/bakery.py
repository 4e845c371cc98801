"""A small project for warehouses that are reached through an adapter of dbt alone."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

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
    """The project on one warehouse.

    Attributes:
        versions: What shows there that a table was written to: nothing, or `exact` versions.
        takes_two: Whether two processes may have it open at once.
        drops_views: Whether dbt can put a table in the place of a view.
        increments_of_none_are_news: Whether an increment of no rows makes another version of its table.
        upkeep: Statements after which `prices` has the version that it had.
        at: What stands before names of tables where nothing says in which schema they are.
        branch: The schema of the target `branch`, which is another environment.
        branch_database: Its database, where that is another one.
    """

    versions: ClassVar[str] = ""
    takes_two: ClassVar[bool] = True
    drops_views: ClassVar[bool] = True
    at: ClassVar[str] = ""
    increments_of_none_are_news: ClassVar[bool] = False
    upkeep: ClassVar[tuple[str, ...]] = (
        "comment on table prices is 'in cents'",
        "insert into prices select * from prices where false",
    )

    branch: ClassVar[str] = "branch"
    branch_database: ClassVar[str] = ""

    def create(self) -> Bakery:
        """Write the project and its raw data."""
        for name, text in FILES.items():
            self.write(name, text)
        dev = self._output()
        branch = {**dev, "schema": self.branch}
        place = dev["schema"]
        if self.branch_database:
            branch["database"] = self.branch_database
            place += f'"\n    database: "{dev["database"]}'
        self.replace("models/schema.yml", "{{ target.schema }}", place)
        output = {"target": "dev", "outputs": {"dev": dev, "branch": branch}}
        self.write("profiles.yml", yaml.safe_dump({"bakery": output}))
        self.write("sao.yml", f"executor: dbt\ndbt: {self.python}\n")
        self.execute(*RAW)
        return self

    def close(self) -> None:
        """Stop what was started for it."""

    @abstractmethod
    def _output(self) -> dict[str, Any]: ...

    @abstractmethod
    def execute(self, *statements: str) -> Any: ...

    @abstractmethod
    def rows(self, table: str) -> list[tuple[Any, ...]]: ...
