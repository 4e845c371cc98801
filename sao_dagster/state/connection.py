"""Connections to the database of the shared state: SQLite or PostgreSQL, short transactions, outages ridden out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import QueuePool

from sao_dagster.errors import StateError

PATIENCE = 30.0  # seconds for which a database that cannot be reached is asked again
BUSY_SECONDS = 30  # how long SQLite waits for another writer
STOPPED_SECONDS = 10  # after which PostgreSQL ends a transaction whose process does not go on with it
_TURN = text("select pg_advisory_xact_lock(hashtextextended(:what, 0))")
P = ParamSpec("P")
DAMAGED = (KeyError, TypeError, ValueError, AttributeError)
"""What is raised where something stored is not of the form in which it was written."""
R = TypeVar("R")


class StateLostError(StateError):
    """The database cannot be reached just now."""


class StateConnection:
    """An engine whose transactions say whether they write.

    Args:
        url: An SQLAlchemy URL; `sqlite://` alone lives in memory, for tests.
        read_only: Whether the database refuses to write.

    Raises:
        StateError: There is no such kind of database, or its driver is not installed.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        try:
            parsed = make_url(url)
            self._database = _open(_with_driver(parsed), read_only=read_only)
            self.is_in_memory = self.is_sqlite and _is_in_memory(parsed)
        except ModuleNotFoundError as error:
            raise StateError(
                f"the state is in PostgreSQL, and its driver is not installed: pip install 'sao-dagster[postgres]' ({error})"
            ) from error
        except (ArgumentError, NoSuchModuleError, OSError, ValueError) as error:
            raise StateError(f"the state cannot be opened: {_reason(error)}") from error
        self._writer = self._database.execution_options(sao_write=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite, which has one writer at a time."""
        return self._database.dialect.name == "sqlite"

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Connection]:
        """Begin a transaction, and commit it at the end.

        Raises:
            StateLostError: The connection broke, or there is none; to be tried again.
            StateError: The database refused.
        """
        try:
            with (self._writer if write else self._database).begin() as connection:
                yield connection
        except (OperationalError, InterfaceError) as error:
            kind = StateError if self.is_sqlite else StateLostError
            raise kind(f"the state cannot be read or written: {_reason(error)}") from error
        except SQLAlchemyError as error:
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            kind = StateLostError if lost else StateError
            raise kind(f"the state cannot be read or written: {_reason(error)}") from error

    def now(self, connection: Connection) -> float:
        """Return the database's own time (seconds since 1970), on which all machines agree."""
        if self.is_sqlite:
            return float(connection.execute(text("select (julianday('now') - 2440587.5) * 86400.0")).scalar_one())
        return float(connection.execute(text("select extract(epoch from clock_timestamp())")).scalar_one())

    def take_turns(self, connection: Connection, what: str) -> None:
        """Let transactions that write the same thing follow each other; in SQLite all of them do."""
        if not self.is_sqlite:
            connection.execute(_TURN, {"what": what})

    def close(self) -> None:
        """Let go of connections."""
        self._database.dispose()


def ridden_out(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Return a method, each call of which is one transaction, so that it is tried again while the database is away."""

    @wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        give_up = time.monotonic() + PATIENCE
        pause = 0.05
        while True:
            try:
                return method(self, *args, **kwargs)
            except StateLostError:
                if time.monotonic() + pause > give_up:
                    raise
            except DAMAGED as error:
                said = f"the shared state is damaged: {type(error).__name__}: {error}"
                raise StateError(
                    f"{said}; restore it from a backup, or remove it and everything is built once"
                ) from error
            time.sleep(pause)
            pause = min(1.0, pause * 2)

    return call


def _is_in_memory(url: URL) -> bool:
    return url.database in (None, "", ":memory:")


def _with_driver(url: URL) -> URL:
    """Return a PostgreSQL URL as psycopg 3 takes it, whatever driver it names."""
    if url.get_backend_name() in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _open(url: URL, *, read_only: bool) -> Engine:
    """Return an engine for a URL: SQLite in WAL mode with transactions of our own, or PostgreSQL, which pings before it reuses."""
    if url.get_backend_name() != "sqlite":
        engine = create_engine(
            url, pool_pre_ping=True, pool_size=5, max_overflow=20, connect_args={"connect_timeout": 10}
        )

        @event.listens_for(engine, "connect")
        def _limit(connection: Any, _: object) -> None:
            # a process that stops in the middle of a transaction, be it a heartbeat, must not hold up the others for good
            connection.execute(f"set idle_in_transaction_session_timeout = '{STOPPED_SECONDS}s'")
            if read_only:
                connection.execute("set default_transaction_read_only = on")
            connection.commit()

        return engine
    if _is_in_memory(url):
        # one connection, which is the database; threads take turns
        engine = create_engine(
            url, poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False}
        )
    else:
        if not read_only:
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        elif not Path(str(url.database)).is_file():
            raise FileNotFoundError(f"there is no file {url.database}")
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # this module says when transactions begin, not the driver
        if read_only:
            connection.execute("pragma query_only = on")
            return
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a writer takes its place in the queue at once; a reader that turned writer could only fail
        write = connection.get_execution_options().get("sao_write")
        connection.exec_driver_sql("begin immediate" if write else "begin")

    return engine


def _reason(error: Exception) -> str:
    """Return what the driver said, without the statement, its values, and the URL with its password."""
    original = getattr(error, "orig", None)
    return str(original or error).splitlines()[0] if str(original or error) else type(error).__name__
