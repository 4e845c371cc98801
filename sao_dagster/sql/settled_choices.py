"""Whether a query that takes one row of each group leaves the others of the group to the next build.

An anti-join (`id not in (select id from this)`) keeps out the row that was taken. The next one of its group is left, unless the
groups are made by what is compared. A bound keeps out the whole group only if the row that is taken has the greatest value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlglot import exp

RANKS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile, exp.PercentRank, exp.CumeDist)
_ANY_BUT_THE_GREATEST = (exp.Min, exp.ArgMin, exp.AnyValue, exp.First, exp.FirstValue)


class KeptOut(NamedTuple):
    """A condition by which an incremental query keeps out what its own table has.

    Attributes:
        select: The query that it is, or was, a condition of.
        columns: The names of the columns that it compares.
        is_bound: Whether it is a lower bound; else it is an anti-join.
    """

    select: exp.Select
    columns: frozenset[str]
    is_bound: bool


def column_names(*trees: exp.Expr) -> frozenset[str]:
    """Return the names of the columns in expressions, in lower case."""
    return frozenset(column.name.lower() for tree in trees for column in tree.find_all(exp.Column))


def leaves_some(tree: exp.Expr, kept_out: KeptOut) -> bool:
    """Return whether a query takes one row, or one value, of each group such that a condition lets others of the group in later.

    Args:
        tree: The whole query.
        kept_out: The condition; what becomes of the rows that it lets in decides.
    """
    return any(_leaves_some(select, kept_out) for select in _downstream(tree, kept_out.select))


def _leaves_some(select: exp.Select, kept_out: KeptOut) -> bool:
    columns = kept_out.columns
    for keys, order in _choices(select):
        if kept_out.is_bound:
            if keys.isdisjoint(columns) and not _starts_with_greatest(order, keys, columns):
                return True
        elif not columns <= keys:
            return True
    groups = _groups(select)
    if groups is None:
        return False
    if not kept_out.is_bound:
        return not columns <= groups
    taken = (each for value in select.expressions for each in value.find_all(*_ANY_BUT_THE_GREATEST))
    return any(not columns.isdisjoint(column_names(each)) for each in taken)


def _downstream(tree: exp.Expr, select: exp.Select) -> Iterator[exp.Select]:
    """Yield the query that rows come from, and those that they go through, also by the names of common table expressions."""
    seen: set[int] = set()
    pending = [select]
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        around = each.find_ancestor(exp.Select, exp.CTE)
        if isinstance(around, exp.Select):
            pending.append(around)
        elif isinstance(around, exp.CTE):
            name = around.alias.lower()
            readers = (table.parent_select for table in tree.find_all(exp.Table) if table.name.lower() == name)
            pending += [reader for reader in readers if isinstance(reader, exp.Select)]


def _choices(select: exp.Select) -> Iterator[tuple[frozenset[str], exp.Order | None]]:
    """Yield by which columns groups are made of which one row is taken, and in which order it is the first."""
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on") is not None:
        yield column_names(distinct.args["on"]), select.args.get("order")
    for window in select.find_all(exp.Window):
        if isinstance(window.this, RANKS) and window.parent_select is select:
            yield column_names(*window.args.get("partition_by") or ()), window.args.get("order")


def _starts_with_greatest(order: exp.Order | None, keys: frozenset[str], columns: frozenset[str]) -> bool:
    """Return whether the first row of a group is one with the greatest value of a column."""
    first = next((each for each in (order.expressions if order else ()) if not column_names(each) <= keys), None)
    return first is not None and bool(first.args.get("desc")) and not column_names(first).isdisjoint(columns)


def _groups(select: exp.Select) -> frozenset[str] | None:
    """Return by which columns a query groups: none where all rows are one group; None where it does not group."""
    values = [each for each in select.expressions if not _aggregates(each)]
    group = select.args.get("group")
    if group is None:
        return frozenset() if len(values) < len(select.expressions) else None
    if group.args.get("all"):
        return column_names(*values)
    by_place = [select.expressions[int(each.name) - 1] for each in group.expressions if each.is_int]
    return column_names(*group.expressions, *by_place)


def _aggregates(value: exp.Expr) -> bool:
    return any(each.find_ancestor(exp.Window, exp.Subquery) is None for each in value.find_all(exp.AggFunc))
