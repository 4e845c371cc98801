"""Column lineage, case by case: a query; then each output column with the columns it is made of."""

from __future__ import annotations

import duckdb
import pytest

from sao_dagster.core.relations import Relation
from sao_dagster.sql.lineage import column_lineage

TABLES = {
    Relation("db", "main", "Orders"): ["Id", "customer_id", "amount"],
    Relation("db", "main", "customers"): ["id", "name"],
}
CASES = """
select * from main.orders; id=orders.id customer_id=orders.customer_id amount=orders.amount
select * from "db"."main"."Orders"; id=orders.id customer_id=orders.customer_id amount=orders.amount
select * exclude (amount) from main.orders; id=orders.id customer_id=orders.customer_id
select ID as "Big Name" from main.orders; big name=orders.id
from main.orders select amount; amount=orders.amount
select amount * 2 + id as x from main.orders; x=orders.amount,orders.id
select count(*) as n, sum(amount) as total from main.orders where id > 3; n= total=orders.amount
select case when id > 1 then amount end as x from main.orders; x=orders.amount,orders.id
select o.*, c.name from main.orders o join main.customers c on c.id = o.customer_id; id=orders.id customer_id=orders.customer_id amount=orders.amount name=customers.name
select coalesce(c.name, 'nobody') as name from main.orders o left join main.customers c on c.id = o.customer_id; name=customers.name
with a as (select id, amount from main.orders), b as (select id, amount as spent from a) select spent from b; spent=orders.amount
with a as (select * from main.orders) select a.id, b.name from a, (select id, name from main.customers) as b; id=orders.id name=customers.name
select id, amount from main.orders union all select id, id from main.customers; id=customers.id,orders.id amount=customers.id,orders.amount
select (select max(name) from main.customers c where c.id = o.customer_id) as name from main.orders o; name=customers.name
select row_number() over (partition by customer_id order by amount) as n from main.orders; n=orders.amount,orders.customer_id
with recursive r as (select id from main.customers union all select id + 1 from r where id < 3) select id from r; id=customers.id
select 1 as one, id from main.orders; one= id=orders.id
select distinct on (customer_id) amount from main.orders; amount=orders.amount
"""


def parsed() -> list[tuple[str, dict[str, set[str]]]]:
    found = []
    for line in CASES.strip().splitlines():
        query, _, expected = line.partition("; ")
        columns: dict[str, set[str]] = {}
        name = ""
        for word in expected.split(" "):
            left, mark, origins = word.partition("=")
            name = f"{name} {left}".strip()
            if mark:
                columns[name] = {each for each in origins.split(",") if each}
                name = ""
        found.append((query, columns))
    return found


@pytest.mark.parametrize(("query", "expected"), parsed(), ids=[query for query, _ in parsed()])
def test_lineage(query: str, expected: dict[str, set[str]]) -> None:
    found = {
        column: {f"{relation[2]}.{name}" for relation, name in origins}
        for column, origins in column_lineage(query, "duckdb", TABLES).items()
    }
    assert found == expected


@pytest.mark.parametrize("query", [query for query, _ in parsed()])
def test_the_cases_are_valid_and_have_these_columns(query: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("attach ':memory:' as db; use db")
        connection.execute('create table main."Orders" as select 1 as "Id", 1 as customer_id, 5 as amount')
        connection.execute("create table main.customers as select 1 as id, 'a' as name")
        columns = [each[0].lower() for each in connection.execute(query).description or ()]
    assert columns == list(column_lineage(query, "duckdb", TABLES))


@pytest.mark.parametrize("query", ["not a query (", "select * from read_csv('x.csv')", "delete from main.orders", ""])
def test_what_is_not_understood_is_left_out(query: str) -> None:
    assert column_lineage(query, "duckdb", TABLES) == {}


def test_a_table_that_is_not_known_gives_nothing() -> None:
    assert column_lineage("select x from other.place", "duckdb", TABLES) == {"x": ()}


def test_quoted_names_are_compared_as_the_engine_compares_them() -> None:
    tables = {Relation("db", "main", "t"): ["Id", "id", "other"]}
    query = 'select "Id" as x, id as y, ID as z from main.t'
    origins = {name: len(found) for name, found in column_lineage(query, "postgres", tables).items()}
    assert origins == {"x": 1, "y": 1, "z": 1}
    inner = 'select "A" as x, a as y from (select other as "A", id as a from main.t) as t'
    found = column_lineage(inner, "postgres", tables)
    assert found == {"x": ((("db", "main", "t"), "other"),), "y": ((("db", "main", "t"), "id"),)}


@pytest.mark.parametrize("dialect", ["snowflake", "bigquery", "mysql"])
def test_names_without_quotes_are_found_on_any_engine(dialect: str) -> None:
    stored = ["ID", "AMOUNT"] if dialect == "snowflake" else ["id", "amount"]
    found = column_lineage("select x.Amount + id as n from main.T as x", dialect, {Relation("db", "main", "t"): stored})
    assert found == {"n": ((("db", "main", "t"), "amount"), (("db", "main", "t"), "id"))}
