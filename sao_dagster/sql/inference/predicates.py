"""What a condition says of the rows for which it holds (`where`, `on`, `having`, `qualify`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce
from math import inf
from typing import Any

from sqlglot import exp

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.inference import functions
from sao_dagster.sql.inference.dependencies import Domain, Found, Value, follow
from sao_dagster.sql.inference.query_block import QueryBlock
from sao_dagster.sql.inference.types import Kind, can_be_compared


@dataclass
class Effects:
    """What holds in the rows for which a condition is true.

    Attributes:
        not_null: Columns that are not null.
        equal: Pairs of columns that are equal (or both null).
        domains: Possible values.
        nulls: Columns that are null.
        never: Why there are no such rows, if there are none.
        bounds: Least and greatest values of whole numbers.
    """

    not_null: Found = field(default_factory=dict)
    equal: dict[frozenset[int], Proof] = field(default_factory=dict)
    domains: dict[int, Domain] = field(default_factory=dict)
    nulls: Found = field(default_factory=dict)
    never: Proof | None = None
    bounds: dict[int, tuple[float, float]] = field(default_factory=dict)

    def both(self, other: Effects) -> Effects:
        """Return what holds where two conditions hold."""
        bounds = dict(self.bounds)
        for column, (low, high) in other.bounds.items():
            least, most = bounds.get(column, (low, high))
            bounds[column] = max(low, least), min(high, most)
        empty = Proof("contradiction") if any(low > high for low, high in bounds.values()) else None
        domains = dict(self.domains)
        for column, domain in other.domains.items():
            known = domains.get(column)
            domains[column] = domain if known is None else known.both(domain)
        return Effects(
            {**self.not_null, **other.not_null},
            {**self.equal, **other.equal},
            domains,
            {**self.nulls, **other.nulls},
            self.never or other.never or empty,
            bounds,
        )

    def either(self, other: Effects) -> Effects:
        """Return what holds where one of two conditions holds."""
        if self.never is not None:
            return other._since(self.never)
        if other.never is not None:
            return self._since(other.never)
        return Effects(
            {
                column: follow("or", proof, other.not_null[column])
                for column, proof in self.not_null.items()
                if column in other.not_null
            },
            {pair: follow("or", proof, other.equal[pair]) for pair, proof in self.equal.items() if pair in other.equal},
            {
                column: Domain(
                    domain.values | other.domains[column].values,
                    follow("or", domain.proof, other.domains[column].proof),
                )
                for column, domain in self.domains.items()
                if column in other.domains
            },
            {
                column: follow("or", proof, other.nulls[column])
                for column, proof in self.nulls.items()
                if column in other.nulls
            },
        )

    def _since(self, reason: Proof) -> Effects:
        """Return the same, as it holds for one more reason."""
        return Effects(
            {column: follow("or", proof, reason) for column, proof in self.not_null.items()},
            {pair: follow("or", proof, reason) for pair, proof in self.equal.items()},
            {column: domain.by("or", reason) for column, domain in self.domains.items()},
            {column: follow("or", proof, reason) for column, proof in self.nulls.items()},
            None if self.never is None else follow("or", self.never, reason),
            self.bounds,
        )


def effects(block: QueryBlock, node: exp.Expr, *, holds: bool) -> Effects:
    """Return what follows from a condition being true, or (not `holds`) from it being false.

    Neither follows from a condition that is null: rows for which it is null pass neither `where p` nor `where not p`.

    Raises:
        NotUnderstoodError: A name in it means nothing that is known.
    """
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Not):
        return effects(block, node.this, holds=not holds)
    if isinstance(node, exp.And | exp.Or):
        one = effects(block, node.this, holds=holds)
        other = effects(block, node.expression, holds=holds)
        if isinstance(node, exp.And) == holds:
            return one.both(other)
        return _spread(block, one).either(_spread(block, other))
    for kinds, handler in _HANDLERS:
        if isinstance(node, kinds):
            unread = any(value and name not in _READ for name, value in node.args.items())
            return Effects() if unread else handler(block, node, holds)
    return _value(block, node, holds)


def assume(block: QueryBlock, found: Effects) -> None:
    """Add to what is known of the rows of a block what a condition says of those that it leaves."""
    rows = block.rows
    rows.not_empty = None
    if found.never is not None:
        rows.at_most_one(follow("no_rows", found.never))
    for column, proof in found.not_null.items():
        rows.not_null.setdefault(column, proof)
    for pair, proof in found.equal.items():
        one, other = sorted(pair)
        rows.add_equality(one, other, proof)
    for column, domain in found.domains.items():
        rows.narrow(column, domain)
    for column, proof in found.nulls.items():
        rows.narrow(column, Domain(frozenset(), proof))
        rows.add_dependency((), {column}, proof)
    for column in found.not_null:
        if column in rows.domains:
            rows.narrow(column, rows.domains[column])


def _spread(block: QueryBlock, found: Effects) -> Effects:
    """Return the same with what follows for other columns."""
    if found.never is not None:
        return found
    return replace(found, not_null={**block.rows.without_nulls(found.not_null), **found.not_null})


def _value(block: QueryBlock, node: exp.Expr, holds: bool) -> Effects:
    """A value used as a condition: a column, a function."""
    if isinstance(node, exp.Boolean):
        return Effects(never=Proof("literal") if bool(node.this) is not holds else None)
    if isinstance(node, exp.Null):
        return Effects(never=Proof("literal"))
    column = block.intern(node)
    proof = Proof("condition")
    found = Effects({column: proof})
    if block.rows.type_of(column).kind is Kind.BOOLEAN:
        found.domains[column] = Domain(frozenset({"true" if holds else "false"}), proof)
    return found


def _compared(block: QueryBlock, node: exp.Expr, holds: bool) -> Effects:
    """`a = b` and the like; neither side is null, whether it holds or not."""
    if any(isinstance(side, exp.Tuple) for side in (node.this, node.expression)):
        return _rows_compared(block, node) if holds else Effects()
    if functions.is_quantified(node):
        return _matched(block, node, holds)
    one, other = block.intern(node.this), block.intern(node.expression)
    proof = Proof("comparison")
    found = Effects({one: proof, other: proof})
    if not can_be_compared(block.rows.type_of(one), block.rows.type_of(other)):
        return found
    found.bounds = _bounds(block, node, one, other, holds=holds)
    equal = isinstance(node, exp.EQ) == holds and isinstance(node, exp.EQ | exp.NEQ)
    if equal:
        _equate(block, found, one, other)
    elif isinstance(node, exp.EQ | exp.NEQ):
        for column, constant in ((one, other), (other, one)):
            _exclude(block, found, column, constant)
    else:
        _bound(block, found, node, one, other, holds=holds)
    return found


def _bounds(block: QueryBlock, node: exp.Expr, one: int, other: int, *, holds: bool) -> dict[int, tuple[float, float]]:
    """Return the least and the greatest value of a whole number that is compared with a constant."""
    found = {}
    for column, constant, mirrored in ((one, other, False), (other, one, True)):
        domain = block.rows.domains.get(constant)
        if (
            domain is None
            or len(domain.values) != 1
            or {block.rows.type_of(each).kind for each in (one, other)} != {Kind.INTEGER}
        ):
            continue
        value = int(next(iter(domain.values)))
        ranges: dict[type[exp.Expr], tuple[float, float]] = {
            exp.EQ: (value, value), exp.LT: (-inf, value - 1), exp.LTE: (-inf, value), exp.GT: (value + 1, inf), exp.GTE: (value, inf),
        }  # fmt: skip
        kind = type(node) if holds else _OPPOSITE[type(node)]
        kind = _MIRRORED.get(kind, kind) if mirrored else kind
        if kind in ranges:
            found[column] = ranges[kind]
    return found


_MIRRORED: dict[type[exp.Expr], type[exp.Expr]] = {exp.LT: exp.GT, exp.GT: exp.LT, exp.LTE: exp.GTE, exp.GTE: exp.LTE}
_OPPOSITE: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.EQ: exp.NEQ,
    exp.NEQ: exp.EQ,
    exp.LT: exp.GTE,
    exp.GTE: exp.LT,
    exp.LTE: exp.GT,
    exp.GT: exp.LTE,
}


def _rows_compared(block: QueryBlock, node: exp.Expr) -> Effects:
    """`(a, b) < (1, 2)`: false or null where `a` is null, which DuckDB takes for the greatest value there."""
    if isinstance(node, exp.EQ):
        return _rows_equal(block, node.this, node.expression)
    less, more = (node.this, node.expression) if isinstance(node, exp.LT | exp.LTE) else (node.expression, node.this)
    rows = isinstance(less, exp.Tuple) and isinstance(more, exp.Tuple)
    if not rows or isinstance(node, exp.NEQ) or len(less.expressions) != len(more.expressions):
        return Effects()
    one, other = (block.intern(side.expressions[0]) for side in (less, more))
    reason = block.rows.not_null_proof(other)
    nested = any(block.rows.type_of(each).kind in (Kind.NESTED, Kind.OTHER) for each in (one, other))
    return Effects({one: follow("comparison", reason)}) if reason is not None and not nested else Effects()


def _rows_equal(block: QueryBlock, one: exp.Expr, other: exp.Expr) -> Effects:
    """`(a, b) = (1, 2)`: true where each pair is equal; in DuckDB two nulls are, so only what is compared with a value is not null."""
    found = Effects()
    if (
        not isinstance(one, exp.Tuple)
        or not isinstance(other, exp.Tuple)
        or len(one.expressions) != len(other.expressions)
    ):
        return found
    proof = Proof("equality")
    for a, b in zip(one.expressions, other.expressions, strict=True):
        if isinstance(a, exp.Tuple) or isinstance(b, exp.Tuple):
            found = found.both(_rows_equal(block, a, b))
            continue
        left, right = block.intern(a), block.intern(b)
        types = block.rows.type_of(left), block.rows.type_of(right)
        if left == right or any(each.kind is Kind.OTHER for each in types):
            continue
        if can_be_compared(*types):
            _equate(block, found, left, right)
        for column, source in ((left, right), (right, left)):
            reason = block.rows.not_null_proof(source)
            if reason is not None:
                found.not_null[column] = follow("equality", proof, reason)
    return found


def _equate(block: QueryBlock, found: Effects, one: int, other: int) -> None:
    proof = Proof("equality")
    if one == other:
        return
    found.equal[frozenset({one, other})] = proof
    same = block.rows.type_of(one).kind is block.rows.type_of(other).kind
    for column, source in ((one, other), (other, one)):
        domain = block.rows.domains.get(source)
        if domain is not None and same:
            found.domains[column] = domain.by("equality")


def _exclude(block: QueryBlock, found: Effects, column: int, constant: int) -> None:
    known, removed = block.rows.domains.get(column), block.rows.domains.get(constant)
    same = block.rows.type_of(column).kind is block.rows.type_of(constant).kind
    if known is None or removed is None or len(removed.values) != 1 or not same:
        return
    found.domains[column] = Domain(known.values - removed.values, follow("comparison", known.proof, removed.proof))


def _bound(block: QueryBlock, found: Effects, node: exp.Expr, one: int, other: int, *, holds: bool) -> None:
    """`n <= 1` and `n < 2` for a row number, which begins at 1."""
    below = {True: (exp.LTE, exp.LT), False: (exp.GT, exp.GTE)}
    above = {True: (exp.GTE, exp.GT), False: (exp.LT, exp.LTE)}
    for (at_most, less), number, limit in ((below[holds], one, other), (above[holds], other, one)):
        domain = block.rows.domains.get(limit)
        if number not in block.rows.numbers or domain is None or not isinstance(node, at_most | less):
            continue
        greatest = 1 if isinstance(node, at_most) else 2
        if all(isinstance(value, int) and value <= greatest for value in domain.values):
            _equate(block, found, number, block.intern(exp.Literal.number(1)))


def _is(block: QueryBlock, node: exp.Is, holds: bool) -> Effects:
    if isinstance(node.this, exp.Tuple):
        return Effects()
    holds = holds is not bool(node.args.get("negate"))  # so PostgreSQL's `is not null` is read
    proof = Proof("is_null")
    other = node.expression
    if isinstance(other, exp.Null):
        column = block.intern(node.this)
        if not holds:
            return Effects({column: proof})
        never = block.rows.not_null_proof(column)
        several = block.rows.type_of(column).kind in (
            Kind.NESTED,
            Kind.OTHER,
        )  # PostgreSQL's records of nulls are null, too
        return Effects(nulls={} if several else {column: proof}, never=never)
    if isinstance(other, exp.Boolean):
        return effects(block, node.this, holds=bool(other.this)) if holds else Effects()
    return Effects()


def _distinct_from(block: QueryBlock, node: exp.Expr, holds: bool) -> Effects:
    if any(isinstance(side, exp.Tuple) for side in (node.this, node.expression)):
        return Effects()
    one, other = block.intern(node.this), block.intern(node.expression)
    same = isinstance(node, exp.NullSafeEQ) == holds
    found = Effects()
    if isinstance(node.expression, exp.Null) or isinstance(node.this, exp.Null):
        column = other if isinstance(node.this, exp.Null) else one
        return Effects(nulls={column: Proof("is_null")}) if same else Effects({column: Proof("is_null")})
    if one != other and same and can_be_compared(block.rows.type_of(one), block.rows.type_of(other)):
        found.equal[frozenset({one, other})] = Proof("equality")
    return found


def _in(block: QueryBlock, node: exp.In, holds: bool) -> Effects:
    """Return what holds where `x in (...)` does, or does not: `x` is not null, and its values are among those of the list or query."""
    if node.args.get("unnest") or node.args.get("field"):
        return Effects()
    if isinstance(node.this, exp.Tuple):
        if not holds or not node.expressions:
            return Effects()
        each = [_rows_equal(block, node.this, element) for element in node.expressions]
        return reduce(Effects.either, each)
    column = block.intern(node.this)
    query = node.args.get("query")
    proof = Proof("in")
    if query is not None:
        if not holds:  # true for a null where the query gives no rows
            return Effects()
        found = Effects({column: proof})
        output = block.context.query(query, block)
        if output.ids and not output.open:
            inner = output.ids[0]
            domain = output.rows.domains.get(inner)
            if domain is not None and output.rows.type_of(inner).kind is block.rows.type_of(column).kind:
                found.domains[column] = domain.by("in")
        return found
    elements = [block.intern(each) for each in node.expressions]
    found = Effects({column: proof})
    kind = block.rows.type_of(column).kind
    values: set[Value] = set()
    for element in elements:
        domain = block.rows.domains.get(element)
        known = domain is not None and block.rows.type_of(element).kind is kind
        is_null = domain is not None and not domain.values
        if domain is None or not (known or is_null):
            return found
        values |= domain.values
    if not holds:
        known_domain = block.rows.domains.get(column)
        constant = all(len(block.rows.domains[element].values) == 1 for element in elements)
        if known_domain is not None and constant:
            found.domains[column] = Domain(known_domain.values - values, follow("in", known_domain.proof))
        return found
    found.domains[column] = Domain(frozenset(values), proof)
    if len(elements) == 1 and can_be_compared(block.rows.type_of(column), block.rows.type_of(elements[0])):
        _equate(block, found, column, elements[0])
    return found


def _between(block: QueryBlock, node: exp.Between, holds: bool) -> Effects:
    column, low, high = (block.intern(node.args[each]) for each in ("this", "low", "high"))
    proof = Proof("comparison")
    if isinstance(node.this, exp.Tuple):
        return Effects()
    if not holds:
        return Effects({column: proof})
    found = Effects({column: proof, low: proof, high: proof})
    if low == high and can_be_compared(block.rows.type_of(column), block.rows.type_of(low)):
        _equate(block, found, column, low)
    return found


def _matched(block: QueryBlock, node: exp.Expr, holds: bool) -> Effects:
    """`a like b`; and `a = any (b)`, which tells of `a` only where it holds, since there may be nothing to compare with."""
    if functions.is_quantified(node) and not (holds and isinstance(node.args["expression"].unnest(), exp.Any)):
        return Effects()
    return Effects({block.intern(node.this): Proof("comparison")})


def _exists(block: QueryBlock, node: exp.Exists, holds: bool) -> Effects:
    """`exists`: what the inner query asks of outer columns holds for them, as there is a row."""
    if not holds:
        return Effects()
    found = Effects()
    output = block.context.query(node.this, block)
    known = output.rows.without_nulls()
    for outer, inner in output.copies.items():
        if inner in known:
            found.not_null[outer] = follow("exists", known[inner])
        if inner in output.rows.domains:
            found.domains[outer] = output.rows.domains[inner].by("exists")
    return found


def _coalesced(block: QueryBlock, node: exp.Coalesce, holds: bool) -> Effects:
    """`coalesce(p, false)` holds where `p` does."""
    others = node.expressions
    if all(isinstance(each, exp.Boolean) and bool(each.this) is not holds for each in others):
        return effects(block, node.this, holds=holds)
    return _value(block, node, holds)


_READ = {
    "this", "expression", "expressions", "low", "high", "query", "unnest", "field", "negate", "case_insensitive", "safe"
}  # fmt: skip
"""Parts of conditions that are looked at; a condition with any other says nothing."""

_HANDLERS: tuple[tuple[Any, Callable[[QueryBlock, Any, bool], Effects]], ...] = (
    (functions.COMPARISONS, _compared),
    (exp.Is, _is),
    ((exp.NullSafeEQ, exp.NullSafeNEQ), _distinct_from),
    (exp.In, _in),
    (exp.Between, _between),
    (functions.MATCHES, _matched),
    (exp.Exists, _exists),
    (exp.Coalesce, _coalesced),
)
