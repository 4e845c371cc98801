"""Versions by content in DuckDB: how a table is read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import duckdb

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.warehouses.duckdb.row_hash import UnknownTypeError, is_plain, row_hash
from sao_dagster.warehouses.protocol import Columns
from sao_dagster.warehouses.shared.contents import without

_HASHING = 2  # the number of the way that rows of plain columns are hashed
_HASHING_ALL = 3  # and of those that have others


def content_sql(table: str, columns: Columns, omitted: Collection[str]) -> str | None:
    """Return a query for the number of rows and two independent sums over their hashes, whatever their order; None for unknown types."""
    counted = without(omitted, columns)
    if not counted:
        return f"select count(*) as rows, null as mix, null as total from {table}"
    try:
        row = row_hash(counted)
    except UnknownTypeError:
        return None
    return f"select count(*) as rows, bit_xor({row}) as mix, sum({row}) as total from {table}"


def content_version(row: Sequence[Any], columns: Columns, omitted: Collection[str]) -> DataVersion:
    """Return the data version; DuckDB does not promise one hash for all its versions, so its version is part of the scheme."""
    plain = all(is_plain(kind) for _, kind in without(omitted, columns))
    shape = [[name, kind] for name, kind in columns]
    numbers = [str(value) for value in row]
    scheme = f"duckdb-{duckdb.__version__}/{_HASHING if plain else _HASHING_ALL}"
    return DataVersion(scheme, digest([shape, sorted(omitted), numbers]))
