"""Joins: how many rows of one side meet a row of the other, and what nulls an outer join brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.inference.dependencies import Ids, Implication, RowFacts, follow
from sao_dagster.sql.inference.names import Names, NotUnderstoodError, name_of, read_only
from sao_dagster.sql.inference.predicates import Effects, assume, effects
from sao_dagster.sql.inference.query_block import QueryBlock, is_unpredictable
from sao_dagster.sql.inference.types import can_be_compared, common, is_kept


@dataclass(frozen=True)
class Side:
    """One side of a join.

    Attributes:
        rows: What is known of its rows.
        names: Its names.
        outer: Columns of the left side that a lateral right side uses, with their numbers in it.
    """

    rows: RowFacts
    names: Names
    outer: tuple[tuple[int, int], ...] = ()


def join(block: QueryBlock, right: Side, node: exp.Join) -> None:
    """Join the rows of a block with another relation, in place.

    Raises:
        NotUnderstoodError: It is a join of a kind that is not known here.
    """
    kind, side = _kind(node, block.dialect)
    left = Side(block.rows, block.names)
    if right.outer:
        right = _per_row(left, right)
    meeting = _meeting(block, left, right)
    found, merged = _conditions(meeting, node, left, right)
    found.equal.update({frozenset(pair): Proof("lateral") for pair in right.outer})
    assume(meeting, found)
    if kind in ("SEMI", "ANTI"):
        _filter(block, left, found, semi=kind == "SEMI")
        return
    if not node.args.get("on") and not merged and not right.outer and side is None:
        meeting.rows.not_empty = left.rows.beside(right.rows).not_empty
    asof = node.args.get("method") == "ASOF"
    if asof:
        meeting.rows.add_dependency(left.rows.identity, right.rows.identity, Proof("asof_join"))
    if side is None:
        rows = meeting.rows
        block.memo.update(meeting.memo)
    elif side == "LEFT":
        rows = _one_sided(block, meeting, left, right, found, node)
    elif side == "RIGHT":
        rows = _one_sided(block, meeting, right, left, found, node)
    else:
        rows = _full(block, meeting, left, right, found, _are_all(node, merged))
    if side in ("RIGHT", "FULL"):
        block.memo.clear()
    columns = {}
    for name, (one, other) in merged.items():
        either = block.coalesced.get(frozenset({one, other}))
        chosen = other if side == "RIGHT" else one if side != "FULL" else either
        columns[name] = _in_common(block, meeting, rows, chosen, (one, other))
    block.rows = rows
    merged_first = dialect_named(block.dialect).merges_first
    if columns and merged_first is None:
        raise NotUnderstoodError("where `*` gives the columns of a using")
    block.names = left.names.joined(right.names, columns, merged_first=bool(merged_first))


def _in_common(
    block: QueryBlock, meeting: QueryBlock, rows: RowFacts, chosen: int | None, sides: tuple[int, int]
) -> int:
    """Return the column that `using` makes of two; one by itself where their types differ, so that values are cast."""
    one, other = map(meeting.rows.type_of, sides)
    if chosen is not None and is_kept(one, other):
        return chosen
    if chosen is not None:
        return rows.recast(chosen, block.context.ids, Proof("using"))
    found = next(block.context.ids)
    rows.bind({found}, Proof("using"))
    return found


def _kind(node: exp.Join, dialect: str) -> tuple[str, str | None]:
    kind, side = str(node.args.get("kind") or "").upper(), str(node.args.get("side") or "").upper() or None
    method = str(node.args.get("method") or "").upper()
    if kind not in ("", "INNER", "OUTER", "CROSS", "SEMI", "ANTI") or method not in ("", "NATURAL", "ASOF"):
        raise NotUnderstoodError(f"a {method} {kind} join")
    if (kind in ("SEMI", "ANTI") or method == "ASOF") and not dialect_named(dialect).semi_joins:
        raise NotUnderstoodError("a relation that is called like a kind of join")
    if side not in (None, "LEFT", "RIGHT", "FULL") or (method == "ASOF" and side in ("RIGHT", "FULL")):
        raise NotUnderstoodError(f"a {side} join")
    read_only(node, "this", "on", "using", "side", "kind", "method", "global", "hint")
    return kind, None if kind in ("SEMI", "ANTI") else side


def _per_row(left: Side, right: Side) -> Side:
    """Return a lateral side as it is for all rows of the left one: what it says of its rows, it says for one left row."""
    rows = right.rows.copy()
    identity = left.rows.identity
    rows.dependencies = [replace(each, determines=each.determines | identity) for each in rows.dependencies]
    return Side(rows, right.names, right.outer)


def _meeting(block: QueryBlock, left: Side, right: Side) -> QueryBlock:
    """Return a block over the pairs of rows of both sides, in which a join condition can be read."""
    names = Names(left.names.sources + right.names.sources, {**right.names.merged, **left.names.merged}, [])
    found = QueryBlock(block.context, left.rows.beside(right.rows), names, outer=block.outer, copies=block.copies)
    found.coalesced = block.coalesced
    return found


def _using(node: exp.Join, left: Side, right: Side, dialect: str) -> list[str]:
    if str(node.args.get("method") or "").upper() == "NATURAL":
        if any(side.names.open or side.names.may_have("") for side in (left, right)):
            raise NotUnderstoodError("a natural join with a relation whose columns are not known")
        there = {name for name, _ in right.names.star}
        return list(dict.fromkeys(name for name, _ in left.names.star if name in there))
    return [
        name_of(each if not isinstance(each, exp.Column) else each.this, dialect)
        for each in node.args.get("using") or ()
    ]


def _conditions(
    meeting: QueryBlock, node: exp.Join, left: Side, right: Side
) -> tuple[Effects, dict[str, tuple[int, int]]]:
    """Return what holds for rows that meet, and the pairs of columns that `using` merges, by name."""
    if node.args.get("on") is not None:
        return effects(meeting, node.args["on"], holds=True), {}
    found, merged, proof = Effects(), {}, Proof("using")
    names = _using(node, left, right, meeting.dialect)
    for name in names:
        ones, others = left.names.find(name), right.names.find(name)
        if len(ones) != 1 or len(others) != 1:
            raise NotUnderstoodError(f"using ({name})")
        one, other = next(iter(ones)), next(iter(others))
        merged[name] = (one, other)
        found.not_null.update({one: proof, other: proof})
        nearest = node.method == "ASOF" and name == names[-1]  # the one that need not be equal
        if not nearest and can_be_compared(meeting.rows.type_of(one), meeting.rows.type_of(other)):
            found.equal[frozenset({one, other})] = proof
    return found, merged


def _filter(block: QueryBlock, left: Side, found: Effects, *, semi: bool) -> None:
    """A semi join asks something of the left columns; an anti join leaves rows of which nothing is known."""
    mine = left.names.ids
    block.rows.not_empty = None
    if semi:
        kept = Effects(
            {column: proof for column, proof in found.not_null.items() if column in mine},
            domains={column: domain for column, domain in found.domains.items() if column in mine},
        )
        assume(block, kept)


def _all_ids(side: Side) -> Ids:
    return side.names.ids | side.rows.identity | frozenset(side.rows.types)


def _one_sided(
    block: QueryBlock, meeting: QueryBlock, kept: Side, padded: Side, found: Effects, node: exp.Join
) -> RowFacts:
    """Return the rows of a left join (`kept` is the left side) or of a right join."""
    proof = Proof("outer_join")
    nulls, marker = padded.rows.padded(block.context.ids, padded.names.ids, proof)
    rows = kept.rows.beside(nulls)
    rows.not_empty = kept.rows.not_empty
    _conditionally(rows, found, {marker}, _all_ids(padded))
    rows.types.update(meeting.rows.types)
    rows.add_dependency(kept.rows.identity, {marker}, proof)
    once = _at_most_one_match(meeting, kept.rows.identity, padded.rows.identity)
    if once is not None:
        rows.add_dependency(kept.rows.identity, nulls.identity | {marker}, once)
    back = _at_most_one_match(meeting, padded.rows.identity, kept.rows.identity)
    if back is not None:
        rows.add_dependency(nulls.identity, kept.rows.identity, back, {marker})
    used = _used(meeting, node, kept)
    if used and all(rows.type_of(each).exact for each in used):
        once = _at_most_one_match(meeting, used, padded.rows.identity)
        if once is not None:
            rows.add_dependency(used, nulls.identity | {marker}, once)
    return rows


def _used(meeting: QueryBlock, node: exp.Join, kept: Side) -> Ids:
    """Return the columns of one side that a join condition uses; none where that is not certain."""
    condition = node.args.get("on")
    if condition is None or any(
        is_unpredictable(each) or isinstance(each, exp.Query | exp.Subquery) for each in condition.walk()
    ):
        return frozenset()
    used = {meeting.column(each) for each in condition.find_all(exp.Column)}
    known = meeting.names.ids | set(meeting.copies.values())
    return kept.names.ids & used if used <= known else frozenset()


def _are_all(node: exp.Join, merged: Mapping[str, tuple[int, int]]) -> bool:
    """Return whether a join condition consists of equalities of columns and of nothing else."""
    condition = node.args.get("on")
    if condition is None:
        return bool(merged)
    parts = list(condition.flatten()) if isinstance(condition, exp.And) else [condition]
    return all(
        isinstance(each, exp.EQ) and isinstance(each.this, exp.Column) and isinstance(each.expression, exp.Column)
        for each in (part.unnest() for part in parts)
    )


def _full(
    block: QueryBlock, meeting: QueryBlock, left: Side, right: Side, found: Effects, only_equal: bool
) -> RowFacts:
    """Join two sides of which either may be padded with nulls: a row is known by the rows of both sides, as far as they met."""
    proof = Proof("outer_join")
    first, one = left.rows.padded(block.context.ids, left.names.ids, proof)
    second, other = right.rows.padded(block.context.ids, right.names.ids, proof)
    rows = first.beside(second)
    rows.add_dependency(first.identity, {other}, proof)
    rows.add_dependency(second.identity, {one}, proof)
    once = _at_most_one_match(meeting, left.rows.identity, right.rows.identity)
    back = _at_most_one_match(meeting, right.rows.identity, left.rows.identity)
    if once is not None:
        rows.add_dependency(first.identity, second.identity | {other}, once, {one})
    if back is not None:
        rows.add_dependency(second.identity, first.identity | {one}, back, {other})
    pairs = []
    for pair, reason in found.equal.items():
        a, b = sorted(pair, key=lambda each: each not in left.names.ids)
        rows.add_dependency({a}, {b}, reason, {one, other})
        rows.add_dependency({b}, {a}, reason, {one, other})
        if a in left.names.ids and b in right.names.ids:
            pairs.append((a, b))
    eithers = [_coalesce(block, rows, left, right, pair) for pair in pairs]
    if only_equal and len(pairs) * 2 == len(found.not_null):
        key = left.rows.key_proof([a for a, _ in pairs], ignoring_nulls=True)
        other_key = right.rows.key_proof([b for _, b in pairs], ignoring_nulls=True)
        if key is not None and other_key is not None:
            rows.add_dependency(eithers, rows.identity, follow("full_join_key", key, other_key), eithers)
    return rows


def _coalesce(block: QueryBlock, rows: RowFacts, left: Side, right: Side, pair: tuple[int, int]) -> int:
    """Return the column that has the value of either side of an equality in a full join."""
    a, b = pair
    either = next(block.context.ids)
    rows.types[either] = common(left.rows.type_of(a), right.rows.type_of(b))
    present, other = left.rows.not_null_proof(a), right.rows.not_null_proof(b)
    if present is not None and other is not None:
        rows.not_null[either] = follow("full_join_using", present, other)
    rows.implications.append(Implication(frozenset({either}), Proof("coalesce"), any_of=frozenset(pair)))
    rows.bind({either}, Proof("coalesce"))
    block.coalesced[frozenset(pair)] = either
    return either


def _conditionally(rows: RowFacts, found: Effects, when: set[int], padded: Ids) -> None:
    """Note what a join condition says, for the rows in which the padded side is there."""
    for pair, proof in found.equal.items():
        one, other = sorted(pair)
        rows.add_dependency({one}, {other}, proof, when)
        rows.add_dependency({other}, {one}, proof, when)
    for column, domain in found.domains.items():
        if column in padded:
            rows.narrow(column, domain)
    if found.not_null:
        proof = follow("outer_join", *found.not_null.values())
        rows.implications.append(Implication(frozenset(found.not_null), proof, any_of=frozenset(when)))


def _at_most_one_match(meeting: QueryBlock, start: Ids, goal: Ids) -> Proof | None:
    """Return why a row that has given values on `start` meets at most one row."""
    found = meeting.rows.closure(start, goal=goal)
    if not goal <= found.keys():
        return None
    return follow("at_most_one_match", *(found[column] for column in goal))
