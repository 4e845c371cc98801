"""Writes the tables of the engines' own functions (`sao_dagster/sql/builtin_functions/`), asked from the engines themselves.

    python -m tests.builtin_functions            (needs PostgreSQL's server programs)

One line for each name: the name, and how much it may change between two calls with the same arguments: `c` never, `s` only between
statements, `v` at any time; the most that one of its overloads may. `t` after it says that it is a table function, `m` that it may make one value
of many rows, or many of one: an aggregate, a macro over one or over `unnest`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

from tests.postgres import Postgres, fetch

FOLDER = Path(__file__).parents[1] / "sao_dagster" / "sql" / "builtin_functions"
DUCKDB = (
    "select lower(function_name), max(case stability when 'VOLATILE' then 3 when 'CONSISTENT_WITHIN_QUERY' then 2 else 1 end), "
    "bool_or(function_type in ('table', 'table_macro')), bool_or(function_type = 'aggregate' or regexp_matches(macro_definition, "
    "'\\b(unnest|sum|avg|count|min|max|list|\\w+_agg)\\(')) from duckdb_functions() where internal and function_type <> 'pragma' "
    "and regexp_full_match(function_name, '\\w+') group by 1"
)
POSTGRES = (
    "select lower(proname), max(case provolatile when 'v' then 3 when 's' then 2 else 1 end), bool_or(proretset), bool_or(prokind = 'a') from pg_proc "
    "where pronamespace = 'pg_catalog'::regnamespace group by 1"
)


def lines(rows: Iterable[tuple[Any, ...]]) -> str:
    """Return the text of a table."""
    return "".join(
        f"{name} {' csv'[level]}{'t' * bool(is_table)}{'m' * bool(is_many)}\n"
        for name, level, is_table, is_many in sorted(rows)
    )


def of_duckdb() -> str:
    """Return the functions of the installed DuckDB."""
    with duckdb.connect() as connection:
        return lines(connection.execute(DUCKDB).fetchall())


def of_postgres(url: str) -> str:
    """Return the functions of a PostgreSQL server."""
    return lines(fetch(url, POSTGRES))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "duckdb.txt").write_text(of_duckdb())
    with Postgres() as server:
        (FOLDER / "postgres.txt").write_text(of_postgres(server.database()))
