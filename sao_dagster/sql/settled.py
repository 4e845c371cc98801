"""Whether one build of an incremental model that reads itself takes all that is new.

It does where it asks its own table only for what it has already, and builds from everything else: a lower bound
(`id > (select max(id) from this)`) or an anti-join (`id not in (select id from this)`). Then what is left of the query without
that condition is the query of the first build, word for word, and a second build finds nothing; unless it takes one row of each group
and leaves the others to the next (`settled_choices`). A query with a limit, a sample,
or an upper bound that it takes from its own table takes a part at a time. What is neither is not understood.

Where rows are only added, a bound that lets through what is there already (`>=`, or the greatest less a window) adds that again with each build.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from sqlglot import exp

from sao_dagster.core.facts import Unsettled
from sao_dagster.core.relations import RelationKey
from sao_dagster.sql.parsing import UnreadableSqlError, parse_one
from sao_dagster.sql.settled_choices import RANKS, KeptOut, column_names, leaves_some

_UPPER = (exp.LT, exp.LTE)
_LOWER = (exp.GT, exp.GTE)


@lru_cache(maxsize=4096)
def unsettled(
    full: str, incremental: str, dialect: str, this: RelationKey, *, appends: bool = False
) -> Unsettled | None:
    """Return why one build may not be enough; None where it is, also where a query does not read its own table.

    Args:
        full: The query of a build from the start.
        incremental: The query of a build that adds to what is there.
        dialect: Sqlglot's name of their dialect.
        this: The relation that they build.
        appends: Whether what a build gives is added to what is there, rather than put in its place by a key.

    >>> orders = "select id from raw.orders"
    >>> this = ("", "main", "m")
    >>> unsettled(orders, f"{orders} where id > (select max(id) from main.m)", "duckdb", this)
    >>> unsettled(f"{orders} limit 3", f"{orders} where id > (select max(id) from main.m) limit 3", "duckdb", this)
    <Unsettled.PART: 'part'>
    >>> unsettled(orders, f"{orders} where (select count(*) from main.m) < 9", "duckdb", this)
    <Unsettled.NOT_UNDERSTOOD: 'not_understood'>
    >>> again = f"{orders} where id >= (select max(id) from main.m)"
    >>> [unsettled(orders, again, "duckdb", this, appends=appends) is None for appends in (False, True)]
    [True, False]
    """
    if this[2] not in incremental.lower():
        return None
    try:
        first, later = parse_one(full, dialect), parse_one(incremental, dialect)
    except UnreadableSqlError:
        return Unsettled.NOT_UNDERSTOOD
    if not any(_own(later, this)):
        return None
    if _takes_a_part(first, this) or _takes_a_part(later, this):
        return Unsettled.PART
    rest, kept_out = _without_own(later, this, appends=appends)
    understood = not any(_own(rest, this)) and rest == first and not _chooses_rows(first)
    understood = understood and not any(leaves_some(rest, each) for each in kept_out)
    return None if understood else Unsettled.NOT_UNDERSTOOD


def _own(tree: exp.Expr, this: RelationKey) -> Iterator[exp.Table]:
    """Yield the places where a query reads its own table."""
    for table in tree.find_all(exp.Table):
        if table.name.lower() == this[2] and table.db.lower() in ("", this[1]):
            yield table


def _reads_only_own(tree: exp.Expr, this: RelationKey) -> bool:
    own = {id(table) for table in _own(tree, this)}
    return bool(own) and all(id(table) in own for table in tree.find_all(exp.Table))


# ------------------------------------------------------------------ a part


def _takes_a_part(tree: exp.Expr, this: RelationKey) -> bool:
    """Return whether a query visibly leaves some of what is new for later: a limit, a sample, or an upper bound from its own table."""
    if tree.find(exp.TableSample):
        return True
    for limit in tree.find_all(exp.Limit, exp.Fetch):
        query = limit.parent
        if query is None or not _reads_only_own(query, this):
            return True
    for each in tree.find_all(exp.LT, exp.LTE, exp.GT, exp.GTE):
        upper = each.expression if isinstance(each, _UPPER) else each.this
        if any(_own(upper, this)) and not any(_own(each.this if upper is each.expression else each.expression, this)):
            return True
    return any(any(_own(each.args["high"], this)) for each in tree.find_all(exp.Between))


def _chooses_rows(tree: exp.Expr) -> bool:
    """Return whether the place of a row among others, or chance, may decide whether it is taken; the first of each group is none of that."""
    if tree.find(exp.Rand, exp.Offset):
        return True
    windows = list(tree.find_all(exp.Window))
    if any(isinstance(each.this, RANKS) and not each.args.get("partition_by") for each in windows):
        return True
    names = {each.parent.alias.lower() for each in windows if isinstance(each.parent, exp.Alias)}
    return any(
        (each.find(exp.Window) or any(column.name.lower() in names for column in each.find_all(exp.Column)))
        and not (isinstance(each, exp.EQ) and each.expression == exp.Literal.number(1))
        for each in tree.find_all(exp.Predicate)
    )


# ------------------------------------------------------------------ what is left without its own table


def _without_own(tree: exp.Expr, this: RelationKey, *, appends: bool) -> tuple[exp.Expr, list[KeptOut]]:
    """Return a query without the conditions that keep out what its own table has already, and these."""
    tree = tree.copy()
    found: list[KeptOut] = []
    for select in list(tree.find_all(exp.Select)):
        found += _drop_anti_join(select, this)
        where = select.args.get("where")
        if where is None:
            continue
        kept: list[exp.Expr] = []
        dropped: list[exp.Expr] = []
        for each in _conjuncts(where.this):
            (dropped if _keeps_out(each, this, appends=appends) else kept).append(each)
        found += [KeptOut(select, *compared) for each in dropped for compared in _compared(each, this)]
        if dropped:
            select.set("where", exp.Where(this=exp.and_(*kept, copy=False, wrap=False)) if kept else None)
    while isinstance(tree, exp.Except) and _reads_only_own(tree.expression, this):
        tree = tree.this
    return tree, found


def _conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(condition, exp.And):
        yield from _conjuncts(condition.left)
        yield from _conjuncts(condition.right)
    else:
        yield condition


def _keeps_out(condition: exp.Expr, this: RelationKey, *, appends: bool) -> bool:
    """Return whether a condition is only a lower bound, or one that no row of its own table meets."""
    if isinstance(condition, exp.Paren):
        return _keeps_out(condition.this, this, appends=appends)
    if isinstance(condition, exp.Or):
        return all(_keeps_out(each, this, appends=appends) for each in (condition.left, condition.right))
    if appends and isinstance(condition, exp.GTE | exp.LTE):
        return False
    if isinstance(condition, _LOWER):
        return not any(_own(condition.this, this)) and _is_bound(condition.expression, this, exact=appends)
    if isinstance(condition, _UPPER):
        return not any(_own(condition.expression, this)) and _is_bound(condition.this, this, exact=appends)
    if isinstance(condition, exp.Not):
        inner = condition.this.unnest()
        if isinstance(inner, exp.In):
            query = inner.args.get("query")
            return query is not None and not any(_own(inner.this, this)) and _reads_only_own(query, this)
        return isinstance(inner, exp.Exists) and _reads_only_own(inner.this, this)
    return False


def _compared(condition: exp.Expr, this: RelationKey) -> Iterator[tuple[frozenset[str], bool]]:
    """Yield the columns by which conditions keep out what is there already, and whether that is a bound."""
    if isinstance(condition, exp.Paren):
        yield from _compared(condition.this, this)
    elif isinstance(condition, exp.Or):
        yield from _compared(condition.left, this)
        yield from _compared(condition.right, this)
    elif isinstance(condition, _LOWER):
        yield column_names(condition.this), True
    elif isinstance(condition, _UPPER):
        yield column_names(condition.expression), True
    elif isinstance(inner := condition.this.unnest(), exp.In):
        yield column_names(inner.this), False
    else:
        own = {table.alias_or_name for table in _own(inner, this)}
        outer = [each for each in inner.find_all(exp.Column) if each.table and each.table not in own]
        yield column_names(*outer) or frozenset([""]), False


def _is_bound(bound: exp.Expr, this: RelationKey, *, exact: bool) -> bool:
    """Return whether a value is the greatest of a column of its own table, or, if it need not be exact, less by a constant."""
    bound = bound.unnest() if isinstance(bound, exp.Paren) else bound
    if isinstance(bound, exp.Subquery):
        query = bound.this
        plain = isinstance(query, exp.Select) and len(query.expressions) == 1 and _reads_only_own(query, this)
        joins = any(query.args.get(part) for part in ("joins", "group", "having", "qualify", "windows", "limit"))
        named = {table.alias_or_name for table in query.find_all(exp.Table)}
        correlated = any(column.table and column.table not in named for column in query.find_all(exp.Column))
        if exact and plain and query.args.get("where"):
            return False
        return plain and not joins and not correlated and _is_greatest(query.expressions[0], exact=exact)
    if isinstance(bound, exp.Coalesce if exact else exp.Coalesce | exp.Cast | exp.Sub | exp.DateSub | exp.TsOrDsAdd):
        rest = [each for each in bound.iter_expressions() if each is not bound.this]
        return _is_bound(bound.this, this, exact=exact) and not any(each.find(exp.Column, exp.Table) for each in rest)
    return False


def _is_greatest(value: exp.Expr, *, exact: bool) -> bool:
    if isinstance(value, exp.Max):
        return not exact or isinstance(value.this, exp.Column)
    around = exp.Alias | exp.Paren | exp.Coalesce
    if isinstance(value, around if exact else around | exp.Cast | exp.Sub | exp.DateSub):
        rest = [each for each in value.iter_expressions() if each is not value.this]
        return _is_greatest(value.this, exact=exact) and not any(each.find(exp.Column, exp.Table) for each in rest)
    return False


def _drop_anti_join(select: exp.Select, this: RelationKey) -> Iterator[KeptOut]:
    """Take out `left join this on ... where this.id is null`, where nothing else of its own table is used, and yield what it was."""
    for join in list(select.args.get("joins") or ()):
        if join.side != "LEFT" or not isinstance(join.this, exp.Table) or not any(_own(join.this, this)):
            continue
        name, on, where = join.this.alias_or_name.lower(), join.args.get("on"), select.args.get("where")
        if on is None or where is None:
            continue
        inside = {id(column) for column in on.find_all(exp.Column)}
        used = [each for each in select.find_all(exp.Column) if each.table.lower() == name and id(each) not in inside]
        empty = [
            each
            for each in _conjuncts(where.this)
            if isinstance(each, exp.Is) and isinstance(each.expression, exp.Null) and each.this in used
        ]
        if len(used) != 1 or len(empty) != 1 or empty[0].this is not used[0]:
            continue
        rest = [each for each in _conjuncts(where.this) if each is not empty[0]]
        select.set("where", exp.Where(this=exp.and_(*rest, copy=False, wrap=False)) if rest else None)
        select.set("joins", [each for each in select.args["joins"] if each is not join] or None)
        yield KeptOut(
            select, column_names(*(each for each in on.find_all(exp.Column) if each.table.lower() != name)), False
        )
