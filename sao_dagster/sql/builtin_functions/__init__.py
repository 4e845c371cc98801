"""The functions that an engine has of its own, and what they read besides their arguments.

The names are data beside this file, asked from the engines by `tests/builtin_functions.py`. A function that is not among them is
somebody's: what it does is in the warehouse's catalog.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from pathlib import Path


class Reach(Enum):
    """What a function reads besides its arguments."""

    NOTHING = "nothing"
    FILES = "the files that its first argument names"
    CATALOG = "the catalog, a sequence, or what a text says: nobody can tell"


_FILES = frozenset({
    "delta_scan", "glob", "parquet_bloom_probe", "parquet_file_metadata", "parquet_full_metadata", "parquet_kv_metadata", "parquet_metadata",
    "parquet_page_index", "parquet_scan", "parquet_schema", "read_avro", "read_blob", "read_csv", "read_csv_auto", "read_duckdb",
    "read_json", "read_json_auto", "read_json_objects", "read_json_objects_auto", "read_ndjson", "read_ndjson_auto",
    "read_ndjson_objects", "read_parquet", "read_single_csv_file", "read_single_json_file", "read_single_parquet_file", "read_text",
    "read_xlsx", "sniff_csv", "sqlite_scan", "st_read",
})  # fmt: skip
_ROWS = frozenset({
    "generate_series", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "range", "repeat", "repeat_row",
    "test_all_types", "test_vector_types", "unnest",
})  # fmt: skip
"""DuckDB's table functions that make their rows of their arguments."""
_CATALOG = re.compile(
    r"(next|curr|last|set)val|getvariable|getenv|stats|json_execute_serialized_sql|(query|table|cursor|schema|database)_to_xml\w*|ts_stat|"
    r"to_reg\w+|has_\w+_privilege|(obj|col|shobj)_description|row_security_active|lo_\w+|pg_(?!typeof$|size_|sleep)\w+"
)
_SYNTAX = frozenset({
    "all", "and", "any", "array", "as", "between", "by", "case", "cast", "coalesce", "collation", "columns", "cube", "distinct", "else",
    "escape", "except", "exclude", "exists", "extract", "filter", "following", "from", "greatest", "group", "grouping", "having", "if",
    "ilike", "in", "intersect", "interval", "is", "isnull", "join", "json_array", "json_arrayagg", "json_exists", "json_object",
    "json_objectagg", "json_query", "json_scalar", "json_serialize", "json_value", "lateral", "least", "like", "limit", "list", "map",
    "materialized", "merge_action", "normalize", "not", "notnull", "nullif", "offset", "on", "or", "over", "overlay", "partition",
    "position", "preceding", "qualify", "rename", "replace", "rollup", "row", "rows", "select", "set", "sets", "similar", "some", "struct",
    "substring", "then", "trim", "try", "try_cast", "union", "using", "values", "when", "where", "with", "within", "xmlattributes",
    "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable", "pivot", "unpivot",
    "bit", "char", "character", "decimal", "float", "numeric", "nvarchar", "string", "text", "time", "timestamp", "timestamptz", "varchar",
    "varying", "for", "lambda", "order", "sample", "tablesample", "window", "current", "to", "treat", "json_table",
})  # fmt: skip
"""Words before a bracket that are no functions, or are functions that the grammar has and no catalog."""


@lru_cache(maxsize=8)
def builtin_functions(dialect: str) -> Mapping[str, str] | None:
    """Return the level of change of an engine's functions by name, see below; None where they are not known.

    `c` is never, `s` only between statements, `v` at any time. A `t` after it is a table function, an `m` one that may make one value
    of many rows, or many of one: an aggregate, a macro over one or over `unnest`.

    >>> functions = builtin_functions("duckdb")
    >>> functions["upper"], functions["random"], functions["geomean"], "plus_vat" in functions
    ('c', 'v', 'cm', False)
    """
    file = Path(__file__).with_name(f"{dialect}.txt")
    if not file.is_file():
        return None
    return dict(line.split(" ") for line in file.read_text().splitlines())


def is_scalar(name: str, dialect: str) -> bool:
    """Return whether an engine has a function that gives one value for each row, and nothing else, by a name in lower case.

    >>> [is_scalar(each, "duckdb") for each in ("list_sort", "product", "generate_subscripts", "somebodys")]
    [True, False, False, False]
    """
    return (builtin_functions(dialect) or {}).get(name) in ("c", "s", "v")


@lru_cache(maxsize=4096)
def reach_of(name: str, dialect: str, *, makes_rows: bool) -> Reach | None:
    """Return what a function of the engine reads; None for one that the engine does not have, as far as is known.

    Args:
        name: In lower case.
        dialect: Sqlglot's name of the dialect.
        makes_rows: Whether it stands where a table may stand.

    >>> reach_of("upper", "duckdb", makes_rows=False), reach_of("plus_vat", "duckdb", makes_rows=False)
    (<Reach.NOTHING: 'nothing'>, None)
    >>> reach_of("read_csv", "duckdb", makes_rows=True).name, reach_of("duckdb_tables", "duckdb", makes_rows=True).name
    ('FILES', 'CATALOG')
    """
    known = builtin_functions(dialect)
    if known is None or name in _SYNTAX:
        return Reach.NOTHING
    if name in _FILES and (name in known or makes_rows):
        return Reach.FILES
    if name not in known:
        return None
    if name in _ROWS:
        return Reach.NOTHING
    only_rows = "t" in known[name] and "read_csv" in known  # in an engine in which a function either makes rows or not
    return Reach.CATALOG if _CATALOG.fullmatch(name) or (makes_rows and only_rows) else Reach.NOTHING


def files_read(name: str, text: str) -> str:
    """Return the files that tell what a table function reads, given a text of its first argument: of a Delta table, the commits in its log.

    Data files are never written again, and each commit is a file of its own: https://github.com/delta-io/delta/blob/master/PROTOCOL.md.

    Args:
        name: In lower case.
        text: A path or glob, from where the engine is.

    >>> files_read("read_csv", "in/*.csv"), files_read("delta_scan", "lake/orders/")
    ('in/*.csv', 'lake/orders/_delta_log/*.json')
    """
    return f"{text.rstrip('/')}/_delta_log/*.json" if name == "delta_scan" else text
