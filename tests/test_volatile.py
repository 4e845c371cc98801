"""What in a query is volatile, which of its columns are bare, and what depends on a column that each build makes anew."""

from __future__ import annotations

import re

import duckdb
import pytest

from sao_dagster.core.policy import Expiry, soonest
from sao_dagster.sql.volatile import Origin, volatility

HOUR, DAY = Expiry.HOUR, Expiry.DAY
BELOW = {
    ("db", "main", "made"): {"loaded_at": Origin(tables=frozenset({"made"}))},
    ("db", "main", "shown"): {"today": Origin(DAY)},
}


@pytest.mark.parametrize(
    ("sql", "expiry", "bare"),
    [
        ("select id, now() as at from t", None, ["at"]),
        ("select id, cast(now() as date) as at from t", None, ["at"]),
        ("select id, now() from t", HOUR, []),
        ('select id from t where "random"() < 1', HOUR, []),
        ("select id, random /* again */ () as r from t", None, ["r"]),
        ("select id, random() as r from t order by 1 limit 3", None, ["r"]),
        ("select id, random() as r from t order by 2 limit 3", HOUR, []),
        ("select *, random() as r from t order by 2 limit 3", HOUR, []),
        ("select id, random() as r from t order by r limit 3", HOUR, []),
        ("select id, random() as r from t order by all limit 3", HOUR, []),
        ("select id, now() as at, count(*) as n from t group by 1", None, ["at"]),
        ("select id, now() as at, count(*) as n from t group by 1, 2", HOUR, []),
        ("select id, now() as at, count(*) as n from t group by all", HOUR, []),
        ("select distinct id, random() as r from t", HOUR, []),
        ("select distinct on (id) id, random() as r from t", HOUR, []),
        ("select id, random() as r from t qualify row_number() over (order by r) = 1", HOUR, []),
        ("select id, random() as r from t union select id, 1 from u", HOUR, []),
        ("select id, random() as r from t union all select id, 1 from u", None, ["r"]),
        ("select id, now() as at, at + interval 1 day as later from t", HOUR, []),
        ("select id from t limit (random() * 10)::int", HOUR, []),
        ("with a as (select *, now() as at from t) select * from a", None, ["at"]),
        ("with a as (select *, now() as at from t) select id from a", None, []),
        ("with a as (select *, now() as at from t) select id from a where at > day", HOUR, []),
        ("select id from (select id, current_date as d from t) as x where d > day", DAY, []),
        ("select id, (select max(d) from (select current_date as d) as x) as d from t", DAY, []),
        ("select age(born) as age from t", DAY, []),
        ("select age(born, day) as age from t", None, []),
        ("select reservoir_quantile(id, 0.5, 3) as q from t", HOUR, []),
        ("select id from t using sample 10 rows", HOUR, []),
        ("select txid_current() as x from t where current_setting('TimeZone') = 'UTC'", HOUR, ["x"]),
        ("select id from t where id > getvariable('least')", HOUR, []),
        ("select id from t where owner = current_user", HOUR, []),
        ("select id from t where day < 'tomorrow'", None, []),
    ],
)
def test_what_is_volatile(sql: str, expiry: Expiry | None, bare: list[str]) -> None:
    found = volatility(sql, "duckdb")
    assert (found.expiry, list(found.columns)) == (expiry, bare)


@pytest.mark.parametrize(
    ("sql", "expiry"),
    [
        ("select id from t where day < 'tomorrow'", DAY),
        ("select id from t where at between 'yesterday' and 'now'", HOUR),
        ("select day from t union all select 'today'", DAY),
        ("select coalesce(day, 'today 12:00') as d from t", DAY),
        ("select date 'today' as d, id from t order by 1", DAY),
        ("select 'today' as word from t", None),
        ("select case when id > 1 then 'today' else 'later' end as word from t", None),
        ("select case when id > 1 then 'today' else day end as day from t", DAY),
        ("select id from t where day = any('{2020-01-01,yesterday}')", DAY),
        ("select '[today,2030-01-01)'::daterange @> day as d from t", DAY),
        ('select count(*) as n from jsonb_to_record(\'{"at": "now"}\') as r(at timestamp) where at > x', HOUR),
        ("select day = ('now'::text)::date as d from t", HOUR),
        ("select id from t where day = $$today$$ or day = E'x'", DAY),
        (
            "select '{\"day\": \"today\"}'::jsonb as j, $$today$$ as x from t where word in ('{nowhere}', 'not (today)')",
            None,
        ),
        ("select j ->> 'now' as j, 'today' || x as x, 'now'::text as y from t where word like 'now'", None),
        ("select id from t where token = gen_random_bytes(4)", HOUR),
        ("select id from t where pg_backend_pid() > 1 and inet_client_addr() is null", HOUR),
        ("select id from t where pg_typeof(id) = 'integer'::regtype", None),
        ("select id from t where owner = user", HOUR),
    ],
)
def test_what_is_volatile_in_postgresql(sql: str, expiry: Expiry | None) -> None:
    assert volatility(sql, "postgres").expiry == expiry


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
@pytest.mark.parametrize(
    ("sql", "expiry"),
    [
        ("select id from t where day <= cast(now() as date)", DAY),
        ("select id from t where day <= (current_timestamp)::date", DAY),
        ("select id from t where at < date_trunc('month', now()) - interval '1 day'", DAY),
        ("select date_part('year', current_date) - year as age from t where at < DATE_TRUNC('year', NOW())", DAY),
        ("select id from t where at < date_trunc('hour', now())", HOUR),
        ("select id from t where at < date_trunc('week', now() - interval '1 hour')", HOUR),
        ("select id from t where day < (now() + interval '1 hour')::date", HOUR),
        ("select id from t where day < current_timestamp(0)::date", HOUR),
        ("select id from t where day < cast(now() as timestamp(0))::date", HOUR),
        ("select id from t where day < now()::date and at < now()", HOUR),
        ("select id from t where day < (now() at time zone 'Asia/Tokyo')::date", HOUR),
        ("select id from t where day < clock_timestamp()::date", HOUR),
    ],
)
def test_the_date_of_now_is_that_of_the_session(sql: str, expiry: Expiry, dialect: str) -> None:
    assert volatility(sql, dialect).expiry == expiry


def test_the_date_of_now_in_an_engine_of_which_it_is_not_known() -> None:
    assert volatility("select id from t where day <= cast(current_timestamp() as date)", "bigquery").expiry is HOUR
    assert volatility("select id from t where at < date_trunc('day', now(), 'Asia/Tokyo')", "postgres").expiry is HOUR


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_duckdb_has_the_date_of_now_from_the_zone_of_the_session(zone: str) -> None:
    """These zones are 25 hours apart, so that at any time one of them has another date than UTC."""
    with duckdb.connect() as connection:
        connection.execute(f"set TimeZone = '{zone}'")
        asked = "select now()::date = current_date, date_trunc('year', now()) = date_trunc('year', current_date)::timestamptz"
        assert connection.execute(asked).fetchone() == (True, True)


COMPOSED = [
    ("select ('to' || 'day')::date as d from t", DAY),
    ("select concat('to', 'morrow')::timestamp as d from t", DAY),
    ("select format('%s%s', 'n', 'ow')::timestamptz as d from t", HOUR),
    ("select (case when id > 1 then 'to' else 'x' end || 'day')::date as d from t", DAY),
    ("select reverse('yadot')::date as d from t", DAY),
    ("select (chr(110) || lower('OW'))::timestamp as d from t", HOUR),
    ("select ('n' || repeat('o', 1) || 'w')::timestamp as d from t", HOUR),
    ("select (x || E'\\164oday')::date as d from t", DAY),
    ("select date('to' || 'day') as d from t", DAY),
    ("select array['to' || 'day']::date[] as d from t", DAY),
    ("select ('[to' || 'day,)')::daterange as d from t", DAY),
    ("select cast(cast('to' || 'day' as text) as date) as d from t", DAY),
    ("select word::date as d from (select 'to' || 'day' as word) as w", DAY),
    ("with w as (select 'today' as word) select word::date as d from w", DAY),
    ("with w as (select 'to' || 'day' as a), v as (select a as b from w) select b::date as d from v", DAY),
    ("select word::date as d from (values ('today')) as w(word)", DAY),
    ("select ('to' || 'day')::raw.day as d from t", DAY),
    ("select day from t where day > ('to' || 'day')::date", DAY),
    ("select (y || '-' || m || '-01')::date as d, 'unknown' as w from t", None),
    ("select concat(y, '-01-01')::date as d from t where word = 'unknown, yesterdays'", None),
    ("select (day || 'T' || hour)::timestamp as d from t", None),
    ("select (at at time zone 'America/New_York')::date as d from t", None),
    ("select timezone('Europe/Stockholm/now', at)::date as d from t", None),
    ("select (data ->> 'unknown')::date as d, (data #>> '{unknown}')::date as e from t", None),
    ("select nullif(x, 'unknown')::date as d from t", None),
    ("select (case when x = 'unknown' then null else x end)::date as d from t", None),
    ("select replace(x, 'own', '')::date as d, regexp_replace(x, '[own]', '')::date as e from t", None),
    ("select split_part(x, 'own', 1)::date as d, to_date(x, 'Day Month')::date as e from t", None),
    (
        "select (date_trunc('month', at) + interval '1 day')::date as d, (at + interval '1 month')::date as e from t",
        None,
    ),
    ("select generate_series(a, b, '1 day')::date as d, 'tomorrow' as w from t", None),
    ("select x::date as d, 'unknown' as w from t", None),
    ("select ('n' || 'ow')::text as d, ('n' || 'ow')::jsonb as j from t", None),
]


@pytest.mark.parametrize(("sql", "expiry"), COMPOSED, ids=[sql for sql, _ in COMPOSED])
def test_a_text_that_is_put_together_and_read_as_a_time(sql: str, expiry: Expiry | None) -> None:
    found = volatility(sql, "postgres")
    assert soonest(found.expiry, *(origin.expiry for origin in found.columns.values())) == expiry


@pytest.mark.parametrize(
    ("sql", "reads", "bare"),
    [
        ("select id from db.main.made", (), []),
        ("select * from db.main.made", (), ["loaded_at"]),
        ("select m.*, 1 as one from db.main.made as m join t using (id)", (), ["loaded_at"]),
        ("select id, loaded_at::date as made_on from db.main.made", (), ["made_on"]),
        ("select id, cast(loaded_at as date) as loaded_at from db.main.made", (), ["loaded_at"]),
        (
            'select cast("loaded_at" as date) as "loaded_at" from db.main.made union all select day from t',
            (),
            ["loaded_at"],
        ),
        ("select id, (loaded_at)::date as loaded_at, loaded_at > day as late from db.main.made", ("made",), []),
        ("select id, loaded_at::date as loaded_at from db.main.made order by loaded_at limit 1", ("made",), []),
        ("select id, loaded_at as at, at::date as made_on from db.main.made", ("made",), []),
        ("select * exclude (loaded_at) from db.main.made", (), []),
        ("select count(*) as n from (select * from db.main.made where id is null) as x", (), []),
        ("select id from db.main.made where loaded_at > day", ("made",), []),
        ("select max(loaded_at) as at from db.main.made", ("made",), []),
        ("select made from db.main.made", ("made",), []),
        ("select columns('.*') from db.main.made", ("made",), []),
        ("select id from db.main.made order by loaded_at limit 1", ("made",), []),
        ("select * from db.main.made order by all limit 1", ("made",), []),
        ("select id from t join db.main.made using (loaded_at)", ("made",), []),
        ("select t.id from t natural join db.main.made", ("made",), []),
        ("select id from t where at > (select max(loaded_at) from db.main.made)", ("made",), []),
        ("select distinct * from db.main.made", ("made",), []),
        ("select id from t where exists (select 1 from db.main.made as m where m.loaded_at > t.at)", ("made",), []),
        ("this is no sql", ("made",), []),
    ],
)
def test_what_depends_on_a_column_that_each_build_makes_anew(sql: str, reads: tuple[str, ...], bare: list[str]) -> None:
    found = volatility(sql, "duckdb", {key: below for key, below in BELOW.items() if key[2] == "made"})
    assert (found.reads, list(found.columns)) == (reads, bare)


def test_a_bare_column_of_a_view_is_volatile_where_it_decides_something() -> None:
    assert volatility("select id, today from db.main.shown", "duckdb", BELOW).expiry is None
    assert volatility("select id from db.main.shown where day = today", "duckdb", BELOW).expiry is DAY


def test_values_that_a_template_gives_at_another_time() -> None:
    sql = "select id, '2000-01-01' as at from t where day < '{}'"
    found = volatility(sql.format("2000-01-01"), "duckdb", variants=[(sql.format("2001-01-01"), DAY)])
    assert (found.expiry, list(found.columns)) == (DAY, [])
    bare = volatility("select id, 'a' as run from t", "duckdb", variants=[("select id, 'b' as run from t", HOUR)])
    assert (bare.expiry, list(bare.columns)) == (None, ["run"])
    assert volatility("select 1 as x", "duckdb", variants=[("select 1 as x, 2 as y", DAY)]).expiry is DAY


@pytest.mark.parametrize(
    ("sql", "bare"),
    [
        ("select distinct id, cast('{}' as timestamp) as at from t", True),
        ("select distinct *, '{}' as at from t where day < '2000-01-01'", True),
        ("with a as (select distinct id, '{}' as at from t) select id, at from a", True),
        (
            "with a as (select id, '{}' as at from t) select distinct b.id, cast(b.at as date) as at from u join a as b on u.id = b.id",
            True,
        ),
        (
            "with a as (select id, '{}' as at from t) select distinct id, at from (select id, at from a union all select id, at from a)",
            True,
        ),
        ("select distinct * from (select id, '{}' as at from t) as x", True),
        (
            "with a as (select id, try_cast('{}' as date) as at from t) select distinct u.id, at from u left join a using (id)",
            False,
        ),
        ("select distinct id, '{}' || 'Z' as at from t", False),
        ("select distinct on (at) id, '{}' as at from t", False),
        ("select distinct id, '{}' as at from t order by 2 limit 3", False),
        ("select distinct id, at from (select id, '{}' as at from t union all select id, '{}' from u) as x", False),
        ("select distinct id, at from (select id, '{}' as at from t union all select id, day from u) as x", False),
        ("select distinct id, at from (select id, day as at from t union all select id, '{}' from u) as x", False),
        ("select id, '{}' as at from t union select id, '2000-01-01' from u", False),
    ],
)
def test_the_time_of_the_run_is_the_same_in_all_rows(sql: str, *, bare: bool) -> None:
    """So that `distinct` takes the same rows at any time, as DuckDB shows where nothing is said to expire."""
    at, later = ("2000-01-02",) * 2, ("2001-01-01",) * 2
    found = volatility(sql.format(*at), "duckdb", variants=[(sql.format(*later), HOUR)])
    assert (found.expiry, list(found.columns)) == ((None, ["at"]) if bare else (HOUR, []))
    if bare:
        duck = duckdb.connect()
        duck.execute(
            "create table t as select * from (values (1, date '2000-01-02'), (1, '2001-01-01'), (2, null)) as t(id, day)"
        )
        duck.execute("create table u as select * from (values (1, date '2000-01-02'), (3, '2000-01-02')) as u(id, day)")
        query = re.sub(r"\bat\b", "made_at", sql)  # which DuckDB takes for the end of an alias
        rows = [
            duck.execute(
                f"select * exclude (made_at), made_at is null from ({query.format(*each)}) order by all"
            ).fetchall()
            for each in (at, later)
        ]
        assert rows[0] == rows[1]
