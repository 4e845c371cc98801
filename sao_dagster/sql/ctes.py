"""Putting common table expressions in front of a query, as text, so that its formatting stays as written."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot.tokenizer_core import TokenType

from sao_dagster.errors import RenderError
from sao_dagster.sql.parsing import UnreadableSqlError, tokenize
from sao_dagster.sql.text import embeddable


def prepend_ctes(sql: str, ctes: Sequence[tuple[str, str]], dialect: str) -> str:
    """Return `sql` with common table expressions in front of its own.

    Args:
        sql: One query.
        ctes: Names and queries, each after those it uses.
        dialect: sqlglot's name of the dialect.

    Raises:
        RenderError: The query cannot even be split into tokens.

    >>> prepend_ctes("with b as (select 1) select * from a, b", [("a", "select 2")], "duckdb")
    'with a as (select 2), b as (select 1) select * from a, b'
    """
    if not ctes:
        return sql
    try:
        tokens = tokenize(sql, dialect)
    except UnreadableSqlError as error:
        raise RenderError(f"this is not SQL that can be read: {error}") from error
    block = ", ".join(f"{name} as ({embeddable(query)})" for name, query in ctes)
    if tokens and tokens[0].token_type is TokenType.WITH:
        recursive = len(tokens) > 1 and tokens[1].token_type is TokenType.RECURSIVE
        end = tokens[1 if recursive else 0].end + 1
        return f"{sql[:end]} {block},{sql[end:]}"
    start = tokens[0].start if tokens else 0
    return f"{sql[:start]}with {block} {sql[start:]}"
