"""Versions by content in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.relations import RelationKey, quote
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.shared.names import literal

_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "search_path": "",
}

_HASHING = 1  # the number of the way that `contents_sql` hashes rows

Shape = tuple[str, Sequence[tuple[str, str]], Collection[str]]
"""A table as SQL writes it, its columns, and those that do not count."""


@contextmanager
def plain_text(connection: Connection[Any]) -> Iterator[None]:
    """Let values be written in one way for a while, whatever the session is set to."""
    before = connection.execute("select " + ", ".join(f"current_setting('{name}')" for name in _SETTINGS)).fetchone()
    _set(connection, _SETTINGS.values())
    yield
    _set(connection, before or ())


def _set(connection: Connection[Any], values: Iterable[str]) -> None:
    calls = [f"set_config('{name}', {literal(value)}, true)" for name, value in zip(_SETTINGS, values, strict=True)]
    connection.execute(f"select {', '.join(calls)}".encode())


def contents_sql(tables: Sequence[Shape]) -> str:
    """Return a query with a row for each table: its number, its rows, and two sums over their hashes, whatever their order.

    QueryResult are hashed as text, so that values that compare as equal and look different (1.0 and 1.00) are different.
    """
    return " union all ".join(
        f"select {number} as n, count(*) as rows, bit_xor(h) as mix, sum(h) as total from "
        f"(select {_row_hash(columns, omitted)} as h from {table}) as hashed"
        for number, (table, columns, omitted) in enumerate(tables)
    )


def content_of(connection: Connection[Any], table: Shape, row: Sequence[Any]) -> DataVersion:
    """Return the data version; PostgreSQL does not promise one hash for all its versions, so its version is part of the scheme."""
    _, columns, omitted = table
    shape = [[name, kind] for name, kind in columns]
    version = connection.info.server_version // 10000
    return DataVersion(
        f"postgres-{version}/{_HASHING}", digest([shape, sorted(omitted), [str(value) for value in row]])
    )


def _row_hash(columns: Sequence[tuple[str, str]], omitted: Collection[str]) -> str:
    left_out = {name.lower() for name in omitted}
    counted = [quote(name) for name, _ in columns if name.lower() not in left_out]
    return f"hashtextextended(row({', '.join(counted)})::text, 0)" if counted else "0::bigint"


def written_names(connection: Connection[Any], tables: Collection[RelationKey]) -> dict[tuple[str, str], str]:
    """Return how tables are written, by schema and name as they are compared.

    Raises:
        WarehouseError: One of them is gone.
    """
    rows = connection.execute(
        "select lower(n.nspname), lower(c.relname), format('%%I.%%I', n.nspname, c.relname) "
        "from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'f', 'm') "
        "and (lower(n.nspname), lower(c.relname)) in (select * from unnest(%s::text[], %s::text[]))",
        [[table[1] for table in tables], [table[2] for table in tables]],
    )
    found = {(schema, name): written for schema, name, written in rows}
    if gone := [".".join(table) for table in tables if table[1:] not in found]:
        raise WarehouseError(f"{', '.join(gone)} is not there any more")
    return found
