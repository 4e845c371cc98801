"""Cosmetic or not: whatever is called the same must give the same.

Pairs of a query and its edit are compared in all that a result shows (`tests/cosmetic`). And every query of a few small grammars is made, with names chosen to be as confusing as possible: aliases that are tables
or columns, inner names that shadow outer ones, common table expressions that shadow tables. All queries that share a
canonical form are run on DuckDB and on PostgreSQL, and must agree.
"""

from __future__ import annotations

import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import duckdb
import psycopg
import pytest

from sao_dagster.sql.canonical import canonical_form
from sao_dagster.sql.dialects import DIALECTS
from sao_dagster.sql.fingerprint import equivalent, sql_digest
from sao_dagster.sql.parsing import tokenize
from tests.cosmetic.check import check as check_pairs
from tests.cosmetic.check import on_engine
from tests.postgres import Postgres

QUERIES = 3000  # of each grammar; the whole of them is a few hundred thousand
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


@pytest.mark.slow
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
    forms: dict[tuple[str, ...], list[str]] = {}
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


TRAPS = [  # edits that some result shows, on both engines or on one
    ("select hash(t) as h from a as t, b as u", "select hash(t) as h from a as u, b as t"),
    ("with x as (select 1 as i) select i from x", "select i from x"),
    ("with t as (select * from t) select a from t", "with q as (select * from q) select a from q"),
    ("select a from t as x", "select a from x as t"),
    ("select x.a from t as x where exists (select 1 from u as x where x.a = 1)", "select x.a from t as x where exists (select 1 from u as y where x.a = 1)"),
    ("select a + 1 as b, b from t", "select a + 1 as b, t.b from t"),
    ("select a from t union select a from u", "select a from t union all select a from u"),
    ("with a as (select 1 as i), b as (select 2 as i) select a.i from a, b", "with a as (select 2 as i), b as (select 1 as i) select a.i from a, b"),
    ("select * from t natural join u", "select * from u natural join t"),
    ("select 1.0 as x", "select 1 as x"),
    ("select .5 as x", "select 0.5 as x"),
    ("select 0xFF as x", "select 0 xFF as x"),
    ("select a from t order by 1 limit 1", "select a from t order by 1 desc limit 1"),
    ("select distinct -a as r from t", "select (distinct -a) as r from t"),
    ("select a from t where b = 1 and a is distinct from 2", "select a from t where b = 1 and (a is distinct) from 2"),
    ("select a from t order by s collate \"C\"", "select a from t order by s collate t.\"C\""),
    ("select a from t where a between 0 and 1", "select a from t where (a between 0) and 1"),
    ("select a from t order by (a) asc", "select a from t order by ((a) asc)"),
    ("select a from t order by a asc", "select a from t order by a asc asc"),
    ("select a from t order by a desc", "select a from t order by a desc asc"),
    ("select a from t order by a nulls first", "select a from t order by a nulls first asc"),
    ("select t.a from t left join u using (a)", "select t.a from t left inner join u using (a)"),
    ("select t.a from t cross join u", "select t.a from t cross inner join u"),
    ("select 'a'::varchar x from t", "select ('a'::varchar x) from t"),
    ("select a::double precision x from t", "select (a::double precision x) from t"),
    ("select 1 x from t", "select (1 x) from t"),
    ("select upper(b) x from t", "select (upper(b) x) from t"),
    ("select case when a = 1 then a else b end as r from t", "select case when a = 1 then (a else b) end as r from t"),
    ("select cast(a as bigint) as r from t", "select cast(a as t.bigint) as r from t"),
    ("select a from t order by a desc", "select a from t order by (a desc)"),
    ("select /*+ broadcast(t) */ a from t", "select a from t"),
    ("select a from t order by + (2)", "select a from t order by 2"),
    ("select a from t order by (2)", "select a from t order by 2"),
    ("select distinct on (a) b from t", "select distinct on a b from t"),
    ("select - a as b from t x order by x.b", "select - a as b from t x order by b"),
    ("select b::text from t x order by x.b", "select b::text from t x order by b"),
    ("select a from t x where a = b order by a", "select a from t x where a = b x.order by a"),
    ("select count(*) as n from t x where b group by a", "select count(*) as n from t x where b x.group\nby a"),
    ("select (select max(a) from u x) as m from t", "select (select max(x.a) from u x) as m from t"),
    ("select (a + b) * 2 as c from t", "select a + b * 2 as c from t"),
    ("select ~ a + 7 as c from t", "select (~ a) + 7 as c from t"),
    ("select a from t where (a or b) and c", "select a from t where a or b and c"),
    ("select a from t where ((a or b)) and c", "select a from t where a or b and c"),
    ("select a from t where a between 1 and (b = c)", "select a from t where a between 1 and b = c"),
    ("select a from t where a between case when b and c then 1 end and (b = c)", "select a from t where a between case when b and c then 1 end and b = c"),
    ("select a from t where not (a) = b", "select a from t where (not a) = b"),
    ("select a in (b) as c from t", "select a in b as c from t"),
    ("select (a).b from t", "select a.b from t"),
    ("select (a as b) from t", "select a as b from t"),
    ("select 'a' as x", "select e'a' as x"),
    ("select 'a'\n'b' as x", "select 'a' 'b' as x"),
    ("select a << 1 as x from t", "select a < < 1 as x from t"),
    ("select j ->> 'x.y' as x from t", "select j ->> '$.x.y' as x from t"),
    ("select extract(year from d) as x from t", "select date_part('year', d) as x from t"),
    ("select cast(a as int) from t", "select a::int from t"),
    ("select a from t x, u y where x.a = y.b", "select a from t x, u y where y.a = x.b"),
    ("select * from generate_series(1, 3) as day", "select * from generate_series(1, 3) as week"),
    ("select a from t join u using (a)", "select a from t join u on t.a = u.a"),
    ("select a || b as c from t", "select concat(a, b) as c from t"),
    ('select "user" as a from t', "select user as a from t"),
    ('select "left"(s, 1) as a from t', "select left(s, 1) as a from t"),
]  # fmt: skip
SHOWN_BY_DUCKDB = [  # names as they are written, and names made of the text of an expression
    ("select A from t", "select a from t"),
    ("select a as x, 1 as Date from t", "select a as x, 1 as date from t"),
    ("select a as x, {Date: a} as s from t", "select a as x, {date: a} as s from t"),
    ("select struct_pack(Date := a) as s from t", "select struct_pack(date := a) as s from t"),
    ("select null::struct(Date int) as s", "select null::struct(date int) as s"),
    ("select to_json(q) as x from (select a as A from t) q", "select to_json(q) as x from (select a as a from t) q"),
    ("select a + 1 from t", "select t.a + 1 from t"),
    ("select x.a + 1 from t x", "select y.a + 1 from t y"),
    ("select Current_Date from t", "select current_date from t"),
    ("select a from t", "select a as a from t"),
    ("select * replace (-b as b) from t order by t.b", "select * replace (-b as b) from t order by b"),
    ("select * rename (b as Date) from t", "select * rename (b as date) from t"),
    ("select list_transform(l, lambda b: t.b) as x from t", "select list_transform(l, lambda b: b) as x from t"),
    ("select alias(t.a + 1) as x from t", "select alias(q.a + 1) as x from t q"),
    ("select a from t order by a asc", "select a from t order by a"),
    ("select x.a, (select max(x.b) from u) as m from t x", "select y.a, (select max(y.b) from u) as m from t y"),
]  # fmt: skip
COSMETIC = [  # ordinary edits
    ("select o.id, o.amount from raw as o where o.amount > 0", "SELECT x.id,\n  x.amount -- why\nFROM raw x WHERE ((x.amount) > 0);"),
    ('select "id" from raw', "select o.id from raw as o"),
    ("select a.id from main.orders as a", "select orders.id from main.orders"),
    ("with o as (select * from raw) select o.id from o where o.b", "with p as (select * from raw) select o.id from p as o where o.b"),
    ("with recursive n as (select 1 as i union all select i + 1 from n where i < 9) select i from n", "with recursive m as (select 1 as i union all select i + 1 from m where (i < 9)) select m.i from m"),
    ("select x.a as c, y.b as d from t x inner join u y on (x.i = y.i) and x.b > 1", "select p.a c, q.b d from t as p join u as q on p.i = q.i and (p.b > 1)"),
    ("select a.x from t a left outer join u b on a.i = b.i", "select c.x from t as c left join u d on c.i = d.i"),
    ("select CAST(x AS DATE) as d, SUM(y) OVER (PARTITION BY z ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) as s from t", "select cast(x as date) as d, sum(y) over (partition by z rows between unbounded preceding and current row) as s from t"),
    ("select case when (a = 1) then (a + b) else (b) end as c from t where x != 1", "select case when a = 1 then a + b else b end as c from t where x <> 1"),
    ("select a, b from t where (a = 1 and b = 2) or (a is null)", "select a, b from t where a = 1 and b = 2 or a is null"),
    ("select a, count(*) as n from (select a from t) as x group by (a)", "select a, count(*) n from (select a from t) y group by a"),
    ("select (x.id) from t as x union all select id from u", "select id from t union all select id from u as y"),
]  # fmt: skip


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
@pytest.mark.parametrize(("one", "other"), TRAPS)
def test_what_looks_the_same_and_is_not(one: str, other: str, dialect: str) -> None:
    assert not equivalent(one, other, dialect)
    assert not equivalent(other, one, dialect)


@pytest.mark.parametrize(("one", "other"), SHOWN_BY_DUCKDB)
def test_what_a_result_of_duckdb_shows(one: str, other: str) -> None:
    assert not equivalent(one, other, "duckdb")


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
@pytest.mark.parametrize(("one", "other"), COSMETIC)
def test_ordinary_edits_of_the_look_are_cosmetic(one: str, other: str, dialect: str) -> None:
    assert equivalent(one, other, dialect)


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_what_is_called_cosmetic_gives_the_same(dialect: str, postgres: Postgres) -> None:
    """A short run of `python -m tests.soak cosmetic`."""
    with on_engine(dialect, postgres) as ask:
        report = check_pairs(dialect, ask, 600, seed=0)
    assert report.called_same > 60
    assert report.seen > 0.5, "or it would be right by saying nothing"


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_what_is_called_cosmetic_gives_the_same_in_more_pairs(dialect: str, postgres: Postgres) -> None:
    with on_engine(dialect, postgres) as ask:
        check_pairs(dialect, ask, 6000, seed=1)


LONG = {
    "branches": " union all ".join(f"select {i} as i from t{i} as x where (x.i) > {i}" for i in range(1000)),
    "conditions": "select x.i from t as x where " + " or ".join(f"(x.i = {i})" for i in range(16_000)),
    "brackets": "select * from (" * 2000 + "select 1 as i" + ") as x" * 2000,
}


@pytest.mark.parametrize("kind", ["branches", "brackets", pytest.param("conditions", marks=pytest.mark.slow)])
def test_a_long_query_is_compared_in_proportion_to_its_length(kind: str) -> None:
    """Measured against the time of reading its tokens, which is a third of what parsing takes where it can be parsed."""
    sql = LONG[kind]
    edited = "-- why\n" + re.sub(r"\((x.i[ =\d]*)\)", r"\1", sql).replace("as x", "y").replace("x.", "y.")
    started = time.process_time()
    tokenize(sql, "duckdb")
    reading = time.process_time() - started
    started = time.process_time()
    assert equivalent(sql, edited, "duckdb")
    assert time.process_time() - started < 30 * reading
    assert not equivalent(sql, edited.replace("1", "2", 1), "duckdb")
