"""Compares where ephemerals are put with where dbt puts them, in queries made by chance; run by dbt's Python.

Usage: python ephemerals_by_chance.py FOLDER_OF_CHILD SEED COUNT
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
from collections.abc import Callable

WORDS = (
    *("with", "WITH", "a as (", "select", "1", ")", ",", "(", "from", "t", "recursive", "go", "going", "case", "end"),
    *("'x;y'", "--c\n", "/* with */", "\n", "\r\n", "  ", "\t", ".", "with_x", "x.with", "as", "begin", '"with"', "{"),
    *("%", "#h\n", "time zone 'u'", "where", "a=b", "::int", "$$", "declare", "create", "or", "replace", "\u00a0"),
    *("union", "values", "in", "'", ";", "using", "with(", " with\n", "`t`"),
)


def query(chance: random.Random) -> str:
    """Return a text that may be a query; about half of them begin with their CTEs."""
    words = [chance.choice(WORDS) for _ in range(chance.randint(1, 14))]
    if chance.random() < 0.5:
        words = [chance.choice(("", "\n", " ")), chance.choice(("with", "With")), "a as (", *words]
    return chance.choice((" ", " ", " ", "\n", "")).join(words)


def main() -> None:
    """Print how many were compared, how many needed no parsing, and those that differ."""
    folder, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    spec = importlib.util.spec_from_file_location("child", f"{folder}/__init__.py", submodule_search_locations=[folder])
    sys.modules["child"] = importlib.util.module_from_spec(spec)
    ephemerals = importlib.import_module("child.ephemerals")
    compilation = importlib.import_module("dbt.compilation")
    by_dbt = compilation.inject_ctes_into_sql
    ephemerals.inject_once()
    assert compilation.inject_ctes_into_sql is not by_dbt
    ctes = [compilation.InjectedCTE(id=each, sql=f" {each} as (\nselect 1\n)") for each in ("one", "two")]

    def put(inject: Callable[..., str], sql: str) -> str:
        try:
            return inject(sql, ctes)
        except Exception as error:  # noqa: BLE001 - of what is no query at all
            return repr(error)

    chance, plain, different = random.Random(seed), 0, []
    for _ in range(count):
        sql = query(chance)
        expected = put(by_dbt, sql)
        plain += ephemerals.plain_place(sql) is not None
        with ephemerals.found_at_sight():
            at_sight = put(compilation.inject_ctes_into_sql, sql)
        parsed = put(compilation.inject_ctes_into_sql, sql)
        if {at_sight, parsed} != {expected}:
            different.append([sql, expected, at_sight, parsed])
    print(count, plain, different)


if __name__ == "__main__":
    main()
