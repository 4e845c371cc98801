"""Seeds: how a CSV file is read. DuckDB reads it for every warehouse, and types are those that dbt finds.

The rules are those of dbt's `agate_helper.build_type_tester`: a column has the first of these types that all its values have, where
nothing and the word `null` are no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sao_dagster.core.nodes import Seed
from sao_dagster.core.relations import quote
from sao_dagster.warehouses.shared.names import literal

if TYPE_CHECKING:
    import duckdb

_SYMBOLS = "[$£€¥¢؋ƒ៛₡₱﷼₪₩₭₮₦฿₤₫]*"
_PLAIN = rf"regexp_replace(replace(trim({{text}}, '%'), ',', ''), '^(-?){_SYMBOLS}(.*?){_SYMBOLS}$', '\1\2')"
_NUMBER = r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)(e[-+]?\d+)?"
_DAY = r"\d{4}-\d{1,2}-\d{1,2}"
_DAY_TIME = _DAY + r"\s+\d{1,2}:\d{1,2}:\d{1,2}"
_ZONE = r"T.*(Z|[-+]\d\d(:?\d\d)?)"
_ISO_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[-+]\d\d(:?\d\d)?)?"


def seed_query(
    cursor: duckdb.DuckDBPyConnection, seed: Seed, column_types: Mapping[str, str], *, inserted_in: str | None = None
) -> str:
    """Return a DuckDB query for the rows of a seed's file, with the given types and those of its values for the others.

    Args:
        cursor: Reads the file.
        seed: The seed.
        column_types: Types that are given, by column.
        inserted_in: The time zone of a session in which dbt would insert the rows that it has read: a text that is blank, or the word
            `null`, is nothing then, and a time with a zone is that of the session. None for DuckDB, which dbt-duckdb lets read the file
            itself: texts are as they are, and zones do not count.
    """
    file = f"read_csv({literal(seed.path)}, header = true, delim = {literal(seed.delimiter)}, all_varchar = true)"
    names = [name for name, _ in described(cursor, f"select * from {file}")]
    kinds = _kinds(cursor, file, [name for name in names if name not in column_types])
    columns = []
    for name in names:
        column, value = quote(name), _value(name)
        given, kind = column_types.get(name), kinds.get(name)
        if kind in ("INTEGER", "BIGINT", "DOUBLE"):
            found = f"cast(replace({_PLAIN.format(text=value)}, '_', '') as {kind})"
        elif kind == "TIMESTAMP" and inserted_in is not None:
            there = f"cast({value} as timestamp with time zone) at time zone {literal(inserted_in)}"
            found = f"case when regexp_matches({value}, '{_ZONE}$') then {there} else cast({value} as timestamp) end"
        elif kind is not None and kind != "VARCHAR":
            found = f"cast({value} as {kind})"
        elif inserted_in is not None:
            found = f"case when {value} is not null then {column} end"
        else:
            found = column
        columns.append(f"{found if given is None else f'cast({found} as {given})'} as {column}")
    return f"select {', '.join(columns)} from {file}"


def _kinds(cursor: duckdb.DuckDBPyConnection, file: str, names: list[str]) -> dict[str, str]:
    """Return the types of columns, by all their values."""
    tests = [test for name in names for test in _tests(name)]
    if not tests:
        return {}
    row = cursor.execute(
        f"select {', '.join(f'coalesce(bool_and({test}), true)' for test in tests)} from {file}"
    ).fetchone()
    said = iter(row or ())
    found = {}
    for name in names:
        number, small, whole, day, time, iso, boolean = (next(said) for _ in range(7))
        if number:
            found[name] = "INTEGER" if small else "BIGINT" if whole else "DOUBLE"
        else:
            found[name] = "DATE" if day else "TIMESTAMP" if time or iso else "BOOLEAN" if boolean else "VARCHAR"
    return found


def _tests(name: str) -> tuple[str, ...]:
    """Return the questions about each value of a column by which its type is found."""
    value = _value(name)
    plain = _PLAIN.format(text=value)
    number = f"replace({plain}, '_', '')"
    exact, about = f"try_cast({number} as decimal(38, 10))", f"try_cast({number} as double)"

    def is_like(pattern: str, kind: str) -> str:
        return f"({value} is null or (regexp_full_match({value}, '{pattern}') and try_cast({value} as {kind}) is not null))"

    def fits(kind: str) -> str:
        whole = f"{exact} = trunc({exact}) and {about} = trunc({about})"
        return f"({value} is null or coalesce({whole} and try_cast({number} as {kind}) is not null, false))"

    return (
        f"regexp_full_match({plain}, '{_NUMBER}', 'i')",
        fits("integer"),
        fits("bigint"),
        is_like(_DAY, "date"),
        is_like(_DAY_TIME, "timestamp"),
        is_like(_ISO_TIME, "timestamp"),
        f"lower(replace({value}, ',', '')) in ('true', 'false')",
    )


def _text(name: str) -> str:
    """Return an expression for a value without the blanks around it."""
    return rf"regexp_replace({quote(name)}, '^\s+|\s+$', '', 'g')"


def _value(name: str) -> str:
    """Return an expression for a value without the blanks around it, and null where it is nothing."""
    return f"case when lower({_text(name)}) not in ('', 'null') then {_text(name)} end"


def described(cursor: duckdb.DuckDBPyConnection, table: str) -> tuple[tuple[str, str], ...]:
    """Return names as written and types of a DuckDB table or query, in order."""
    return tuple((row[0], row[1]) for row in cursor.execute(f"describe {table}").fetchall())
