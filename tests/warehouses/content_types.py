"""Random values of all types that an engine has, for the versions of contents.

The values listed for a type are told apart by their text in SQL's own hands, in pairs, and what is made of them (lists, records, maps) by
taking them out again. So two values that are written in another way have to have another hash, and a value has one hash.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_TEXTS = (
    "''",
    "' '",
    "'a'",
    "'A'",
    "'a '",
    "'NULL'",
    "'[a, b]'",
    "'''a'''",
    "'\\x61'",
    "'é'",
    "'e\u0301'",
    "'{\"a\": 1}'",
    "'a, b'",
)
_FLOATS = ("'0.0'", "'-0.0'", "'nan'", "'-nan'", "'inf'", "'-inf'", "'1.5'", "'1e-30'")


def _integers(*bits: int, signed: bool = True) -> dict[int, tuple[str, ...]]:
    return {
        n: (f"'{-(2 ** (n - 1))}'", "'-1'", "'0'", "'1'", f"'{2 ** (n - 1) - 1}'")
        if signed
        else ("'0'", "'1'", f"'{2**n - 1}'")
        for n in bits
    }


_SIGNED, _UNSIGNED = _integers(8, 16, 32, 64, 128), _integers(8, 16, 32, 64, 128, signed=False)

DUCKDB: Mapping[str, tuple[str, ...]] = {
    "BOOLEAN": ("'true'", "'false'"),
    "TINYINT": _SIGNED[8], "SMALLINT": _SIGNED[16], "INTEGER": _SIGNED[32], "BIGINT": _SIGNED[64], "HUGEINT": _SIGNED[128],
    "UTINYINT": _UNSIGNED[8], "USMALLINT": _UNSIGNED[16], "UINTEGER": _UNSIGNED[32], "UBIGINT": _UNSIGNED[64], "UHUGEINT": _UNSIGNED[128],
    "BIGNUM": ("'0'", "'1'", "'-1'", "'123456789012345678901234567890123456789012345'"),
    "DECIMAL(10,2)": ("'1.00'", "'1.01'", "'-1.00'"), "DECIMAL(38,20)": ("'1.0'", "'1.00000000000000000001'"),
    "FLOAT": _FLOATS, "DOUBLE": (*_FLOATS, "'5e-324'", "'1.5000000000000002'"),
    "VARCHAR": _TEXTS, "JSON": ("'{\"a\":1}'", "'{\"a\": 1}'", "'{\"A\":1}'", "'null'", "'[]'"),
    "BLOB": ("''", "'\\x00'", "'\\x00\\x00'", "'a'", "'\\x5Cx00'"), "BIT": ("'1'", "'01'", "'001'", "'0'"),
    "UUID": ("'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'"),
    "DATE": ("'2026-01-01'", "'infinity'", "'-infinity'", "'0001-01-01 (BC)'"),
    "TIME": ("'00:00:00'", "'24:00:00'", "'12:00:00.000001'"), "TIME_NS": ("'00:00:00'", "'12:00:00.000000001'"),
    "TIME WITH TIME ZONE": ("'12:00:00+00'", "'13:00:00+01'", "'12:00:00+01'"),
    "TIMESTAMP": ("'2026-01-01 00:00:00'", "'2026-01-01 00:00:00.000001'", "'infinity'"),
    "TIMESTAMP_S": ("'2026-01-01 00:00:00'", "'2026-01-01 00:00:01'"), "TIMESTAMP_MS": ("'2026-01-01 00:00:00'", "'2026-01-01 00:00:00.001'"),
    "TIMESTAMP_NS": ("'2026-01-01 00:00:00'", "'2026-01-01 00:00:00.000000001'"),
    "TIMESTAMP WITH TIME ZONE": ("'2026-10-25 02:30:00+02'", "'2026-10-25 02:30:00+01'", "'infinity'", "'-infinity'"),
    "TIMESTAMPTZ_NS": ("'2026-10-25 02:30:00+02'", "'2026-10-25 02:30:00.000000001+02'"),
    "INTERVAL": ("'1 month'", "'30 days'", "'720 hours'", "'1 day'", "'24 hours'", "'1 month -1 day'", "'0 days'"),
    "ENUM('a', 'A', 'NULL')": ("'a'", "'A'", "'NULL'"),
    "GEOMETRY": ("'POINT (0.1 0.0)'", "'POINT (0.1 -0.0)'", "'POINT EMPTY'"),
}  # fmt: skip
POSTGRES: Mapping[str, tuple[str, ...]] = {
    "boolean": ("'true'", "'false'"), "smallint": _SIGNED[16], "integer": _SIGNED[32], "bigint": _SIGNED[64],
    "real": ("'0.0'", "'-0.0'", "'NaN'", "-'NaN'::real", "'Infinity'", "'1.5'"),
    "double precision": ("'0.0'", "'-0.0'", "'NaN'", "-'NaN'::double precision", "'Infinity'", "'1.5'", "'1.5000000000000002'"),
    "numeric": ("'1.0'", "'1.00'", "'1'", "'NaN'", "'Infinity'"), "money": ("'1.00'", "'-1.00'"),
    "text": _TEXTS, "character varying": _TEXTS, "character(3)": ("'a'", "'A'", "' a'", "'NUL'"), "name": ("'a'", "'A'", "''"),
    '"char"': ("'a'", "'A'", "''"), "bytea": ("''", "'\\x00'", "'\\x0000'", "'a'"), "uuid": DUCKDB["UUID"],
    "date": ("'2026-01-01'", "'infinity'", "'-infinity'"), "time without time zone": ("'00:00'", "'24:00'", "'12:00:00.000001'"),
    "time with time zone": ("'12:00:00+00'", "'13:00:00+01'", "'12:00:00+01'"),
    "timestamp without time zone": ("'2026-01-01'", "'2026-01-01 00:00:00.000001'", "'infinity'"),
    "timestamp with time zone": ("'2026-10-25 02:30:00+02'", "'2026-10-25 02:30:00+01'", "'infinity'"),
    "interval": DUCKDB["INTERVAL"], "json": DUCKDB["JSON"], "jsonb": ("'{\"a\":1}'", "'{\"A\":1}'", "'null'", "'[]'", "'1.0'", "'1.00'"),
    "jsonpath": ("'$.a'", "'$.A'"), "xml": ("'<a/>'", "'<a></a>'"), "bit varying": ("'1'", "'01'", "''"), "bit(2)": ("'01'", "'10'"),
    "inet": ("'10.0.0.1'", "'10.0.0.1/8'", "'::1'"), "cidr": ("'10.0.0.0/8'", "'10.0.0.0/9'"), "macaddr": ("'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'"),
    "macaddr8": ("'08:00:2b:01:02:03:04:05'", "'08:00:2b:01:02:03:04:06'"), "point": ("'(0,0)'", "'(-0,0)'", "'(0.1,0)'"), "box": ("'(1,1),(0,0)'", "'(1,2),(0,0)'"),
    "line": ("'{1,2,3}'", "'{2,4,6}'"), "lseg": ("'[(0,0),(1,1)]'", "'[(1,1),(0,0)]'"), "path": ("'((0,0),(1,1))'", "'[(0,0),(1,1)]'"),
    "polygon": ("'((0,0),(1,1))'", "'((1,1),(0,0))'"), "circle": ("'<(0,0),1>'", "'<(0,0),2>'"),
    "tsvector": ("'a'", "'a:1'", "'a:1A'"), "tsquery": ("'a'", "'!a'", "'a:B'"), "pg_lsn": ("'0/0'", "'0/1'"), "pg_snapshot": ("'1:1:'", "'1:2:'"), "txid_snapshot": ("'1:1:'", "'1:2:'"),
    "int4range": ("'[1,3)'", "'[1,4)'", "'empty'", "'(,)'"), "int8range": ("'[1,3)'", "'(,3)'"), "numrange": ("'[1.0,2)'", "'[1.00,2)'", "'[1.0,2]'"),
    "tsrange": ("'[2026-01-01,)'", "'(2026-01-01,)'"), "tstzrange": ("'[2026-10-25 02:30+02,)'", "'[2026-10-25 02:30+01,)'"), "daterange": ("'[2026-01-01,)'", "'(,2026-01-01)'"),
    "int4multirange": ("'{[1,3)}'", "'{}'"), "int8multirange": ("'{[1,3)}'", "'{}'"), "nummultirange": ("'{[1.0,2)}'", "'{[1.00,2)}'"), "tsmultirange": ("'{}'", "'{[2026-01-01,)}'"),
    "tstzmultirange": ("'{}'", "'{[2026-01-01 00:00+00,)}'"), "datemultirange": ("'{}'", "'{[2026-01-01,)}'"),
    "mood": ("'a'", "'A'"), "pair": ("'(1,a)'", "'(1,)'", "'(,a)'", "'(1,\"\")'"), "price": ("'1.0'", "'1.00'"),
    "oid": ("'0'", "'1'"), "regclass": ("'pg_class'", "'pg_type'"), "regtype": ("'int4'", "'text'"), "regproc": ("'now'", "'pi'"), "regprocedure": ("'now()'", "'pi()'"),
    "regoper": ("'0'", "'96'", "'97'"), "regoperator": ("'+(int4,int4)'", "'-(int4,int4)'"), "regconfig": ("'simple'", "'english'"), "regdictionary": ("'simple'", "'english_stem'"),
    "regrole": ("'pg_monitor'", "'pg_read_all_data'"), "regnamespace": ("'public'", "'pg_catalog'"), "regcollation": ("'\"C\"'", "'\"POSIX\"'"),
    "tid": ("'(0,1)'", "'(0,2)'"), "xid": ("'1'", "'2'"), "xid8": ("'1'", "'2'"), "cid": ("'1'", "'2'"), "refcursor": ("'a'", "'A'"), "aclitem": ("'=r/pg_monitor'", "'=w/pg_monitor'"),
}  # fmt: skip

POSTGRES_TYPES = (
    "create type mood as enum ('a', 'A')",
    "create type pair as (n integer, s text)",
    "create domain price as numeric",
)
"""What has to be made before the types above are there."""


@dataclass
class Values:
    """Random types and values of an engine.

    Attributes:
        chance: Where chance comes from.
        leaves: Values by type that holds no other.
    """

    chance: random.Random
    leaves: Mapping[str, tuple[str, ...]]

    def leaf(self, kind: str) -> Callable[[], str]:
        """Return a way to make values of a type, as SQL writes them."""
        return lambda: (
            f"({self.chance.choice(self.leaves[kind])})::{kind}" if self.chance.random() > 0.15 else f"null::{kind}"
        )

    def duckdb(self, depth: int = 2) -> tuple[str, Callable[[], str]]:
        """Return a type of DuckDB and a way to make values of it."""
        pick = self.chance.choice(["leaf", "leaf", "list", "array", "struct", "map", "union"]) if depth else "leaf"
        if pick == "leaf":
            kind = self.chance.choice(sorted(self.leaves))
            return kind, self.leaf(kind)
        inner, value = self.duckdb(depth - 1)
        if pick == "list":
            return self._nullable(
                f"{inner}[]", lambda: f"[{', '.join(value() for _ in range(self.chance.randrange(3)))}]"
            )
        if pick == "array":
            return self._nullable(f"{inner}[2]", lambda: f"[{value()}, {value()}]")
        other, second = self.duckdb(depth - 1)
        if pick == "struct":
            return self._nullable(f'STRUCT(a {inner}, "B c" {other})', lambda: f"{{'a': {value()}, 'B c': {second()}}}")
        if pick == "map":
            return self._nullable(f"MAP(INTEGER, {inner})", lambda: self._map(value))
        return self._nullable(
            f"UNION(n {inner}, s {other})",
            lambda: self.chance.choice([f"union_value(n := {value()})", f"union_value(s := {second()})"]),
        )

    def _map(self, value: Callable[[], str]) -> str:
        keys = self.chance.sample(["1", "2", "3"], self.chance.randrange(3))
        return f"map {{{', '.join(f'{key}: {value()}' for key in keys)}}}"

    def postgres(self) -> tuple[str, Callable[[], str]]:
        """Return a type of PostgreSQL and a way to make values of it."""
        kind = self.chance.choice(sorted(self.leaves))
        value = self.leaf(kind)
        if self.chance.random() < 0.6:
            return kind, value
        return self._nullable(
            f"{kind}[]", lambda: f"array[{', '.join(value() for _ in range(self.chance.randrange(3)))}]"
        )

    def _nullable(self, kind: str, value: Callable[[], str]) -> tuple[str, Callable[[], str]]:
        return kind, lambda: f"({value()})::{kind}" if self.chance.random() > 0.15 else f"null::{kind}"
