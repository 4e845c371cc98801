"""The raw data of the shop: made here, the same on every machine, so that there is something to react to.

python shop_data.py create           make raw.orders, raw.order_items, raw.customers, raw.products, raw.payments
python shop_data.py add --hours 1    an hour of new orders; customers are seen again, products stay as they are
python shop_data.py add --days 1     a day of new orders, and new prices
python shop_data.py break            a payment that belongs to no order: a data test will fail
python shop_data.py mend             take it away again
"""

from __future__ import annotations

import argparse
import random
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

FILE = Path(__file__).parent / "shop.duckdb"
OPENED = datetime(2026, 1, 1, 8)
ORDERS_PER_HOUR = 6
COUNTRIES = ("DE", "FR", "IT", "PL", "PT")
CATEGORIES = ("coffee", "tea", "cups", "books")

TABLES = """
create schema if not exists raw;
create or replace table raw.customers (customer_id integer, name varchar, country_code varchar, last_seen_at timestamp);
create or replace table raw.products (product_id integer, title varchar, category varchar, price_cents integer);
create or replace table raw.orders (order_id integer, customer_id integer, status varchar, ordered_at timestamp, loaded_at timestamp);
create or replace table raw.order_items (order_item_id integer, order_id integer, product_id integer, quantity integer);
create or replace table raw.payments (payment_id integer, order_id integer, amount_cents integer, paid_at timestamp);
"""


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables, with the first two days of the shop."""
    dice = random.Random(1)
    connection.execute(TABLES)
    for number in range(1, 41):
        country = COUNTRIES[number % len(COUNTRIES)]
        connection.execute(
            "insert into raw.customers values (?, ?, ?, ?)", [number, f"Customer {number}", country, OPENED]
        )
    for number in range(1, 13):
        category = CATEGORIES[number % len(CATEGORIES)]
        price = dice.randrange(200, 4000)
        connection.execute(
            "insert into raw.products values (?, ?, ?, ?)", [number, f"{category} {number}", category, price]
        )
    add(connection, hours=48)


def add(connection: duckdb.DuckDBPyConnection, hours: int) -> None:
    """Let time pass in the shop: orders come in, customers are seen again, and each full day prices change."""
    newest, orders, items, payments = connection.execute(
        "select (select coalesce(max(ordered_at), ?) from raw.orders), (select coalesce(max(order_id), 0) from raw.orders), "
        "(select coalesce(max(order_item_id), 0) from raw.order_items), "
        "(select coalesce(max(payment_id), 0) from raw.payments where payment_id < 1000000)",
        [OPENED],
    ).fetchone()
    dice = random.Random(orders)
    prices = dict(connection.execute("select product_id, price_cents from raw.products").fetchall())
    start = newest.replace(minute=0) + timedelta(hours=1) if orders else OPENED
    for hour in range(hours):
        for part in range(ORDERS_PER_HOUR):
            orders += 1
            at = start + timedelta(hours=hour, minutes=part * (60 // ORDERS_PER_HOUR))
            customer = dice.randrange(1, 41)
            status = dice.choice(["placed", "shipped", "shipped", "returned"])
            connection.execute("insert into raw.orders values (?, ?, ?, ?, ?)", [orders, customer, status, at, at])
            total = 0
            for product in dice.sample(sorted(prices), dice.randrange(1, 4)):
                items += 1
                quantity = dice.randrange(1, 4)
                total += quantity * prices[product]
                connection.execute(
                    "insert into raw.order_items values (?, ?, ?, ?)", [items, orders, product, quantity]
                )
            payments += 1
            connection.execute("insert into raw.payments values (?, ?, ?, ?)", [payments, orders, total, at])
            connection.execute("update raw.customers set last_seen_at = ? where customer_id = ?", [at, customer])
    for _ in range(hours // 24):
        connection.execute("update raw.products set price_cents = price_cents + 10 where product_id % 3 = 0")


def taint(connection: duckdb.DuckDBPyConnection) -> None:
    """Add a payment for an order that is not there."""
    connection.execute("insert into raw.payments values (1000000, -1, 100, ?)", [OPENED])


def mend(connection: duckdb.DuckDBPyConnection) -> None:
    """Take the payments for orders that are not there away."""
    connection.execute("delete from raw.payments where payment_id >= 1000000")


def main(arguments: list[str] | None = None) -> None:
    """Change the raw data as the command says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["create", "add", "break", "mend"])
    parser.add_argument("--hours", type=int, default=0)
    parser.add_argument("--days", type=int, default=0)
    parser.add_argument("--file", type=Path, default=FILE, help="the DuckDB file")
    given = parser.parse_args(arguments)
    with duckdb.connect(str(given.file)) as connection:
        connection.begin()
        if given.command == "create":
            create(connection)
        elif given.command == "add":
            add(connection, (given.hours + 24 * given.days) or 1)
        elif given.command == "break":
            taint(connection)
        else:
            mend(connection)
        connection.commit()
        count, newest = connection.execute("select count(*), max(ordered_at) from raw.orders").fetchone()
    print(f"raw data: {count} orders, the last one of {newest}")


if __name__ == "__main__":
    main()
