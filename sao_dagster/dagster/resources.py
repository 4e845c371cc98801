"""The warehouse as a Dagster resource, so that a deployment can say where a run builds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Optional

import dagster as dg
from pydantic import Field, create_model

from sao_dagster.dbt.warehouse import DbtWarehouse
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import Warehouse
from sao_dagster.warehouses.registry import profile_of


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


PROJECT_WAREHOUSE = ProjectWarehouse()
"""The default of all projects, so that the definitions of several can be merged."""


class DeployedWarehouse(WarehouseResource):
    """Another way to the project's warehouse, for those of one type: what is set takes the place of what the profile says.

    Database and schema are those of the project, since its SQL was rendered with them.

    Attributes:
        kind: The type.
    """

    kind: ClassVar[str]

    def warehouse(self, declared: Warehouse) -> Warehouse:
        """Return the project's warehouse, reached in this way."""
        if isinstance(declared, DbtWarehouse):
            raise WarehouseError(
                "dbt builds where its profile says; leave the resource out, or set executor: native in sao.yml"
            )
        profile = profile_of(self.kind)
        if declared.type != self.kind:
            raise WarehouseError(
                f"the project builds into {declared.type}, and the resource is for {profile.title or self.kind}"
            )
        given = {name: value for name in profile.deployment if (value := getattr(self, name)) is not None}
        changed = profile.deployed(declared, given)
        if changed.database != declared.database:
            raise WarehouseError(
                f"the resource leads to a database {changed.database!r}, and that of the project is {declared.database!r}; "
                f"relations are qualified with that name, so the two must be the same"
            )
        return changed


class DuckDBResource(DeployedWarehouse):
    """A DuckDB file in place of the project's; it has the same name, since relations are qualified with it.

    Attributes:
        path: The file.
        threads: How many models are built at once; None for the project's setting.
        wait_seconds: How long to wait for a file that another process holds; None for the project's setting.
    """

    kind: ClassVar[str] = "duckdb"

    path: str
    threads: int | None = None
    wait_seconds: float | None = None


class PostgresResource(DeployedWarehouse):
    """Another way to the project's PostgreSQL database: what is not set stays as the profile has it.

    Attributes:
        host: Where the server is.
        port: Its port.
        user: As whom to connect.
        password: The user's password; `EnvVar` keeps it out of the code.
        threads: How many models are built at once.
    """

    kind: ClassVar[str] = "postgres"

    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = None
    threads: int | None = None


def resource_for(kind: str) -> type[DeployedWarehouse]:
    """Return the resource for warehouses of a type, made from the fields that its profile has for deployments.

    For warehouses of other packages; `DuckDBResource` and `PostgresResource` are written out.

        SQLiteResource = resource_for("sqlite")
        defs = definitions(project, warehouse=SQLiteResource(path=EnvVar("SHOP_FILE")))

    Raises:
        UnsupportedError: There is no such type.
    """
    profile = profile_of(kind)
    fields: dict[str, Any] = {}
    for name in profile.deployment:
        field = profile.model_fields[name]
        fields[name] = (Optional[field.annotation], Field(default=None, description=field.description))  # noqa: UP045 - made of a value
    made = create_model(f"{profile.__name__.removesuffix('Profile')}Resource", __base__=DeployedWarehouse, **fields)
    made.kind = kind
    made.__doc__ = (
        f"Another way to the project's {profile.title or kind} warehouse; what is not set stays as the profile has it."
    )
    return made
