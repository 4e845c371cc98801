"""Which data tests are the usual ones, so that their passing is a fact: by their SQL, since any macro may be overridden."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sao_dagster.core.proofs import Assertion, FactKind
from sao_dagster.sql.fingerprint import sql_digest
from sao_dagster.sql.inference.names import written_name

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
    quoted = column.startswith('"') and column.endswith('"') and '"' not in column[1:-1]
    if not quoted and not _NAME.fullmatch(column):
        return None
    name = written_name(column[1:-1] if quoted else column, dialect, quoted=quoted)
    known: tuple[Assertion, str] | None = None
    if kind == "not_null":
        known = Assertion(FactKind.NOT_NULL, name), f"select * from {relation} where {column} is null"
    elif kind == "unique":
        known = (
            Assertion(FactKind.UNIQUE, name),
            f"select {column} as unique_field, count(*) as n_records from {relation} where {column} is not null "  # noqa: ISC004
            f"group by {column} having count(*) > 1",
        )
    elif kind == "accepted_values":
        known = _accepted(name, column, args, relation)
    if known is None or sql_digest(known[1], dialect) != sql_digest(sql, dialect):
        return None
    return known[0]


def _accepted(name: str, column: str, args: Mapping[str, Any], relation: str) -> tuple[Assertion, str] | None:
    values, quote = args.get("values"), args.get("quote", True)
    if not isinstance(values, Sequence) or isinstance(values, str) or not isinstance(quote, bool):
        return None
    accepted: list[str | int] = []
    for value in values:
        plain = type(value) in (str, int)
        if not plain or (not quote and not isinstance(value, int)):
            return None
        accepted.append(str(value) if quote else value)
    texts = ("'" + str(each).replace("'", "''") + "'" if quote else str(each) for each in accepted)
    listed = ", ".join(texts)
    return Assertion(FactKind.ACCEPTED_VALUES, name, tuple(accepted)), (
        f"select value_field, n_records from (select {column} as value_field, count(*) as n_records from {relation} "
        f"group by {column}) as all_values where value_field not in ({listed})"
    )
