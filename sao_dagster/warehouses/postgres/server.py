"""Connecting to a PostgreSQL server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import psycopg

from sao_dagster.core.relations import quote
from sao_dagster.errors import WarehouseError

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where to connect to, and as whom; see `PostgresWarehouse` for what the attributes mean."""

    host: str
    port: int
    user: str
    dbname: str
    password: str | None = field(repr=False)
    role: str | None
    search_path: str | None
    retries: int
    connect_timeout: int
    options: Mapping[str, str]

    def connect(self) -> Connection:
        """Return a connection in autocommit mode; tried again where the server cannot be reached.

        Raises:
            WarehouseError: It cannot be reached, or lets nobody in.
        """
        left = self.retries
        while True:
            try:
                return self._connected()
            except psycopg.Error as error:
                if left <= 0 or not isinstance(error, psycopg.OperationalError):
                    where = f"PostgreSQL at {self.host}:{self.port}/{self.dbname}"
                    raise WarehouseError(f"{where}: {words_of(error)}") from error
            left -= 1
            time.sleep(1.0)

    def _connected(self) -> Connection:
        path = {"options": f"-c search_path={self.search_path.replace(' ', '')}"} if self.search_path else {}
        connection = psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.dbname,
            connect_timeout=self.connect_timeout,
            application_name="sao_dagster",
            autocommit=True,
            prepare_threshold=None,
            **cast("dict[str, Any]", {**path, **self.options}),
        )
        self._take_on_role(connection)
        return connection

    def reset(self, connection: Connection) -> bool:
        """Bring a connection back to what it was when it was made, and return whether that could be done."""
        try:
            connection.execute("discard all")
            self._take_on_role(connection)
        except psycopg.Error:
            return False
        return True

    def _take_on_role(self, connection: Connection) -> None:
        if self.role:
            connection.execute(f"set role {quote(self.role)}".encode())


def words_of(error: psycopg.Error) -> str:
    """Return what the server said, with its hint, or what the driver said."""
    said = error.diag.message_primary
    if said is None:
        return str(error).strip()
    return "; ".join(part for part in (said, error.diag.message_detail, error.diag.message_hint) if part)
