"""A warehouse of which only its profile is known: nothing here can open it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from sao_dagster.core.messages import Message
from sao_dagster.errors import UnsupportedError
from sao_dagster.sql.dialects import dialect_of_adapter
from sao_dagster.warehouses.protocol import Capabilities, Session


@dataclass(frozen=True, kw_only=True)
class DescribedWarehouse:
    """What a profile says of a warehouse, for which dbt may have an adapter.

    Attributes:
        type: The `type` of the profile.
        name: The name of the target.
        database: The database that models are built in if nothing else is said.
        schema: The schema likewise.
        place: Where the database is.
        threads: How many models are built at once.
        target: What Jinja's `target` shows.
        capabilities: What it can do.
    """

    type: str
    name: str
    database: str | None = None
    schema: str = ""
    place: str = ""
    threads: int = 1
    target: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Capabilities = field(default_factory=Capabilities)

    @property
    def dialect(self) -> str:
        """Sqlglot's name of the SQL dialect."""
        return dialect_of_adapter(self.type)

    def session(
        self,
        *,
        read_only: bool = False,
        on_message: Callable[[Message], None] | None = None,
        wait_seconds: float | None = None,
    ) -> AbstractContextManager[Session]:
        """Refuse to open it.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(f"a warehouse of type {self.type!r} is reached by dbt's adapter alone")
