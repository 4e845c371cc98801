"""Names that an engine makes up for columns, and that say where something is."""

from __future__ import annotations

from functools import lru_cache

from sqlglot import exp

from sao_dagster.sql.parsing import UnreadableSqlError, parse_one


@lru_cache(maxsize=1024)
def may_name_relations(sql: str, dialect: str) -> bool:
    """Return whether a column of a query, or of one in it, may be called by the text of a subquery, in which the names of relations stand.

    DuckDB calls a column without an alias by its expression; such a name may come into rows, too (`to_json(t)`, `unpivot`).

    >>> may_name_relations("select id, (select max(id) from prod.e) from t", "duckdb")
    True
    >>> may_name_relations("select id, (select max(id) from prod.e) as most from t where exists (select 1 from prod.e)", "duckdb")
    False
    """
    try:
        tree = parse_one(sql, dialect)
    except (UnreadableSqlError, RecursionError):
        return True
    named = (exp.Alias, exp.Column, exp.Star)
    columns = (each for select in tree.find_all(exp.Select) for each in select.expressions)
    return any(not isinstance(each, named) and each.find(exp.Query) is not None for each in columns)
