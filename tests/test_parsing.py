"""Whatever sqlglot makes of a text, what comes out is tokens, trees, or one error."""

from __future__ import annotations

import random

import pytest

from sao_dagster.sql import parsing
from sao_dagster.sql.parsing import UnreadableSqlError, parse, parse_one, tokenize
from sao_dagster.sql.volatile import volatility

QUERY = [
    "with",
    "x",
    "as",
    "(",
    "select",
    "cast",
    "(",
    "a",
    "as",
    "int",
    ")",
    "as",
    "a",
    ",",
    "{",
    "'k'",
    ":",
    "1",
    "}",
    "as",
    "s",
    "from",
    "t",
    ")",
    "select",
    "a",
    ",",
    "sum",
    "(",
    "b",
    ")",
    "over",
    "(",
    "partition",
    "by",
    "c",
    "order",
    "by",
    "d",
    ")",
    "as",
    "n",
    "from",
    "t",
    "as",
    "u",
    "join",
    "v",
    "using",
    "(",
    "id",
    ")",
    "where",
    "a",
    "in",
    "(",
    "1",
    ",",
    "2",
    ")",
    "and",
    "b",
    "between",
    "1",
    "and",
    "2",
    "group",
    "by",
    "all",
    "order",
    "by",
    "1",
    "limit",
    "3",
]


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_a_query_with_typing_errors_is_read_or_called_unreadable(dialect: str) -> None:
    chance, unreadable = random.Random(f"typing errors {dialect}"), 0
    for _ in range(300):
        words = list(QUERY)
        for _ in range(chance.randint(1, 3)):
            words[chance.randrange(len(words))] = chance.choice(
                (*QUERY, "", "::", "[", "'", '"', "lateral", "interval")
            )
        try:
            parse(" ".join(words), dialect)
        except UnreadableSqlError:
            unreadable += 1
    assert 100 < unreadable < 300


@pytest.mark.parametrize("error", [TypeError("expected Expr, got None"), AttributeError("this"), RecursionError()])
def test_any_error_of_the_parser_means_unreadable(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The compiled parser raises for typing errors what the one in Python never does."""

    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(parsing.sqlglot, "parse", raises)
    with pytest.raises(UnreadableSqlError, match=r"\S"):
        parse("select 1", "duckdb")
    assert volatility("select current_date + ,", "duckdb").expiry is not None


def test_brackets_in_brackets_end_no_process() -> None:
    with pytest.raises(UnreadableSqlError, match="nested"):
        parse("select * from (" * 20_000 + "select 1" + ")" * 20_000, "duckdb")
    assert len(parse("select 1 in (" + ", ".join(["(1)"] * 1000) + ")", "duckdb")) == 1


@pytest.mark.parametrize("sql", ["", ";", "-- nothing"])
def test_nothing_is_no_statement(sql: str) -> None:
    assert parse(sql, "duckdb") == []
    with pytest.raises(UnreadableSqlError):
        parse_one(sql, "duckdb")


def test_a_dialect_that_sqlglot_does_not_know_reads_nothing() -> None:
    with pytest.raises(UnreadableSqlError):
        tokenize("select 1", "brand new")
