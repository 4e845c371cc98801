"""The examples that dbt Labs publishes for its own products, on a shop with the graph of its Jaffle Shop: never more is built than there.

https://docs.getdbt.com/docs/deploy/dbt-state-examples, https://docs.getdbt.com/docs/deploy/state-aware-setup#example and
https://docs.getdbt.com/docs/deploy/state-aware-about#example. `docs/from-dbt-sao.md` has the table.
"""

from __future__ import annotations

import json

import pytest

from tests.world import World

pytestmark = pytest.mark.warehouse("duckdb")

STAGED = ("customers", "locations", "order_items", "orders", "products", "supplies")
MARTS = {
    "locations": "select id, name from {{ ref('stg_locations') }}",
    "products": "select id, price from {{ ref('stg_products') }}",
    "order_items": """
        select items.id, items.order_id, items.product_id, products.price, sum(supplies.cost) as cost
        from {{ ref('stg_order_items') }} as items
        left join {{ ref('stg_orders') }} as orders on orders.id = items.order_id
        left join {{ ref('stg_products') }} as products on products.id = items.product_id
        left join {{ ref('stg_supplies') }} as supplies on supplies.product_id = items.product_id
        group by all
    """,
    "supplies": "select id, product_id, cost from {{ ref('stg_supplies') }}",
    "orders": """
        select orders.id, orders.customer_id, sum(items.price) as amount
        from {{ ref('stg_orders') }} as orders left join {{ ref('order_items') }} as items on items.order_id = orders.id
        group by all
    """,
    "customers": """
        select customers.id, customers.name, sum(orders.amount) as amount
        from {{ ref('stg_customers') }} as customers left join {{ ref('orders') }} as orders on orders.customer_id = customers.id
        group by all
    """,
}
RAW = {
    "customers": "1 as id, 'Ada' as name",
    "locations": "1 as id, 'Rome' as name",
    "order_items": "1 as id, 1 as order_id, 1 as product_id",
    "orders": "1 as id, 1 as customer_id",
    "products": "1 as id, 7 as price",
    "supplies": "1 as id, 1 as product_id, 2 as cost",
}
ALL = {*MARTS, *(f"stg_{name}" for name in STAGED)}


@pytest.fixture
def shop(world: World) -> World:
    """Six views over raw tables, and six tables above them; `other` is production."""
    for name, columns in RAW.items():
        world.sql(f"create table raw.{name} as select {columns}")
    world.source(*RAW)
    for name in STAGED:
        sql = f"with source as (select * from {{{{ source('raw', '{name}') }}}}) select * from source"
        world.model(f"stg_{name}", sql, materialized="view")
    for name, sql in MARTS.items():
        world.model(name, sql)
    return world


def test_runs_of_production(shop: World) -> None:
    """An initial run builds 12 of 12 there and here; a second one 6 there, since views with `select *` are made again, and none here."""
    assert shop.run(target="other").built == ALL
    assert shop.run(target="other").built == set()
    shop.sql("alter table raw.customers add column born int")
    expected = {
        "stg_customers",
        "customers",
    }  # which reads `*`: it has news, and a view with other columns is made again
    assert shop.run(target="other").built == expected


def test_one_model_in_a_fresh_schema(shop: World) -> None:
    """One model is built there and here, over production's; the same model without a change is cloned there, and built here."""
    shop.run(target="other")
    shop.settings["defer"] = "other"
    shop.model("customers", MARTS["customers"].replace("as amount", "as spent"))
    run = shop.run("customers")
    assert run.built == {"customers"}
    assert run.result.deferral is not None
    assert [*run.result.deferral.relations] == ["orders", "stg_customers"]
    shop.sql("drop table main.customers")
    shop.model("customers", MARTS["customers"])
    assert shop.run("customers").built == {"customers"}
    assert shop.run("customers").built == set()


def test_a_model_and_its_parents_at_most_every_four_hours(shop: World) -> None:
    """A model waits four hours and for all of its parents; what only it reads waits with it, where a setting says so."""
    shop.write("dbt_project.yml", (shop.root / "dbt_project.yml").read_text() + "  +inherit_from_children: true\n")
    window = {"count": 4, "period": "hour", "updates_on": "all"}
    shop.write(
        "models/windows.yml",
        json.dumps({"models": [{"name": "customers", "config": {"freshness": {"build_after": window}}}]}),
    )
    assert shop.run().built == ALL
    shop.sql("insert into raw.orders values (2, 1)", "insert into raw.customers values (2, 'Bob')")
    hourly = [shop.wait(hours=1).run() for _ in range(3)]
    assert [each.built for each in hourly] == [set()] * 3
    assert hourly[0].outcomes["customers"] == "reused: within_interval"
    assert hourly[0].outcomes["orders"] == "reused: within_interval"
    assert shop.wait(hours=1).run().built == {"order_items", "orders", "customers"}


def test_what_a_join_proves(shop: World) -> None:
    """Of a left join, a key of what is joined stays unique and is not asked again; that it is never null is asked."""
    shop.model("all_orders", "select id as order_id, customer_id from {{ ref('stg_orders') }}")
    shop.model("all_customers", "select id as customer_id from {{ ref('stg_customers') }}")
    shop.model(
        "joined",
        """
        with orders as (select * from {{ ref('all_orders') }}), customers as (select * from {{ ref('all_customers') }}),
        joined as (
            select customers.customer_id, orders.order_id
            from customers left join orders on orders.customer_id = customers.customer_id
        )
        select * from joined
        """,
    )
    columns = {"all_orders": ["order_id"], "all_customers": ["customer_id"], "joined": ["order_id"]}
    tests = ["unique", "not_null"]
    models = [
        {"name": name, "columns": [{"name": column, "data_tests": tests} for column in names]}
        for name, names in columns.items()
    ]
    shop.write("models/tests.yml", json.dumps({"models": models}))
    found = shop.run("+joined").tests
    assert found["unique_joined_order_id"] == "proven: pass"
    assert found["not_null_joined_order_id"] == "ran: pass"
