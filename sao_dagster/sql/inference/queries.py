"""Queries: `select`, set operations, common table expressions, `values`, and the relations that a `from` names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from sqlglot import exp

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.inference.dependencies import RowFacts, follow
from sao_dagster.sql.inference.expressions import describe
from sao_dagster.sql.inference.joins import Side, join
from sao_dagster.sql.inference.names import NamedRelation, Names, NotUnderstoodError, name_of, read_only
from sao_dagster.sql.inference.output import Output
from sao_dagster.sql.inference.pivots import unpivoted
from sao_dagster.sql.inference.query_block import Context, QueryBlock
from sao_dagster.sql.inference.selects import Selecting
from sao_dagster.sql.inference.series import series_of
from sao_dagster.sql.inference.types import INTEGER, UNKNOWN, Kind, Type, common, is_kept

_OF_RELATIONS = ("alias", "sample", "joins", "laterals")  # parts that are read for relations of any kind
MOST_VALUES = 500  # rows; of a longer `values` nothing is known but that it has rows
MOST_DEPENDENCIES = 1000  # of a common table expression; some sixty of them with a join each, one upon the other


@dataclass
class QueryReader:
    """Reads one query.

    Attributes:
        dialect: sqlglot's name of the dialect.
        table: Returns what is known of a table, with names; None if nothing is.
        hashes_are_unique: Whether hashes of different texts are taken to be different.
    """

    dialect: str
    table: Callable[[exp.Table, count[int]], Output | None]
    hashes_are_unique: bool = False

    def __post_init__(self) -> None:
        self.ids = count(1)
        self.context = Context(self.dialect, self.ids, self.hashes_are_unique, self._inner, describe)

    def read(self, node: exp.Expr) -> Output:
        """Return what a query gives.

        Raises:
            NotUnderstoodError: Nothing can be said of it.
        """
        return self._query(node, None, {})

    def _inner(self, node: exp.Expr, block: QueryBlock | None) -> Output:
        return self._query(node, block, block.ctes if block is not None else {})

    def _query(self, node: exp.Expr, outer: QueryBlock | None, ctes: dict[str, Output]) -> Output:
        ctes = {**ctes, **self._ctes(node, outer, ctes)}
        if isinstance(node, exp.Subquery):
            read_only(node, "this", "alias", "with_", "with", "limit", "offset", "order", "sample", "joins")
            if isinstance(node.this, exp.Table):
                raise NotUnderstoodError("a table in brackets")
            found = self._query(node.this, outer, ctes)
        elif isinstance(node, exp.Select):
            return self._select(node, outer, ctes)
        elif isinstance(node, exp.SetOperation):
            found = self._set_operation(node, outer, ctes)
        elif isinstance(node, exp.Values):
            found = self._values(node, outer, ctes)
        elif isinstance(node, exp.Table):
            side = self._table(node, QueryBlock(self.context, ctes=ctes))
            columns = side.names.star
            found = Output([name for name, _ in columns], [each for _, each in columns], side.rows, side.names.open)
        else:
            raise NotUnderstoodError(f"{type(node).__name__.lower()} as a query")
        _limit(node, found.rows)
        return found

    # ------------------------------------------------------------------ common table expressions

    def _ctes(self, node: exp.Expr, outer: QueryBlock | None, around: dict[str, Output]) -> dict[str, Output]:
        """Return what is known of each common table expression of a query; later ones may read earlier ones."""
        with_ = node.args.get("with_") or node.args.get("with")
        found: dict[str, Output] = {}
        if with_ is None:
            return found
        read_only(with_, "expressions", "recursive")
        later = [name_of(each.args["alias"].this, self.dialect) for each in with_.expressions]
        for cte in with_.expressions:
            read_only(cte, "this", "alias", "materialized")
            name = name_of(cte.args["alias"].this, self.dialect)
            later.remove(name)
            known = {**around, **found}
            tables = cte.this.find_all(exp.Table) if with_.args.get("recursive") else ()
            read = {name_of(each.this, self.dialect) for each in tables if not each.db}
            try:
                if not read.isdisjoint(later):
                    raise NotUnderstoodError("a common table expression that reads one after it")
                output = self._recursive(name, cte, known) if name in read else self._query(cte.this, outer, known)
                if output.correlated:
                    raise NotUnderstoodError("a common table expression that depends on the query around it")
            except NotUnderstoodError:
                output = _opaque(self.ids)
            output.rows = output.rows.pruned(output.ids)
            if len(output.rows.dependencies) > MOST_DEPENDENCIES and not output.open:
                output.rows = output.rows.without_keys(next(self.ids), output.ids)  # which take the cube of it
            found[name] = self._renamed(output, cte.args["alias"])
        return found

    def _renamed(self, output: Output, alias: exp.Expr | None) -> Output:
        """Return the same with the column names that an alias gives."""
        given = alias.args.get("columns") if isinstance(alias, exp.TableAlias) else None
        if not given:
            return output
        if output.open:
            return _opaque(self.ids)
        names = [name_of(each, self.dialect) for each in given]
        return replace(output, names=names + output.names[len(names) :])

    def _recursive(self, name: str, cte: exp.CTE, known: dict[str, Output]) -> Output:
        """Return what holds for the first rows and, wherever it holds for some, for the next ones too."""
        union = cte.this
        if not isinstance(union, exp.Union) or union.args.get("by_name"):
            raise NotUnderstoodError("a recursive query that is no union")
        anchor = self._renamed(self._query(union.this, None, known), cte.args["alias"])
        kept = {place for place, each in enumerate(anchor.ids) if anchor.rows.not_null_proof(each) is not None}
        while True:
            guess = self._plain(anchor.names, [anchor.rows.type_of(each) for each in anchor.ids], kept)
            step = self._query(union.expression, None, {**known, name: guess})
            if step.open or anchor.open or len(step.ids) != len(anchor.ids):
                raise NotUnderstoodError("a recursive query whose columns are not known")
            still = {place for place in kept if step.rows.not_null_proof(step.ids[place]) is not None}
            if still == kept:
                break
            kept = still
        types = [
            common(anchor.rows.type_of(a), step.rows.type_of(b)) for a, b in zip(anchor.ids, step.ids, strict=True)
        ]
        found = self._plain(anchor.names, types, kept)
        if union.args.get("distinct"):
            found.rows.add_dependency(found.ids, found.rows.identity, Proof("union"))
        return found

    def _plain(self, names: Sequence[str], types: Sequence[Type], not_null: set[int]) -> Output:
        """Return an output of which only names, types and the places of columns without nulls are known."""
        row = next(self.ids)
        ids = [next(self.ids) for _ in names]
        rows = RowFacts.numbered(row, ids)
        rows.types = dict(zip(ids, types, strict=True))
        rows.not_null |= {ids[place]: Proof("recursive") for place in not_null}
        return Output(list(names), ids, rows)

    # ------------------------------------------------------------------ values and set operations

    def _values(self, node: exp.Values, outer: QueryBlock | None, ctes: dict[str, Output]) -> Output:
        """Return what is known of written rows: of each column its values, and whether rows or columns are all different."""
        read_only(node, "expressions", "with_", "with", "order", "limit", "offset", *_OF_RELATIONS)
        block = QueryBlock(self.context, outer=outer, ctes=ctes)
        lines = [each.expressions if isinstance(each, exp.Tuple) else [each] for each in node.expressions]
        width = len(lines[0]) if lines else 0
        if not lines or any(len(line) != width for line in lines):
            raise NotUnderstoodError("values of different lengths")
        whole = len(lines) <= MOST_VALUES
        cells = [[block.intern(cell) for cell in line] for line in lines] if whole else []
        ids = [next(self.ids) for _ in range(width)]
        row = next(self.ids)
        proof = Proof("values")
        rows = RowFacts(frozenset({row}) if len(lines) > 1 else frozenset(), not_empty=proof)
        rows.bind(ids, proof)
        for place, column in enumerate(ids) if whole else ():
            mine = [line[place] for line in cells]
            rows.choose(column, [(block.rows, each) for each in mine], "values")
            domains = [block.rows.domains.get(each) for each in mine]
            values = [next(iter(each.values)) for each in domains if each is not None and len(each.values) == 1]
            known = all(each is not None and len(each.values) <= 1 for each in domains)
            if known and len(set(values)) == len(values) and rows.type_of(column).exact:
                rows.add_dependency({column}, rows.identity, proof, {column})
        if len(lines) == 1:
            rows.add_dependency((), ids, proof)
        prefix, first = dialect_named(self.dialect).values_columns or ("", 0)
        names = [f"{prefix}{place + first}" if prefix else "" for place in range(width)]
        return Output(names, ids, rows, copies=dict(block.copies))

    def _set_operation(self, node: exp.SetOperation, outer: QueryBlock | None, ctes: dict[str, Output]) -> Output:
        read_only(node, "this", "expression", "distinct", "with_", "with", "order", "limit", "offset")
        left = self._query(node.this, outer, ctes)
        right = self._query(node.expression, outer, ctes)
        if left.open or right.open or len(left.ids) != len(right.ids):
            raise NotUnderstoodError("a set operation over columns that are not known")
        if isinstance(node, exp.Union):
            rule, (rows, ids) = "union", _union(left, right, self.ids)
        else:
            rule = "except" if isinstance(node, exp.Except) else "intersect"
            rows = left.rows if rule == "except" else _intersect(left, right)
            rows.not_empty = None
            types = [right.rows.type_of(each) for each in right.ids]
            ids = [self._in_common(rows, column, other) for column, other in zip(left.ids, types, strict=True)]
        if node.args.get("distinct"):
            rows.add_dependency(ids, rows.identity, Proof(rule))
        return Output(left.names, ids, rows, copies={**right.copies, **left.copies})

    def _in_common(self, rows: RowFacts, column: int, other: Type) -> int:
        """Return a column of the first side as it is in the result, where the other side's type may be a wider one."""
        mine = rows.type_of(column)
        if is_kept(mine, other):
            return column
        found = rows.recast(column, self.ids, Proof("row"))
        domain = rows.domains.get(column)
        if domain is not None and not domain.values:
            rows.domains[found] = domain
        return found

    # ------------------------------------------------------------------ relations

    def _table(self, node: exp.Table, block: QueryBlock) -> Side:
        if node.args.get("pivots") and not any(node.args.get(each) for each in ("joins", "laterals", "sample")):
            return self._pivoted(node, block)
        name, output = name_of(node.this, self.dialect), None
        known = ("this", "db", "catalog", *_OF_RELATIONS)
        read = all(not value or each in known for each, value in node.args.items())
        alias = _alias(node, self.dialect)
        if read and isinstance(node.this, exp.Identifier):
            cte = None if node.db else block.ctes.get(name)
            output = self.table(node, self.ids) if cte is None else self._use(cte)
        elif read:
            output = self._series(node.this, block, alias)
        return self._side(node, output or _opaque(self.ids), block, alias or name)

    def _pivoted(self, node: exp.Table, block: QueryBlock) -> Side:
        plain = node.copy()
        plain.set("pivots", None)
        (pivot, *others), side = node.args["pivots"], self._table(plain, block)
        try:
            output = unpivoted(side, pivot, self.ids, self.dialect) if not others else _opaque(self.ids)
        except NotUnderstoodError:
            output = _opaque(self.ids)
        return self._side(pivot, output, block, _alias(pivot, self.dialect) or _alias(node, self.dialect) or node.name)

    def _side(self, node: exp.Expr, output: Output, block: QueryBlock, name: str) -> Side:
        """Return a relation under its name, with the column names and the joins that it has in brackets."""
        output = self._renamed(output, node.args.get("alias"))
        if node.args.get("sample"):
            output.rows.not_empty = None
        names = Names.of(NamedRelation(name, list(zip(output.names, output.ids, strict=True)), output.open))
        return self._joined(node, Side(output.rows, names, tuple(output.copies.items())), block)

    def _joined(self, node: exp.Expr, side: Side, block: QueryBlock) -> Side:
        """Return a relation with those that are joined to it in brackets."""
        if not node.args.get("joins") and not node.args.get("laterals"):
            return side
        if side.outer:
            raise NotUnderstoodError("joins of a lateral relation in brackets")
        inner = QueryBlock(self.context, side.rows, side.names, outer=block.outer, copies=block.copies, ctes=block.ctes)
        self._joins(node, inner)
        return Side(inner.rows, inner.names)

    def _use(self, cte: Output) -> Output:
        """Return a common table expression for one use of it; each further use has numbers of its own."""
        if not cte.used:
            cte.used = True
            return replace(cte, rows=cte.rows.copy())
        rows, renamed = cte.rows.renamed(self.ids, cte.ids)
        return Output(cte.names, [renamed[each] for each in cte.ids], rows, cte.open)

    def _relation(self, node: exp.Expr, block: QueryBlock) -> Side:
        """Return what is known of one relation of a `from`, which may use columns of those before it."""
        if isinstance(node, exp.Table):
            return self._table(node, block)
        name = _alias(node, self.dialect)
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            side = self._table(node.this, block)
            if not name:
                return self._joined(node, Side(side.rows, side.names), block)
            columns, ids = map(list, zip(*side.names.star, strict=True)) if side.names.star else ([], [])
            return self._side(node, Output(columns, ids, side.rows, side.names.open), block, name)
        query = node.this if isinstance(node, exp.Lateral) else node
        try:
            if isinstance(node, exp.Lateral):
                read_only(node, "this", *_OF_RELATIONS)
            if isinstance(query, exp.Unnest):
                return self._side(query, self._unnest(query, block, name), block, name)
            if (series := self._series(query, block, name)) is not None:
                return self._side(node, series, block, name)
            if not isinstance(query, exp.Subquery | exp.Values | exp.Select):
                raise NotUnderstoodError(f"{type(query).__name__.lower()} as a relation")
            output = self._in_from(query, block, lateral=isinstance(node, exp.Lateral))
        except NotUnderstoodError:
            output = _opaque(self.ids)
        return self._side(node, output, block, name)

    def _in_from(self, query: exp.Expr, block: QueryBlock, *, lateral: bool) -> Output:
        """Return what a query in a `from` gives; names that it does not know are of the relations before it, or of the query around."""
        if lateral or dialect_named(self.dialect).implicit_lateral:
            return self._query(query, block, block.ctes)
        output = self._query(query, block.outer, block.ctes)
        output.copies = {block.copy(column): mine for column, mine in output.copies.items()}
        return output

    def _unnest(self, node: exp.Unnest, block: QueryBlock, name: str) -> Output:
        """Return what is known of the elements of an array that is written out, or is a series."""
        read_only(node, "expressions", "offset", *_OF_RELATIONS)
        if len(node.expressions) != 1:
            raise NotUnderstoodError("unnest of several arrays")
        ordinality = node.args.get("offset")
        if ordinality:
            plain = node.copy()
            plain.set("offset", None)
            return self._numbered(self._unnest(plain, block, name), block, ordinality)
        (array,) = node.expressions
        series = self._series(array, block, name or "unnest")
        if series is not None:
            return series
        if not isinstance(array, exp.Array) or not array.expressions:
            raise NotUnderstoodError("unnest of what is not written out")
        cells = [block.intern(each) for each in array.expressions]
        kinds = {block.rows.type_of(each).kind for each in cells if not block.rows.is_bare_null(each)}
        if not kinds.isdisjoint({Kind.NESTED, Kind.OTHER}):  # PostgreSQL gives the elements of arrays in an array
            raise NotUnderstoodError("unnest of what may be arrays")
        output = self._plain([name or "unnest"], [UNKNOWN], set())
        output.rows.choose(output.ids[0], [(block.rows, each) for each in cells], "values")
        output.rows.types[output.ids[0]] = UNKNOWN  # the engine chooses a common type
        output.rows.domains.pop(output.ids[0], None)
        output.rows.not_empty = Proof("values")
        return output

    def _numbered(self, output: Output, block: QueryBlock, ordinality: exp.Expr | bool) -> Output:
        """Return rows of an array with their number, which begins at 1 for each row of what comes before it."""
        number = next(self.ids)
        output.rows.types[number] = INTEGER
        output.rows.not_null[number] = Proof("ordinality")
        output.rows.bind({number}, Proof("row"))
        output.rows.add_dependency({number, *block.rows.identity}, output.rows.identity, Proof("ordinality"))
        name = name_of(ordinality, self.dialect) if isinstance(ordinality, exp.Identifier) else "ordinality"
        return replace(output, names=[*output.names, name], ids=[*output.ids, number])

    def _series(self, node: exp.Expr, block: QueryBlock, name: str) -> Output | None:
        """Return what is known of the values of a series, which may be another one for each row of what comes before it."""
        found = series_of(block, node)
        if found is None:
            return None
        name = name or ("range" if node.args.get("is_end_exclusive") else "generate_series")
        output = self._plain([name], [found.type], set())
        (column,) = output.ids
        output.rows.not_null[column] = Proof("series")
        if found.distinct:
            output.rows.add_dependency({column, *block.rows.identity}, output.rows.identity, Proof("series"))
        return output

    def _joins(self, node: exp.Expr, block: QueryBlock) -> None:
        if node.args.get("laterals"):
            raise NotUnderstoodError("lateral views")
        comma = False
        for each in node.args.get("joins") or ():
            plain = not any(each.args.get(part) for part in ("kind", "side", "method", "on", "using"))
            if comma and (each.method == "NATURAL" or each.side in ("RIGHT", "FULL")):
                raise NotUnderstoodError("an outer or natural join after a comma")
            comma = comma or plain
            join(block, self._relation(each.this, block), each)

    # ------------------------------------------------------------------ select

    def _select(self, node: exp.Select, outer: QueryBlock | None, ctes: dict[str, Output]) -> Output:
        block = QueryBlock(self.context, outer=outer, ctes=ctes)
        block.rows.not_empty = Proof("select_without_from")
        from_ = node.args.get("from_") or node.args.get("from")
        if from_ is not None:
            join(block, self._relation(from_.this, block), exp.Join(kind="CROSS"))
        self._joins(node, block)
        names, ids, opened = Selecting(block, node).read()
        _limit(node, block.rows)
        return Output(names, ids, block.rows, opened, block.copies)


def _alias(node: exp.Expr, dialect: str) -> str:
    """Return the name that a relation is given; empty where it is given none."""
    alias = node.args.get("alias")
    return name_of(alias.this, dialect) if isinstance(alias, exp.TableAlias) and alias.this else ""


def _opaque(ids: count[int]) -> Output:
    """Return what is known of a relation that is not understood: nothing."""
    return Output([], [], RowFacts.numbered(next(ids)), open=True)


def _limit(node: exp.Expr, rows: RowFacts) -> None:
    limit = node.args.get("limit")
    if limit is None:
        if node.args.get("offset") is not None:
            rows.not_empty = None
        return
    amount = limit.args.get("expression") if isinstance(limit, exp.Limit) else limit.args.get("count")
    options = limit.args.get("limit_options")
    loose = options is not None and (options.args.get("percent") or options.args.get("with_ties"))
    number = int(amount.name) if isinstance(amount, exp.Literal) and not amount.is_string and amount.is_int else None
    if number is None or number == 0 or node.args.get("offset") is not None or loose or limit.expressions:
        rows.not_empty = None
    if number is not None and number <= 1 and not loose and not limit.expressions:
        rows.at_most_one(Proof("limit"))


def _union(left: Output, right: Output, ids: count[int]) -> tuple[RowFacts, list[int]]:
    """Return what holds in both; keys survive only together with a column that tells the two apart."""
    row = next(ids)
    found = [next(ids) for _ in left.ids]
    rows = RowFacts.numbered(row, found)
    filled = left.rows.not_empty or right.rows.not_empty
    rows.not_empty = follow("union", filled) if filled is not None else None
    for column, one, other in zip(found, left.ids, right.ids, strict=True):
        rows.choose(column, [(left.rows, one), (right.rows, other)], "union")
    for place, tag in enumerate(found):
        domains = left.rows.domains.get(left.ids[place]), right.rows.domains.get(right.ids[place])
        if not rows.type_of(tag).certain or domains[0] is None or domains[1] is None:
            continue
        if domains[0].values & domains[1].values or tag not in rows.not_null:
            continue
        apart = follow("union_tag", domains[0].proof, domains[1].proof)
        for key in _candidates(left, right):
            if not all(rows.type_of(found[each]).certain for each in key):
                continue
            for ignoring in (False, True):
                reason = left.rows.key_proof([left.ids[each] for each in (*key, place)], ignoring_nulls=ignoring)
                other_reason = right.rows.key_proof(
                    [right.ids[each] for each in (*key, place)], ignoring_nulls=ignoring
                )
                if reason is not None and other_reason is not None:
                    columns = {tag, *(found[each] for each in key)}
                    rows.add_dependency(
                        columns,
                        rows.identity,
                        follow("union_tag", apart, reason, other_reason),
                        columns if ignoring else (),
                    )
                    break
    return rows, found


def _candidates(left: Output, right: Output) -> list[tuple[int, ...]]:
    """Return the sets of places that may be keys of both sides of a union."""
    places = range(min(len(left.ids), 40))
    return [(), *((place,) for place in places)]


def _intersect(left: Output, right: Output) -> RowFacts:
    """Return what holds for rows that are in both: all that holds in either, with the columns equal."""
    rows = left.rows.beside(right.rows)
    proof = Proof("intersect")
    for one, other in zip(left.ids, right.ids, strict=True):
        mine, theirs = left.rows.type_of(one), right.rows.type_of(other)
        if is_kept(mine, theirs) and mine.kind is not Kind.FLOAT:
            rows.add_equality(one, other, proof)
        for a, b in ((one, other), (other, one)):
            reason = rows.not_null_proof(a)
            if reason is not None:
                rows.not_null.setdefault(b, follow("intersect", reason))
    rows.identity = left.rows.identity
    rows.add_dependency(left.rows.identity, right.rows.identity, proof)
    rows.add_dependency(right.rows.identity, left.rows.identity, proof)
    return rows
