"""Series of numbers or days: `generate_series`, `range`, `sequence` and the like, which never give one value twice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from sao_dagster.sql.inference.query_block import QueryBlock
from sao_dagster.sql.inference.types import INTEGER, PLAIN, WHOLE_DAYS, Kind, Type

SERIES = (exp.GenerateSeries, exp.GenerateDateArray)
"""Functions that give such a series, as rows or as an array."""

_STEP = re.compile(r"[1-9]\d{0,8} ([a-z]+?)s?", re.IGNORECASE)
_DAYS = ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
_TIMES = ("HOUR", "MINUTE", "SECOND")


@dataclass(frozen=True)
class Series:
    """What is known of the values of a series; none is null.

    Attributes:
        type: Their type.
        distinct: Whether it is certain that no value comes twice.
    """

    type: Type
    distinct: bool


def series_of(block: QueryBlock, node: exp.Expr) -> Series | None:
    """Return what is known of a series; None for what is none.

    Raises:
        NotUnderstoodError: A name in it means nothing that is known.
    """
    if not isinstance(node, SERIES):
        return None
    parts = [node.args.get(each) for each in ("start", "end", "step")]
    types = [block.rows.type_of(block.intern(each)) for each in parts if each is not None]
    if all(each.kind is Kind.INTEGER for each in types):
        return Series(INTEGER, distinct=True)  # a step of 0 is an error
    unit = _unit(node.args.get("step"))
    if isinstance(node, exp.GenerateDateArray):
        return Series(Type(Kind.DATE), distinct=unit in _DAYS)
    starts = types[0]
    if unit in _DAYS and (starts.kind is Kind.DATE or starts.whole_days):
        return Series(WHOLE_DAYS, distinct=True)
    return Series(
        PLAIN, distinct=unit in (*_DAYS, *_TIMES) and starts.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT)
    )


def _unit(step: exp.Expr | None) -> str | None:
    """Return the unit of a step that is written out, of one unit only, and forwards."""
    if isinstance(step, exp.Cast):
        step = step.this
    if isinstance(step, exp.Interval):
        unit, amount = step.args.get("unit"), step.this
        written = f"{amount.name} {unit.name}" if isinstance(unit, exp.Var) and isinstance(amount, exp.Literal) else ""
    else:
        written = step.name if isinstance(step, exp.Literal) else ""
    found = _STEP.fullmatch(written)
    return found[1].upper() if found else None
