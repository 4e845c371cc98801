"""Content versions on DuckDB: what they tell apart."""

from __future__ import annotations

import duckdb
import pytest

from sao_dagster.warehouses.duckdb.content import content_sql

PAIRS = 200_000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(46, 112), (68, 1589)", "(46, 1589), (68, 112)"),
        ("(90, 12), (121, 52)", "(90, 52), (121, 12)"),
        ("(46, 112), (46, 112)", "(46, 112)"),
        ("(46, 112), (46, 112), (68, 1), (68, 1)", "(46, 1), (46, 1), (68, 112), (68, 112)"),
    ],
)
def test_values_that_change_places_between_rows_are_another_content(one: str, other: str) -> None:
    """These pairs had one version as long as hashes of rows were combined as DuckDB gives them."""
    with duckdb.connect() as connection:
        found = []
        for rows in (one, other):
            connection.execute(f"create or replace table t as select * from (values {rows}) as v(id, amount)")
            columns = (("id", "INTEGER"), ("amount", "INTEGER"))
            found.append(connection.execute(content_sql("t", columns, ())).fetchall())
    assert found[0] != found[1]


@pytest.mark.parametrize("values", ["(112, 1589)", "('U', 'paid')", "(0, 1)"])
def test_the_same_exchange_in_many_tables_is_never_missed(values: str) -> None:
    """Two values change places between two rows, for many pairs of keys at once: each aggregate differs by itself."""
    with duckdb.connect() as connection:
        # what `content_sql` does with the rows of one table, here for a table for each pair of keys
        row = content_sql("t", (("k", "BIGINT"), ("v", "VARCHAR")), ()).split("bit_xor(")[1].split(") as mix")[0]
        before, after = (row.replace('"k"', "{}").replace('"v"', "{}").format for _ in range(2))
        one, other = values.strip("()").split(", ")
        missed_mix, missed_total = connection.execute(
            f"select count(*) filter (xor({before('a', one)}, {before('b', other)}) = xor({after('a', other)}, {after('b', one)})), "
            f"count(*) filter ({before('a', one)}::hugeint + {before('b', other)} = {after('a', other)}::hugeint + {after('b', one)}) "
            f"from (select i as a, i * 7919 + 1 as b from range({PAIRS}) as r(i))"
        ).fetchone()
    assert (missed_mix, missed_total) == (0, 0)
