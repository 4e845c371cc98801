"""The lists of words, held against those of the engines."""

from __future__ import annotations

import duckdb
import pytest

from sao_dagster.sql.keywords import KEYWORDS, RESERVED
from tests.postgres import Postgres, fetch


def test_all_keywords_of_duckdb_are_known() -> None:
    words = duckdb.execute("select keyword_name from duckdb_keywords()").fetchall()
    assert {word for (word,) in words} <= KEYWORDS


def test_all_keywords_of_postgres_are_known(postgres: Postgres) -> None:
    assert {word for (word,) in fetch(postgres.database(), "select word from pg_get_keywords()")} <= KEYWORDS


@pytest.mark.parametrize(
    "query",
    [
        "select 1 {Word}",
        "select {Word} from (select 1 as {quoted})",
        "select {Word} + 1 from (select 1 as {quoted})",
        "select {Word}.i + 1 from (select 1 as i) {Word}",
        "select * from range(1) {Word}",
        "select {{{Word}: 1}}",
    ],
)
def test_no_result_shows_the_case_of_a_reserved_word(query: str) -> None:
    """Read by DuckDB, which shows the case of names; a word that is no name there is an error."""
    with duckdb.connect() as connection:
        for word in RESERVED:
            sql = query.format(Word=word.capitalize(), quoted=f'"{word}"')
            assert word.capitalize() not in _names(connection, sql), sql


def _names(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return names and types of the columns of a query; nothing where it is none."""
    try:
        return " ".join(f"{name} {kind}" for name, kind, *_ in connection.execute(sql).description or ())
    except duckdb.Error:
        return ""
