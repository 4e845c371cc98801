"""Two values that some query tells apart have different hashes, whatever their type; a value has one, whatever the session is set to."""

from __future__ import annotations

import random
from collections.abc import Sequence

import duckdb
import psycopg
import pytest

from sao_dagster.warehouses.duckdb.content import content_sql
from sao_dagster.warehouses.duckdb.row_hash import is_plain, row_hash
from sao_dagster.warehouses.postgres.content import row_hash as row_hash_of_postgres
from sao_dagster.warehouses.postgres.plain_text import plain_text
from sao_dagster.warehouses.shared.names import literal
from tests.postgres import Postgres
from tests.warehouses.content_types import DUCKDB, POSTGRES, POSTGRES_TYPES, Values

TABLES, ROWS = 40, 30
OTHER_WAYS = ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "intervalstyle = 'iso_8601'", "extra_float_digits = -3", "bytea_output = 'escape'")  # fmt: skip


def check_duckdb(seed: int, tables: int) -> int:
    """Hold the hashes of rows of random types against how the rows are written; return how many rows there were."""
    chance = random.Random(seed)
    values, total = Values(chance, DUCKDB), 0
    with duckdb.connect() as connection:
        for number in range(tables):
            (one, first), (two, second) = values.duckdb(), values.duckdb()
            collation = " collate nocase" if one == "VARCHAR" else ""
            connection.execute(f"create or replace table t (a {one}{collation}, b {two}, written varchar)")
            written = sorted({(first(), second()) for _ in range(ROWS)})
            connection.execute(_insert(written))
            connection.execute(f"set timezone = '{chance.choice(['UTC', 'Asia/Tokyo', 'America/New_York'])}'")
            hashed = row_hash((("a", one), ("b", two)))
            found = connection.execute(f"select count(distinct h), count(distinct (h, written)) from (select {hashed} as h, written from t)").fetchone()  # fmt: skip
            assert found == (len(written), len(written)), f"seed {seed}, table {number}: {one} and {two} on DuckDB"
            total += len(written)
    return total


def check_postgres(url: str, seed: int, tables: int) -> int:
    """The same on PostgreSQL."""
    chance = random.Random(seed)
    values, total = Values(chance, POSTGRES), 0
    with psycopg.connect(url) as connection:
        for statement in POSTGRES_TYPES:
            connection.execute(statement.encode())
        for number in range(tables):
            (one, first), (two, second) = values.postgres(), values.postgres()
            written = sorted({(first(), second()) for _ in range(ROWS)})
            connection.execute(f"create table t (a {one}, b {two}, written text)".encode())
            connection.execute(_insert(written).encode())
            connection.execute(f"set local {chance.choice(OTHER_WAYS)}".encode())
            hashed = row_hash_of_postgres((("a", one), ("b", two)))
            with plain_text(connection):
                connection.execute(b"set local search_path = public")
                found = connection.execute(f"select count(distinct h), count(distinct (h, written)) from (select {hashed} as h, written from t) x".encode()).fetchone()  # fmt: skip
            connection.execute(b"drop table t")
            assert found == (len(written), len(written)), f"seed {seed}, table {number}: {one} and {two} on PostgreSQL"
            total += len(written)
        connection.rollback()
    return total


def _insert(written: Sequence[tuple[str, str]]) -> str:
    """Return a statement that puts rows into the table, each with the text that it is written as."""
    rows = (f"select {a}, {b}, {literal(f'{a} {b}')}" for a, b in written)
    return f"insert into t {' union all '.join(rows)}"


def test_values_of_all_types_of_duckdb_are_told_apart() -> None:
    """Lists, records, maps and unions of all types, two levels deep; in any zone of the session."""
    assert check_duckdb(1, TABLES) > TABLES * 5


def test_values_of_all_types_of_postgres_are_told_apart(postgres: Postgres) -> None:
    """All types and arrays of them, whatever the session is set to."""
    assert check_postgres(postgres.database(), 1, TABLES) > TABLES * 3


@pytest.mark.slow
def test_values_of_all_types_are_told_apart_in_many_tables(postgres: Postgres) -> None:
    """The same for longer."""
    assert check_duckdb(2, 1500) and check_postgres(postgres.database(), 2, 1000)


def test_each_type_of_duckdb_has_values_here() -> None:
    """A type that a new version of DuckDB brings is noticed; until then its columns have no version."""
    with duckdb.connect() as connection:
        rows = connection.execute("select distinct logical_type from duckdb_types() where internal").fetchall()
    made = {kind.partition("(")[0] for kind in DUCKDB} | {"LIST", "ARRAY", "STRUCT", "MAP", "UNION"}
    assert {name for (name,) in rows} - made == {"NULL", "TUPLE", "TYPE", "VARIANT"} & {name for (name,) in rows}


def test_each_type_of_postgres_has_values_here(postgres: Postgres) -> None:
    """Without those that no table of a user's can hold."""
    with psycopg.connect(postgres.database()) as connection:
        rows = connection.execute(
            "select format_type(oid, null) from pg_type where typtype in ('b', 'r', 'm') and typcategory not in ('A', 'Z') "
            "and typnamespace = 'pg_catalog'::regnamespace"
        ).fetchall()
    known = {kind.partition("(")[0] for kind in POSTGRES} | {"gtsvector"}
    assert {kind for (kind,) in rows} - known - {'"char"'} == set()


@pytest.mark.parametrize("kind", ["VARIANT", "STRUCT(a VARIANT)", "not a type"])
def test_a_column_whose_values_nobody_can_tell_apart_has_no_version(kind: str) -> None:
    """A variant hides the types of its values, and shows `1` and `'1'` alike."""
    assert content_sql("t", (("id", "INTEGER"), ("v", kind)), ()) is None
    assert content_sql("t", (("id", "INTEGER"), ("v", kind)), ("v",)) is not None


def test_plain_columns_are_hashed_as_they_always_were() -> None:
    """Otherwise every table would be built once more. The bytes of a text have the hash of the text."""
    with duckdb.connect() as connection:
        row = connection.execute(
            "select hash('ä'), hash(encode('ä')), hash(null::varchar) = hash(encode(null::varchar))"
        )
        text, encoded, null = row.fetchone() or ()
    assert text == encoded and null
    assert is_plain("VARCHAR") and is_plain("DECIMAL(10,2)") and not is_plain("DOUBLE") and not is_plain("INTEGER[]")
