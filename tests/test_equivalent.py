"""Cosmetic or not: whatever is called the same must give the same rows.

Every query of a few small grammars is made, with names chosen to be as confusing as possible: aliases that are tables
or columns, inner names that shadow outer ones, common table expressions that shadow tables. All queries that share a
canonical form are run on DuckDB and on PostgreSQL, and must agree.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import duckdb
import psycopg
import pytest

from sao_dagster.sql.canonical import canonical_form
from sao_dagster.sql.dialects import DIALECTS
from sao_dagster.sql.fingerprint import equivalent, sql_digest
from tests.postgres import Postgres

QUERIES = 4000  # of each grammar; the whole of them is a few hundred thousand
NAMES = ("x", "y", "t", "a")
SOURCES = ("t", "u")
COLUMNS = ("a", "b")
QUALIFIERS = ("", "x.", "y.", "t.")
GRAMMARS: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "alias": ("select {2}{3} as {4}, {5}{6} as c from {0} as {1} where {2}a > 1", (SOURCES, NAMES, QUALIFIERS, COLUMNS, COLUMNS, QUALIFIERS, COLUMNS)),
    "exists": ("select {2}a as a, b from {0} as {1} where exists (select 1 from {3} as {4} where {5}{6} = {7}b)", (SOURCES, NAMES, QUALIFIERS, SOURCES, NAMES, QUALIFIERS, COLUMNS, QUALIFIERS)),
    "scalar": ("select a, (select max({3}{4}) from {0} {1} where {5}b = {2}a) as m from {6} as x", (SOURCES, NAMES, QUALIFIERS, QUALIFIERS, COLUMNS, QUALIFIERS, SOURCES)),
    "join": ("select {4}{5} as p, {6}b as q from {0} as {1} join {2} as {3} on {4}a = {6}b", (SOURCES, NAMES, SOURCES, NAMES, QUALIFIERS, COLUMNS, QUALIFIERS)),
    "cte": ("with {0} as (select {1} as a, b from t), {2} as (select a, {3} as b from {4}) select {5}{6} as r from {7} as x", (NAMES, COLUMNS, NAMES, COLUMNS, (*SOURCES, "x"), QUALIFIERS, COLUMNS, (*SOURCES, "x", "y"))),
    "nested": ("select {3}{4} as r from (select {2}b as a, {2}a as b from {0} as {1}) as {5} where {3}a > 0", (SOURCES, NAMES, QUALIFIERS, QUALIFIERS, COLUMNS, NAMES)),
    "derived": ("select {2}{3} as r, {4}{5} as s from (select a, b from t) as {0}, (select b as a, a as b from u) as {1}", (NAMES, NAMES, QUALIFIERS, COLUMNS, QUALIFIERS, COLUMNS)),
    "shadow": ("with {0} as (select a, b from t) select {1}a as r from {0} as {2} where {1}b in (with {3} as (select b as a, a as b from u) select {4}b from {5} as {2})", (NAMES, QUALIFIERS, NAMES, NAMES, QUALIFIERS, (*SOURCES, "x", "y"))),
    "case": ("select {0} as {1}, x.{0} from {2} as {3}", (("a", "A", '"a"', '"A"'), ("r", "R", '"r"', '"R"'), ("t", "T", '"t"', '"T"'), ("x", "X", '"x"'))),
    "union": ("select {2}{3} as r from {0} as {1} union all select {4}b from {5} as {1} order by {6}", (SOURCES, NAMES, QUALIFIERS, COLUMNS, QUALIFIERS, SOURCES, ("r", "1"))),
}  # fmt: skip


TABLES = (
    "create table t as select i % 4 as a, (i * 3) % 5 as b from generate_series(0, 8) t(i)",
    "create table u as select (i * 2) % 5 as a, i % 3 as b from generate_series(0, 6) t(i)",
)
Answer = tuple[list[str], Counter[tuple[object, ...]]]


@contextmanager
def answers_of_duckdb() -> Iterator[Callable[[str], Answer | None]]:
    """What a query gives on DuckDB; None for what is no query there, since a name stands for nothing."""
    with duckdb.connect() as connection:
        for statement in TABLES:
            connection.execute(statement)

        def rows(sql: str) -> Answer | None:
            try:
                result = connection.execute(sql)
            except duckdb.Error:
                return None
            return [column[0] for column in result.description or ()], Counter(result.fetchall())

        yield rows


@contextmanager
def answers_of_postgres(url: str) -> Iterator[Callable[[str], Answer | None]]:
    """The same on PostgreSQL."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        for statement in TABLES:
            connection.execute(statement.encode())

        def rows(sql: str) -> Answer | None:
            try:
                result = connection.execute(sql.encode())
            except psycopg.Error:
                return None
            return [column.name for column in result.description or ()], Counter(result.fetchall())

        yield rows


@pytest.fixture(scope="module")
def on_duckdb() -> Iterator[Callable[[str], Answer | None]]:
    with answers_of_duckdb() as found:
        yield found


@pytest.fixture(scope="module")
def on_postgres(postgres: Postgres) -> Iterator[Callable[[str], Answer | None]]:
    with answers_of_postgres(postgres.database()) as found:
        yield found


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_queries_of_one_form_give_the_same(on_duckdb: Callable[[str], Answer | None], grammar: str) -> None:
    check("duckdb", grammar, QUERIES, on_duckdb)


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_queries_of_one_form_give_the_same_on_postgres(
    on_postgres: Callable[[str], Answer | None], grammar: str
) -> None:
    check("postgres", grammar, QUERIES // 4, on_postgres)


def test_edits_are_called_cosmetic_on_no_other_engine() -> None:
    assert {name for name, each in DIALECTS.items() if each.cosmetic_checked} == {"duckdb", "postgres"}
    for dialect in (*(DIALECTS.keys() - {"duckdb", "postgres"}), "sqlite", "oracle", ""):
        assert not equivalent("select o.a from t as o", "select p.a from t as p", dialect)


def check(dialect: str, grammar: str, queries: int, rows: Callable[[str], Answer | None], seed: int = 0) -> None:
    """Run some queries of a grammar; those that share a form must agree."""
    template, slots = GRAMMARS[grammar]
    every = list(itertools.product(*slots))
    forms: dict[str, list[str]] = {}
    for choice in random.Random(f"{grammar} {seed}").sample(every, min(queries, len(every))):
        sql = template.format(*choice)
        form = canonical_form(sql, dialect)
        assert form is not None
        forms.setdefault(form, []).append(sql)
    shared = 0
    for members in forms.values():
        found = ((sql, rows(sql)) for sql in members) if len(members) > 1 else ()
        answers = [(sql, answer) for sql, answer in found if answer is not None]
        shared += len(answers) > 1
        for sql, answer in answers[1:]:
            assert answer == answers[0][1], f"{answers[0][0]} ||| {sql}"
    assert shared, f"some queries of {grammar} must share a form, or this tests nothing"


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_looks_do_not_count(grammar: str) -> None:
    template, slots = GRAMMARS[grammar]
    for choice in random.Random(grammar).sample(list(itertools.product(*slots)), 20):
        sql = template.format(*choice)
        dressed = "-- made by hand\n" + sql.replace("select", "SELECT").replace(" from ", "\n  FROM ") + "\n;"
        assert sql_digest(sql, "duckdb") == sql_digest(dressed, "duckdb")
        assert equivalent(sql, dressed, "duckdb")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select hash(t) as h from a as t, b as u", "select hash(t) as h from a as u, b as t"),
        ("with x as (select 1 as i) select i from x", "select i from x"),
        ("select a from t as x", "select a from x as t"),
        ("select x.a from t as x where exists (select 1 from u as x where x.a = 1)", "select x.a from t as x where exists (select 1 from u as y where x.a = 1)"),
        ("select a + 1 as b, b from t", "select a + 1 as b, t.b from t"),
        ("select A from t", "select a from t"),
        ("select a from t union select a from u", "select a from t union all select a from u"),
        ("with a as (select 1 as i), b as (select 2 as i) select a.i from a, b", "with a as (select 2 as i), b as (select 1 as i) select a.i from a, b"),
        ("select * from t natural join u", "select * from u natural join t"),
        ("select 1.0 as x", "select 1 as x"),
        ("select a from t order by 1 limit 1", "select a from t order by 1 desc limit 1"),
        ("select /*+ broadcast(t) */ a from t", "select a from t"),
    ],
)  # fmt: skip
def test_what_looks_the_same_and_is_not(one: str, other: str) -> None:
    assert not equivalent(one, other, "duckdb")
