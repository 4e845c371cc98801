"""SQL as text."""

from __future__ import annotations


def embeddable(sql: str) -> str:
    r"""Return a statement so that it may stand inside another one, even before a bracket, and after a comment at its end.

    >>> embeddable("select 1;"), embeddable("select 1 -- one")
    ('select 1', 'select 1 -- one\n')
    """
    text = sql.strip().rstrip("; \t\r\n")
    return f"{text}\n" if "--" in text.rsplit("\n", 1)[-1] else text


def limited(sql: str, limit: int | None) -> str:
    r"""Return a query of which only so many rows are looked for; None for all.

    >>> limited("select 1", 5), limited("select 1", None)
    ('select * from (select 1\n) as dbt_internal_test limit 5', 'select 1')
    """
    return sql if limit is None else f"select * from ({sql}\n) as dbt_internal_test limit {limit}"
