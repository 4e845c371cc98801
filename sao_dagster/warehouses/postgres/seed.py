"""Seeds in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg import Connection

from sao_dagster.core.nodes import Seed
from sao_dagster.core.relations import Relation, quote
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.shared.seed_files import described, seed_query

if TYPE_CHECKING:
    import duckdb

_ROWS = 10_000  # at a time
_TYPES = {
    "BOOLEAN": "boolean",
    "BIGINT": "bigint",
    "DOUBLE": "double precision",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp without time zone",
}


def load_file(connection: Connection[Any], seed: Seed, table: Relation) -> None:
    """Make a table of a seed's file.

    Raises:
        WarehouseError: The file cannot be read.
    """
    import duckdb

    with duckdb.connect(":memory:") as reader:
        try:
            query = seed_query(
                reader, seed, dict.fromkeys(seed.column_types, "VARCHAR")
            )  # read as the server takes them
            guessed = described(reader, query)
            small = _small(reader, query, [name for name, kind in guessed if kind == "BIGINT"])
            columns = [
                (name, seed.column_types.get(name) or ("integer" if name in small else _TYPES.get(kind, "text")))
                for name, kind in guessed
            ]
            connection.execute(
                f"create table {table} ({', '.join(f'{quote(name)} {kind}' for name, kind in columns)})".encode()
            )
            rows = reader.execute(query)
            with connection.cursor().copy(f"copy {table} from stdin".encode()) as copy:
                while batch := rows.fetchmany(_ROWS):
                    for row in batch:
                        copy.write_row(row)
        except duckdb.Error as error:
            raise WarehouseError(str(error).strip()) from error


def _small(reader: duckdb.DuckDBPyConnection, query: str, names: Sequence[str]) -> set[str]:
    """Return the whole numbers that fit into `integer`, as dbt has them; the others are `bigint`."""
    if not names:
        return set()
    fits = [f"coalesce(bool_and({quote(name)} between -2147483648 and 2147483647), true)" for name in names]
    row = reader.execute(f"select {', '.join(fits)} from ({query})").fetchone() or ()
    return {name for name, fit in zip(names, row, strict=True) if fit}
