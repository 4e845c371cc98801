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
_COMPUTED = re.compile(r'"expression_class":"(?!BOUND_REF")')
"""In a plan of all columns: one of them is generated, and worked out whenever it is read."""
_ZONED = re.compile("with time zone|tz", re.IGNORECASE)
_OF_VALUES = frozenset({
    "BOUND_REF", "BOUND_CONSTANT", "BOUND_OPERATOR", "BOUND_CASE", "BOUND_COMPARISON", "BOUND_CONJUNCTION", "BOUND_BETWEEN",
})  # fmt: skip
_STEADY = frozenset({
    "__cast", "__try_cast", "+", "-", "*", "/", "//", "%", "||", "<", "<=", "=", "<>", "!=", ">", ">=", "abs", "ceil",
    "concat", "date_part", "date_trunc", "day", "floor", "greatest", "least",
    "left", "length", "lower", "md5", "month", "quarter", "replace", "right", "round", "sqrt", "struct_extract", "struct_pack", "substring",
    "trim", "upper", "year",
})  # fmt: skip
"""Functions that give the same from the same values, whoever asks and when, where no value is a time with a zone."""


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
    """Return the data version of what `content_sql` gave; None where DuckDB does not say what the types are, or a generated column may change by itself.

    DuckDB does not promise one hash for all its versions, so its version is part of the scheme.
    """
    *sums, plan = row
    collated = _collated(plan)
    if collated is None:
        return None
    plain = all(is_plain(kind) for _, kind in without(omitted, columns))
    hashing = _HASHING_COLLATED if collated else _HASHING if plain else _HASHING_ALL
    shape: list[JSON] = [[name, kind] for name, kind in columns]
    content: list[JSON] = [shape, sorted(omitted), [str(value) for value in sums]]
    return DataVersion(f"duckdb-{duckdb.__version__}/{hashing}", digest([*content, *collated]))


def _collated(plan: str) -> list[JSON] | None:
    """Return the types of all columns where one of them has a collation, else nothing; None where a plan does not say, or a column may change by itself.

    Args:
        plan: As DuckDB serializes that of a query of all columns.
    """
    if '"error":false' in plan and not _COLLATION.search(plan) and not _COMPUTED.search(plan):
        return []
    try:
        [of_query] = json.loads(plan)["plans"]
        columns = of_query["expressions"]  # the table below knows nothing of those that are generated
        computed = [each for each in columns if each["expression_class"] != "BOUND_REF"]
        if _ZONED.search(json.dumps(computed)) or not _is_steady(computed):
            return None
        types = [each["return_type"] for each in columns]
    except (KeyError, ValueError, TypeError, IndexError):
        return None
    return [types] if _COLLATION.search(json.dumps(types, separators=(",", ":"))) else []


def _is_steady(part: Any) -> bool:
    """Return whether a part of a plan is known to give the same for as long as the rows are the same."""
    if isinstance(part, list):
        return all(map(_is_steady, part))
    if not isinstance(part, dict):
        return True
    kind = part.get("expression_class")
    is_known = part["qname"]["path"][-1] in _STEADY if kind == "BOUND_FUNCTION" else kind is None or kind in _OF_VALUES
    return is_known and all(map(_is_steady, part.values()))
