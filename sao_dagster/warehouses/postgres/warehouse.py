"""PostgreSQL as a warehouse: many processes build in it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sao_dagster.core.messages import Message
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import Capabilities, VersionsBy, shown_target

if TYPE_CHECKING:
    from sao_dagster.warehouses.postgres.session import PostgresSession


@dataclass(frozen=True, kw_only=True)
class PostgresWarehouse:
    """A PostgreSQL database (14 or newer); the names are those of dbt's profiles.

    Attributes:
        host: Where the server is.
        user: As whom to connect.
        dbname: The database; everything that is built or read is in it.
        schema: The default schema of models.
        name: The name of the target.
        threads: How many models are built at once.
        password: The user's password; None where the server, `PGPASSWORD` or `~/.pgpass` settles that.
        role: A role to take on after connecting.
        search_path: Where names without a schema are looked for; None for the server's setting.
        retries: How often to try again when the server cannot be reached.
        connect_timeout: How long to wait for the server (seconds).
        options: Further parameters of libpq, such as `sslmode`.
    """

    host: str
    user: str
    dbname: str
    schema: str
    port: int = 5432
    name: str = "dev"
    threads: int = 4
    password: str | None = field(default=None, repr=False)
    role: str | None = None
    search_path: str | None = None
    retries: int = 1
    connect_timeout: int = 10
    options: Mapping[str, str] = field(default_factory=dict)
    type: str = field(default="postgres", init=False)
    dialect: str = field(default="postgres", init=False)

    @property
    def database(self) -> str:
        """The database, under the name that all warehouses have for it."""
        return self.dbname

    @property
    def place(self) -> str:
        """The server and the database."""
        return f"{self.host}:{self.port}/{self.dbname}"

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; anybody may write at any time."""
        return Capabilities(
            build_ids=True,
            sizes=True,
            transactional_ddl=True,
            source_versions=VersionsBy.CONTENT,
            model_versions=VersionsBy.CONTENT,
        )

    @property
    def target(self) -> Mapping[str, Any]:
        """What Jinja's `target` shows."""
        return shown_target(self, host=self.host, port=self.port, user=self.user)

    @contextmanager
    def session(
        self,
        *,
        read_only: bool = False,
        on_message: Callable[[Message], None] | None = None,
        wait_seconds: float | None = None,
    ) -> Iterator[PostgresSession]:
        """Return an open session; there is nothing to wait for, since the server takes many at once."""
        try:
            from sao_dagster.warehouses.postgres.server import Server
            from sao_dagster.warehouses.postgres.session import PostgresSession
        except ModuleNotFoundError as error:
            raise WarehouseError(
                f"the target {self.name!r} is PostgreSQL, and its driver is not installed: pip install 'sao-dagster[postgres]' ({error})"
            ) from error
        server = Server(
            host=self.host,
            port=self.port,
            user=self.user,
            dbname=self.dbname,
            password=self.password,
            role=self.role,
            search_path=self.search_path,
            retries=self.retries,
            connect_timeout=self.connect_timeout,
            options=self.options,
        )
        session = PostgresSession(server, self.schema, self.threads)
        try:
            yield session
        finally:
            session.close()
