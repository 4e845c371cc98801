"""What an incremental model does with its own table: it keeps out what it has, takes a part, or is not understood."""

from __future__ import annotations

import pytest

from sao_dagster.core.facts import Unsettled
from sao_dagster.sql.settled import unsettled

THIS = ("shop", "main", "m")
FULL = "select id, at_, v from raw.orders as o"
BOUNDED = (
    "where id > (select max(id) from main.m)",
    "where (select max(id) from main.m) < id",
    "where at_ >= (select coalesce(max(at_), date '1900-01-01') from main.m)",
    "where at_ > coalesce((select max(at_) from main.m), '1900-01-01')",
    "where at_ > (select max(at_) - interval 3 day from main.m)",
    "where at_ > (select max(at_) from main.m) - interval '3 days'",
    "where at_ > (select max(at_) from shop.main.m where id > 0)",
    "where (id > (select max(id) from main.m) or at_ > (select max(at_) from main.m))",
    "where id not in (select id from main.m)",
    "where not exists (select 1 from main.m as t where t.id = o.id)",
    "left join main.m as t on t.id = o.id where t.id is null",
    "except select id, at_, v from main.m",
)
PARTS = (
    "where id > (select max(id) from main.m) order by id limit 3",
    "where id > (select max(id) from main.m) fetch first 3 rows only",
    "where id <= (select max(id) + 1000 from main.m)",
    "where (select max(id) + 1000 from main.m) >= id",
    "where id between (select max(id) from main.m) and (select max(id) + 10 from main.m)",
    "using sample 10 rows where id > (select max(id) from main.m)",
)
NOT_UNDERSTOOD = (
    "where id > (select min(id) from main.m)",
    "where id > (select max(id) from main.m where id < o.v)",
    "where id > (select max(id) from main.m) and v < 5",
    "where not (id > (select max(id) from main.m))",
    "where (select count(*) from main.m) < 100",
    "where id in (select id from main.m)",
    "where id > (select id from main.m order by id desc limit 1)",
    "join main.m as t on t.id = o.id",
    "left join main.m as t on t.id = o.id where t.id is null and t.v = 1",
    "union all select id, at_, v from main.m",
    "where id > (select max(m.id) from main.m join raw.limits on true)",
    "where id > (select max(id) from main.m) qualify row_number() over (order by id) <= 3",
)


@pytest.mark.parametrize("end", BOUNDED)
def test_what_keeps_out_only_what_is_there_takes_all_the_rest(end: str) -> None:
    assert unsettled(FULL, f"{FULL} {end}", "duckdb", THIS) is None


EXACT = (
    "where id > (select max(id) from main.m)",
    "where (select max(id) from main.m) < id",
    "where at_ > coalesce((select max(at_) from main.m), '1900-01-01')",
    "where (id > (select max(id) from main.m) or at_ > (select max(at_) from main.m))",
    "where id not in (select id from main.m)",
    "left join main.m as t on t.id = o.id where t.id is null",
)


@pytest.mark.parametrize("end", BOUNDED)
def test_rows_that_are_only_added_must_not_be_there_yet(end: str) -> None:
    expected = None if end in (*EXACT, *BOUNDED[-4:]) else Unsettled.NOT_UNDERSTOOD
    assert unsettled(FULL, f"{FULL} {end}", "duckdb", THIS, appends=True) is expected


@pytest.mark.parametrize("end", PARTS)
def test_what_takes_a_part_is_seen(end: str) -> None:
    assert unsettled(FULL, f"{FULL} {end}", "duckdb", THIS) is Unsettled.PART


@pytest.mark.parametrize("end", NOT_UNDERSTOOD)
def test_what_is_neither_is_not_understood(end: str) -> None:
    assert unsettled(FULL, f"{FULL} {end}", "duckdb", THIS) is Unsettled.NOT_UNDERSTOOD


def test_a_first_build_of_another_query_is_not_understood() -> None:
    """It may have left out what a later build takes."""
    bounded = f"{FULL} {BOUNDED[0]}"
    assert unsettled(f"{FULL} where v < 5", bounded, "duckdb", THIS) is Unsettled.NOT_UNDERSTOOD
    assert unsettled(f"{FULL} limit 3", bounded, "duckdb", THIS) is Unsettled.PART
    kept = "where v > 5"
    assert unsettled(f"{FULL} {kept}", f"{FULL} {kept} and id > (select max(id) from main.m)", "duckdb", THIS) is None


def test_the_first_row_of_each_group_is_taken_whatever_else_comes() -> None:
    head = "select * from (select *, row_number() over (partition by id order by at_ desc) as n from raw.orders{}) where n {}"
    bound = " where at_ > (select max(at_) from main.m)"
    for choice, found in (("= 1", None), ("<= 100", Unsettled.NOT_UNDERSTOOD)):
        full, later = head.format("", choice), head.format(bound, choice)
        assert unsettled(full, later, "postgres", THIS) is found


def test_a_table_of_that_name_elsewhere_is_another_one() -> None:
    assert unsettled(FULL, f"{FULL} where id in (select id from other.m)", "duckdb", THIS) is None
    assert unsettled(FULL, FULL, "duckdb", THIS) is None
    assert unsettled(FULL, "this is no query, and names m", "duckdb", THIS) is Unsettled.NOT_UNDERSTOOD


CHOICES = (  # one row of each group: what is taken of it, by which condition, and whether others of the group come later
    ("qualify row_number() over (partition by id order by at_) = 1", "id not in (select id from main.m)", None),
    ("qualify row_number() over (partition by at_ order by id) = 1", "id not in (select id from main.m)", True),
    (
        "qualify row_number() over (partition by v order by at_ desc, id) = 1",
        "at_ > (select max(at_) from main.m)",
        None,
    ),
    ("qualify row_number() over (partition by v order by at_) = 1", "at_ > (select max(at_) from main.m)", True),
    ("qualify row_number() over (partition by v order by id desc) = 1", "at_ > (select max(at_) from main.m)", True),
)


@pytest.mark.parametrize(("choice", "condition", "later"), CHOICES)
def test_the_rest_of_a_group_may_come_later(choice: str, condition: str, later: bool | None) -> None:
    found = unsettled(f"{FULL} {choice}", f"{FULL} where {condition} {choice}", "duckdb", THIS)
    assert found is (Unsettled.NOT_UNDERSTOOD if later else None)


GROUPS = (
    ("select id, max(at_) as at_ from raw.orders {} group by id", "id not in (select id from main.m)", None),
    ("select id, max(at_) as at_ from raw.orders {} group by 1", "id not in (select id from main.m)", None),
    ("select min(id) as id, v from raw.orders {} group by v", "id not in (select id from main.m)", True),
    ("select v, max(at_) as at_ from raw.orders {} group by v", "at_ > (select max(at_) from main.m)", None),
    ("select v, min(at_) as at_ from raw.orders {} group by v", "at_ > (select max(at_) from main.m)", True),
    ("select distinct on (v) id, v from raw.orders {} order by v, id", "id not in (select id from main.m)", True),
    ("select max(id) as id from raw.orders o {}", "not exists (select 1 from main.m t where t.id = o.id)", True),
    (
        "with new as (select * from raw.orders {}), n as (select v, count(*) as n from raw.other group by v) select new.* from new join n using (v)",
        "id not in (select id from main.m)",
        None,
    ),
    (
        "with new as (select * from raw.orders {}) select v, min(id) as id from new group by v",
        "id not in (select id from main.m)",
        True,
    ),
)


@pytest.mark.parametrize(("query", "condition", "later"), GROUPS)
def test_the_rest_of_what_is_grouped_may_come_later(query: str, condition: str, later: bool | None) -> None:
    found = unsettled(query.format(""), query.format(f"where {condition}"), "duckdb", THIS)
    assert found is (Unsettled.NOT_UNDERSTOOD if later else None)
