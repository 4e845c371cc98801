"""Seeds have the types and the values that dbt finds in their files."""

from __future__ import annotations

import pytest

from tests.world import World, on_each_warehouse

TYPES = {
    "integer": ("INTEGER", "integer"),
    "bigint": ("BIGINT", "bigint"),
    "double": ("DOUBLE", "double precision"),
    "date": ("DATE", "date"),
    "timestamp": ("TIMESTAMP", "timestamp without time zone"),
    "boolean": ("BOOLEAN", "boolean"),
    "text": ("VARCHAR", "text"),
}
"""What a type is called on DuckDB and on PostgreSQL."""


@on_each_warehouse
@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["001", "+2", " 3", "-4"], "integer", ["1", "2", "3", "-4"]),
        (["1.0", "2", "1e3", ""], "integer", ["1", "2", "1000", None]),
        (['"1,000"', "$5", "10%", "1_0"], "integer", ["1000", "5", "10", "10"]),
        (["null", "NULL", "7"], "integer", [None, None, "7"]),
        (["", ""], "integer", [None, None]),
        (["12345678901", "2"], "bigint", ["12345678901", "2"]),
        (["1.5", ".25", "2."], "double", ["1.5", "0.25", "2.0"]),
        (["0.00000000001", "2"], "double", ["1e-11", "2.0"]),
        (["2024-02-29", "1999-1-2"], "date", ["2024-02-29", "1999-01-02"]),
        (["2024-02-29 01:02:03", ""], "timestamp", ["2024-02-29 01:02:03", None]),
        (["2024-02-29T01:02:03.5", "2024-02-29T01:02"], "timestamp", ["2024-02-29 01:02:03.5", "2024-02-29 01:02:00"]),
        (["true", "FALSE", ""], "boolean", ["true", "false", None]),
        (["yes", "no"], "text", ["yes", "no"]),
        (["t", "f"], "text", ["t", "f"]),
        (["01/02/2024", "03/04/2024"], "text", ["01/02/2024", "03/04/2024"]),
        (["2024-02-30", "2024-02-28"], "text", ["2024-02-30", "2024-02-28"]),
        (["2024-02-29", "2024-02-29 01:02:03"], "text", ["2024-02-29", "2024-02-29 01:02:03"]),
        (["10:00:00", "0x1F"], "text", ["10:00:00", "0x1F"]),
        (["1", "x", " y"], "text", ["1", "x", " y"]),
    ],
)
def test_types_are_those_that_dbt_finds(world: World, values: list[str], kind: str, expected: list[str | None]) -> None:
    world.write("seeds/s.csv", "k,V\n" + "".join(f"{number},{value}\n" for number, value in enumerate(values)))
    assert world.run().outcomes == {"s": "built: never_built"}
    on_postgres = world.warehouse == "postgres"
    kinds = "select data_type from information_schema.columns where table_name = 's' and lower(column_name) = 'v'"
    assert world.rows(kinds) == [(TYPES[kind][on_postgres],)]
    shown = [text for (text,) in world.rows('select cast("V" as varchar) from main.s order by k')]
    if kind == "double":
        assert list(map(float, map(str, shown))) == list(map(float, map(str, expected)))
    else:
        assert shown == expected


@on_each_warehouse
def test_a_text_that_is_null_is_as_each_adapter_loads_it(world: World) -> None:
    """dbt-duckdb lets DuckDB read the file; elsewhere dbt inserts what it has read, in which a blank and `null` are nothing."""
    world.write("seeds/s.csv", "k,v,w\n1,null,null\n2,x,y\n")
    world.write("seeds/s.yml", "seeds: [{name: s, config: {column_types: {w: varchar(9)}}}]").run()
    expected = (None, None) if world.warehouse == "postgres" else ("null", "null")
    assert world.rows("select v, w from main.s order by k") == [expected, ("x", "y")]


@on_each_warehouse
def test_a_time_with_a_zone_is_as_each_adapter_loads_it(world: World) -> None:
    """PostgreSQL takes it as one of the session's zone, which is UTC here, and DuckDB takes it as if it had none."""
    world.write(
        "seeds/s.csv", "k,v\n1,2024-02-29T01:02:03+02:00\n2,2024-02-29T01:02:03\n3,2024-02-29T01:02:03Z\n"
    ).run()
    hours = [hour for (hour,) in world.rows("select extract(hour from v)::int from main.s order by k")]
    assert hours == ([23, 1, 1] if world.warehouse == "postgres" else [1, 1, 1])
