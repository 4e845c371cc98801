"""What random histories are judged by: it asks the warehouse, and knows nothing of versions, records or policies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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


@dataclass
class Oracle:
    """The warehouse, seen from outside."""

    warehouse: Warehouse
    built: dict[str, Built] = field(default_factory=dict)

    def query(self, sql: str) -> Content:
        with self.warehouse.session() as session:
            return Counter(session.query(sql).rows)

    def execute(self, sql: str) -> None:
        with self.warehouse.session() as session:
            session.execute(sql)
