"""A connection to a DuckDB file that dbt's process holds: its cursors are there, and look here like any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb

from sao_dagster.dbt.process import DbtError, DbtProcess


class ChildCursor:
    """One cursor; as much of DuckDB's interface as `DuckDBSession` uses."""

    def __init__(self, process: DbtProcess) -> None:
        self._process = process
        self._number: int = _asked(process, 0, "open")
        self._rows: list[tuple[Any, ...]] = []
        self.description: list[tuple[Any, ...]] | None = None

    def __enter__(self) -> ChildCursor:  # noqa: PYI034 - Python 3.10 has no Self
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def execute(self, sql: str, parameters: Sequence[Any] | None = None) -> ChildCursor:
        """Run a statement, and have its rows."""
        arguments = (sql,) if parameters is None else (sql, list(parameters))
        self.description, self._rows = _asked(self._process, self._number, "execute", *arguments)
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row."""
        return self._rows.pop(0) if self._rows else None

    def begin(self) -> None:
        """Begin a transaction."""
        _asked(self._process, self._number, "begin")

    def commit(self) -> None:
        """Commit it."""
        _asked(self._process, self._number, "commit")

    def rollback(self) -> None:
        """Undo it."""
        _asked(self._process, self._number, "rollback")

    def interrupt(self) -> None:
        """Stop what is running."""
        self._process.asking("interrupt")

    def close(self) -> None:
        """Close it."""
        self._process.asking("cursor", cursor=self._number, name="close", arguments=())


class ChildConnection:
    """The connection of dbt's process."""

    def __init__(self, process: DbtProcess) -> None:
        self._process = process

    def cursor(self) -> ChildCursor:
        """Return a cursor of its own."""
        return ChildCursor(self._process)

    def execute(self, sql: str, parameters: Sequence[Any] | None = None) -> ChildCursor:
        """Run a statement over a cursor of its own."""
        cursor = self.cursor()
        try:
            return cursor.execute(sql, parameters)
        finally:
            cursor.close()

    def close(self) -> None:
        """Leave it open: it is dbt's."""


def _asked(process: DbtProcess, cursor: int, name: str, *arguments: Any) -> Any:
    with duckdb_errors():
        return process.ask("cursor", cursor=cursor, name=name, arguments=arguments)


@contextmanager
def duckdb_errors() -> Iterator[None]:
    """Raise what dbt's process says as DuckDB would."""
    try:
        yield
    except DbtError as error:
        raise duckdb.Error(error.message) from error
