"""Types as engines and SQL name them."""

from __future__ import annotations

from functools import lru_cache

from sqlglot import exp

from sao_dagster.sql.dialects import TextSize, dialect_named
from sao_dagster.sql.inference.types import BOOLEAN, NESTED, NUMBER, PLAIN, UNKNOWN, Kind, Type
from sao_dagster.sql.parsing import UnreadableSqlError, parse_type

_D = exp.DataType.Type
_INTEGERS = {
    _D.TINYINT: 8, _D.UTINYINT: 9, _D.SMALLINT: 16, _D.USMALLINT: 17, _D.INT: 32, _D.UINT: 33, _D.MEDIUMINT: 32,
    _D.BIGINT: 64, _D.UBIGINT: 65, _D.INT128: 128,
}  # fmt: skip
_TEXTS = {_D.TEXT, _D.VARCHAR, _D.NVARCHAR}


@lru_cache(maxsize=2048)
def read_type(text: str, dialect: str) -> Type:
    """Return the type that a catalog names; unknown for what cannot be read.

    >>> read_type("BIGINT", "duckdb").kind.value, read_type("character varying(3)", "postgres").sized
    ('integer', True)
    """
    try:
        return type_of(parse_type(text, dialect), dialect)
    except UnreadableSqlError:
        return UNKNOWN


def type_of(found: exp.Expr, dialect: str) -> Type:
    """Return the type that a `DataType` node stands for."""
    if not isinstance(found, exp.DataType):
        return UNKNOWN
    name, engine = found.this, dialect_named(dialect)
    if name in _INTEGERS:
        return Type(Kind.INTEGER, _INTEGERS[name] if engine.sized_integers else None)
    if name is _D.DECIMAL:
        size = [int(each.name) for each in found.expressions]
        if not size and not engine.unlimited_decimals:
            return NUMBER
        return Type(Kind.DECIMAL, digits=(size[0], size[1] if len(size) > 1 else 0) if size else None)
    if name is _D.FLOAT:
        return Type(Kind.FLOAT, engine.float_bits)
    if name is _D.DOUBLE:
        return Type(Kind.FLOAT, 64)
    if name in _TEXTS:
        written = bool(found.expressions) and engine.text_size is TextSize.WRITTEN
        return Type(Kind.TEXT, sized=written or engine.text_size is TextSize.ALWAYS)
    return _OTHERS.get(name, UNKNOWN)


_OTHERS = {
    _D.BOOLEAN: BOOLEAN,
    _D.DATE: Type(Kind.DATE),
    _D.TIMESTAMP: Type(Kind.TIMESTAMP),
    _D.DATETIME: Type(Kind.TIMESTAMP),
    _D.TIMESTAMPNTZ: Type(Kind.TIMESTAMP),
    _D.TIMESTAMPTZ: Type(Kind.INSTANT),
    _D.UUID: Type(Kind.UUID),
    **dict.fromkeys((_D.TIME, _D.TIMETZ, _D.INTERVAL, _D.TIMESTAMP_S, _D.TIMESTAMP_MS, _D.TIMESTAMP_NS), PLAIN),
    **dict.fromkeys((_D.ARRAY, _D.LIST, _D.STRUCT, _D.MAP), NESTED),
    **dict.fromkeys((_D.UINT128, _D.INT256, _D.UINT256), NUMBER),
    **dict.fromkeys((_D.CHAR, _D.NCHAR, _D.BPCHAR, _D.ENUM, _D.BLOB, _D.VARBINARY, _D.BIT), PLAIN),
}
