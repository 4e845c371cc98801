"""What functions do with nulls, by sqlglot's classes of them; a function that is in no table may do anything.

Two things are asked: is the result not null when no argument is (`KEEPS`), and is the first argument not null when the result is
not (`REJECTS`). Engines differ where something goes wrong: division by zero, invalid dates and infinite ones, failing casts.
"""

from __future__ import annotations

from sqlglot import exp

COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
MATCHES = (exp.Like, exp.ILike, exp.RegexpLike, exp.SimilarTo, exp.Glob, exp.StartsWith)
DIVISIONS = (exp.Div, exp.IntDiv, exp.Mod)
ARITHMETIC = (exp.Add, exp.Sub, exp.Mul)
_TEXT = (exp.Lower, exp.Upper, exp.Trim, exp.Substring, exp.Replace, exp.Reverse, exp.Left, exp.Right, exp.Initcap)
_TEXT_TO_OTHER = (exp.Length, exp.StrPosition, exp.MD5, exp.SHA, exp.SHA2, exp.Unicode)
_NUMBERS = (exp.Neg, exp.Abs, exp.Ceil, exp.Floor, exp.Round, exp.Sign, exp.BitwiseNot)
_BITS = (exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor)
_ROOTS = (exp.Sqrt, exp.Exp, exp.Ln, exp.Pow)
TRUNCATIONS = (exp.DateTrunc, exp.TimestampTrunc)
_DATES = (*TRUNCATIONS, exp.DateAdd, exp.DateSub, exp.TimestampAdd, exp.TimestampSub)
_PARTS = (
    exp.Extract, exp.Year, exp.Month, exp.Day, exp.Quarter, exp.Week, exp.DayOfWeek, exp.DayOfMonth, exp.DayOfYear,
    exp.DateDiff, exp.TimestampDiff, exp.LastDay,
)  # fmt: skip

REJECTS = (
    *COMPARISONS,
    *MATCHES,
    *DIVISIONS,
    *ARITHMETIC,
    *_TEXT,
    *_TEXT_TO_OTHER,
    *_NUMBERS,
    *_BITS,
    *_ROOTS,
    *_DATES,
    *_PARTS,
)
"""The first argument is not null where the result is not; for what has two sides, neither is."""

_ANYWHERE = (*COMPARISONS, *MATCHES, *ARITHMETIC, *_TEXT, *_TEXT_TO_OTHER, *_NUMBERS, *_BITS)
NEVER_NULL = (
    exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime, exp.CurrentDatetime, exp.Localtimestamp,
    exp.Localtime, exp.Rand, exp.Uuid, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.Array, exp.Struct, exp.CurrentUser,
    exp.CurrentSchema,
)  # fmt: skip
_ALSO_KEEP = (
    exp.DPipe, exp.Concat, exp.And, exp.Or, exp.Not, exp.Between, exp.Interval, exp.Translate, exp.Overlay,
)  # fmt: skip
PURE = (*REJECTS, *NEVER_NULL, *_ALSO_KEEP)
"""Equal for equal arguments."""
_INFINITE_DATES = ("duckdb", "postgres", "redshift")
_ERRORS_ON_ZERO = ("postgres", "redshift", "snowflake", "bigquery")
_NULL_ON_ERROR = ("spark", "databricks")

TEXT_RESULTS = (*_TEXT, exp.MD5, exp.DPipe, exp.Concat, exp.ConcatWs, exp.GroupConcat)
BOOLEAN_RESULTS = (
    *COMPARISONS, *MATCHES, exp.And, exp.Or, exp.Not, exp.Is, exp.Between, exp.NullSafeEQ, exp.NullSafeNEQ,
)  # fmt: skip
INTEGER_RESULTS = (exp.Length, exp.StrPosition)
PLAIN_RESULTS = (*_NUMBERS, *_ROOTS, *_DATES, *_PARTS, exp.Sum, exp.Avg, exp.Median)
"""A number or a time, of a type that depends on the engine and on the arguments."""

WHOLE_DAY_UNITS = ("DAY", "WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR")

IGNORE_NULLS_IN_GREATEST = ("duckdb", "postgres", "redshift")
HASHES = (exp.MD5, exp.SHA2)

AGGREGATES = (
    exp.Sum, exp.Avg, exp.Min, exp.Max, exp.AnyValue, exp.First, exp.Last, exp.Median, exp.GroupConcat, exp.LogicalAnd,
    exp.LogicalOr, exp.ArrayAgg, exp.Mode, exp.BitwiseAndAgg, exp.BitwiseOrAgg, exp.BitwiseXorAgg,
)  # fmt: skip
"""Not null over at least one row whose argument is not null."""

COUNTS = (exp.Count, exp.ApproxDistinct, exp.CountIf)
PICKS = (exp.Min, exp.Max, exp.AnyValue, exp.First, exp.Last)
"""Aggregates whose result is one of the values."""

RANKS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile)
SET_RETURNING = (exp.Explode, exp.Unnest, exp.UDTF, exp.ExplodingGenerateSeries, exp.Inline)

SCALARS = frozenset(
    {"strlen", "hash", "year", "epoch", "printf", "format", "to_char", "strftime", "list_value", "bit_count", "md5_number"}
)  # fmt: skip
"""Names of functions that sqlglot does not know and that give one value for one row."""


def keeps_not_null(node: exp.Expr, dialect: str) -> bool:
    """Return whether the result of a function is not null when none of its arguments is.

    >>> from sqlglot import parse_one
    >>> keeps_not_null(parse_one("lower(a)"), "duckdb"), keeps_not_null(parse_one("a / b"), "duckdb")
    (True, False)
    """
    if isinstance(node, COMPARISONS):
        return not any(
            isinstance(side, exp.Tuple | exp.Struct | exp.Any | exp.All) for side in (node.this, node.expression)
        )
    if isinstance(node, _ANYWHERE):
        return True
    if isinstance(node, DIVISIONS):
        return dialect in _ERRORS_ON_ZERO or _is_nonzero(node.expression)
    if isinstance(node, _ROOTS):
        return dialect not in _NULL_ON_ERROR
    if isinstance(node, _DATES):
        return dialect not in _NULL_ON_ERROR
    if isinstance(node, _PARTS):
        return dialect not in _NULL_ON_ERROR and dialect not in _INFINITE_DATES
    return isinstance(node, _ALSO_KEEP)


def rejects_null(node: exp.Expr) -> tuple[exp.Expr, ...]:
    """Return the arguments of a function that are not null where its result is not.

    >>> from sqlglot import parse_one
    >>> [each.sql() for each in rejects_null(parse_one("a + b"))], rejects_null(parse_one("coalesce(a, b)"))
    (['a', 'b'], ())
    """
    if isinstance(node, COMPARISONS):
        sides = (node.this, node.expression)
        if any(isinstance(side, exp.Tuple) for side in sides):
            return ()
        return () if isinstance(node.expression, exp.Any | exp.All) else sides
    if isinstance(node, REJECTS):
        second = node.args.get("expression") if isinstance(node, exp.Binary) else None
        return (node.this,) if second is None else (node.this, second)
    return ()


def never_null_concat(node: exp.Expr, dialect: str) -> bool:
    """Return whether `concat` takes nulls for empty texts."""
    return bool(node.args.get("coalesce")) and dialect in ("duckdb", "postgres")


def _is_nonzero(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and float(node.name) != 0
