"""What names mean in a DuckDB session: relations by the search path, and functions that somebody made."""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.policy import Expiry
from sao_dagster.core.relations import Relation, RelationKey, folded, quote
from sao_dagster.sql.made_functions import OBJECT
from sao_dagster.warehouses.protocol import FunctionInfo


def resolve(cursor: duckdb.DuckDBPyConnection, tables: Collection[UndeclaredInput]) -> dict[UndeclaredInput, Relation]:
    """Return which tables and views are meant by names.

    `a.b` is a table in a schema, or in a database's schema `main`; where both are there, DuckDB refuses it and none is meant. The
    engine's own views are not among what is found: their rows are not known.
    """
    here = cursor.execute("select current_database(), current_schema()").fetchone()
    assert here is not None  # noqa: S101 - one row
    there = {
        Relation(database, schema, name).key: Relation(database, schema, name)
        for database, schema, name in cursor.execute(
            "select database_name, schema_name, table_name from duckdb_tables() where not internal and not temporary "
            "union all select database_name, schema_name, view_name from duckdb_views() where not internal and not temporary"
        ).fetchall()
    }
    database, schema = here
    found = {}
    for table in tables:
        meant = [there[key] for key in relation_keys(table, database, schema) if key in there]
        if len(meant) == 1 or (meant and len(table.parts) == 1):
            found[table] = meant[0]
    return found


def relation_keys(table: UndeclaredInput, database: str, schema: str) -> tuple[RelationKey, ...]:
    """Return what a name may mean, seen from a schema, in the order in which that is tried; nothing for a name of more than three parts."""
    here, parts = folded(database), tuple(map(folded, table.parts))
    match parts:
        case (name,):
            keys = [(here, folded(schema), name), (here, "main", name)]
        case (one, name):
            keys = [(here, one, name), (one, "main", name)]
        case (other, one, name):
            keys = [(other, one, name)]
        case _:
            keys = []
    return tuple(dict.fromkeys(keys))


def functions(cursor: duckdb.DuckDBPyConnection, names: Collection[str]) -> dict[str, FunctionInfo]:
    """Return what the macros of those names do, the extensions that functions of those names come from, and what types are.

    Not functions in Python, whose code the catalog does not have, nor table functions of extensions, which read what they like. Before 2.0
    the catalog does not say which extension a function comes from, so that none of them is known.
    """
    rows = cursor.execute(
        "select lower(function_name), function_type, coalesce(parameters, [])::varchar, macro_definition, stability, "
        "f.extension_name, e.extension_version from "
        "(from duckdb_functions() union all by name select null::varchar as extension_name where false) f "
        "left join duckdb_extensions() e using (extension_name) "
        "where list_contains($1, lower(function_name)) "
        "qualify not internal or bool_and(internal) over (partition by lower(function_name)) order by all",
        [list(names)],
    ).fetchall()
    known: dict[str, list[JSON]] = {}
    queries: dict[str, list[str]] = {}
    expiries: dict[str, Expiry] = {}
    opaque = set()
    for name, kind, parameters, body, stability, extension, version in rows:
        known.setdefault(name, []).append([kind, parameters, body, extension, version])
        if kind == "macro":
            queries.setdefault(name, []).append(f"select {body}")
        elif kind == "table_macro":
            queries.setdefault(name, []).append(body)
        elif extension is None or kind == "table":
            opaque.add(name)
        elif stability == "VOLATILE":
            expiries[name] = Expiry.HOUR
    found = {
        name: FunctionInfo(digest(each), tuple(queries.get(name, ())), expiries.get(name))
        for name, each in known.items()
        if name not in opaque
    }
    return {**found, **_types(cursor, names)}


def _types(cursor: duckdb.DuckDBPyConnection, names: Collection[str]) -> dict[str, FunctionInfo]:
    """Return what types of the user's own are, by names as `MadeFunctions.called_by` has them."""
    wanted = [name.removeprefix(OBJECT) for name in names if name.startswith(OBJECT)]
    if not wanted:
        return {}
    rows = cursor.execute(
        "select lower(type_name), database_name, schema_name, type_name from duckdb_types() "
        "where not internal and list_contains($1, lower(type_name)) order by all",
        [wanted],
    ).fetchall()
    known: dict[str, list[JSON]] = {}
    for name, *parts in rows:
        place = ".".join(map(quote, parts))
        known.setdefault(name, []).append([place, str(cursor.execute(f"select typeof(null::{place})").fetchone())])
    return {OBJECT + name: FunctionInfo(digest(each)) for name, each in known.items()}
