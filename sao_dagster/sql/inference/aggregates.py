"""Aggregates and window functions."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.inference import functions
from sao_dagster.sql.inference.dependencies import follow
from sao_dagster.sql.inference.names import NotUnderstoodError, name_of, read_only
from sao_dagster.sql.inference.query_block import ExpressionFacts, QueryBlock
from sao_dagster.sql.inference.types import INTEGER, NUMBER, NUMBER_KINDS, PLAIN, UNKNOWN, Kind, Type, common


def describe_aggregate(block: QueryBlock, node: exp.Expr) -> ExpressionFacts | int:
    """Return what is known of an aggregate over the groups of a block, or over all its rows.

    Raises:
        NotUnderstoodError: A name in it means nothing that is known.
    """
    function, filtered = unwrapped(node)
    inside = block.before_groups or block
    if isinstance(function, functions.COUNTS):
        return ExpressionFacts(INTEGER, not_null=Proof("count"))
    if isinstance(node, exp.WithinGroup):
        return _percentile(inside, node, block.filled)
    if not isinstance(function, functions.AGGREGATES) or not isinstance(function.this, exp.Expr):
        return ExpressionFacts()
    if isinstance(function.this, exp.Star) or function.args.get("expressions"):
        return ExpressionFacts()
    argument = _argument(function)
    column = inside.intern(argument)
    kind = _type(inside, function, column)
    if block.before_groups is None:
        return ExpressionFacts(kind)
    domain = inside.rows.domains.get(column) if isinstance(function, functions.PICKS) else None
    found = ExpressionFacts(kind, domain=domain and domain.by("aggregate"))
    reason = inside.rows.not_null_proof(column)
    keeps = functions.aggregate_keeps_not_null(function, inside.rows.type_of(column), block.dialect) and not filtered
    keeps = keeps and _separates(inside, function)
    if reason is not None and keeps and block.filled is not None:
        found = replace(found, not_null=follow("aggregate", reason, block.filled))
    if isinstance(function, functions.PICKS) and block.rows.identity and block.one_grouping:
        unique = inside.rows.key_proof([column], ignoring_nulls=True)
        if unique is not None:
            number = block.add(found)
            block.rows.add_dependency({number}, block.rows.identity, follow("picked_key", unique), {number})
            return number
    return found


def _percentile(inside: QueryBlock, node: exp.WithinGroup, filled: Proof | None) -> ExpressionFacts:
    """`percentile_cont(0.5) within group (order by x)`: one of the values, or between two numbers."""
    function, ordered = node.this, node.expression.expressions
    known = isinstance(function, exp.PercentileCont | exp.PercentileDisc) and isinstance(function.this, exp.Literal)
    if not known or len(ordered) != 1:
        return ExpressionFacts()
    column = inside.intern(ordered[0].this)
    reason, kind = inside.rows.not_null_proof(column), inside.rows.type_of(column)
    fits = kind.kind in NUMBER_KINDS or (isinstance(function, exp.PercentileDisc) and kind.kind is not Kind.OTHER)
    return ExpressionFacts(not_null=follow("aggregate", reason, filled) if reason and filled and fits else None)


def _separates(block: QueryBlock, function: exp.Expr) -> bool:
    """Return whether what is put between texts is not null, if something is."""
    separator = function.args.get("separator")
    while isinstance(separator, exp.Order):
        separator = separator.this
    return separator is None or block.rows.not_null_proof(block.intern(separator)) is not None


def unwrapped(node: exp.Expr) -> tuple[exp.Expr, bool]:
    """Return the aggregate itself, and whether something is around it that leaves rows out."""
    filtered = False
    while isinstance(node, exp.Filter | exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls):
        filtered = filtered or isinstance(node, exp.Filter | exp.WithinGroup)
        node = node.this
    return node, filtered


def _argument(function: exp.Expr) -> exp.Expr:
    argument = function.this
    while isinstance(argument, exp.Order | exp.Limit | exp.HavingMax):
        argument = argument.this
    if isinstance(argument, exp.Distinct):
        if len(argument.expressions) != 1:
            raise NotUnderstoodError("an aggregate over several columns")
        argument = argument.expressions[0]
    while isinstance(argument, exp.Order):
        argument = argument.this
    found: exp.Expr = argument
    return found


def _type(block: QueryBlock, function: exp.Expr, column: int) -> Type:
    if isinstance(function, functions.PICKS):
        return block.rows.type_of(column)
    if isinstance(function, functions.TEXT_RESULTS):
        return Type(block.rows.type_of(column).kind)
    if not isinstance(function, functions.MEANS) or block.rows.type_of(column).kind is Kind.OTHER:
        return UNKNOWN
    return NUMBER if block.rows.type_of(column).kind in NUMBER_KINDS else PLAIN


# ---------------------------------------------------------------------- windows


def describe_window(block: QueryBlock, node: exp.Window) -> ExpressionFacts | int:
    """Return what is known of a window function; row numbers with their partition are a key.

    Raises:
        NotUnderstoodError: A name in it means nothing that is known.
    """
    read_only(node, "this", "partition_by", "order", "spec", "alias", "over")
    definition = _definition(block, node)
    function, filtered = unwrapped(node.this)
    partition = [block.intern(each) for each in definition.args.get("partition_by") or ()]
    order = definition.args.get("order")
    ordered = [block.intern(each.this) for each in order.expressions] if order is not None else []
    spec = definition.args.get("spec")
    rows = block.rows
    if isinstance(function, functions.RANKS):
        if function.args.get("expressions") or isinstance(function.this, exp.Order):
            return ExpressionFacts()  # with an order of its own
        number = block.new(INTEGER if isinstance(function, exp.RowNumber | exp.Rank | exp.DenseRank) else UNKNOWN)
        if isinstance(function.this, exp.Expr):  # `ntile` of null is null
            reason = rows.not_null_proof(block.intern(function.this))
            if reason is None:
                return number
            rows.not_null[number] = follow("window_rank", reason)
        else:
            rows.not_null[number] = Proof("window_rank")
        if isinstance(function, exp.RowNumber):
            rows.numbers |= {number}
            rows.add_dependency({*partition, number}, rows.identity, Proof("row_number"))
        elif isinstance(function, exp.Rank | exp.DenseRank) and ordered:
            rows.add_dependency({*partition, number}, ordered, Proof("rank"))
        return number
    if isinstance(function, functions.COUNTS):
        return ExpressionFacts(INTEGER, not_null=Proof("count"))
    if isinstance(function, exp.Lag | exp.Lead):
        return _shifted(block, function, node.this)
    first_or_last = isinstance(function, exp.FirstValue | exp.LastValue)
    if not (isinstance(function, functions.AGGREGATES) or first_or_last) or function.args.get("expressions"):
        return ExpressionFacts()
    if not isinstance(function.this, exp.Expr) or isinstance(function.this, exp.Star):
        return ExpressionFacts()
    column = block.intern(_argument(function))
    picks = isinstance(function, functions.PICKS) or first_or_last
    kind = rows.type_of(column) if picks else _type(block, function, column)
    domain = rows.domains.get(column) if picks else None
    reason = rows.not_null_proof(column)
    keeps = first_or_last or functions.aggregate_keeps_not_null(function, rows.type_of(column), block.dialect)
    here = keeps and not filtered and _separates(block, function) and _holds_current_row(spec)
    return ExpressionFacts(
        kind,
        not_null=follow("window_aggregate", reason) if reason is not None and here else None,
        domain=domain and domain.by("aggregate"),
    )


def _definition(block: QueryBlock, node: exp.Window) -> exp.Expr:
    """Return what says how rows are grouped and ordered: the node itself, or the window that it names."""
    alias = node.args.get("alias")
    if alias is None:
        return node
    named = block.windows.get(name_of(alias, block.dialect))
    if named is None or node.args.get("partition_by") or node.args.get("order") or node.args.get("spec"):
        raise NotUnderstoodError("a window that builds on another one")
    return named


def _holds_current_row(spec: exp.Expr | None) -> bool:
    """Return whether each row is in its own frame."""
    if spec is None:
        return True
    if spec.args.get("exclude"):
        return False
    start, end = spec.args.get("start"), spec.args.get("end") or "CURRENT ROW"
    starts = start == "CURRENT ROW" or (
        start == "UNBOUNDED" and spec.args.get("start_side") in ("PRECEDING", "preceding")
    )
    ends = end == "CURRENT ROW" or (end == "UNBOUNDED" and spec.args.get("end_side") in ("FOLLOWING", "following"))
    return starts and ends


def _shifted(block: QueryBlock, function: exp.Expr, outer: exp.Expr) -> ExpressionFacts:
    """`lag` and `lead`: null beyond the partition, unless there is a default, and by a distance that is null."""
    arguments = [function.args[each] for each in ("this", "offset", "default") if function.args.get(each) is not None]
    columns = [block.intern(each) for each in arguments]
    if function.args.get("default") is None or isinstance(outer, exp.IgnoreNulls):
        return ExpressionFacts(block.rows.type_of(columns[0]))
    reasons = [block.rows.not_null_proof(each) for each in columns]
    kind = common(block.rows.type_of(columns[0]), block.rows.type_of(columns[-1]))
    return ExpressionFacts(kind, not_null=None if None in reasons else follow("window_shift", *reasons))
