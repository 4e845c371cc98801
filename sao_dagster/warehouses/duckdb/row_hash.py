"""What of a column goes into the hash of a row, so that any two values that some query tells apart are told apart.

DuckDB's `hash` is equal for values that its `=` takes for equal: `0.0` and `-0.0`, `1 month` and `30 days`, texts under a collation. It
is also equal for lists whose elements moved to the next column, for an empty list and null, and for numbers of 128 bits whose halves
are exchanged, or are any two that are equal, as those of 0 and -1. Those types are hashed together with what is missing, or as the
text that they are shown as.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import duckdb

from sao_dagster.core.relations import quote
from sao_dagster.warehouses.shared.names import literal

_PLAIN = {
    "bigint", "bignum", "bit", "blob", "boolean", "date", "enum", "geometry", "integer", "null", "smallint",
    "time", "time with time zone", "time_ns", "timestamp", "timestamp_ms", "timestamp_ns", "timestamp_s", "timestamp with time zone",
    "timestamptz_ns", "tinyint", "ubigint", "uinteger", "usmallint", "utinyint",
}  # fmt: skip
"""Types whose values have different hashes where anything tells them apart."""
_NOT_SHOWN = {"timestamp with time zone", "timestamptz_ns", "geometry"}
"""Plain types whose text depends on the session, or may be rounded."""
_BESIDE = {
    "float": "signbit({})",
    "double": "signbit({})",
    "decimal": "-{}",
    "hugeint": "({} >> 64)::bigint",
    "uhugeint": "({} >> 64)::ubigint",
}
"""By type, what is hashed beside a value."""
_SHOWN = {"varchar", "interval", "uuid", *_PLAIN, *_BESIDE} - _NOT_SHOWN
"""Types whose values are told apart by their text."""
_DIGITS = 18  # of a decimal number that fits into 64 bits


class UnknownTypeError(Exception):
    """There is a type of which nobody knows what tells its values apart, such as `VARIANT`, whose values hide the types in them."""


def row_hash(columns: Sequence[tuple[str, str]]) -> str:
    """Return an expression for the hash of a row.

    DuckDB makes the hash of a row from those of its columns by a xor in the end, so that values of the last column could change
    places between rows and leave the xor of all rows as it is; hashed once more, the whole row counts.

    Args:
        columns: Names and types, at least one.

    Raises:
        UnknownTypeError: One of the types is not known.
    """
    return f"hash(hash({', '.join(part for name, kind in columns for part in _hashed(quote(name), kind))}))"


@lru_cache(maxsize=1024)
def is_plain(kind: str) -> bool:
    """Return whether the hash of a value says all of it. A type that is not known is not plain."""
    type_ = _type(kind)
    return _id(type_) in _PLAIN or _id(type_) == "varchar" or _is_short(type_)


def _hashed(value: str, kind: str) -> list[str]:
    """Return what is hashed of a column."""
    type_ = _type(kind)
    name = _id(type_)
    if name == "varchar":  # the bytes, which have the hash of the text, and no collation
        return [f"encode({value})" if kind == "VARCHAR" else f"encode({value}::varchar)"]
    if name in _PLAIN or _is_short(type_):
        return [value]
    if name in _BESIDE:
        return [value, _BESIDE[name].format(value)]
    return [f"encode({_text(value, type_) or f'({value})::varchar'})"]


def _text(value: str, type_: Any, depth: int = 0) -> str | None:
    """Return an expression for a text that tells apart all values of a type; None where they are told apart as they are shown.

    Args:
        value: The value, as an expression.
        type_: Its type.
        depth: How many lambdas there are around it.
    """
    name = _id(type_)
    if name in _NOT_SHOWN:
        return f"hash({value})::varchar"
    if name in _SHOWN:
        return None
    element = f"e{depth}"
    if name in ("list", "array"):
        inner = _text(element, type_.children[0][1], depth + 1)
        return inner and f"list_transform({value}, lambda {element}: {inner})::varchar"
    if name == "map":
        inner = _texts([(f"{element}.{part}", each) for part, each in type_.children], depth + 1)
        return inner and f"list_transform(map_entries({value}), lambda {element}: {inner})::varchar"
    if name in ("struct", "tuple"):
        members = [(f"struct_extract_at({value}, {n})", each) for n, (_, each) in enumerate(type_.children, start=1)]
        inner = _texts(members, depth)
        return inner and f"(case when {value} is not null then {inner} end)::varchar"
    if name == "union":
        members = [(f"union_extract({value}, {literal(member)})", each) for member, each in type_.children[1:]]
        texts = ", ".join(_text(member, each, depth) or f"({member})::varchar" for member, each in members)
        return f"(case when {value} is not null then [union_tag({value})::varchar, {texts}] end)::varchar"
    raise UnknownTypeError(str(type_))


def _texts(members: Sequence[tuple[str, Any]], depth: int) -> str | None:
    """Return an expression for the list of the texts of members; None where all are told apart as they are shown."""
    texts = [_text(member, type_, depth) for member, type_ in members]
    if not any(texts):
        return None
    return f"[{', '.join(text or f'({member})::varchar' for text, (member, _) in zip(texts, members, strict=True))}]"


@lru_cache(maxsize=1024)
def _type(kind: str) -> Any:
    """Return DuckDB's type for a text of its catalog; None where it is one that it does not read itself."""
    try:
        return duckdb.sqltype(kind)
    except duckdb.Error:
        return None


def _is_short(type_: Any) -> bool:
    return _id(type_) == "decimal" and type_.children[0][1] <= _DIGITS


def _id(type_: Any) -> str:
    return "" if type_ is None else str(type_.id)
