"""Connections to the database of the shared state: SQLite or PostgreSQL, short transactions, outages ridden out."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, Concatenate, ParamSpec, TypeVar

from sao_dagster.connection_pool import ConnectionPool
from sao_dagster.errors import StateError
from sao_dagster.state.statements import Transaction
from sao_dagster.state.url import StateUrl, parse_url, without_password

PATIENCE = 30.0  # seconds for which a database that cannot be reached is asked again
BUSY_SECONDS = 30  # how long SQLite waits for another writer
STOPPED_SECONDS = 10  # after which PostgreSQL ends a transaction whose process does not go on with it
CONNECT_SECONDS = "10"  # how long PostgreSQL may take to answer, where the URL does not say
P = ParamSpec("P")
DAMAGED = (KeyError, TypeError, ValueError, AttributeError)
"""What is raised where something stored is not of the form in which it was written."""
R = TypeVar("R")


class StateLostError(StateError):
    """The database cannot be reached just now."""


class StateConnection:
    """A database whose transactions say whether they write.

    Args:
        url: See `parse_url`; `sqlite://` alone lives in memory, for tests.
        read_only: Whether the database refuses to write.

    Raises:
        StateError: There is no such kind of database, or its driver is not installed.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        try:
            parsed = parse_url(url)
            self._where = without_password(url)
            self._driver = _driver(parsed)
            self._pool = _pool(parsed, read_only=read_only)
        except ModuleNotFoundError as error:
            raise StateError(
                f"the state is in PostgreSQL, and its driver is not installed: pip install 'sao-dagster[postgres]' ({error})"
            ) from error
        except (OSError, ValueError) as error:
            raise StateError(f"the state cannot be opened: {_reason(error)}") from error
        self.is_sqlite = parsed.is_sqlite
        """Whether the database is SQLite, which has one writer at a time."""

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Transaction]:
        """Begin a transaction, and commit it at the end; one that ends with an error leaves nothing.

        Raises:
            StateLostError: The connection broke, or there is none; to be tried again.
            StateError: The database refused.
        """
        connection = None
        try:
            connection = self._begun(write=write)
            yield Transaction(connection, is_sqlite=self.is_sqlite)
            connection.execute("commit")
        except BaseException as error:
            lost = connection is not None and not self._rolled_back(connection)
            if connection is not None:
                self._pool.give_back(connection, usable=not lost)
            if not isinstance(error, (self._driver.Error, TimeoutError)):
                raise
            away = lost or isinstance(error, (self._driver.OperationalError, self._driver.InterfaceError))
            kind = StateLostError if away and not self.is_sqlite else StateError
            raise kind(f"the state in {self._where} cannot be read or written: {_reason(error)}") from error
        self._pool.give_back(connection)

    def _begun(self, *, write: bool) -> Any:
        """Return a connection on which a transaction has begun.

        A writer takes its place in SQLite's queue at once; a reader that turned writer could only fail. Where a server was restarted, all
        connections that were kept are gone, which the first of them shows; then a new one says whether the server is there.
        """
        statement = "begin immediate" if write and self.is_sqlite else "begin"
        try:
            return self._begun_on(self._pool.take(), statement)
        except self._driver.Error:
            if self.is_sqlite:
                raise
        self._pool.close()
        return self._begun_on(self._pool.take(), statement)

    def _begun_on(self, connection: Any, statement: str) -> Any:
        """Return a connection on which a transaction has begun; one on which none begins is given back."""
        try:
            connection.execute(statement)
        except BaseException as error:
            self._pool.give_back(connection, usable=self.is_sqlite and isinstance(error, self._driver.Error))
            raise
        return connection

    def _rolled_back(self, connection: Any) -> bool:
        """End a transaction without a trace; return whether its connection can be used again."""
        if self.is_sqlite:
            with suppress(self._driver.Error):  # it may have ended the transaction by itself
                connection.execute("rollback")
            return not connection.in_transaction
        try:
            connection.execute("rollback")
        except self._driver.Error:
            return False
        return not connection.closed

    def now(self, transaction: Transaction) -> float:
        """Return the database's own time (seconds since 1970), on which all machines agree."""
        if self.is_sqlite:
            return float(transaction.value("select (julianday('now') - 2440587.5) * 86400.0"))
        return float(transaction.value("select extract(epoch from clock_timestamp())"))

    def take_turns(self, transaction: Transaction, what: str) -> None:
        """Let transactions that write the same thing follow each other; in SQLite all of them do."""
        if not self.is_sqlite:
            transaction.execute("select pg_advisory_xact_lock(hashtextextended(:what, 0))", {"what": what})

    def close(self) -> None:
        """Let go of connections."""
        self._pool.close()


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


def _driver(url: StateUrl) -> ModuleType:
    """Return the module of the driver, which has the classes of its errors."""
    if url.is_sqlite:
        return sqlite3
    import psycopg  # an extra

    return psycopg


def _pool(url: StateUrl, *, read_only: bool) -> ConnectionPool[Any]:
    """Return the connections to a database; this module says when transactions begin, and not a driver."""
    if not url.is_sqlite:
        return ConnectionPool(lambda: _postgres(url, read_only=read_only), keep=5, most=25, patience=BUSY_SECONDS)
    if not url.file:  # one connection, which is the database; threads take turns
        return ConnectionPool(lambda: _sqlite(":memory:", read_only=False), keep=1, most=1, patience=BUSY_SECONDS)
    if not read_only:
        Path(url.file).parent.mkdir(parents=True, exist_ok=True)
    elif not Path(url.file).is_file():
        raise FileNotFoundError(f"there is no file {url.file}")
    return ConnectionPool(lambda: _sqlite(url.file, read_only=read_only), keep=5)


def _postgres(url: StateUrl, *, read_only: bool) -> Any:
    import psycopg
    from psycopg.conninfo import make_conninfo

    said = make_conninfo(**{"connect_timeout": CONNECT_SECONDS, **url.parameters})
    # no statement is prepared on the server: its result would be refused once another process has added a column
    connection = psycopg.connect(said, autocommit=True, prepare_threshold=None)
    # a process that stops in the middle of a transaction, be it a heartbeat, must not hold up the others for good
    connection.execute(f"set idle_in_transaction_session_timeout = '{STOPPED_SECONDS}s'".encode())
    if read_only:
        connection.execute("set default_transaction_read_only = on")
    return connection


def _sqlite(file: str, *, read_only: bool) -> sqlite3.Connection:
    """Return a connection to a file in WAL mode, which threads may hand to each other."""
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    if read_only:
        connection.execute("pragma query_only = on")
    else:
        _use_wal(connection)
        connection.execute("pragma synchronous = normal")
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and a writer of a file not wait for each other. Whoever reads it while that is changed is waited for here: SQLite refuses at once."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
        time.sleep(0.01)


def _reason(error: Exception) -> str:
    """Return what the driver said in its first line, which holds neither the statement nor the URL with its password."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
