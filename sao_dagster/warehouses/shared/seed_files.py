"""Seeds: how a CSV file is read. DuckDB reads it for every warehouse, so that types are guessed in one way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sao_dagster.core.nodes import Seed
from sao_dagster.core.relations import quote
from sao_dagster.warehouses.shared.names import literal

if TYPE_CHECKING:
    import duckdb


def seed_query(cursor: duckdb.DuckDBPyConnection, seed: Seed, column_types: Mapping[str, str]) -> str:
    """Return a DuckDB query for the rows of a seed's file, with the given types and guessed ones for the others.

    Times with a zone become UTC without one, as dbt loads them.
    """
    options = [literal(seed.path), "header = true", f"delim = {literal(seed.delimiter)}", "sample_size = -1"]
    if column_types:
        types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in column_types.items())
        options.append(f"types = {{{types}}}")
    file = f"read_csv({', '.join(options)})"
    zoned = [
        f"{quote(name)} at time zone 'UTC' as {quote(name)}"
        for name, kind in described(cursor, f"select * from {file}")
        if kind == "TIMESTAMP WITH TIME ZONE" and name not in column_types
    ]
    columns = f"* replace ({', '.join(zoned)})" if zoned else "*"
    return f"select {columns} from {file}"


def described(cursor: duckdb.DuckDBPyConnection, table: str) -> tuple[tuple[str, str], ...]:
    """Return names as written and types of a DuckDB table or query, in order."""
    return tuple((row[0], row[1]) for row in cursor.execute(f"describe {table}").fetchall())
