"""Proofs, case by case: the text beside this file says what is proven of each query, neither more nor less."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sao_dagster.core.proofs import Fact, FactKind
from sao_dagster.sql.inference import queries
from sao_dagster.sql.inference.infer import Properties, TableFacts, infer
from sao_dagster.sql.inference.rules import RULES

CASES = Path(__file__).with_name("properties.txt")
T = TableFacts(
    (("id", "INTEGER"), ("a", "INTEGER"), ("b", "INTEGER"), ("s", "VARCHAR")),
    (
        Fact(FactKind.UNIQUE, "t", ("id",), "given"),
        Fact(FactKind.NOT_NULL, "t", ("id",), "given"),
        Fact(FactKind.UNIQUE, "t", ("a", "b"), "given"),
        Fact(FactKind.ACCEPTED_VALUES, "t", ("s",), "given", values=("x", "y")),
    ),
)
U = TableFacts(
    (("id", "INTEGER"), ("t_id", "INTEGER"), ("n", "INTEGER")),
    (
        Fact(FactKind.UNIQUE, "u", ("id",), "given"),
        Fact(FactKind.NOT_NULL, "u", ("id",), "given"),
        Fact(FactKind.UNIQUE, "u", ("t_id",), "given"),
    ),
)
MONTHS = "select date_trunc('month', s::timestamptz) as m from t where s is not null group by 1"
TABLES = {("", "main", "t"): T, ("", "main", "u"): U}


def cases() -> Iterator[tuple[str, str]]:
    query = ""
    for line in CASES.read_text().splitlines():
        if line.startswith("    "):
            yield query.strip(), line.strip()
            query = ""
        elif not line.startswith(("#", "?")):
            query += f" {line}"


def shown(found: Properties) -> str:
    columns = []
    for place in range(len(found.output.ids)):
        text = "!" * (found.not_null(place) is not None) + "#" * (found.unique([place]) is not None)
        domain = found.domain(place)
        text += "{" + " ".join(sorted(map(str, domain.values))) + "}" if domain is not None else ""
        columns.append(text or "-")
    return ", ".join(columns)


@pytest.mark.parametrize(("query", "expected"), list(cases()))
def test_what_is_proven(query: str, expected: str) -> None:
    found = infer(query, "duckdb", TABLES)
    assert found is not None
    assert shown(found) == expected


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    random_ = random.Random(3)
    for number in range(40):
        connection.execute(f"create schema d{number}; use d{number}")
        connection.execute("create table t (id int, a int, b int, s text); create table u (id int, t_id int, n int)")
        ids = random_.sample(range(-1, 6), random_.randint(0, 6))
        pairs: set[tuple[int, int]] = set()
        for each in ids:
            a, b = random_.choice([None, 0, 1, 2, 3]), random_.choice([None, 1, 2, 3])
            if a is not None and b is not None and (a, b) in pairs:
                continue
            if a is not None and b is not None:
                pairs.add((a, b))
            connection.execute("insert into t values (?, ?, ?, ?)", [each, a, b, random_.choice([None, "x", "y"])])
        targets = random_.sample(range(6), 6)
        for each in random_.sample(range(-1, 6), random_.randint(0, 6)):
            target = random_.choice([None, targets.pop()]) if targets else None
            connection.execute("insert into u values (?, ?, ?)", [each, target, random_.choice([None, 0, 1, 2, 5])])
    return connection


@pytest.mark.parametrize(("query", "expected"), [case for case in cases() if "// 0" not in case[0]])
def test_what_is_proven_holds(query: str, expected: str, database: duckdb.DuckDBPyConnection) -> None:
    claims = expected.split(", ")
    for number in range(40):
        database.execute(f"use d{number}")
        for place, values in enumerate(zip(*database.execute(query).fetchall(), strict=True)):
            filled = [value for value in values if value is not None]
            claim = claims[place]
            assert "!" not in claim or len(filled) == len(values)
            assert "#" not in claim or len(set(filled)) == len(filled)
            if "{" in claim:
                assert {str(value) for value in filled} <= set(claim.partition("{")[2].rstrip("}").split())


def test_hashes_are_keys_where_that_is_asked_for() -> None:
    """The surrogate key of dbt_utils: nulls have a text of their own, so its columns must not be null."""
    key = "md5(cast(coalesce(cast({0} as text), '_null_') || '-' || coalesce(cast(s as text), '_null_') as text))"
    query = f"select {key.format('id')}, {key.format('a')}, md5(cast(id as text)) from t"
    found = infer(query, "duckdb", TABLES, hashes_are_unique=True)
    assert found is not None
    assert [found.unique([place]) is not None for place in range(3)] == [True, False, True]


@pytest.mark.parametrize("dialect", ["duckdb", "postgres", "snowflake", "bigquery", "redshift", "databricks"])
def test_all_dialects_are_read(dialect: str) -> None:
    query = "select t.id, count(u.n) as n from t left join u on u.t_id = t.id group by t.id"
    found = infer(query, dialect, _tables(dialect))
    assert found is not None
    assert shown(found) == "!#, !"


def _tables(dialect: str) -> dict[tuple[str, str, str], TableFacts]:
    if dialect != "snowflake":
        return TABLES
    return {("", "main", key[2].upper()): _in_capitals(table) for key, table in TABLES.items()}  # as it keeps names


def _in_capitals(table: TableFacts) -> TableFacts:
    facts = tuple(
        Fact(each.kind, each.relation, tuple(name.upper() for name in each.columns), each.because, None, each.values)
        for each in table.facts
    )
    return TableFacts(tuple((name.upper(), kind) for name, kind in table.columns), facts)


@pytest.mark.parametrize(
    ("query", "dialect", "expected"),
    [
        ("select greatest(id, a) from t", "duckdb", "!"),  # skips nulls
        ("select greatest(id, a) from t", "snowflake", "-"),  # is null for one
        ("select id / a from t where a is not null", "postgres", "!"),  # fails where a is 0
        ("select id / a from t where a is not null", "duckdb", "-"),
        ("select concat(s, 'x') from t", "duckdb", "!"),
        ("select concat(s, 'x') from t", "bigquery", "-"),
        ("select cast(cast(id as text) as integer) from t", "duckdb", "!"),
        ("select cast(cast(id as text) as integer) from t", "databricks", "-"),  # null where a cast fails
        ("select extract(year from cast(s as date)) from t where s is not null", "bigquery", "!"),
        ("select extract(year from cast(s as date)) from t where s is not null", "postgres", "-"),  # null for infinity
        ("select d::date as d from generate_series('2020-01-01'::date, now(), '1 day'::interval) d", "postgres", "!#"),
        ("select generate_series(1, 9) as n", "redshift", "!#"),
        ("select d from unnest(generate_date_array('2020-01-01', '2021-01-01')) as d", "bigquery", "!#"),
        ("select explode(sequence(1, 9)) as n", "databricks", "!#"),
        ("select explode_outer(sequence(1, 9)) as n", "databricks", "-"),
        (f"select m::date as m from ({MONTHS}) x", "postgres", "!#"),
        (f"select m::date as m from ({MONTHS}) x", "snowflake", "!"),  # with zones of their own
    ],
)
def test_engines_differ(query: str, dialect: str, expected: str) -> None:
    found = infer(query, dialect, _tables(dialect))
    assert found is not None
    assert shown(found) == expected


@pytest.mark.parametrize(
    "query",
    [
        "select * from t pivot (max(a) for s in ('x', 'y'))",
        "select * from (values (1, 'x', 3)) v(a, s, n) pivot (max(n) for s in ('x', 'y'))",
        "select * from unknown_table",
        "select columns('a|b') from t",
        "select a from t union by name select n as a from u",
        "delete from t",
        "this is not SQL",
        "select 1; select 2",
        "select t.a from t where exists (select product(u.n) from u where u.t_id = t.a)",  # an aggregate: there is always a row
        "select somebodys(a) as x, 1 as one from t",
        "select (select max(t.id)) as x from t",  # of the rows around, as the SQL standard has it
        "select 1 as rowid, rowid as x from t",
        "select * exclude (t.id) from t join u on t.id = u.id",
        "select * replace (0 as id) from t join u on t.id = u.id",
        "select date_trunc(s, date '2020-01-01') as x from t",  # a unit from a column
        "select 1 from t, u natural join (select n from u) v",
        "select * from (select cast(a as bigint) from t) x natural join u",
        "select 1 as a, a as x from (select cast(a as bigint) from t) q",  # which some engine may have called `a`
    ],
)
def test_what_is_not_understood_is_not_proven(query: str) -> None:
    assert infer(query, "duckdb", TABLES) is None


NUMBERS = TableFacts(
    (("huge", "HUGEINT"), ("unsigned", "UHUGEINT"), ("part", "DECIMAL(38,38)"), ("whole", "DECIMAL(38,0)"), ("id", "BIGINT")),
    tuple(Fact(FactKind.UNIQUE, "n", (each,), "given") for each in ("huge", "unsigned", "part", "whole", "id")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select a.huge from n a left join n b on a.huge = b.unsigned", "-"),  # compared as floats
        ("select a.huge from n a left join n b on a.huge = b.id", "#"),
        ("select a.id from n a left join n b on a.id = b.whole", "#"),
        ("select a.huge from n a left join n b on a.huge in (b.unsigned)", "-"),
        ("select coalesce(part, whole) as x from n where part is not null", "!"),  # rounded to whole numbers
        ("select coalesce(part, part) as x from n where part is not null", "!#"),
        ("select part from n intersect select whole from n", "#"),
        ("select nullif(id, cast(0.5 as double)) as x from n", "-"),  # perhaps a float
        ("select nullif(id, 0) as x from n", "#"),
        ("select id from n where id = 170141183460469231731687303715884105728", "!#"),
    ],
)
def test_numbers_of_several_types(query: str, expected: str) -> None:
    """Numbers of two types meet in a third one, in which different ones may be equal."""
    found = infer(query, "duckdb", {("", "main", "n"): NUMBERS})
    assert found is not None
    assert shown(found) == expected


def test_a_value_in_json_may_be_null() -> None:
    table = TableFacts(
        (("j", "JSON"), ("i", "INTEGER")), tuple(Fact(FactKind.NOT_NULL, "t", (each,), "g") for each in "ij")
    )
    for query in ("select j = i from t", "select i + j from t", "select sum(j) over () from t"):
        found = infer(query, "duckdb", {("", "main", "t"): table})
        assert found is not None
        assert shown(found) == "-"


TIMES = TableFacts(
    (("at", "timestamp"), ("s", "text"), ("n", "integer"), ("p", "pair")),
    tuple(Fact(FactKind.NOT_NULL, "t", (each,), "given") for each in ("at", "s", "n")),
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select at::time from t", "-"),  # null for infinity
        ("select at::date from t", "!"),
        ("select substring(s from '[0-9]+') from t", "-"),  # null where nothing matches
        ("select substring(s, s) from t", "-"),
        ("select substring(s from 2 for 3) from t", "!"),
        ("select max(n) as top from t where n < 0 group by all rollup (s)", "-"),  # `all` is not DuckDB's
        ("select n from t where n <> all ('{}')", "!"),
        (
            "select s from (select nullif(s, '') as s from t) q where s like all ('{}')",
            "-",
        ),  # true where there is nothing
        ("select s from (select nullif(s, '') as s from t) q where not s ~ any ('{}')", "-"),
        ("select s from (select nullif(s, '') as s from t) q where s ilike any ('{a}')", "!"),
        ("select unnest from unnest(array[array[1, null], array[2, 3]])", "-"),  # one row for each number
        ("select (select q.y from (select 5 as n) b, (select n as y) q) as x from t", "-"),  # `n` is that of `t`
        ("select (select q.y from (select 5 as n) b, lateral (select n as y) q) as x from t", "{5}"),
        ("with recursive a as (select n from t), t as (select null::int as n) select n from a", "-"),
        ('select n from "T"', "-"),  # another table
        ("select current_schema as x from t", "-"),  # null where the search path leads nowhere
        ("select q.x from (values (1, 2)) q(x) cross join t", "!{1}"),
        ("select distinct p, 1 as one from t where p is null", "#, !{1}"),  # records of nulls, and null itself
    ],
)
def test_functions_of_postgres(query: str, expected: str) -> None:
    found = infer(query, "postgres", {("", "main", "t"): TIMES})
    assert found is not None
    assert shown(found) == expected


@pytest.mark.parametrize(
    "query",
    [
        "select concat(variadic null::text[]) as x from t",
        "select n from t semi join (select n as m from t) u on n = m",  # names of relations there
        "select n from t asof join (select n as m from t) u on n = m",
        "select date_part(s, at) as x from t",
        "select 'a' as ctid, ctid as x from t",
    ],
)
def test_what_postgres_reads_otherwise_is_not_understood(query: str) -> None:
    assert infer(query, "postgres", {("", "main", "t"): TIMES}) is None


def test_a_name_without_a_schema_is_no_table_of_another_one() -> None:
    tables = {("", "raw", "t"): T}
    for query, schema, expected in (
        ("select id from raw.t", "main", "!#"),
        ("select id from t", "raw", "!#"),
        ("select id from t", "main", "-"),
        ("select id from t", "", "-"),
    ):
        found = infer(query, "duckdb", tables, schema=schema)
        assert found is not None
        assert shown(found) == expected


@pytest.mark.parametrize("name", ["initcap", "lower", "generate_series", "hash"])
def test_a_function_of_ones_own_is_not_the_one_of_that_name(name: str) -> None:
    query = "select initcap(lower(s)) as x, hash(s) as h, only_ours(s) as o from t, generate_series(1, 2)"
    assert infer(query, "duckdb", TABLES, own_functions={"only_ours", "coalesce"}) is not None
    assert infer(query, "duckdb", TABLES, own_functions={name}) is None


def test_of_long_values_nothing_is_proven() -> None:
    for rows, expected in ((queries.MOST_VALUES, "!"), (queries.MOST_VALUES + 1, "-")):
        found = infer(f"select a from (values {', '.join(['(1.5)'] * rows)}) v(a)", "duckdb", TABLES)
        assert found is not None
        assert shown(found) == expected


def test_of_very_long_queries_keys_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [f"s{n} as (select p.id, p.s from s{n - 1} p left join u on u.id = p.id)" for n in range(1, 9)]
    query = f"with s0 as (select id, s from t), {', '.join(steps)} select id, s from s8"
    found = infer(query, "duckdb", TABLES)
    assert found is not None
    assert shown(found) == "!#, {x y}"
    monkeypatch.setattr(queries, "MOST_DEPENDENCIES", 50)
    found = infer(query, "duckdb", TABLES)
    assert found is not None
    assert shown(found) == "!, {x y}"


def test_every_proof_names_rules_that_are_explained() -> None:
    for query, _ in cases():
        found = infer(query, "duckdb", TABLES)
        assert found is not None
        for place in range(len(found.output.ids)):
            proof = found.unique([place])
            assert proof is None or set(proof.rules) - {"given"} <= RULES.keys()
