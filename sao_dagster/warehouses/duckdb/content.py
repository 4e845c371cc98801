"""Versions by content in DuckDB: how a table is read."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

import duckdb

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.warehouses.duckdb.row_hash import UnknownTypeError, is_plain, row_hash
from sao_dagster.warehouses.protocol import Columns
from sao_dagster.warehouses.shared.contents import without
from sao_dagster.warehouses.shared.names import literal

_HASHING = 2  # the number of the way that rows of plain columns are hashed
_HASHING_ALL = 3  # and of those that have others


_HASHING_COLLATED = 4  # and of tables whose columns have collations, which belong to the version
_COLLATION = re.compile(r'"collation":"[^"]')
"""In a plan; a name of a column with quotes in it is written with backslashes."""


def content_sql(table: str, columns: Columns, omitted: Collection[str]) -> str | None:
    """Return a query for the number of rows, two independent sums over their hashes, whatever their order, and what the types are; None for unknown types."""
    counted = without(omitted, columns)
    # as DuckDB's catalog writes a type, the collation of a text is left out, in lists and records too; where a query is bound it is there
    types = f"json_serialize_plan({literal(f'select * from {table}')}) as types"
    if not counted:
        return f"select count(*) as rows, null as mix, null as total, {types} from {table}"
    try:
        row = row_hash(counted)
    except UnknownTypeError:
        return None
    return f"select count(*) as rows, bit_xor({row}) as mix, sum({row}) as total, {types} from {table}"


def content_version(row: Sequence[Any], columns: Columns, omitted: Collection[str]) -> DataVersion | None:
    """Return the data version of what `content_sql` gave; None where DuckDB does not say what the types are.

    DuckDB does not promise one hash for all its versions, so its version is part of the scheme.
    """
    *sums, types = row
    collated = _collated(types)
    if collated is None:
        return None
    plain = all(is_plain(kind) for _, kind in without(omitted, columns))
    hashing = _HASHING_COLLATED if collated else _HASHING if plain else _HASHING_ALL
    shape: list[JSON] = [[name, kind] for name, kind in columns]
    content: list[JSON] = [shape, sorted(omitted), [str(value) for value in sums]]
    return DataVersion(f"duckdb-{duckdb.__version__}/{hashing}", digest([*content, *collated]))


def _collated(plan: str) -> list[JSON] | None:
    """Return the types of all columns where one of them has a collation, else nothing; None where a plan does not say.

    Args:
        plan: As DuckDB serializes that of a query of all columns.
    """
    if not _COLLATION.search(plan) and '"error":false' in plan:
        return []
    try:
        [of_query] = json.loads(plan)["plans"]
        [of_table] = of_query["children"]
        types = of_table["returned_types"]
    except (KeyError, ValueError, TypeError):
        return None
    return [types] if _COLLATION.search(json.dumps(types, separators=(",", ":"))) else []
