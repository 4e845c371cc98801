"""Scalar expressions: types, nulls, possible values, and which of them keep different values apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.dialects import Operation, dialect_named
from sao_dagster.sql.inference import functions
from sao_dagster.sql.inference.aggregates import describe_aggregate, describe_window
from sao_dagster.sql.inference.dependencies import Domain, RowFacts, Value, any_domain, common_type, follow
from sao_dagster.sql.inference.predicates import effects
from sao_dagster.sql.inference.query_block import ExpressionFacts, QueryBlock, is_unpredictable
from sao_dagster.sql.inference.type_names import type_of
from sao_dagster.sql.inference.types import (
    BOOLEAN,
    INTEGER,
    NESTED,
    NUMBER,
    NUMBER_KINDS,
    PLAIN,
    TEXT,
    UNKNOWN,
    WHOLE_DAYS,
    Kind,
    Type,
    can_be_compared,
    holds_all,
    is_kept,
    keeps_apart,
)


def describe(block: QueryBlock, node: exp.Expr) -> ExpressionFacts | int:
    """Return what is known of an expression, or the column that it equals in every row.

    Raises:
        NotUnderstoodError: A name in it means nothing that is known.
    """
    for kinds, handler in _HANDLERS:
        if isinstance(node, kinds):
            return handler(block, node)
    return _function(block, node)


# ---------------------------------------------------------------------- constants


def _literal(block: QueryBlock, node: exp.Literal | exp.National) -> ExpressionFacts:
    proof = Proof("literal")
    if node.is_string or isinstance(node, exp.National):
        return ExpressionFacts(TEXT, (), proof, domain=Domain(frozenset({node.name}), proof))
    if node.is_int and int(node.name) < 2**63:
        return ExpressionFacts(INTEGER, (), proof, domain=Domain(frozenset({int(node.name)}), proof))
    return ExpressionFacts(PLAIN, (), proof)


def _boolean(block: QueryBlock, node: exp.Boolean) -> ExpressionFacts:
    proof = Proof("literal")
    return ExpressionFacts(BOOLEAN, (), proof, domain=Domain(frozenset({"true" if node.this else "false"}), proof))


def _null(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    return ExpressionFacts(UNKNOWN, (), domain=Domain(frozenset(), Proof("literal")))


def _negative(block: QueryBlock, node: exp.Neg) -> ExpressionFacts:
    found = _function(block, node)
    inner = block.intern(node.this)
    if block.rows.type_of(inner).kind is not Kind.INTEGER:
        return found
    domain = block.rows.domains.get(inner)
    if domain is not None:
        values: frozenset[Value] = frozenset(-int(value) for value in domain.values)
        found = replace(found, domain=Domain(values, follow("function", domain.proof)))
    return replace(found, type=block.rows.type_of(inner), reveals=(inner,))


# ---------------------------------------------------------------------- functions


def _arguments(node: exp.Expr) -> list[exp.Expr]:
    """Return the expressions that a function computes from, without units and types."""
    return [
        each
        for value in node.args.values()
        for each in (value if isinstance(value, list) else [value])
        if isinstance(each, exp.Expr) and not isinstance(each, exp.Var | exp.DataType | exp.Identifier | exp.JSONPath)
    ]


def _function(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    """Return what the tables of functions say."""
    arguments = _arguments(node)
    if any(isinstance(each, exp.Lambda | exp.Star) for each in arguments):
        return ExpressionFacts()
    columns = tuple(map(block.intern, arguments))
    kind = _result_type(block, node, columns)
    pure = isinstance(node, functions.PURE) and not is_unpredictable(node)
    if isinstance(node, functions.NEVER_NULL) and _is_never_null(node):
        return ExpressionFacts(kind, columns if pure else None, Proof("never_null"))
    if not pure:
        return ExpressionFacts(kind)
    strict = functions.keeps_not_null(node, block.dialect) and _has_value(block, node, columns)
    rejects = tuple(block.intern(each) for each in functions.rejects_null(node))
    return ExpressionFacts(kind, columns, strict=strict, rejects=rejects, rule="strict_function")


def _has_value(block: QueryBlock, node: exp.Expr, columns: Sequence[int]) -> bool:
    """Return whether arguments of these types that are not null leave a function no way to be null.

    A comparison may be null for nested values that hold nulls, and where one side is cast to the type of the other and cannot be;
    `substring` by a pattern is where nothing matches.
    """
    engine, types = dialect_named(block.dialect), [block.rows.type_of(each) for each in columns]
    if not engine.hides_no_nulls and any(each.kind is Kind.OTHER for each in types):
        return False
    if isinstance(node, exp.Substring):
        return len(types) > 1 and types[1].kind is Kind.INTEGER
    if isinstance(node, (*functions.COMPARISONS, exp.Between)) and Operation.CONVERSION not in engine.errs:
        return all(can_be_compared(types[0], each) for each in types[1:])
    return True


def _is_never_null(node: exp.Expr) -> bool:
    """Return whether `is` asks for null or a truth value; `is json` of a null is null."""
    return not isinstance(node, exp.Is) or isinstance(node.expression, exp.Null | exp.Boolean)


def _result_type(block: QueryBlock, node: exp.Expr, columns: Sequence[int]) -> Type:
    if isinstance(node, functions.BOOLEAN_RESULTS):
        return BOOLEAN
    if isinstance(node, functions.TEXT_RESULTS):
        return TEXT
    if isinstance(node, exp.Array | exp.Struct):
        return NESTED
    if isinstance(node, functions.INTEGER_RESULTS):
        return INTEGER
    if isinstance(node, functions.NUMBER_RESULTS):
        return NUMBER
    if isinstance(node, (*functions.ARITHMETIC, exp.Neg, exp.Abs)):
        kinds = {block.rows.type_of(each).kind for each in columns}
        if kinds == {Kind.INTEGER}:
            return INTEGER
        if kinds <= {Kind.INTEGER, Kind.DECIMAL} and dialect_named(block.dialect).unlimited_decimals:
            return Type(Kind.DECIMAL)
    if isinstance(node, (*functions.ARITHMETIC, *functions.DIVISIONS, *functions.NUMBERS)):
        kinds = {block.rows.type_of(each).kind for each in columns}
        return NUMBER if kinds <= NUMBER_KINDS else UNKNOWN if Kind.OTHER in kinds else PLAIN
    if isinstance(node, functions.TRUNCATIONS):
        return WHOLE_DAYS if _begins_day(block, node) else PLAIN
    return PLAIN if isinstance(node, functions.PLAIN_RESULTS) else UNKNOWN


def _begins_day(block: QueryBlock, node: exp.Expr) -> bool:
    """Return whether a truncated time is the beginning of a day, of which there is one on each date."""
    unit = node.args.get("unit")
    if unit is None or unit.name.upper() not in functions.WHOLE_DAY_UNITS or node.args.get("zone"):
        return False
    return dialect_named(block.dialect).one_midnight or block.rows.type_of(block.intern(node.this)).kind is Kind.DATE


def _connected(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    """`and` and `or`: one side may decide alone, whatever the other is."""
    found = _function(block, node)
    decisive = frozenset({"false" if isinstance(node, exp.And) else "true"})
    for column in map(block.intern, (node.this, node.expression)):
        domain = block.rows.domains.get(column)
        if domain is not None and domain.values == decisive and column in block.rows.not_null:
            return replace(found, not_null=follow("function", domain.proof), domain=domain)
    return found


def _shift(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    """`x + 1`: a whole number (or a date) and a constant."""
    found = _function(block, node)
    sides = [block.intern(node.this), block.intern(node.expression)]
    kinds = [block.rows.type_of(each).kind for each in sides]
    for variable, constant in ((0, 1), (1, 0)):
        is_date = kinds[variable] is Kind.DATE and variable == 0 and dialect_named(block.dialect).adds_days
        moved = kinds[variable] is Kind.INTEGER or is_date
        if moved and kinds[constant] is Kind.INTEGER and _is_constant(block, sides[constant]):
            kind = Type(kinds[variable])
            return replace(found, type=kind, reveals=(sides[variable],))
    return found


def _is_constant(block: QueryBlock, column: int) -> bool:
    domain = block.rows.domains.get(column)
    return domain is not None and len(domain.values) == 1 and column in block.rows.not_null


def _join_texts(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    """`a || '-' || b` (or `concat`), from which the parts can be read again if no part can hold what separates them."""
    found = _function(block, node)
    if isinstance(node, exp.ConcatWs):
        return found
    parts = node.expressions if isinstance(node, exp.Concat) else _flat(node)
    columns = tuple(map(block.intern, parts))
    coalesces = isinstance(node, exp.Concat) and node.args.get("coalesce")
    if coalesces:
        known = functions.never_null_concat(node, block.dialect)
        found = replace(found, strict=not known, rejects=(), not_null=Proof("never_null") if known else None)
    elif isinstance(node, exp.DPipe) and all(block.rows.type_of(each).kind is Kind.TEXT for each in columns):
        found = replace(found, rejects=columns)
    variables = [(part, column) for part, column in zip(parts, columns, strict=True) if not _is_text(part)]
    if variables and _can_be_read_again(block, parts):
        kept = tuple(column for _, column in variables)
        return replace(found, reveals=kept, when=kept, partly=True)
    return found


def _flat(node: exp.Expr) -> list[exp.Expr]:
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.DPipe):
        return [*_flat(node.this), *_flat(node.expression)]
    return [node]


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and node.is_string


def _can_be_read_again(block: QueryBlock, parts: Sequence[exp.Expr]) -> bool:
    """Return whether different parts give different texts.

    Whole numbers, dates and UUIDs end where a separator begins that does not begin with one of their characters; one
    text of any kind may come last.
    """
    last = max(number for number, part in enumerate(parts) if not _is_text(part))
    for number, part in enumerate(parts[: last + 1]):
        if _is_text(part):
            continue
        if number == last:
            column = block.intern(part)
            return block.rows.type_of(column).kind in (Kind.TEXT, Kind.INTEGER, Kind.DATE, Kind.UUID, Kind.BOOLEAN)
        separator = parts[number + 1]
        if not _is_text(separator) or not separator.name or separator.name[0] in "0123456789":
            return False
        if not _is_number_text(block, part):
            return False
    return False


def _is_number_text(block: QueryBlock, part: exp.Expr) -> bool:
    """Return whether a part is a whole number, or a cast of one to text; `coalesce` around it makes no difference if it is not null."""
    while isinstance(part, exp.Paren | exp.Cast | exp.Coalesce):
        column = block.intern(part)
        if isinstance(part, exp.Cast) and block.rows.type_of(column).kind not in (Kind.TEXT, Kind.INTEGER):
            return False
        if isinstance(part, exp.Coalesce) and block.rows.not_null_proof(block.intern(part.this)) is None:
            return False
        part = part.this
    return block.rows.type_of(block.intern(part)).kind is Kind.INTEGER


def _hash(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    found = _function(block, node)
    argument = block.intern(node.this)
    if block.context.hashes_are_unique and block.rows.type_of(argument).kind is Kind.TEXT:
        return replace(found, reveals=(argument,))
    return found


# ---------------------------------------------------------------------- casts


def _cast(block: QueryBlock, node: exp.Cast) -> ExpressionFacts:
    inner = block.intern(node.this)
    source, target = block.rows.type_of(inner), type_of(node.to, block.dialect)
    if node.args.get("format") or node.args.get("action") or node.args.get("default"):
        return ExpressionFacts(target)
    apart = keeps_apart(source, target, block.dialect)
    tries = isinstance(node, exp.TryCast)
    fails = not tries and Operation.CONVERSION in dialect_named(block.dialect).errs
    has_value = fails or target.kind is Kind.TEXT or holds_all(target, source)
    known = source.kind is not Kind.OTHER
    is_part = source.kind in _TIMES and target.kind is Kind.PLAIN  # an infinite time has no time of the day
    return ExpressionFacts(
        target,
        (inner,),
        strict=known and has_value and not is_part and (fails or not target.sized),
        rejects=(inner,) if known else (),
        domain=_cast_domain(block, inner, source, target),
        reveals=(inner,) if apart else (),
        partly=tries,
        rule="cast",
    )


_TIMES = (Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT, Kind.PLAIN)


def _cast_domain(block: QueryBlock, inner: int, source: Type, target: Type) -> Domain | None:
    domain = block.rows.domains.get(inner)
    if domain is None or target.sized:
        return None
    if not domain.values or (source.kind is target.kind and source.kind in (Kind.INTEGER, Kind.TEXT, Kind.BOOLEAN)):
        return domain.by("cast")
    if source.kind is Kind.INTEGER and target.kind is Kind.TEXT:
        return Domain(frozenset(map(str, domain.values)), follow("cast", domain.proof))
    return None


# ---------------------------------------------------------------------- choices


def _coalesce(block: QueryBlock, node: exp.Coalesce) -> ExpressionFacts | int:
    columns = [block.intern(each) for each in (node.this, *node.expressions)]
    either = block.coalesced.get(frozenset(columns))
    if either is not None and len(columns) == 2:
        return either
    kind = common_type(_parts(block, columns))
    reason = block.rows.not_null_proof(columns[0])
    if kind.certain and reason is not None:
        return _same(block, kind, columns[0], follow("coalesce", reason))
    return ExpressionFacts(
        kind,
        tuple(columns),
        kept_by=tuple(columns),
        domain=any_domain(_parts(block, columns), "choice"),
        rule="coalesce",
    )


def _same(block: QueryBlock, kind: Type, column: int, proof: Proof) -> int:
    """Return a column of its own that is another one in each row."""
    found = block.new(kind)
    block.rows.add_equality(found, column, proof)
    return found


def _nullif(block: QueryBlock, node: exp.Nullif) -> ExpressionFacts:
    inner, other = block.intern(node.this), block.intern(node.expression)
    domain, removed = block.rows.domains.get(inner), block.rows.domains.get(other)
    found = block.rows.type_of(inner)
    if not is_kept(found, block.rows.type_of(other)):  # it may be cast to the type of the other
        return ExpressionFacts(UNKNOWN, (inner, other), rejects=(inner,))
    if domain is not None and removed is not None and _is_constant(block, other):
        domain = Domain(domain.values - removed.values, follow("nullif", domain.proof))
    return ExpressionFacts(found, (inner, other), rejects=(inner,), domain=domain, reveals=(inner,), partly=True)


def _extreme(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    columns = [block.intern(each) for each in (node.this, *node.expressions)]
    ignores = dialect_named(block.dialect).skips_nulls_in_greatest
    return ExpressionFacts(
        common_type(_parts(block, columns)),
        tuple(columns),
        strict=True,
        kept_by=tuple(columns) if ignores else (),
        domain=any_domain(_parts(block, columns), "choice"),
        rule="greatest_least",
    )


def _case(block: QueryBlock, node: exp.Expr) -> ExpressionFacts | int:
    """`case` and `if`: each result is looked at with what its condition says; a condition that never holds is left out."""
    if isinstance(node, exp.If):
        branches, default, operand = [node], node.args.get("false"), None
    else:
        branches, default, operand = node.args["ifs"], node.args.get("default"), node.args.get("this")
    columns: list[int] = []
    live: list[int] = []
    reasons: list[Proof | None] = []
    left_out: list[Proof] = []
    arguments: list[int] = [] if operand is None else [block.intern(operand)]
    passed: set[int] = set()  # not null where no condition so far was true
    for branch in branches:
        condition, result = branch.this, branch.args["true"]
        given, never = set(passed), None
        arguments.append(block.intern(condition))
        columns.append(block.intern(result))
        if operand is None:
            found = effects(block, condition, holds=True)
            given |= found.not_null.keys()
            never = found.never
            if block.rows.not_null_proof(block.intern(condition)) is not None:
                passed |= effects(block, condition, holds=False).not_null.keys()
        if never is not None:
            left_out.append(never)
            continue
        live.append(columns[-1])
        reasons.append(block.rows.without_nulls(given).get(columns[-1]))
    if default is not None:
        columns.append(block.intern(default))
        live.append(columns[-1])
        reasons.append(block.rows.without_nulls(passed).get(columns[-1]))
    else:
        reasons.append(None)
    kind = common_type(_parts(block, columns))
    if default is not None and len(live) == 1 and kind.certain:
        return _same(block, kind, live[0], follow("case", *left_out))
    proof = None if None in reasons else follow("case", *reasons, *left_out)
    return ExpressionFacts(
        kind,
        (*arguments, *columns),
        not_null=proof,
        domain=any_domain(_parts(block, columns), "choice"),
        rule="case",
    )


def _parts(block: QueryBlock, columns: Sequence[int]) -> list[tuple[RowFacts, int]]:
    return [(block.rows, column) for column in columns]


# ---------------------------------------------------------------------- conditions as values


def _compared(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    """A comparison; one of rows is not null where nothing in them is."""
    if not isinstance(node.this, exp.Tuple) or not isinstance(node.expression, exp.Tuple):
        return _function(block, node)
    columns = tuple(block.intern(each) for side in (node.this, node.expression) for each in _leaves(side))
    return ExpressionFacts(BOOLEAN, columns, strict=_has_value(block, node, columns), rule="comparison")


def _leaves(node: exp.Expr) -> list[exp.Expr]:
    """Return the values in a row that is written out, and in rows in it."""
    if isinstance(node, exp.Tuple | exp.Paren):
        parts = node.expressions if isinstance(node, exp.Tuple) else [node.this]
        return [leaf for each in parts for leaf in _leaves(each)]
    return [node]


def _in(block: QueryBlock, node: exp.In) -> ExpressionFacts:
    if node.args.get("query") is None and node.args.get("unnest") is None and node.args.get("field") is None:
        rows_compared = isinstance(node.this, exp.Tuple)
        parts = [node.this, *node.expressions]
        columns = tuple(block.intern(leaf) for each in parts for leaf in (_leaves(each) if rows_compared else [each]))
        strict = not rows_compared or _has_value(block, node, columns)
        return ExpressionFacts(BOOLEAN, columns, strict=strict, rejects=() if rows_compared else columns[:1], rule="in")
    inner = None if isinstance(node.this, exp.Tuple) else block.intern(node.this)
    query = node.args.get("query")
    if query is None or inner is None:
        return ExpressionFacts(BOOLEAN)
    found = block.context.query(query, block)
    reason = found.rows.not_null_proof(found.ids[0]) if found.ids and not found.open else None
    own = block.rows.not_null_proof(inner)
    return ExpressionFacts(BOOLEAN, not_null=follow("in", reason, own) if reason and own else None)


def _exists(block: QueryBlock, node: exp.Exists) -> ExpressionFacts:
    return ExpressionFacts(BOOLEAN, not_null=Proof("never_null"))


def _subquery(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    """A query as a value: null where it gives no row."""
    copied = len(block.copies)
    found = block.context.query(node, block)
    if found.open or len(found.ids) != 1:
        return ExpressionFacts()
    column = found.ids[0]
    reason = found.rows.not_null_proof(column)
    known = follow("scalar_subquery", reason, found.rows.not_empty) if reason and found.rows.not_empty else None
    constant = not found.correlated and len(block.copies) == copied and not any(map(is_unpredictable, node.walk()))
    domain = found.rows.domains.get(column)
    return ExpressionFacts(
        found.rows.type_of(column), () if constant else None, known, domain=domain, rule="scalar_subquery"
    )


def _row(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    """`row(a, b)`, which in PostgreSQL counts as null where all of it is."""
    columns = tuple(map(block.intern, node.expressions))
    return ExpressionFacts(NESTED, columns, kept_by=columns, rule="row_of_values")


def _json_object(block: QueryBlock, node: exp.JSONObject) -> ExpressionFacts:
    """`json_object('a', x)`, never null where nothing in it is; PostgreSQL's is null where one of its arrays is."""
    parts = [part for each in node.expressions for part in _arguments(each)]
    pairs = all(isinstance(each, exp.JSONKeyValue) for each in node.expressions)
    return ExpressionFacts(UNKNOWN, tuple(map(block.intern, parts)), strict=pairs, rule="strict_function")


def _opaque(block: QueryBlock, node: exp.Expr) -> ExpressionFacts:
    """What has a value that nothing is known of."""
    if node.name.lower() == "row":
        return _row(block, node)
    for each in _arguments(node):
        if not isinstance(each, exp.Lambda | exp.Star):
            block.intern(each)
    return ExpressionFacts()


Handler = Callable[[QueryBlock, Any], ExpressionFacts | int]
_HANDLERS: tuple[tuple[Any, Handler], ...] = (
    ((exp.Literal, exp.National), _literal),
    (exp.Boolean, _boolean),
    (exp.Null, _null),
    (exp.Window, describe_window),
    (exp.Filter, describe_aggregate),
    (exp.WithinGroup, describe_aggregate),
    ((exp.IgnoreNulls, exp.RespectNulls), describe_aggregate),
    (exp.AggFunc, describe_aggregate),
    (exp.Exists, _exists),
    ((exp.Subquery, exp.Query), _subquery),
    (exp.In, _in),
    (functions.COMPARISONS, _compared),
    (exp.Tuple, _row),
    (exp.JSONObject, _json_object),
    (exp.Neg, _negative),
    ((exp.And, exp.Or), _connected),
    ((exp.Add, exp.Sub), _shift),
    ((exp.DPipe, exp.Concat), _join_texts),
    (functions.HASHES, _hash),
    (exp.Cast, _cast),
    (exp.Coalesce, _coalesce),
    (exp.Nullif, _nullif),
    ((exp.Greatest, exp.Least), _extreme),
    ((exp.Case, exp.If), _case),
    (exp.Anonymous, _opaque),
)
