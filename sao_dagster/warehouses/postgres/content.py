"""Versions by content in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.relations import quote
from sao_dagster.warehouses.protocol import Catalog, Columns
from sao_dagster.warehouses.shared.contents import CountedTable, without
from sao_dagster.warehouses.shared.names import literal, sql_name

_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "search_path": "",
}
_UNSAID = {
    "real": "case when {0} = 'NaN' then encode(float4send({0}), 'hex') end",
    "double precision": "case when {0} = 'NaN' then encode(float8send({0}), 'hex') end",
    **dict.fromkeys(("real[]", "double precision[]"), "case when {0}::text like '%NaN%' then encode(array_send({0}), 'hex') end"),
    **dict.fromkeys(("regclass", "regproc", "regoper", "regtype", "regconfig", "regdictionary", "regrole", "regcollation", "regnamespace"), "{0}::oid"),
}  # fmt: skip
"""By type, what the text of a value leaves out: the sign of no number, and which of two things had a name when."""

_HASHING = 1  # the number of the way that `contents_sql` hashes rows
_HASHING_ALL = 2  # and of those with a column whose text leaves something out

Shape = tuple[str, Columns, Collection[str]]
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

    Rows are hashed as text, so that values that compare as equal and look different (1.0 and 1.00) are different.
    """
    return " union all ".join(
        f"select {number} as n, count(*) as rows, bit_xor(h) as mix, sum(h) as total from "
        f"(select {row_hash(without(omitted, columns))} as h from {table}) as hashed"
        for number, (table, columns, omitted) in enumerate(tables)
    )


def content_of(connection: Connection[Any], table: Shape, row: Sequence[Any]) -> DataVersion:
    """Return the data version; PostgreSQL does not promise one hash for all its versions, so its version is part of the scheme."""
    _, columns, omitted = table
    shape = [[name, kind] for name, kind in columns]
    version = connection.info.server_version // 10000
    hashing = _HASHING_ALL if any(kind in _UNSAID for _, kind in without(omitted, columns)) else _HASHING
    return DataVersion(f"postgres-{version}/{hashing}", digest([shape, sorted(omitted), [str(value) for value in row]]))


def read_contents(
    connection: Connection[Any], catalog: Catalog, tables: Sequence[CountedTable]
) -> dict[CountedTable, DataVersion]:
    """Return the content versions of tables, by one statement."""
    shapes = [(sql_name(("", *key[1:])), catalog[key].columns or (), omitted) for key, omitted in tables]
    with plain_text(connection):
        rows = connection.execute(contents_sql(shapes).encode()).fetchall()
    return {tables[number]: content_of(connection, shapes[number], row) for number, *row in rows}


def row_hash(columns: Columns) -> str:
    """Return an expression for the hash of a row as text; one number for all where no column counts."""
    said = [quote(name) for name, _ in columns]
    unsaid = [_UNSAID[kind].format(quote(name)) for name, kind in columns if kind in _UNSAID]
    return f"hashtextextended(row({', '.join([*said, *unsaid])})::text, 0)" if columns else "0::bigint"
