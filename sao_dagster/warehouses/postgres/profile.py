"""PostgreSQL in `profiles.yml`, as dbt-postgres writes it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import AliasChoices, ConfigDict, Field

from sao_dagster.warehouses.postgres.warehouse import PostgresWarehouse
from sao_dagster.warehouses.registry import WarehouseProfile


class PostgresProfile(WarehouseProfile):
    """An output of `type: postgres`; `PostgresWarehouse` says what the keys mean."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    title: ClassVar[str] = "PostgreSQL"
    deployment: ClassVar[tuple[str, ...]] = ("host", "port", "user", "password", "threads")

    host: str
    user: str
    password: str | None = Field(default=None, validation_alias=AliasChoices("password", "pass"), repr=False)
    port: int = 5432
    dbname: str = Field(validation_alias=AliasChoices("dbname", "database"))
    schema_: str = Field(alias="schema")
    role: str | None = None
    search_path: str | None = None
    connect_timeout: int = Field(default=10, ge=1)
    keepalives_idle: int = 0
    retries: int = Field(default=1, ge=0)
    sslmode: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    sslrootcert: str | None = None

    def warehouse(self, name: str, root: Path) -> PostgresWarehouse:
        """Return the warehouse."""
        given = {key: getattr(self, key) for key in ("sslmode", "sslcert", "sslkey", "sslrootcert")}
        options = {key: value for key, value in given.items() if value is not None}
        if self.keepalives_idle:
            options["keepalives_idle"] = str(self.keepalives_idle)
        return PostgresWarehouse(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.dbname,
            schema=self.schema_,
            name=name,
            threads=self.threads,
            role=self.role,
            search_path=self.search_path,
            retries=self.retries,
            connect_timeout=self.connect_timeout,
            options=options,
        )
