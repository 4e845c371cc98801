"""Which data tests are the usual ones, so that their passing is a fact: by their SQL, since any macro may be overridden."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sao_dagster.core.proofs import Assertion, FactKind
from sao_dagster.core.relations import quote
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.fingerprint import sql_digest

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def assertion_of(
    kind: str, column: str, args: Mapping[str, Any], relation: str, sql: str, dialect: str
) -> Assertion | None:
    """Return what a data test with default settings says when it passes; None where its SQL is not the usual one.

    Args:
        kind: The name of the generic test.
        column: As the test writes it; an expression says nothing of a column.
        args: The arguments of the test.
        relation: What the test reads, as SQL writes it.
        sql: The test as it runs.
        dialect: sqlglot's name of the dialect.

    >>> assertion_of("not_null", "id", {}, "t", "select * from t where id is null", "duckdb")
    Assertion(kind=<FactKind.NOT_NULL: 'not_null'>, column='id', values=())
    >>> assertion_of("not_null", "id", {}, "t", "select * from t where id is null and city = 'x'", "duckdb")
    """
    engine = dialect_named(dialect)
    quoted = column == quote(column[1:-1], engine.quotes)
    if not quoted and not _NAME.fullmatch(column):
        return None
    name = engine.compared(column[1:-1] if quoted else column, quoted=quoted)
    known: Assertion | None = None
    texts: tuple[str, ...] = ()  # as this package writes it, and as dbt compiles it
    if kind == "not_null":
        known = Assertion(FactKind.NOT_NULL, name)
        texts = tuple(f"select {shown} from {relation} where {column} is null" for shown in ("*", column))
    elif kind == "unique":
        known = Assertion(FactKind.UNIQUE, name)
        counted = f"select {column} as unique_field, count(*) as n_records from {relation}"
        texts = (f"{counted} where {column} is not null group by {column} having count(*) > 1",)
    elif kind == "accepted_values":
        known, texts = _accepted(name, column, args, relation)
    return known if sql_digest(sql, dialect) in {sql_digest(text, dialect) for text in texts} else None


def _accepted(
    name: str, column: str, args: Mapping[str, Any], relation: str
) -> tuple[Assertion | None, tuple[str, ...]]:
    values, quote = args.get("values"), args.get("quote", True)
    if not isinstance(values, Sequence) or isinstance(values, str) or not isinstance(quote, bool):
        return None, ()
    accepted: list[str | int] = []
    for value in values:
        plain = type(value) in (str, int)
        if not plain or (not quote and not isinstance(value, int)):
            return None, ()
        accepted.append(str(value) if quote else value)
    texts = ("'" + str(each).replace("'", "''") + "'" if quote else str(each) for each in accepted)
    listed = ", ".join(texts)
    counted = f"select {column} as value_field, count(*) as n_records from {relation} group by {column}"
    return Assertion(FactKind.ACCEPTED_VALUES, name, tuple(accepted)), (
        f"select value_field, n_records from ({counted}) as all_values where value_field not in ({listed})",
        f"with all_values as ({counted}) select * from all_values where value_field not in ({listed})",
    )
