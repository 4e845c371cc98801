"""Which parts of a query give another result at another time although nothing it reads has changed.

A column that holds a volatile value and nothing else (`now() as loaded_at`) is *bare*: it is kept apart, and makes nothing expire, as
long as nothing is decided by it. So each query is followed from the inside out: which of its columns are bare, where their values come
from, and which of them decide something on the way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import zip_longest

from sqlglot import exp

from sao_dagster.core.policy import Expiry, soonest
from sao_dagster.core.relations import RelationKey
from sao_dagster.sql.composed_times import may_be_composed
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.parsing import UnreadableSqlError, parse_one
from sao_dagster.sql.volatile_functions import expiry_in, has_signs


@dataclass(frozen=True)
class Origin:
    """Where a volatile value comes from.

    Attributes:
        expiry: When it stops being true by itself, because it is made anew whenever it is read; None if it is stored.
        tables: The models whose builds made it and stored it.
        written: The identity of the value in this query that is cast, if at all, to be it in all rows; None where it may be others.
    """

    expiry: Expiry | None = None
    tables: frozenset[str] = frozenset()
    written: int | None = None

    def __add__(self, other: Origin) -> Origin:
        """Return the origin of what is made of both."""
        written = self.written if self.written == other.written else None
        return Origin(soonest(self.expiry, other.expiry), self.tables | other.tables, written)


Bare = Mapping[str, Origin]
"""Bare volatile columns by name, with where their values come from."""


@dataclass(frozen=True)
class Volatility:
    """What was found in a query.

    Attributes:
        expiry: When its result stops being true by itself; None if never.
        columns: Output columns that hold a volatile value and nothing else, such as `now() as loaded_at`. They
            do not make the result expire, and are left out of the data version.
        reads: Models that have such columns, where the result depends on one of these: on which build made it.
    """

    expiry: Expiry | None = None
    columns: Bare = field(default_factory=dict)
    reads: tuple[str, ...] = ()

    @property
    def is_volatile(self) -> bool:
        """Whether anything in it is: what reads it as it is now may get something else each time."""
        return self.expiry is not None or bool(self.columns)

    def __add__(self, other: Volatility) -> Volatility:
        """Return what holds where both queries are run; a column that is bare in one of them is so."""
        if not other.is_volatile and not other.reads:
            return self
        if not self.is_volatile and not self.reads:
            return other
        expiry = soonest(self.expiry, other.expiry)
        return Volatility(expiry, {**self.columns, **other.columns}, tuple(sorted({*self.reads, *other.reads})))


def volatility(
    sql: str,
    dialect: str,
    below: Mapping[RelationKey, Bare] | None = None,
    variants: Sequence[tuple[str, Expiry]] = (),
) -> Volatility:
    """Return what is volatile in a query. SQL that cannot be parsed errs on the side of volatile.

    Args:
        sql: The query.
        dialect: sqlglot's name of its dialect.
        below: Bare volatile columns of relations that it reads.
        variants: The same query as its template gives it at other times, with the expiry that follows from a difference.

    >>> volatility("select * from t where day = current_date", "duckdb").expiry
    <Expiry.DAY: 'day'>
    >>> found = volatility("select id, now() as loaded_at from t", "duckdb")
    >>> found.expiry, list(found.columns)
    (None, ['loaded_at'])
    >>> volatility("select 'now' as word, now_serving from t", "duckdb")
    Volatility(expiry=None, columns={}, reads=())
    >>> stored = {("", "", "t"): {"loaded_at": Origin(tables=frozenset({"t"}))}}
    >>> volatility("select id from t where loaded_at > '2026-01-01'", "duckdb", stored).reads
    ('t',)
    """
    others = tuple((other, expiry) for other, expiry in variants if other != sql)
    known = {key: bare for key, bare in (below or {}).items() if bare}
    if not known and not others:
        return _alone(sql, dialect)
    return _found(sql, dialect, known, others)


@lru_cache(maxsize=4096)
def _alone(sql: str, dialect: str) -> Volatility:
    may_be = has_signs(sql) or (dialect_named(dialect).reads_words_as_times and may_be_composed(sql))
    return _found(sql, dialect, {}, ()) if may_be else Volatility()


@lru_cache(maxsize=8)
def _tree(sql: str, dialect: str) -> exp.Expr:
    """Return a query, which is only looked at: what it is in other runs is asked more than once, one question after the other."""
    return parse_one(sql, dialect)


def _found(
    sql: str, dialect: str, below: Mapping[RelationKey, Bare], variants: Iterable[tuple[str, Expiry]]
) -> Volatility:
    engine = dialect_named(dialect)
    everything = _sum(origin for bare in below.values() for origin in bare.values())
    try:
        tree = _tree(sql, dialect)
        own = {id(node): expiry for node in tree.walk() if (expiry := expiry_in(node, engine)) is not None}
        for other, differs in variants:
            for node in _differing(tree, _tree(other, dialect)):
                own[id(node)] = soonest(own.get(id(node)), differs) or differs
        query = _Query(own, below)
        bare = {name: replace(origin, written=None) for name, origin in query.output(tree, {}).named()}
        if not isinstance(tree, exp.Query):
            query.used.append(everything)
        if id(tree) in own:
            query.used.append(Origin(own[id(tree)]))
    except (UnreadableSqlError, RecursionError):
        by_itself = Expiry.HOUR if has_signs(sql) or (engine.reads_words_as_times and may_be_composed(sql)) else None
        expiry = soonest(by_itself, everything.expiry, *(differs for _, differs in variants))
        return Volatility(expiry, {}, tuple(sorted(everything.tables)))
    used = _sum(query.used)
    return Volatility(used.expiry, bare, tuple(sorted(used.tables)))


def _sum(origins: Iterable[Origin]) -> Origin:
    return sum(origins, Origin())


def differ_in_values(sql: str, other: str, dialect: str) -> bool:
    """Return whether two queries differ in nothing but the values that are written in them.

    >>> differ_in_values("select 'a' as x", "select 'b' as x", "duckdb"), differ_in_values("select 1", "select x", "duckdb")
    (True, False)
    """
    try:
        tree = _tree(sql, dialect)
        return all(each is not tree for each in _differing(tree, _tree(other, dialect)))
    except (UnreadableSqlError, RecursionError):
        return False


def _differing(tree: exp.Expr, other: exp.Expr) -> list[exp.Expr]:
    """Return the values in which two queries differ; all of the first one where they differ in more than values."""
    found: list[exp.Expr] = []
    for one, two in zip_longest(tree.walk(), other.walk()):
        if one is None or two is None or type(one) is not type(two):
            return [tree]
        if _values(one) != _values(two):
            if not isinstance(one, exp.Literal):
                return [tree]
            found.append(one)
    return found


def _values(node: exp.Expr) -> dict[str, object]:
    """Return what a node says itself, without the nodes below it."""
    return {
        key: [each for each in value if not isinstance(each, exp.Expr)] if isinstance(value, list) else value
        for key, value in node.args.items()
        if not isinstance(value, exp.Expr)
    }


@dataclass(frozen=True)
class _Output:
    """The columns of a query: name and origin by position, None for what is not volatile; `is_open` where `*` stands for some of them."""

    columns: tuple[tuple[str, Origin | None], ...] = ()
    is_open: bool = False

    def named(self) -> Iterator[tuple[str, Origin]]:
        for name, origin in self.columns:
            if origin is not None:
                yield name, origin


_Sources = dict[str, dict[str, Origin]]
"""By name in the query, in lower case: the bare columns of what is read, by name in lower case."""


@dataclass
class _Query:
    """Follows bare volatile columns through a query and all that is in it.

    Attributes:
        own: When the value of a node stops being true by itself, by the identity of volatile nodes.
        below: Bare volatile columns of relations.
        used: The origins of the volatile values that decide something.
    """

    own: Mapping[int, Expiry]
    below: Mapping[RelationKey, Bare]
    used: list[Origin] = field(default_factory=list)

    def output(self, query: exp.Expr, ctes: Mapping[str, _Output], outer: Sequence[_Sources] = ()) -> _Output:
        """Return the columns of a query, and note what decides something in it.

        Args:
            query: The query.
            ctes: The columns of common table expressions that it may read, by name in lower case.
            outer: What the queries around it read, which may be named in it.
        """
        if not isinstance(query, exp.Select | exp.SetOperation | exp.Subquery):
            return self._nothing_bare(query)
        seen = dict(ctes)
        recursive = any(with_.recursive for with_ in query.find_all(exp.With))
        for cte in query.ctes:
            name = cte.alias.lower()
            if recursive or cte.args["alias"].columns or not isinstance(cte.this, exp.Query):
                seen[name] = self._nothing_bare(cte.this, seen, outer)
            else:
                seen[name] = self.output(cte.this, seen, outer)
        if isinstance(query, exp.Select):
            return self._select(query, seen, outer)
        if isinstance(query, exp.Subquery):
            found = self.output(query.this, seen, outer)
            rest = _rest(query, {"this", "alias", "with_", "with"})
            for each in rest:
                self._expression(each, {}, seen, outer)
            return self._use(found) if rest else found
        return self._set_operation(query, seen, outer)

    def _nothing_bare(
        self, tree: exp.Expr, ctes: Mapping[str, _Output] | None = None, outer: Sequence[_Sources] = ()
    ) -> _Output:
        """Note all that is volatile in something that is not understood."""
        for node in tree.walk():
            if id(node) in self.own:
                self.used.append(Origin(self.own[id(node)]))
            if isinstance(node, exp.Table):
                self.used += self._table(node, ctes or {}).values()
        for sources in outer:
            self.used += (origin for bare in sources.values() for origin in bare.values())
        return _Output()

    def _use(self, output: _Output, places: Collection[int] | None = None) -> _Output:
        """Note that something is decided by columns of a query, by default by all; these are not bare any more."""
        kept: list[tuple[str, Origin | None]] = []
        for place, (name, origin) in enumerate(output.columns):
            is_used = origin is not None and (places is None or place in places)
            if origin is not None and is_used:
                self.used.append(origin)
            kept.append((name, None if is_used else origin))
        return _Output(tuple(kept), output.is_open)

    def _set_operation(
        self, query: exp.SetOperation, ctes: Mapping[str, _Output], outer: Sequence[_Sources]
    ) -> _Output:
        left, right = (self.output(each, ctes, outer) for each in (query.left, query.right))
        rest = _rest(query, {"this", "expression", "distinct", "with_", "with"})
        for each in rest:
            self._expression(each, {}, ctes, outer)
        keeps_all = isinstance(query, exp.Union) and query.args.get("distinct") is False
        plain = keeps_all and not rest and not query.args.get("by_name") and not left.is_open and not right.is_open
        if not plain:
            left, right = self._use(left), self._use(right)
        columns = tuple(
            (name, _both(one, two)) for (name, one), (_, two) in zip(left.columns, right.columns, strict=False)
        )
        return _Output(columns, left.is_open or right.is_open)

    # ------------------------------------------------------------------ one select

    def _select(self, select: exp.Select, ctes: Mapping[str, _Output], outer: Sequence[_Sources]) -> _Output:
        sources, everything_used = self._read(select, ctes, outer)
        around = [sources, *outer]
        columns: list[tuple[str, Origin | None]] = []
        places: list[int] = []  # of each thing that is selected, where it begins
        naming: list[exp.Expr] = []  # what is selected and may name a column of this query by that
        is_open = False
        for selected in select.expressions:
            places.append(len(columns))
            star = selected.this if isinstance(selected, exp.Column) else selected
            if isinstance(star, exp.Star):
                is_open = True
                columns += self._star(star, selected.text("table").lower(), sources, ctes, outer)
                continue
            name = selected.alias_or_name
            value = selected.this if isinstance(selected, exp.Alias) else selected
            while isinstance(value, exp.Cast | exp.Paren) and id(value) not in self.own:
                value = value.this
            origin: Origin | None = None
            if (
                id(value) in self.own
                and isinstance(selected, exp.Alias)
                and value.find(exp.Column, exp.Star) in (None, value)
            ):
                origin = Origin(self.own[id(value)], written=id(value) if isinstance(value, exp.Literal) else None)
            elif isinstance(value, exp.Column) and id(value) not in self.own and not _is_whole(value, around):
                origin = _resolve(value, [sources])
                if origin is None:
                    self._expression(value, sources, ctes, outer)
            else:
                self._expression(selected, sources, ctes, outer)
            passes_on = origin is not None and isinstance(value, exp.Column) and value.name.lower() == name.lower()
            if not passes_on:  # `cast(at as date) as at` names what is read: nothing is called by its own name
                naming.append(selected.unalias())
            columns.append((name, origin))
        output = _Output(tuple(columns), is_open)
        for each in (rest := _rest(select, _READ)):
            self._expression(each, sources, ctes, outer)
        if everything_used or (places_used := _decided_by_place(select, places, output)) is None:
            return self._use(output)
        named = {name for each in (*rest, *naming) if not isinstance(each, exp.Column) for name in _names(each)}
        places_used |= {place for place, (name, _) in enumerate(output.columns) if name.lower() in named}
        return self._use(output, places_used)

    def _read(
        self, select: exp.Select, ctes: Mapping[str, _Output], outer: Sequence[_Sources]
    ) -> tuple[_Sources, bool]:
        """Return what a query reads, by name, and whether all of it decides something."""
        sources: _Sources = {}
        from_ = select.args.get("from_") or select.args.get("from")
        joins = select.args.get("joins") or []
        whole = False
        for item in [*([from_.this] if from_ is not None else []), *(join.this for join in joins)]:
            name, bare = item.alias_or_name.lower(), dict[str, Origin]()
            if isinstance(item, exp.Table) and isinstance(item.this, exp.Identifier):
                bare = self._table(item, ctes)
                plain = not item.args.get("pivots") and not item.args.get("joins")
                for part in ("sample", "when", "changes"):
                    if isinstance(found := item.args.get(part), exp.Expr):
                        self._expression(found, {}, ctes, outer)
            elif isinstance(item, exp.Subquery) and isinstance(item.this, exp.Query):
                inner = self.output(item.this, ctes, [sources, *outer])
                bare = {column.lower(): origin for column, origin in inner.named()}
                plain = not item.args.get("pivots") and not item.args.get("joins")
                if isinstance(found := item.args.get("sample"), exp.Expr):
                    self._expression(found, {}, ctes, outer)
            else:
                plain = False
            alias = item.args.get("alias")
            renamed = isinstance(alias, exp.TableAlias) and bool(alias.columns)
            if not plain or renamed:
                self.used += bare.values()
                bare = {}
            if not plain:
                self._nothing_bare(item, ctes)
                self._expression(item, sources, ctes, outer)
            sources.setdefault(name, {}).update(bare)
        for join in joins:
            if join.method == "NATURAL":
                whole = True
                self.used += (origin for bare in sources.values() for origin in bare.values())
            for column in join.args.get("using") or ():
                self.used += (bare[column.name.lower()] for bare in sources.values() if column.name.lower() in bare)
            if join.args.get("on") is not None:
                self._expression(join.args["on"], sources, ctes, outer)
        for lateral in select.args.get("laterals") or ():
            self._expression(lateral, sources, ctes, outer)
        # rows without a value are like those whose value cannot be cast, at some times
        if any(join.side for join in joins):
            for bare in sources.values():
                bare.update((name, replace(origin, written=None)) for name, origin in bare.items())
        return sources, whole

    def _table(self, table: exp.Table, ctes: Mapping[str, _Output]) -> dict[str, Origin]:
        """Return the bare columns of a table or common table expression, by name in lower case."""
        if not table.db and table.name.lower() in ctes:
            return {name.lower(): origin for name, origin in ctes[table.name.lower()].named()}
        wanted = (table.catalog.lower(), table.db.lower(), table.name.lower())
        found: dict[str, Origin] = {}
        for key, bare in self.below.items():
            if key[2] == wanted[2] and all(not a or not b or a == b for a, b in zip(wanted, key, strict=True)):
                found.update({name.lower(): origin for name, origin in bare.items()})
        return found

    def _star(
        self, star: exp.Star, table: str, sources: _Sources, ctes: Mapping[str, _Output], outer: Sequence[_Sources]
    ) -> Iterator[tuple[str, Origin | None]]:
        """Yield the bare columns that `*` stands for, without those that it leaves out or replaces."""
        gone: set[str] = set()
        for key, value in star.args.items():
            for each in value or ():
                gone.update(part.name.lower() for part in (each, each.this) if isinstance(part, exp.Expr))
                gone.add(each.alias.lower())
                if key not in ("except_", "except"):
                    self._expression(each, sources, ctes, outer)
        for name, bare in sources.items():
            if not table or name == table:
                yield from ((column, origin) for column, origin in bare.items() if column not in gone)

    # ------------------------------------------------------------------ expressions

    def _expression(
        self, tree: exp.Expr, sources: _Sources, ctes: Mapping[str, _Output], outer: Sequence[_Sources]
    ) -> None:
        """Note all that is volatile in an expression, by itself or by what it names: it decides something there."""
        around = [sources, *outer]
        pending: list[exp.Expr] = [tree]
        while pending:
            node = pending.pop()
            if id(node) in self.own:
                self.used.append(Origin(self.own[id(node)]))
            if isinstance(node, exp.Query):
                self._use(self.output(node, ctes, around))
                continue
            if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
                origin = _resolve(node, around)
                if origin is not None:
                    self.used.append(origin)
                if _is_whole(node, around):
                    self.used += _all_of(around, node.name.lower())
            elif isinstance(node, exp.PositionalColumn | exp.Columns) or (
                isinstance(node, exp.Star) and not _is_count(node)
            ):
                self.used += _all_of(around)
            pending += node.iter_expressions()


_READ = {"expressions", "from_", "from", "joins", "laterals", "with_", "with", "kind", "hint"}


def _rest(query: exp.Expr, known: Collection[str]) -> list[exp.Expr]:
    """Return the parts of a query that are not among those that are known."""
    found: list[exp.Expr] = []
    for key, value in query.args.items():
        if key not in known:
            found += (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, exp.Expr))
    return found


def _names(tree: exp.Expr) -> Iterator[str]:
    """Yield the names, in lower case, by which an expression may mean a column of the query that it is in."""
    yield from (column.name.lower() for column in tree.find_all(exp.Column) if not column.table)


def _all_of(around: Sequence[_Sources], name: str | None = None) -> Iterator[Origin]:
    """Yield the origins of all bare columns that may be named, or of those of one table."""
    for sources in around:
        for table, bare in sources.items():
            if name is None or table == name:
                yield from bare.values()


def _resolve(column: exp.Column, around: Sequence[_Sources]) -> Origin | None:
    """Return the origin of a column that may be a bare one of what is read; the innermost query first."""
    table, name = column.table.lower(), column.name.lower()
    for sources in around:
        found = [bare[name] for alias, bare in sources.items() if name in bare and (not table or alias == table)]
        if found:
            return found[0] if len(found) == 1 else _sum(found)
    return None


def _is_whole(column: exp.Column, around: Sequence[_Sources]) -> bool:
    """Return whether a name is that of a table, and so means whole rows of it."""
    return not column.table and any(sources.get(column.name.lower()) for sources in around)


def _is_count(star: exp.Star) -> bool:
    return isinstance(star.parent, exp.Count) and not star.parent.args.get("distinct")


def _both(one: Origin | None, two: Origin | None) -> Origin | None:
    """Return the origin of a column whose values come from two queries, of which one may have others there."""
    if one is not None and two is not None:
        return one + two
    return None if (found := one or two) is None else replace(found, written=None)


def _decided_by_place(select: exp.Select, places: Sequence[int], output: _Output) -> set[int] | None:
    """Return the places of columns that a query groups, sorts or picks rows by without their names; None for all of them.

    A value that is written in the query is the same in all rows, so `distinct` takes the same rows whatever it is.

    Args:
        select: The query.
        places: Of each thing that it selects, where its columns begin.
        output: Its columns.
    """
    group, order = select.args.get("group"), select.args.get("order")
    by_sets = group is not None and any(group.args.get(key) for key in ("all", "cube", "rollup", "grouping_sets"))
    distinct = select.args.get("distinct")
    if by_sets or (distinct is not None and distinct.args.get("on") is not None):
        return None
    terms = [] if group is None else list(group.expressions)
    terms += [] if order is None else [each.this for each in order.expressions]
    compared = () if distinct is None else enumerate(output.columns)
    found = {place for place, (_, origin) in compared if origin is None or origin.written is None}
    for term in terms:
        if isinstance(term, exp.Var):  # `order by all`
            return None
        if isinstance(term, exp.Literal) and not term.is_string:
            place = int(term.name) - 1 if term.name.isdigit() else -1
            if output.is_open or not 0 <= place < len(places):
                return None
            found.add(places[place])
    return found
