"""Seeds in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import Connection

from sao_dagster.core.nodes import Seed
from sao_dagster.core.relations import Relation, quote
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.shared.seed_files import described, seed_query

if TYPE_CHECKING:
    pass

_ROWS = 10_000  # at a time
_TYPES = {
    "BOOLEAN": "boolean",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "DOUBLE": "double precision",
    "DATE": "date",
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
            as_text = dict.fromkeys(seed.column_types, "VARCHAR")  # read as the server takes them
            [zone] = connection.execute("show timezone").fetchone() or ("UTC",)
            query = seed_query(reader, seed, as_text, inserted_in=str(zone))
            columns = [
                (name, seed.column_types.get(name) or _TYPES.get(kind, "text"))
                for name, kind in described(reader, query)
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
