"""Content versions on DuckDB: rows that exchange values, moves and duplicates are seen, whatever the columns."""

from __future__ import annotations

import random

import duckdb
import pytest

from sao_dagster.warehouses.duckdb.content import content_sql
from sao_dagster.warehouses.duckdb.row_hash import row_hash

PAIRS = 200_000
EXCHANGES = 20_000_000
COLUMNS = {"BIGINT": ["{0}", "112", "1589"], "VARCHAR": ["{0}", "'U'", "'paid'"], "DOUBLE": ["{0}", "0.5", "-0.5"], "HUGEINT": ["{0}", "0", "-1"]}  # fmt: skip
"""By type, a key that differs from row to row and two values that are exchanged."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(46, 112), (68, 1589)", "(46, 1589), (68, 112)"),
        ("(90, 12), (121, 52)", "(90, 52), (121, 12)"),
        ("(46, 112), (46, 112)", "(46, 112)"),
        ("(46, 112), (46, 112), (68, 1), (68, 1)", "(46, 1), (46, 1), (68, 112), (68, 112)"),
        ("(46, 112)", "(112, 46)"),
        ("(46, 46)", "(112, 112)"),
    ],
)
def test_values_that_change_places_are_another_content(one: str, other: str) -> None:
    """Some of these pairs had one version as long as hashes of rows were combined as DuckDB gives them."""
    with duckdb.connect() as connection:
        found = []
        for rows in (one, other):
            connection.execute(f"create or replace table t as select * from (values {rows}) as v(id, amount)")
            sql = content_sql("t", (("id", "INTEGER"), ("amount", "INTEGER")), ())
            assert sql is not None
            found.append(connection.execute(sql).fetchall())
    assert found[0] != found[1]


def exchanges(seed: int, pairs: int) -> int:
    """Exchange two values between two rows, and their columns, for many pairs of keys at once; each aggregate differs by itself.

    Raises:
        AssertionError: An exchange was not seen.
    """
    chance = random.Random(seed)
    first, second = chance.choices(list(COLUMNS), k=2)
    one, other = COLUMNS[second][1:]

    def row(key: str, value: str) -> str:
        written = row_hash((("k", first), ("v", second)))
        return written.replace('"k"', f"{key}::{first}").replace('"v"', f"({value})::{second}")

    before, after = (row("a", one), row("b", other)), (row("a", other), row("b", one))
    with duckdb.connect() as connection:
        missed = connection.execute(
            f"select count(*) filter (xor({before[0]}, {before[1]}) = xor({after[0]}, {after[1]})), "
            f"count(*) filter ({before[0]}::hugeint + {before[1]} = {after[0]}::hugeint + {after[1]}), "
            f"count(*) filter ({before[0]} = {before[1]} or {before[0]} = {after[0]}) "
            f"from (select i as a, i * 7919 + {chance.randrange(1, 10**6)} as b from range({pairs}) as r(i))"
        ).fetchone()
    assert missed == (0, 0, 0), f"seed {seed}: {first} and {second}"
    return pairs


@pytest.mark.parametrize("seed", range(4))
def test_the_same_exchange_in_many_tables_is_never_missed(seed: int) -> None:
    """For keys and values of several types; the soak goes on with tens of millions."""
    assert exchanges(seed, PAIRS) == PAIRS


def test_order_storage_and_threads_do_not_count() -> None:
    """The same rows in another order, in pieces, read by one thread or many, have one version."""
    columns = (("id", "BIGINT"), ("amount", "DOUBLE"), ("tags", "INTEGER[]"))
    sql = content_sql("t", columns, ())
    assert sql is not None
    found = set()
    with duckdb.connect() as connection:
        for order, threads in (("i", 1), ("-i", 4), ("hash(i)", 2)):
            connection.execute(f"set threads = {threads}")
            connection.execute(f"create or replace table t as select i as id, i / 7 as amount, [i, i + 1]::int[] as tags from range(300000) r(i) order by {order}")  # fmt: skip
            found.add(tuple(connection.execute(sql).fetchall()))
            connection.execute("delete from t where id % 3 = 0")
            connection.execute("insert into t select i, i / 7, [i, i + 1] from range(0, 300000, 3) r(i)")
            found.add(tuple(connection.execute(sql).fetchall()))
    assert len(found) == 1
