"""Which parts of a query give another result at another time although nothing it reads has changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from sqlglot import exp

from sao_dagster.core.policy import Expiry, soonest
from sao_dagster.sql.parsing import UnreadableSqlError, parse_one

_DAY = {"current_date", "curdate", "today"}
_HOUR = {
    "now", "current_timestamp", "current_time", "current_datetime", "localtime", "localtimestamp", "current_localtimestamp", "current_localtime", "sysdate",
    "systimestamp", "sysdatetime", "getdate", "getutcdate", "clock_timestamp", "statement_timestamp",
    "transaction_timestamp", "get_current_timestamp", "get_current_time", "timeofday", "utc_timestamp", "unix_timestamp",
    "random", "rand", "randn", "uniform", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "generate_uuid", "newid",
    "uuid_string", "uuid_generate_v4", "nextval", "txid_current",
}  # fmt: skip
_WORDS = re.compile(rf"\b({'|'.join(sorted(_DAY | _HOUR))}|age|tablesample|sample|yesterday|tomorrow)\b", re.IGNORECASE)
_TIME_STRINGS = {"now": Expiry.HOUR, "today": Expiry.DAY, "yesterday": Expiry.DAY, "tomorrow": Expiry.DAY}
_EXPRESSIONS: dict[type[exp.Expr], Expiry] = {
    exp.CurrentDate: Expiry.DAY,
    exp.CurrentDatetime: Expiry.HOUR,
    exp.CurrentTime: Expiry.HOUR,
    exp.CurrentTimestamp: Expiry.HOUR,
    exp.Localtime: Expiry.HOUR,
    exp.Localtimestamp: Expiry.HOUR,
    exp.Rand: Expiry.HOUR,
    exp.Randn: Expiry.HOUR,
    exp.Uuid: Expiry.HOUR,
}


@dataclass(frozen=True)
class Volatility:
    """What was found in a query.

    Attributes:
        expiry: When its result stops being true by itself; None if never.
        columns: Output columns that hold a volatile value and nothing else, such as `now() as loaded_at`. They
            do not make the result expire, and are left out of the data version.
    """

    expiry: Expiry | None = None
    columns: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def volatility(sql: str, dialect: str) -> Volatility:
    """Return what is volatile in a query.

    SQL that cannot be parsed is searched for the words alone, and errs on the side of volatile.

    >>> volatility("select * from t where day = current_date", "duckdb")
    Volatility(expiry=<Expiry.DAY: 'day'>, columns=())
    >>> volatility("select id, now() as loaded_at from t", "duckdb")
    Volatility(expiry=None, columns=('loaded_at',))
    >>> volatility("select 'now' as word, now_serving from t", "duckdb")
    Volatility(expiry=None, columns=())
    """
    words = {word.lower() for word in _WORDS.findall(sql)}
    if not words:
        return Volatility()
    try:
        tree = parse_one(sql, dialect)
    except UnreadableSqlError:
        return Volatility(Expiry.DAY if words <= _DAY else Expiry.HOUR)
    bare = dict(_bare_columns(tree))
    found = [expiry for node, expiry in _volatile_nodes(tree) if id(node) not in bare]
    return Volatility(soonest(*found), tuple(bare.values()))


def _volatile_nodes(tree: exp.Expr) -> Iterator[tuple[exp.Expr, Expiry]]:
    for node in tree.walk():
        expiry = expiry_of(node)
        if expiry is not None:
            yield node, expiry


def expiry_of(node: exp.Expr) -> Expiry | None:
    """Return when the value of an expression stops being true by itself, looking at its outermost function alone."""
    for kind, expiry in _EXPRESSIONS.items():
        if isinstance(node, kind):
            return expiry
    if isinstance(node, exp.Anonymous):
        name = node.name.lower()
        if name == "age" and len(node.expressions) == 1:  # counts from the current date
            return Expiry.DAY
        return Expiry.DAY if name in _DAY else Expiry.HOUR if name in _HOUR else None
    if isinstance(node, exp.Column) and not node.table and not node.this.args.get("quoted"):
        # functions that some dialects write without brackets
        name = node.name.lower()
        bracketless = name in ("sysdate", "systimestamp", "localtime", "localtimestamp", "current_time")
        return Expiry.HOUR if bracketless else None
    if isinstance(node, exp.TableSample):
        return None if node.args.get("seed") else Expiry.HOUR
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.this.is_string:
        return _TIME_STRINGS.get(node.this.name.strip().lower())
    return None


def _bare_columns(tree: exp.Expr) -> Iterator[tuple[int, str]]:
    """Yield volatile nodes that are an output column by themselves, with the name of the column."""
    if not isinstance(tree, exp.Select) or tree.args.get("distinct"):
        return
    used = {column.name.lower() for column in tree.find_all(exp.Column)}
    for output in tree.expressions:
        if not isinstance(output, exp.Alias) or output.alias.lower() in used:
            continue
        value = output.this
        while isinstance(value, exp.Cast | exp.Paren) and expiry_of(value) is None:
            value = value.this
        if expiry_of(value) is not None:
            yield id(value), output.alias
