"""What functions do with nulls, by sqlglot's classes of them; a function that is in no table may do anything.

Two things are asked: is the result not null when no argument is (`KEEPS`), and is the first argument not null when the result is
not (`REJECTS`). Engines differ where something goes wrong: division by zero, invalid dates and infinite ones, failing casts. There
only those give no null of which `sql/dialects.py` says so.
"""

from __future__ import annotations

from sqlglot import exp

from sao_dagster.sql.dialects import Operation, dialect_named
from sao_dagster.sql.inference.types import NUMBER_KINDS, Kind, Type

COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
MATCHES = (exp.Like, exp.ILike, exp.RegexpLike, exp.SimilarTo, exp.Glob, exp.StartsWith)
DIVISIONS = (exp.Div, exp.IntDiv, exp.Mod)
ARITHMETIC = (exp.Add, exp.Sub, exp.Mul)
_TEXT = (
    exp.Lower, exp.Upper, exp.Trim, exp.Substring, exp.Replace, exp.Reverse, exp.Left, exp.Right, exp.Initcap, exp.RegexpReplace,
    exp.Repeat,
)  # fmt: skip
_TEXT_TO_OTHER = (exp.Length, exp.StrPosition, exp.MD5, exp.SHA, exp.SHA2, exp.Unicode)
NUMBERS = (exp.Neg, exp.Abs, exp.Ceil, exp.Floor, exp.Round, exp.Sign, exp.BitwiseNot)
_BITS = (exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor)
_ROOTS = (exp.Sqrt, exp.Exp, exp.Ln, exp.Pow)
TRUNCATIONS = (exp.DateTrunc, exp.TimestampTrunc)
_DATES = (*TRUNCATIONS, exp.DateAdd, exp.DateSub, exp.TimestampAdd, exp.TimestampSub)
_PARTS = (
    exp.Extract, exp.Year, exp.Month, exp.Day, exp.Quarter, exp.Week, exp.DayOfWeek, exp.DayOfMonth, exp.DayOfYear,
    exp.DateDiff, exp.TimestampDiff,
)  # fmt: skip

REJECTS = (
    *COMPARISONS,
    *MATCHES,
    *DIVISIONS,
    *ARITHMETIC,
    *_TEXT,
    *_TEXT_TO_OTHER,
    *NUMBERS,
    *_BITS,
    *_ROOTS,
    *_DATES,
    *_PARTS,
    exp.LastDay,
)
"""The first argument is not null where the result is not; for what has two sides, neither is."""

_OF_THE_SESSION = (
    exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime, exp.CurrentDatetime, exp.Localtimestamp, exp.Localtime, exp.Uuid,
    exp.CurrentUser,
)  # fmt: skip
NEVER_NULL = (*_OF_THE_SESSION, exp.Rand, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.Array, exp.Struct)
_ALSO_OF_TEXT = (exp.DPipe, exp.Concat, exp.Translate, exp.Overlay)
_LOGIC = (exp.And, exp.Or, exp.Not)
PURE = (*REJECTS, *NEVER_NULL, *_ALSO_OF_TEXT, *_LOGIC, exp.Between, exp.Interval)
"""Equal for equal arguments."""
_OPERATIONS: tuple[tuple[Operation, tuple[type[exp.Expr], ...]], ...] = (
    (Operation.ARITHMETIC, (*ARITHMETIC, *NUMBERS, *_BITS)),
    (Operation.ROOT, _ROOTS),
    (Operation.DATE, (*_DATES, exp.Interval)),
    (Operation.DATE_PART, (*_PARTS, exp.LastDay)),
    (Operation.TEXT, (*MATCHES, *_TEXT, *_TEXT_TO_OTHER, *_ALSO_OF_TEXT)),
)
"""What is not null for arguments that are not, on engines where such an operation fails if it has no value."""

TEXT_RESULTS = (*_TEXT, exp.MD5, exp.DPipe, exp.Concat, exp.ConcatWs, exp.GroupConcat)
BOOLEAN_RESULTS = (
    *COMPARISONS, *MATCHES, exp.And, exp.Or, exp.Not, exp.Is, exp.Between, exp.NullSafeEQ, exp.NullSafeNEQ,
)  # fmt: skip
INTEGER_RESULTS = (exp.Length, exp.StrPosition)
NUMBER_RESULTS = (*_ROOTS, *_PARTS, exp.Rand, exp.Unicode)
PLAIN_RESULTS = (*_DATES, *_OF_THE_SESSION, exp.LastDay, exp.Interval)
"""A time or text, of a type that depends on the engine and on the arguments."""

WHOLE_DAY_UNITS = ("DAY", "WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR")

HASHES = (exp.MD5, exp.SHA2)

AGGREGATES = (
    exp.Sum, exp.Avg, exp.Min, exp.Max, exp.AnyValue, exp.First, exp.Last, exp.Median, exp.GroupConcat, exp.LogicalAnd,
    exp.LogicalOr, exp.ArrayAgg, exp.Mode, exp.BitwiseAndAgg, exp.BitwiseOrAgg, exp.BitwiseXorAgg,
)  # fmt: skip
"""Not null over at least one row whose argument is not null, where what is too great for its type is an error."""

COUNTS = (exp.Count, exp.ApproxDistinct, exp.CountIf)
MEANS = (exp.Sum, exp.Avg, exp.Median)
"""Aggregates whose result is a number over numbers, and a time over times, which may be infinite."""
PICKS = (exp.Min, exp.Max, exp.AnyValue, exp.First, exp.Last)
"""Aggregates whose result is one of the values."""

RANKS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile)
SET_RETURNING = (exp.Explode, exp.Unnest, exp.UDTF, exp.ExplodingGenerateSeries, exp.Inline)


def is_quantified(node: exp.Expr) -> bool:
    """Return whether a value is compared with each of several, of which there may be none: then the result is never null.

    >>> from sqlglot import parse_one
    >>> is_quantified(parse_one("a like any (b)", dialect="postgres")), is_quantified(parse_one("a like b"))
    (True, False)
    """
    return any(isinstance(side.unnest(), exp.Any | exp.All) for side in node.iter_expressions())


def keeps_not_null(node: exp.Expr, dialect: str) -> bool:
    """Return whether the result of a function is not null when none of its arguments is.

    Of comparisons it says so of values that are compared as they are; where one is cast first, the cast may give null.

    >>> from sqlglot import parse_one
    >>> keeps_not_null(parse_one("lower(a)"), "duckdb"), keeps_not_null(parse_one("a / b"), "duckdb")
    (True, False)
    >>> keeps_not_null(parse_one("a = b"), "brand new"), keeps_not_null(parse_one("a + b"), "brand new")
    (True, False)
    """
    errs = dialect_named(dialect).errs
    if is_quantified(node):
        return False
    if isinstance(node, (*COMPARISONS, exp.Between)):
        return not any(isinstance(side, exp.Tuple | exp.Struct) for side in node.iter_expressions())
    if isinstance(node, DIVISIONS):
        return Operation.ARITHMETIC in errs and (Operation.DIVISION in errs or _is_nonzero(node.expression))
    if isinstance(node, (*_LOGIC, exp.Like)):
        return True
    return any(operation in errs and isinstance(node, kinds) for operation, kinds in _OPERATIONS)


def aggregate_keeps_not_null(node: exp.Expr, argument: Type, dialect: str) -> bool:
    """Return whether an aggregate over at least one row is not null when its argument, of a type, never is.

    >>> number = Type(Kind.INTEGER)
    >>> aggregate_keeps_not_null(exp.Min(), number, "brand new"), aggregate_keeps_not_null(exp.Sum(), number, "brand new")
    (True, False)
    """
    if isinstance(node, (*PICKS, exp.ArrayAgg)):
        return True
    fits = argument.kind in NUMBER_KINDS if isinstance(node, MEANS) else argument.kind is not Kind.OTHER
    return fits and Operation.ARITHMETIC in dialect_named(dialect).errs


def rejects_null(node: exp.Expr) -> tuple[exp.Expr, ...]:
    """Return the arguments of a function that are not null where its result is not.

    >>> from sqlglot import parse_one
    >>> [each.sql() for each in rejects_null(parse_one("a + b"))], rejects_null(parse_one("coalesce(a, b)"))
    (['a', 'b'], ())
    """
    if is_quantified(node):
        return ()
    if isinstance(node, COMPARISONS):
        sides = (node.this, node.expression)
        return () if any(isinstance(side, exp.Tuple) for side in sides) else sides
    if isinstance(node, REJECTS):
        second = node.args.get("expression") if isinstance(node, exp.Binary) else None
        return (node.this,) if second is None else (node.this, second)
    return ()


def never_null_concat(node: exp.Expr, dialect: str) -> bool:
    """Return whether `concat` takes nulls for empty texts."""
    return bool(node.args.get("coalesce")) and dialect_named(dialect).skips_nulls_in_concat


def _is_nonzero(node: exp.Expr) -> bool:
    """Return whether a number is written that is not 0; a cast may round a fraction to it."""
    cast = False
    while type(node) is exp.Cast or isinstance(node, exp.Paren):
        cast = cast or isinstance(node, exp.Cast)
        node = node.this
    return isinstance(node, exp.Literal) and not node.is_string and float(node.name) != 0 and (node.is_int or not cast)
