"""Small pieces of DuckDB's SQL: quoting, and what a table's columns are."""

from __future__ import annotations

import duckdb


def quote(name: str) -> str:
    """Return a name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def sql_name(key: tuple[str, str, str]) -> str:
    """Return a catalog key as SQL writes it."""
    return ".".join(quote(part) for part in key if part)


def literal(value: object) -> str:
    """Return a value as a SQL literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + str(value).replace("'", "''") + "'"


def columns_of(cursor: duckdb.DuckDBPyConnection, table: str) -> dict[str, tuple[str, str]]:
    """Return names as written and types of a table or query, by lower-case name."""
    rows = cursor.execute(f"describe {table}").fetchall()
    return {row[0].lower(): (row[0], row[1]) for row in rows}
