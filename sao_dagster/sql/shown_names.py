"""What says where something is in the rows or the columns of a query: names that an engine makes up, and types of rows."""

from __future__ import annotations

import re
from functools import lru_cache

from sqlglot import exp

from sao_dagster.sql.parsing import UnreadableSqlError, parse_one

# a subquery that stands where a value does, a name of three parts that is no table, and what says the type of a row
_SUSPICIOUS = re.compile(
    r"(?<!\bas)(?<!\bfrom)(?<!\bjoin)(?<!\bmaterialized)\(\s*(?:select|with)\b"
    r"|(?<!\bfrom )(?<!\bjoin )(?<![\w\".])(?:\w+|\"[^\"]*\")(?:\s*\.\s*(?:\w+|\"[^\"]*\")){2}"
    r"|\b(?:pg_typeof|format_type)\b",
    re.IGNORECASE,
)
_BEFORE_BRACKET = re.compile(r"\s+(?=\()")
_TYPES = frozenset({"pg_typeof", "format_type"})
"""Functions that say how a type is called."""


@lru_cache(maxsize=1024)
def may_name_relations(sql: str, dialect: str) -> bool:
    """Return whether a column of a query, or of one in it, may be called by names of relations, or its values may be of a type that is called so.

    DuckDB calls a column without an alias by its expression, in which a subquery and a column with its schema say where they read; such a
    name may come into rows, too (`to_json(t)`, `unpivot`). On PostgreSQL a whole row has a type of the name of its table, schema included.

    >>> may_name_relations("select id, (select max(id) from prod.e) from t", "duckdb")
    True
    >>> may_name_relations("select max(prod.e.id) from prod.e", "duckdb")
    True
    >>> may_name_relations("select id, (select max(id) from prod.e) as most from t where exists (select 1 from prod.e)", "duckdb")
    False
    >>> [may_name_relations(f"select {each} as x from prod.e", "postgres") for each in ("e", "array_agg(e.*)", "pg_typeof(id)", "e.id")]
    [True, True, True, False]
    """
    try:
        tree = parse_one(sql, dialect)
    except (UnreadableSqlError, RecursionError):
        return True
    columns = (each for select in tree.find_all(exp.Select) for each in select.expressions)
    return any(map(_is_called_by_place, columns)) or _has_types_of_rows(tree)


def may_count_by_names(sql: str, dialect: str) -> bool:
    """Return whether the number of rows of a query may follow from names of relations: one of its columns, or of those in it, may be called so.

    That is asked of every data test, so the parser is only asked where the text looks like it. A type of a whole row counts only where it is named.

    >>> may_count_by_names("select * from (select id, (select max(id) from prod.e) from t) q where to_json(q)::text like '%prod%'", "duckdb")
    True
    >>> [may_count_by_names(f"with a as (select id from {each} join {each} using (id)) select * from a", "duckdb") for each in ('"d"."s"."t"', "t")]
    [False, False]
    """
    text = _BEFORE_BRACKET.sub("", " ".join(sql.split()))
    return _SUSPICIOUS.search(text) is not None and may_name_relations(sql, dialect)


def _is_called_by_place(column: exp.Expr) -> bool:
    """Return whether a column has no name of its own, and its text says where something is."""
    if isinstance(column, exp.Alias | exp.Column | exp.Star):
        return False
    return column.find(exp.Query) is not None or any(each.args.get("db") for each in column.find_all(exp.Column))


def _has_types_of_rows(tree: exp.Expr) -> bool:
    """Return whether a query may take a row of a table as a value, or asks for a type."""
    if any(
        isinstance(each, exp.Typeof) or each.name.lower() in _TYPES for each in tree.find_all(exp.Typeof, exp.Anonymous)
    ):
        return True
    sources = {each.alias_or_name.lower() for each in tree.find_all(exp.Table, exp.Subquery, exp.CTE)}
    for column in tree.find_all(exp.Column):
        is_projected = isinstance(column.parent, exp.Select) and column.arg_key == "expressions"
        if isinstance(column.this, exp.Star):
            if not is_projected:
                return True
        elif not column.table and column.name.lower() in sources:
            return True
    return False
