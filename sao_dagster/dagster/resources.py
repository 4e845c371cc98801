"""The warehouse as a Dagster resource, so that a deployment can say where a run builds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import dagster as dg

from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse
from sao_dagster.warehouses.postgres.warehouse import PostgresWarehouse
from sao_dagster.warehouses.protocol import Warehouse


class WarehouseResource(dg.ConfigurableResource, ABC):  # type: ignore[type-arg]
    """Where runs build. The project's own warehouse is what the SQL was rendered for."""

    @abstractmethod
    def warehouse(self, declared: Warehouse) -> Warehouse:
        """Return the warehouse to use, given the project's own.

        Raises:
            WarehouseError: The two do not fit together.
        """


class ProjectWarehouse(WarehouseResource):
    """The warehouse that the project itself names; the default."""

    def warehouse(self, declared: Warehouse) -> Warehouse:
        """Return the project's own."""
        return declared


class DuckDBResource(WarehouseResource):
    """A DuckDB file in place of the project's; it has the same name, since relations are qualified with it.

    Attributes:
        path: The file.
        threads: How many models are built at once; None for the project's setting.
        wait_seconds: How long to wait for a file that another process holds.
    """

    path: str
    threads: int | None = None
    wait_seconds: float = 300.0

    def warehouse(self, declared: Warehouse) -> Warehouse:
        """Return the project's warehouse at another path."""
        if not isinstance(declared, DuckDBWarehouse):
            raise WarehouseError(f"the project builds into {declared.dialect}, and the resource is for DuckDB")
        changed = replace(
            declared, path=self.path, threads=self.threads or declared.threads, wait_seconds=self.wait_seconds
        )
        if changed.database != declared.database:
            raise WarehouseError(
                f"the file of the resource is called {changed.database!r} and the project's {declared.database!r}; "
                f"relations are qualified with that name, so the two must be the same"
            )
        return changed


class PostgresResource(WarehouseResource):
    """Another way to the project's PostgreSQL database: what is not set stays as the profile has it.

    Database and schema are those of the project, since its SQL was rendered with them.

    Attributes:
        host: Where the server is.
        port: Its port.
        user: As whom to connect.
        password: The user's password; `EnvVar` keeps it out of the code.
        threads: How many models are built at once.
    """

    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = None
    threads: int | None = None

    def warehouse(self, declared: Warehouse) -> Warehouse:
        """Return the project's warehouse, reached in this way."""
        if not isinstance(declared, PostgresWarehouse):
            raise WarehouseError(f"the project builds into {declared.dialect}, and the resource is for PostgreSQL")
        given = {name: getattr(self, name) for name in ("host", "port", "user", "password", "threads")}
        return replace(declared, **{name: value for name, value in given.items() if value is not None})
