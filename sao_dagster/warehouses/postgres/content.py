"""Versions by content in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from psycopg import Connection

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.relations import RelationKey, quote
from sao_dagster.warehouses.postgres.column_types import meanings
from sao_dagster.warehouses.postgres.plain_text import plain_text
from sao_dagster.warehouses.protocol import Catalog, Columns
from sao_dagster.warehouses.shared.contents import CountedTable, without
from sao_dagster.warehouses.shared.names import sql_name

_UNSAID = {
    "real": "case when {0} = 'NaN' then encode(float4send({0}), 'hex') end",
    "double precision": "case when {0} = 'NaN' then encode(float8send({0}), 'hex') end",
    **dict.fromkeys(("real[]", "double precision[]"), "case when {0}::text like '%NaN%' then encode(array_send({0}), 'hex') end"),
    **dict.fromkeys(("regclass", "regproc", "regoper", "regtype", "regconfig", "regdictionary", "regrole", "regcollation", "regnamespace"), "{0}::oid"),
}  # fmt: skip
"""By type, what the text of a value leaves out: the sign of no number, and which of two things had a name when."""

_HASHING = 1  # the number of the way that `contents_sql` hashes rows
_HASHING_ALL = 2  # and of those with a column whose text leaves something out

_HASHING_SPECIAL = 3  # and of those whose columns are more than the names of their types say

Shape = tuple[RelationKey, Columns, Collection[str]]
"""A table, its columns, and those that do not count."""


def contents_sql(tables: Sequence[Shape]) -> str:
    """Return a query with a row for each table: its number, its rows, and two sums over their hashes, whatever their order.

    Rows are hashed as text, so that values that compare as equal and look different (1.0 and 1.00) are different.
    """
    return " union all ".join(
        f"select {number} as n, count(*) as rows, bit_xor(h) as mix, sum(h) as total from "
        f"(select {row_hash(without(omitted, columns))} as h from {sql_name(('', *table[1:]))}) as hashed"
        for number, (table, columns, omitted) in enumerate(tables)
    )


def content_of(connection: Connection[Any], tables: Sequence[Shape]) -> list[tuple[int, DataVersion]]:
    """Return the rows and the data version of each table; PostgreSQL does not promise one hash for all its versions, so its version is part of the scheme."""
    special = meanings(connection, [table for table, _, _ in tables])
    with plain_text(connection):
        rows = connection.execute(contents_sql(tables).encode()).fetchall()
    server = connection.info.server_version // 10000
    found: dict[int, tuple[int, DataVersion]] = {}
    for number, *sums in rows:
        table, columns, omitted = tables[number]
        shape: list[JSON] = [[name, kind] for name, kind in columns]
        content: list[JSON] = [shape, sorted(omitted), [str(value) for value in sums]]
        hashing = _HASHING_ALL if any(kind in _UNSAID for _, kind in without(omitted, columns)) else _HASHING
        if table in special:
            hashing, content = _HASHING_SPECIAL, [*content, special[table]]
        found[number] = int(sums[0]), DataVersion(f"postgres-{server}/{hashing}", digest(content))
    return [found[number] for number in range(len(tables))]


def read_contents(
    connection: Connection[Any], catalog: Catalog, tables: Sequence[CountedTable]
) -> dict[CountedTable, DataVersion]:
    """Return the content versions of tables, by one statement."""
    found = content_of(connection, [(key, catalog[key].columns or (), omitted) for key, omitted in tables])
    return {table: version for table, (_, version) in zip(tables, found, strict=True)}


def row_hash(columns: Columns) -> str:
    """Return an expression for the hash of a row as text; one number for all where no column counts."""
    said = [quote(name) for name, _ in columns]
    unsaid = [_UNSAID[kind].format(quote(name)) for name, kind in columns if kind in _UNSAID]
    return f"hashtextextended(row({', '.join([*said, *unsaid])})::text, 0)" if columns else "0::bigint"
