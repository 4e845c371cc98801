"""Statements of the shared state: one text for SQLite and PostgreSQL, whose values are bound by name."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

KEYS: Mapping[str, tuple[str, ...]] = {
    "sao_branches": ("environment",),
    "sao_builds": ("environment", "model"),
    "sao_contents": ("environment",),
    "sao_environments": ("place",),
    "sao_leases": ("environment", "model"),
    "sao_published": ("environment",),
    "sao_runs": ("run_id",),
    "sao_sequences": ("environment",),
    "sao_shown": ("environment", "scope", "name"),
    "sao_sql": ("id",),
    "sao_tests": ("environment", "test"),
}
"""By table, what its rows are told apart by; those of other tables have numbers. `migrations` makes the tables."""
_NAME = re.compile(r"(?<!:):([a-z_]\w*)")
_CHUNK = 500  # bound parameters by statement stay below SQLite's limit


class Transaction:
    """The statements of one transaction, begun and ended by `StateConnection`.

    In a statement, `:name` stands for the value of that name, and `in (:names)` for a list that is not empty.
    """

    def __init__(self, connection: Any, *, is_sqlite: bool) -> None:
        self._connection = connection
        self.is_sqlite = is_sqlite

    def rows(self, statement: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the rows that a query gives, as named tuples."""
        cursor = self._executed(statement, values or {})
        return list(map(_row_type(tuple(each[0] for each in cursor.description))._make, cursor.fetchall()))

    def row(self, statement: str, values: Mapping[str, Any] | None = None) -> Any | None:
        """Return the first row of a query, as a named tuple; None where there is none."""
        return next(iter(self.rows(statement, values)), None)

    def value(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        """Return the first column of the first row of a query; None where there is none."""
        row = self._executed(statement, values or {}).fetchone()
        return None if row is None else row[0]

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> int:
        """Return how many rows a statement has changed."""
        return int(self._executed(statement, values or {}).rowcount)

    def script(self, statements: str) -> None:
        """Execute statements that are divided by semicolons and have no values; `{serial}` is the type of a column that numbers rows."""
        for each in statements.format(serial="integer" if self.is_sqlite else "serial").split(";"):
            if each.strip():
                self._connection.execute(each)

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, each with a value for the same columns."""
        self._write(_insert, table, rows)

    def put(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows in place of those with their keys, and no two with the same, so that two writers cannot be in each other's way."""
        self._write(_put, table, rows)

    def has_table(self, name: str) -> bool:
        """Return whether there is a table of that name."""
        there = (  # not `to_regclass`, which does not notice a table that another process has just made
            "select 1 from sqlite_master where type = 'table' and name = :name"
            if self.is_sqlite
            else "select 1 from pg_class where relname = :name and relkind = 'r' and pg_table_is_visible(oid)"
        )
        return self.value(there, {"name": name}) is not None

    def _executed(self, statement: str, values: Mapping[str, Any]) -> Any:
        lengths = tuple((name, len(value)) for name, value in values.items() if isinstance(value, list))
        if lengths:
            values = dict(_flat(values))
        return self._connection.execute(_written(statement, lengths, self.is_sqlite), values)

    def _write(
        self, statement: Callable[[str, tuple[str, ...], int], str], table: str, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Execute a statement of as many rows as it takes at a time.

        Not by `executemany`: psycopg's is a pipeline, and a client that stops in one is not ended by `idle_in_transaction_session_timeout`.
        """
        columns = tuple(rows[0])
        most = max(1, _CHUNK // len(columns))
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            values = {f"{column}_{number}": row[column] for number, row in enumerate(part) for column in columns}
            self.execute(statement(table, columns, len(part)), values)


def chunks(names: Iterable[str]) -> Iterator[list[str]]:
    """Yield names in order, as many at a time as one statement takes."""
    ordered = sorted(set(names))
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]


@lru_cache(maxsize=1024)
def _written(statement: str, lengths: tuple[tuple[str, int], ...], is_sqlite: bool) -> str:
    """Return a statement as its driver takes it.

    >>> _written("select a from t where b = :b and c in (:c)", (("c", 2),), False)
    'select a from t where b = %(b)s and c in (%(c_0)s, %(c_1)s)'
    """
    counts = dict(lengths)
    place = ":{}" if is_sqlite else "%({})s"

    def places(found: re.Match[str]) -> str:
        name = found[1]
        names = [f"{name}_{number}" for number in range(counts[name])] if name in counts else [name]
        return ", ".join(place.format(each) for each in names)

    return _NAME.sub(places, statement)


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, list):
            yield from ((f"{name}_{number}", each) for number, each in enumerate(value))
        else:
            yield name, value


@lru_cache(maxsize=256)
def _insert(table: str, columns: tuple[str, ...], count: int) -> str:
    """Return the statement that adds a number of rows to a table.

    >>> _insert("sao_sql", ("id", "text"), 2)
    'insert into sao_sql (id, text) values (:id_0, :text_0), (:id_1, :text_1)'
    """
    rows = (", ".join(f":{column}_{number}" for column in columns) for number in range(count))
    return f"insert into {table} ({', '.join(columns)}) values {', '.join(f'({row})' for row in rows)}"


@lru_cache(maxsize=256)
def _put(table: str, columns: tuple[str, ...], count: int) -> str:
    """Return the statement that writes a number of rows of a table.

    >>> _put("sao_sql", ("id", "text"), 1)
    'insert into sao_sql (id, text) values (:id_0, :text_0) on conflict (id) do update set text = excluded.text'
    """
    keys = KEYS[table]
    others = ", ".join(f"{each} = excluded.{each}" for each in columns if each not in keys)
    return f"{_insert(table, columns, count)} on conflict ({', '.join(keys)}) do update set {others}"


@lru_cache(maxsize=256)
def _row_type(columns: tuple[str, ...]) -> Any:
    return namedtuple("Row", columns, rename=True)  # noqa: PYI024 (its columns are those of a query)
