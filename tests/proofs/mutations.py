"""Each rule, broken on purpose: the random queries must notice.

    python -m tests.proofs.mutations [--pairs 60000] [NAME ...]

Prints for each mutation after how many pairs of query and data the first unsound claim was seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from sqlglot import exp

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.inference import (
    aggregates,
    cardinality,
    dependencies,
    expressions,
    functions,
    infer,
    joins,
    pivots,
    predicates,
    queries,
    query_block,
    selects,
    series,
    type_names,
    types,
)
from sao_dagster.sql.inference.dependencies import Domain, RowFacts
from sao_dagster.sql.inference.predicates import Effects
from tests.proofs.fuzz import DuckDB, Engine, fuzz

Mutation = Callable[[], AbstractContextManager[Any]]
MUTATIONS: dict[str, Mutation] = {}
WRONG = Proof("wrong")


def mutation(function: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
    """Register a mutation: a context in which a rule is broken."""
    MUTATIONS[function.__name__.replace("_", " ")] = contextmanager(function)
    return function


def replacing(name: str, target: Any, attribute: str, value: Any) -> None:
    """Register a mutation that puts something in the place of a function or a table."""
    MUTATIONS[name] = lambda: patch.object(target, attribute, value)


def handling(name: str, module: Any, kinds: Any, changed: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Register a mutation that changes what handles expressions or conditions of some kinds."""

    def context() -> AbstractContextManager[Any]:
        handlers = tuple((each, changed(handler) if each == kinds else handler) for each, handler in module._HANDLERS)
        assert handlers != module._HANDLERS
        return patch.object(module, "_HANDLERS", handlers)

    MUTATIONS[name] = context


# ---------------------------------------------------------------------- rows

replacing(
    "lax keys count as strict",
    RowFacts,
    "key_proof",
    lambda self, columns, *, ignoring_nulls, _own=RowFacts.key_proof: _own(self, columns, ignoring_nulls=True),
)
replacing("dependencies survive rows of nulls", dependencies, "_among_nulls", lambda each, present, marker: each)
replacing("an outer join adds no nulls", RowFacts, "padded", lambda self, ids, columns, proof: (self.copy(), next(ids)))
replacing(
    "conditions on dependencies are forgotten",
    RowFacts,
    "add_dependency",
    lambda self, a, b, proof, when=(), _own=RowFacts.add_dependency: _own(self, a, b, proof),
)
replacing(
    "implications need one of all",
    RowFacts,
    "_premises",
    staticmethod(
        lambda rule, found: next(([found[each]] for each in rule.any_of | rule.all_of if each in found), None)
    ),
)
replacing(
    "domains are not cut but joined",
    Domain,
    "both",
    lambda self, other: Domain(
        self.values & other.values & frozenset([next(iter(sorted(self.values, key=str)), 0)]), self.proof
    ),
)


@mutation
def two_values_are_one() -> Iterator[None]:
    own = RowFacts._has_domain

    def wrong(self: RowFacts, column: int, domain: Domain) -> None:
        own(self, column, domain)
        if len(domain.values) == 2:
            self.add_dependency((), {column}, WRONG, {column})

    with patch.object(RowFacts, "_has_domain", wrong):
        yield


# ---------------------------------------------------------------------- types and functions


@mutation
def all_types_compare_alike() -> Iterator[None]:
    with patch.object(joins, "can_be_compared", _always), patch.object(predicates, "can_be_compared", _always):
        yield


@mutation
def unsigned_numbers_are_compared_as_they_are() -> Iterator[None]:
    type_names.read_type.cache_clear()
    with patch.dict(type_names._INTEGERS, {exp.DataType.Type.UINT128: 129}):
        yield
    type_names.read_type.cache_clear()


def _always(one: types.Type, other: types.Type) -> bool:
    return True


replacing("every cast keeps values apart", expressions, "keeps_apart", lambda source, target, dialect: True)
replacing(
    "every cast keeps domains",
    expressions,
    "_cast_domain",
    lambda block_, inner, source, target: block_.rows.domains.get(inner),
)
replacing("what is tried fits", expressions, "holds_all", lambda target, source: True)
replacing("equal is always the same", types.Type, "exact", property(lambda self: True))
replacing("every function keeps not null", functions, "keeps_not_null", lambda node, dialect: True)
replacing("every function rejects nulls", functions, "rejects_null", lambda node: tuple(node.iter_expressions()))
replacing("texts can always be read again", expressions, "_can_be_read_again", lambda block_, parts: True)
replacing("every kind of type is common", dependencies, "common", lambda one, other: one)
replacing(
    "a choice has the values of its first side",
    expressions,
    "any_domain",
    lambda parts, rule: parts[0][0].domains.get(parts[0][1]),
)


def _not_null(handler: Callable[..., Any]) -> Callable[..., Any]:
    def changed(block_: Any, node: Any) -> Any:
        found = handler(block_, node)
        return found if isinstance(found, int) else replace(found, not_null=WRONG)

    return changed


def _injective(handler: Callable[..., Any]) -> Callable[..., Any]:
    def changed(block_: Any, node: Any) -> Any:
        found = handler(block_, node)
        return (
            found
            if isinstance(found, int) or not found.arguments
            else replace(found, reveals=found.arguments, when=(), partly=False)
        )

    return changed


def _whole(handler: Callable[..., Any]) -> Callable[..., Any]:
    def changed(block_: Any, node: Any) -> Any:
        found = handler(block_, node)
        return found if isinstance(found, int) else replace(found, when=(), partly=False)

    return changed


def _first(handler: Callable[..., Any]) -> Callable[..., Any]:
    return lambda block_, node: block_.intern(node.this)


handling("coalesce is its first argument", expressions, exp.Coalesce, _first)
handling("nullif is never null", expressions, exp.Nullif, _not_null)
handling("nullif keeps all apart", expressions, exp.Nullif, _whole)
handling("case is never null", expressions, (exp.Case, exp.If), _not_null)
handling("case keeps values apart", expressions, (exp.Case, exp.If), _injective)
handling("greatest keeps values apart", expressions, (exp.Greatest, exp.Least), _injective)
handling("addition keeps values apart", expressions, (exp.Add, exp.Sub), _injective)
handling("in is never null", expressions, exp.In, _not_null)
handling("a scalar query is never null", expressions, (exp.Subquery, exp.Query), _not_null)
handling("an aggregate is never null", expressions, exp.AggFunc, _not_null)
handling("an aggregate with a filter is never null", expressions, exp.Filter, _not_null)

# ---------------------------------------------------------------------- conditions

replacing("or says what each side says", Effects, "either", Effects.both)


def _holding(handler: Callable[..., Any]) -> Callable[..., Any]:
    return lambda block_, node, holds: handler(block_, node, True)


def _as_comparison(handler: Callable[..., Any]) -> Callable[..., Any]:
    return lambda block_, node, holds: predicates._compared(
        block_, exp.EQ(this=node.this, expression=node.expression), holds=holds
    )


handling("not in a query rejects nulls", predicates, exp.In, _holding)
handling("not between rejects all nulls", predicates, exp.Between, _holding)
handling("not exists is exists", predicates, exp.Exists, _holding)
handling("is null and is not null are one", predicates, exp.Is, _holding)
handling("is distinct from is <>", predicates, (exp.NullSafeEQ, exp.NullSafeNEQ), _as_comparison)
handling(
    "coalesce(p, x) holds where p does",
    predicates,
    exp.Coalesce,
    lambda handler: lambda block_, node, holds: predicates.effects(block_, node.this, holds=holds),
)


def _any_as_equal(block_: Any, node: Any, holds: bool) -> Effects:
    if isinstance(node.expression, exp.Any | exp.All):
        return Effects({block_.intern(node.this): WRONG})
    return predicates._compared(block_, node, holds)


handling("all of no rows rejects nulls", predicates, functions.COMPARISONS, lambda handler: _any_as_equal)


replacing(
    "bounds leave nothing between",
    predicates,
    "_bounds",
    lambda *found, holds, _own=predicates._bounds: {
        column: (low + 1, high - 1) for column, (low, high) in _own(*found, holds=holds).items()
    },
)


@mutation
def the_second_row_counts_as_the_first() -> Iterator[None]:
    own = predicates._bound

    def wider(block_: Any, found: Effects, node: Any, one: int, other: int, *, holds: bool) -> None:
        for column in (one, other):
            if column in block_.rows.numbers and isinstance(node, exp.LT | exp.LTE) and holds:
                predicates._equate(block_, found, column, block_.intern(exp.Literal.number(1)))
        own(block_, found, node, one, other, holds=holds)

    with patch.object(predicates, "_bound", wider):
        yield


# ---------------------------------------------------------------------- joins

replacing("each row meets at most one", joins, "_at_most_one_match", lambda meeting, start, goal: WRONG)
replacing("joins on chance meet alike", joins, "is_unpredictable", lambda node: False)
replacing("a full join has only equalities", joins, "_are_all", lambda node, merged: True)
replacing(
    "an anti join is a semi join",
    joins,
    "_filter",
    lambda block_, left, found, *, semi, _own=joins._filter: _own(block_, left, found, semi=True),
)
replacing("a lateral relation is the same for all rows", joins, "_per_row", lambda left, right: right)
replacing(
    "every join is an asof join",
    joins,
    "_meeting",
    lambda block_, left, right, _own=joins._meeting: _asof(_own(block_, left, right), left, right),
)


def _asof(meeting: Any, left: Any, right: Any) -> Any:
    meeting.rows.add_dependency(left.rows.identity, right.rows.identity, WRONG)
    return meeting


@mutation
def a_full_join_keeps_either_side_not_null() -> Iterator[None]:
    own = joins._coalesce

    def wrong(block_: Any, rows_: Any, left: Any, right: Any, pair: Any) -> int:
        either = own(block_, rows_, left, right, pair)
        rows_.not_null[either] = WRONG
        return either

    with patch.object(joins, "_coalesce", wrong):
        yield


# ---------------------------------------------------------------------- selects and sets


def _grouped_plainly(self: Any, found: Any) -> None:
    self.block.rows.add_dependency([*found.always, *found.sometimes], self.block.rows.identity, WRONG)


replacing("rollup is group by", selects.Selecting, "_grouping_sets", _grouped_plainly)
replacing(
    "rollup keeps what is grouped by twice",
    selects.Selecting,
    "_grouping_sets",
    lambda self, found, _own=selects.Selecting._grouping_sets: _own(
        self, replace(found, sometimes=[each for each in found.sometimes if each not in found.always])
    ),
)
replacing("group by all groups by constants", query_block.QueryBlock, "is_own", lambda self, node: True)
replacing(
    "unpivot keeps rows",
    queries,
    "unpivoted",
    lambda side, pivot, ids, dialect, _own=pivots.unpivoted: _as_many(_own(side, pivot, ids, dialect), side),
)


def _as_many(output: Any, side: Any) -> Any:
    output.rows.identity = side.rows.identity
    return output


replacing(
    "unnest keeps rows",
    selects.Selecting,
    "_fan_out",
    lambda self, items, several: {place: self.block.new() for place in several},
)
replacing("every step is one of days", series, "_unit", lambda step: "DAY")
replacing("every truncated time begins a day", functions, "WHOLE_DAY_UNITS", (*functions.WHOLE_DAY_UNITS, "HOUR"))
replacing(
    "distinct on is distinct",
    selects.Selecting,
    "_distinct",
    lambda self, ids: (
        self.node.args.get("distinct") and self.block.rows.add_dependency(ids, self.block.rows.identity, WRONG)
    ),
)
replacing(
    "limit 2 is limit 1", queries, "_limit", lambda node, rows_: node.args.get("limit") and rows_.at_most_one(WRONG)
)
replacing("union keeps the keys of its first side", queries, "_union", lambda left, right, ids: (left.rows, left.ids))


replacing(
    "sets keep the types of their first side",
    queries.QueryReader,
    "_in_common",
    lambda self, rows_, column, other: column,
)


@mutation
def union_takes_not_null_from_either_side() -> Iterator[None]:
    own = RowFacts.choose

    def wrong(self: RowFacts, column: int, parts: Any, rule: str) -> None:
        own(self, column, parts, rule)
        if any(each.not_null_proof(part) is not None for each, part in parts):
            self.not_null[column] = WRONG

    with patch.object(RowFacts, "choose", wrong):
        yield


@mutation
def union_all_is_union() -> Iterator[None]:
    own = queries.QueryReader._set_operation

    def wrong(self: Any, node: Any, *rest: Any) -> Any:
        node.set("distinct", True)
        return own(self, node, *rest)

    with patch.object(queries.QueryReader, "_set_operation", wrong):
        yield


@mutation
def the_sides_of_a_union_are_always_apart() -> Iterator[None]:
    own = queries._union

    def wrong(left: Any, right: Any, ids: Any) -> Any:
        rows_, found = own(left, right, ids)
        for place, column in enumerate(found):
            if left.rows.key_proof([left.ids[place]], ignoring_nulls=True) and right.rows.key_proof(
                [right.ids[place]], ignoring_nulls=True
            ):
                rows_.add_dependency({column}, rows_.identity, WRONG, {column})
        return rows_, found

    with patch.object(queries, "_union", wrong):
        yield


@mutation
def intersect_all_has_one_row_of_each() -> Iterator[None]:
    own = queries._intersect

    def wrong(left: Any, right: Any) -> Any:
        rows_ = own(left, right)
        rows_.add_dependency(left.ids, rows_.identity, WRONG)
        return rows_

    with patch.object(queries, "_intersect", wrong):
        yield


@mutation
def a_recursive_query_is_as_its_first_rows() -> Iterator[None]:
    own = queries.QueryReader._plain

    def wrong(self: Any, names: Any, types_: Any, not_null: set[int]) -> Any:
        first = vars(self).setdefault("first", {})
        return own(self, names, types_, first.setdefault(tuple(names), not_null))

    with patch.object(queries.QueryReader, "_plain", wrong):
        yield


@mutation
def except_takes_what_holds_in_its_second_side() -> Iterator[None]:
    own = queries.QueryReader._set_operation

    def wrong(self: Any, node: Any, outer: Any, ctes: Any) -> Any:
        if isinstance(node, exp.Except):
            found = self._query(node.this, outer, ctes)
            other = self._query(node.expression, outer, ctes)
            for mine, theirs in zip(found.ids, other.ids, strict=True):
                if other.rows.not_null_proof(theirs) is not None:
                    found.rows.not_null[mine] = WRONG
            return found
        return own(self, node, outer, ctes)

    with patch.object(queries.QueryReader, "_set_operation", wrong):
        yield


# ---------------------------------------------------------------------- aggregates and windows

replacing("every frame holds the row", aggregates, "_holds_current_row", lambda spec: True)
replacing(
    "lag has a default",
    aggregates,
    "_shifted",
    lambda block_, function, outer: query_block.ExpressionFacts(
        block_.rows.type_of(block_.intern(function.this)), not_null=WRONG
    ),
)
replacing("a sum is one of the values", functions, "PICKS", (*functions.PICKS, exp.Sum, exp.GroupConcat))


def _as_row_number(handler: Callable[..., Any]) -> Callable[..., Any]:
    def changed(block_: Any, node: Any) -> Any:
        if isinstance(node.this, exp.Rank | exp.DenseRank):
            node = node.copy()
            node.set("this", exp.RowNumber())
        return handler(block_, node)

    return changed


def _always_a_key(handler: Callable[..., Any]) -> Callable[..., Any]:
    def changed(block_: Any, node: Any) -> Any:
        found = handler(block_, node)
        function, _ = aggregates.unwrapped(node)
        if isinstance(function, exp.Min | exp.Max) and not isinstance(found, int) and block_.before_groups is not None:
            number = block_.add(found)
            block_.rows.add_dependency({number}, block_.rows.identity, WRONG, {number})
            return number
        return found

    return changed


handling("ranks are row numbers", expressions, exp.Window, _as_row_number)
handling("picked keys of any column", expressions, exp.AggFunc, _always_a_key)


@mutation
def a_group_of_no_rows_counts() -> Iterator[None]:
    own = selects.Selecting._group

    def wrong(self: Any, items: Any) -> None:
        own(self, items)
        self.block.filled = WRONG

    with patch.object(selects.Selecting, "_group", wrong):
        yield


@mutation
def concat_inside_of_pipes_is_read_as_pipes() -> Iterator[None]:
    own = expressions._flat

    def wrong(node: Any) -> Any:
        found = own(node)
        return [part for each in found for part in (each.expressions if isinstance(each, exp.Concat) else [each])]

    with patch.object(expressions, "_flat", wrong):
        yield


# ---------------------------------------------------------------------- other spellings

replacing("there is always something to compare with", functions, "is_quantified", lambda node: False)
replacing("functions nobody knows give one value for each row", cardinality, "is_unknown", lambda node, dialect: False)
replacing("functions in other clauses return one row", selects.Selecting, "_multiply", lambda self, *clauses: None)
replacing("what is put between texts is not null", aggregates, "_separates", lambda block, function: True)
replacing("units are written out", infer, "refuse_calls", lambda sql, dialect, tree, own_functions: None)


@mutation
def a_wider_number_without_a_sign_holds_negative_ones() -> Iterator[None]:
    def wrong(one: types.Type, other: types.Type, _own: Any = types.common) -> types.Type:
        found = _own(one, other)
        return replace(found, bits=max(one.bits or 128, other.bits or 128)) if found.bits else found

    with patch.object(dependencies, "common", wrong):
        yield


@mutation
def fields_decide_nothing() -> Iterator[None]:
    def wrong(meeting: Any, node: exp.Join, kept: Any) -> Any:
        return frozenset(meeting.column(each) for each in node.args["on"].find_all(exp.Column)) & kept.names.ids

    with patch.object(joins, "_used", lambda *given: wrong(*given) if given[1].args.get("on") else frozenset()):
        yield


def noticed(name: str, engine: Engine, pairs: int, seed: int = 5) -> int | None:
    """Return after how many pairs of query and data a mutation was noticed; None if it was not."""
    with MUTATIONS[name]():
        report = fuzz(engine, seed, pairs, first=True)
    return report.pairs if report.unsound else None


def main() -> None:
    """Try all mutations, and print when each was noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--pairs", type=int, default=60_000)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - MUTATIONS.keys():
        parser.error(f"no mutation is called {', '.join(map(repr, sorted(unknown)))}")
    engine = DuckDB()
    missed = 0
    for name in arguments.names or MUTATIONS:
        found = noticed(name, engine, arguments.pairs)
        missed += found is None
        print(f"{'NOT NOTICED' if found is None else found:>12}  {name}", flush=True)
    print(f"{len(arguments.names or MUTATIONS)} mutations, {missed} not noticed")


if __name__ == "__main__":
    main()
