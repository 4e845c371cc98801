"""Putting ephemeral models into a query: dbt parses all of it each time that it is rendered, to find where they go."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from .threads import Meanwhile

Place = tuple[str, str]
"""What is before them, and what is behind."""

_MARK = "[ephemerals]"
_WITH = re.compile(r"\s*with\s+(?!(recursive|with)\b)(?=[\w\"`])", re.IGNORECASE)
_ENDS = re.compile(r";|\bgo\b", re.IGNORECASE)
_TEXT = re.compile(r"\S")
_at_sight = Meanwhile()
found_at_sight = _at_sight.within
"""Finds the place meanwhile, in this thread, without parsing where it is plain. To build, all is parsed: dbt refuses what is too large for that."""


def inject_once() -> None:
    """Let dbt parse each query once at most to put ephemerals into it, from now on in this process."""
    import dbt.compilation

    original, cte = dbt.compilation.inject_ctes_into_sql, dbt.compilation.InjectedCTE

    @lru_cache(maxsize=2048)
    def parsed(sql: str) -> Place:
        before, _, behind = original(sql, [cte(id="", sql=_MARK)]).partition(_MARK)
        return before, behind

    def injected(sql: str, ctes: list[Any]) -> str:
        if not ctes or _MARK in sql:
            unchanged: str = original(sql, ctes)
            return unchanged
        plain = plain_place(sql) if _at_sight.holds else None
        before, behind = plain or parsed(str(sql))
        return before + ", ".join(each.sql for each in ctes) + behind

    samples = [" with a as (select 1) select 2", "select 3 --\n"]
    if all(_agree(original, injected, each, [cte(id="", sql="b"), cte(id="", sql="c")]) for each in samples):
        dbt.compilation.inject_ctes_into_sql = injected


def plain_place(sql: str) -> Place | None:
    """Return the place in one statement that begins with its CTEs, or has none; None where it takes parsing to find it."""
    if _ENDS.search(sql):
        return None
    if begin := _WITH.match(sql):
        return sql[: begin.end()], ", " + sql[begin.end() :]
    start = _TEXT.search(sql)
    if start is None or "with" in sql.lower():
        return None
    return sql[: start.start()] + "with", " " + sql[start.start() :]


def _agree(one: Callable[..., str], other: Callable[..., str], sql: str, ctes: list[Any]) -> bool:
    with found_at_sight():
        at_sight = other(sql, ctes)
    return one(sql, ctes) == other(sql, ctes) == at_sight
