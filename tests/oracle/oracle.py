"""What random histories are judged by: it asks the warehouse, and knows nothing of versions, records or policies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sao_dagster import DuckDBWarehouse
from sao_dagster.warehouses.protocol import Warehouse

Content = Counter[tuple[Any, ...]]


@dataclass
class Built:
    """What the oracle remembers of a build: what was read, and what came out."""

    meaning: tuple[Any, ...]
    inputs: dict[str, Content]
    content: Content
    types: Content
    at: datetime
    changed: bool = True


class Outside:
    """A warehouse, seen from outside."""

    warehouse: Warehouse

    def query(self, sql: str) -> Content:
        with self.warehouse.session() as session:
            return Counter(session.query(sql).rows)

    def execute(self, sql: str) -> None:
        with self.warehouse.session() as session:
            session.execute(sql)

    def kind_of(self, relation: str) -> str | None:
        """Return `table` or `view`; None for what is not there."""
        schema, _, name = relation.partition(".")
        found = self.query(
            f"select case table_type when 'VIEW' then 'view' else 'table' end from information_schema.tables "
            f"where table_schema = '{schema}' and table_name = '{name}'"
        )
        return next((str(row[0]) for row in found), None)


class Schemas(Outside):
    """A database in memory, with a schema for each environment or project that is built in it."""

    warehouse: Warehouse
    drop_behaviour = ""

    def begin(self) -> None:
        """Make an empty database."""
        self.warehouse = DuckDBWarehouse(path=":memory:", threads=2)

    def go_to(self, target: str, schema: str) -> None:
        """Build into a schema from now on, as a target."""
        assert isinstance(self.warehouse, DuckDBWarehouse)
        known = self.warehouse._memory
        self.warehouse = replace(self.warehouse, name=target, schema=schema)
        self.warehouse._memory.update(known)

    def teardown(self) -> None:
        """Let go of the database."""
        if isinstance(getattr(self, "warehouse", None), DuckDBWarehouse):
            self.warehouse._memory.clear()


@dataclass
class Oracle(Outside):
    """The warehouse, with what was built in it."""

    warehouse: Warehouse
    built: dict[str, Built] = field(default_factory=dict)
