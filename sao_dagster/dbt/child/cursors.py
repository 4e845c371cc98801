"""Cursors of DuckDB for the other side: while this process has the file, nobody else can open it."""

from __future__ import annotations

import threading
from typing import Any


class Cursors:
    """Open cursors by number; each is used by one request at a time."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._handle: Any = None
        self._open: dict[int, Any] = {}
        self._next = 0
        self._lock = threading.Lock()

    def answer(self, cursor: int, name: str, arguments: tuple[Any, ...]) -> Any:
        """Do something with a cursor: `open`, `close`, `execute`, `begin`, `commit`, `rollback`; `execute` answers with columns and rows."""
        if name == "open":
            return self._opened()
        if name == "close":
            with self._lock:
                handle = self._open.pop(cursor)
            handle.close()
            return None
        found = _cursor_of(self._open[cursor])
        if name != "execute":
            getattr(found, name)()
            return None
        found.execute(*arguments)
        if found.description is None:
            return None, []
        return [tuple(map(_plain, column)) for column in found.description], found.fetchall()

    def hold(self) -> None:
        """Keep the file to this process, if there is one: nobody else writes to it until `leave`."""
        if self._adapter.type() == "duckdb":
            with self._lock:
                self._held()

    def interrupt(self) -> None:
        """Stop all statements."""
        with self._lock:
            for each in self._open.values():
                _cursor_of(each).interrupt()

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            for each in self._open.values():
                each.close()
            self._open.clear()
            if self._handle is not None:
                self._handle.close()
                self._handle = None

    def leave(self) -> None:
        """Leave the file to others: dbt-duckdb keeps it open until the process ends."""
        self.close()
        self._adapter.cleanup_connections()
        manager = type(self._adapter.connections)
        environment = getattr(manager, "_ENV", None)
        if environment is not None:
            environment.close()
            manager._ENV = None

    def _opened(self) -> int:
        with self._lock:
            environment = self._held()
            self._next += 1
            self._open[self._next] = environment.handle()
            return self._next

    def _held(self) -> Any:
        """Return dbt-duckdb's environment, with the file open until it is left."""
        if self._handle is None:
            with self._adapter.connection_named("sao_cursors"):
                _ = self._adapter.connections.get_thread_connection().handle  # opens the environment
                self._handle = self._adapter.connections.env().handle()  # keeps the file open between two nodes
        return self._adapter.connections.env()


def _cursor_of(handle: Any) -> Any:
    """Return DuckDB's own cursor, with all that dbt-duckdb sets in one."""
    return handle.cursor()._cursor


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, bool)) else str(value)
