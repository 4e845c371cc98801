"""Which parts of an expression make one row of several, or several of one: aggregates, functions that return rows, and what may be either."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from sao_dagster.sql.builtin_functions import is_scalar
from sao_dagster.sql.inference import functions
from sao_dagster.sql.inference.aggregates import unwrapped


def parts_of(node: exp.Expr) -> Iterator[exp.Expr]:
    """Yield an expression and all its parts, without what is inside of a query in it."""
    return node.walk(prune=lambda each: isinstance(each, exp.Query | exp.Subquery))


def is_unknown(node: exp.Expr, dialect: str) -> bool:
    """Return whether a function may be an aggregate, or return several rows, for all that is known of it.

    >>> from sqlglot import parse_one
    >>> [is_unknown(parse_one(each), "duckdb") for each in ("list_sort(a)", "product(a)", "somebodys(a)", "row(a)")]
    [False, True, True, False]
    """
    return isinstance(node, exp.Anonymous) and node.name.lower() != "row" and not is_scalar(node.name.lower(), dialect)


def aggregates_in(node: exp.Expr) -> Iterator[exp.Expr]:
    """Yield the aggregates of an expression, without those of a subquery or of a window.

    >>> from sqlglot import parse_one
    >>> [each.sql() for each in aggregates_in(parse_one("max(a) + sum(b) over () + (select min(c) from t)"))]
    ['MAX(a)']
    """
    parts = list(parts_of(node))
    over = {id(unwrapped(each.this)[0]) for each in parts if isinstance(each, exp.Window)}
    return (each for each in parts if isinstance(each, exp.AggFunc) and id(each) not in over)


def unknown_in(node: exp.Expr, dialect: str) -> Iterator[exp.Expr]:
    """Yield the functions of an expression that may be aggregates; with `over` they are none."""
    for each in parts_of(node):
        if is_unknown(each, dialect) and not isinstance(each.parent, exp.Window):
            yield each


def filtered(aggregate: exp.Expr) -> exp.Expr:
    """Return an aggregate with what is around it, such as `filter`."""
    while isinstance(aggregate.parent, exp.Filter | exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls):
        aggregate = aggregate.parent
    return aggregate


def columns_outside(node: exp.Expr, dialect: str) -> Iterator[exp.Column]:
    """Yield the columns in an expression that stand in no function that may be an aggregate, nor in a query."""
    for each in node.walk(prune=lambda each: is_unknown(each, dialect) or isinstance(each, exp.Query | exp.Subquery)):
        if isinstance(each, exp.Column):
            yield each


def returning_rows(node: exp.Expr, dialect: str) -> Iterator[exp.Expr]:
    """Yield the parts of an expression that may be several rows."""
    for each in parts_of(node):
        if is_unknown(each, dialect) or isinstance(each, functions.SET_RETURNING):
            yield each
