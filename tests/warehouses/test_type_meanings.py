"""Tables with the same texts whose types mean another thing, at any depth, have different versions; types that were made anew as they were have one."""

from __future__ import annotations

import random

import duckdb
import psycopg

from sao_dagster.core.data_version import DataVersion
from sao_dagster.warehouses.duckdb.content import content_sql, content_version
from sao_dagster.warehouses.postgres.catalog import columns_of
from sao_dagster.warehouses.postgres.content import content_of
from tests.postgres import Postgres

TABLES = 40
COLLATIONS = ("", "collate nocase", "collate noaccent", "collate nocase.noaccent", "collate de", "collate nfc")
AROUND = ("[{}]", "{{'k': {}}}", "{{'n': 1, 'k': {}}}", "map {{1: {}}}", "map {{{}: 1}}", "union_value(u := {})")

# what is innermost, and then the same text in a type that compares otherwise, or whose parts are elsewhere
MEANINGS = (
    ("create domain m.t0 as text collate \"C\"", "create domain m.t0 as text collate \"und-x-icu\"", "'a'"),
    ("create domain m.t0 as text", "create domain m.t0 as int", "'9'"),
    ("create type m.t0 as enum ('a', 'b')", "create type m.t0 as enum ('b', 'a')", "'a'"),
    ("create type m.t0 as (a int, b int)", "create type m.t0 as (b int, a int)", "'(1,2)'"),
    ("create type m.t0 as (a text collate \"C\")", "create type m.t0 as (a text collate \"und-x-icu\")", "'(a)'"),
    ("create type m.t0 as range (subtype = text, collation = \"C\")", "create type m.t0 as range (subtype = text, collation = \"und-x-icu\")", "'[a,b)'"),
)  # fmt: skip


def check_collations(seed: int, tables: int) -> None:
    """Hold versions of tables whose types differ in a collation alone against each other."""
    chance = random.Random(seed)
    with duckdb.connect() as connection:

        def version(value: str) -> DataVersion | None:
            connection.execute(f"create or replace table t as select {value} as v")
            columns = [(name, kind) for name, kind, *_ in connection.execute("describe t").fetchall()]
            sql = content_sql("t", tuple(columns), ())
            assert sql is not None
            return content_version(connection.execute(sql).fetchone() or (), tuple(columns), ())

        for number in range(tables):
            around = chance.choices(AROUND, k=chance.randrange(4))
            values = [f"'a' {collation}" for collation in COLLATIONS]
            for each in around:
                values = [each.format(value) for value in values]
            found = [version(value) for value in values]
            assert None not in found and len(set(found)) == len(values), f"seed {seed}, table {number}: {values}"
            assert [version(value) for value in values] == found, f"seed {seed}, table {number}: {values}"


def check_made_types(url: str, seed: int, tables: int) -> None:
    """The same on PostgreSQL, where a name stands for what somebody has made it of."""
    chance = random.Random(seed)
    with psycopg.connect(url) as connection:

        def version(innermost: str, around: list[str], value: str) -> DataVersion:
            connection.execute(b"drop schema if exists m cascade")
            connection.execute(b"create schema m")
            connection.execute(innermost.encode())
            kind = "m.t0"
            for depth, each in enumerate(around, start=1):
                made = f"m.t{depth}"
                if each == "array":
                    kind, value = f"{kind}[]", f"array[{value}::{kind}]"
                elif each == "domain":
                    connection.execute(f"create domain {made} as {kind}".encode())
                    kind = made
                else:
                    connection.execute(f"create type {made} as (n int, x {kind})".encode())
                    kind, value = made, f"row(1, {value}::{kind})"
            connection.execute(f"create table m.held as select {value}::{kind} as v".encode())
            [(_, found)] = content_of(connection, [(("", "m", "held"), columns_of(connection, "m.held"), ())])
            return found

        for number in range(tables):
            first, second, value = chance.choice(MEANINGS)
            around = chance.choices(["array", "domain", "row"], k=chance.randrange(4))
            around = [each for at, each in enumerate(around) if not (each == "array" and "array" in around[:at])]
            one, other = (version(each, around, value) for each in (first, second))
            assert one != other, f"seed {seed}, table {number}: {first}, {around}"
            assert version(first, around, value) == one, f"seed {seed}, table {number}: {first}, {around}"
        connection.rollback()


def test_a_collation_at_any_depth_is_another_version_on_duckdb() -> None:
    """Of a text in lists, records, maps and unions of each other."""
    check_collations(1, TABLES)


def test_what_a_type_is_made_of_at_any_depth_is_another_version_on_postgres(postgres: Postgres) -> None:
    """Of domains, enums, records and ranges in arrays, domains and records of each other."""
    check_made_types(postgres.database(), 1, TABLES)
