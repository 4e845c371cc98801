"""DuckDB in `profiles.yml`, as dbt-duckdb writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from sao_dagster.warehouses.duckdb.attached import absolute
from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse
from sao_dagster.warehouses.registry import WarehouseProfile


class DuckDBProfile(WarehouseProfile):
    """An output of `type: duckdb`; `DuckDBWarehouse` says what the keys mean.

    Attributes:
        database: Accepted, as in dbt; it is the name of the file.
    """

    title: ClassVar[str] = "DuckDB"
    deployment: ClassVar[tuple[str, ...]] = ("path", "threads", "wait_seconds")

    path: str = ":memory:"
    schema_: str = Field(default="main", alias="schema")
    database: str | None = None
    extensions: list[str] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    config_options: dict[str, Any] = Field(default_factory=dict)
    attach: list[dict[str, Any]] = Field(default_factory=list)
    wait_seconds: float = Field(default=300.0, ge=0)

    def warehouse(self, name: str, root: Path) -> DuckDBWarehouse:
        """Return the warehouse, with paths from the project's folder."""
        return DuckDBWarehouse(
            path=absolute(self.path, root),
            schema=self.schema_,
            name=name,
            threads=self.threads,
            extensions=tuple(self.extensions),
            settings=self.settings,
            attach=tuple({**each, "path": absolute(str(each["path"]), root)} for each in self.attach),
            config_options=self.config_options,
            wait_seconds=self.wait_seconds,
        )
