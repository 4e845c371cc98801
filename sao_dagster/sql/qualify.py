"""Puts expressions over one table into a statement over several: columns that name no table get one."""

from __future__ import annotations

from collections.abc import Collection

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from sao_dagster.sql.parsing import UnreadableSqlError, parse_one, tokenize

_HEAD = "select "


def qualified(expression: str, table: str, columns: Collection[str], dialect: str, also: str = "") -> str:
    """Return an expression whose bare columns are those of a table; what stands in subqueries is left, for it has its own scope.

    Nothing else of the text is touched. What cannot be read is returned as it is, for the engine to say what is wrong.

    Args:
        expression: The expression, or several with commas between them.
        table: The alias to put before columns.
        columns: The columns of the table, in lower case; other names are left.
        dialect: sqlglot's name of the dialect.
        also: Another name of the table, which gives way to the alias.

    >>> qualified("ts > current_date - days and DBT_INTERNAL_SOURCE.id in (select id from kept)", "t", ["id", "ts"], "duckdb")
    't.ts > current_date - days and DBT_INTERNAL_SOURCE.id in (select id from kept)'
    >>> qualified("orders.ts = place.city", "t", ["ts", "place"], "duckdb", also="orders")
    't.ts = t.place.city'
    """
    try:
        query = parse_one(_HEAD + expression, dialect)
    except UnreadableSqlError:
        return expression
    edits: list[tuple[int, int]] = []  # where to put the alias, and up to where it takes the place of another name
    for column in query.find_all(exp.Column):
        if column.parent_select is not query:
            continue
        spans = [(part.meta.get("start"), part.meta.get("end")) for part in column.parts]
        start, end = spans[0][0], spans[-2][1] if len(spans) > 1 else None
        if start is None:
            continue
        if also and column.table.lower() == also.lower() and end is not None:
            edits.append((start, end + 1))
        elif column.parts[0].name.lower() in columns:
            edits.append((start, start))
    text = _HEAD + expression
    for start, end in sorted(edits, reverse=True):
        text = f"{text[:start]}{table}{'.' if start == end else ''}{text[end:]}"
    return text.removeprefix(_HEAD)


def split(expressions: str, dialect: str) -> list[str]:
    """Return the expressions of a list, by the commas that stand in no bracket.

    >>> split("a, coalesce(b, 0)", "duckdb")
    ['a', 'coalesce(b, 0)']
    """
    try:
        tokens = tokenize(expressions, dialect)
    except UnreadableSqlError:
        return [expressions]
    opening = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
    closing = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
    depth, start, found = 0, 0, []
    for token in tokens:
        depth += (token.token_type in opening) - (token.token_type in closing)
        if token.token_type is TokenType.COMMA and depth == 0:
            found.append(expressions[start : token.start])
            start = token.end + 1
    return [each.strip() for each in (*found, expressions[start:])]
