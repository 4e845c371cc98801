"""Versions by content in DuckDB: how a table is read, and which tables a view shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import duckdb
from sqlglot import exp

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.sql.parsing import UnreadableSqlError, parse_one
from sao_dagster.sql.volatile import volatility
from sao_dagster.warehouses.duckdb.row_hash import UnknownTypeError, is_plain, row_hash
from sao_dagster.warehouses.protocol import Catalog, Columns
from sao_dagster.warehouses.shared.contents import ViewSources, without
from sao_dagster.warehouses.shared.names import without_quotes

_HASHING = 2  # the number of the way that rows of plain columns are hashed
_HASHING_ALL = 3  # and of those that have others


def content_sql(table: str, columns: Columns, omitted: Collection[str]) -> str | None:
    """Return a query for the number of rows and two independent sums over their hashes, whatever their order; None for unknown types."""
    counted = without(omitted, columns)
    if not counted:
        return f"select count(*) as rows, null as mix, null as total from {table}"
    try:
        row = row_hash(counted)
    except UnknownTypeError:
        return None
    return f"select count(*) as rows, bit_xor({row}) as mix, sum({row}) as total from {table}"


def content_version(row: Sequence[Any], columns: Columns, omitted: Collection[str]) -> DataVersion:
    """Return the data version; DuckDB does not promise one hash for all its versions, so its version is part of the scheme."""
    plain = all(is_plain(kind) for _, kind in without(omitted, columns))
    shape = [[name, kind] for name, kind in columns]
    numbers = [str(value) for value in row]
    scheme = f"duckdb-{duckdb.__version__}/{_HASHING if plain else _HASHING_ALL}"
    return DataVersion(scheme, digest([shape, sorted(omitted), numbers]))


def view_sources(relation: Relation, catalog: Catalog) -> ViewSources | None:
    """Return what a view shows, or None where that cannot be told."""
    found: dict[RelationKey, None] = {}
    definitions: list[tuple[RelationKey, str]] = []
    pending = [relation.key]
    seen = set()
    while pending:
        key = pending.pop()
        if key in seen:
            continue
        seen.add(key)
        info = catalog.get(key)
        if info is None:
            return None
        if not info.is_view:
            found[key] = None
            continue
        below = _tables_of_view(info.definition or "", key)
        if below is None:
            return None
        definitions.append((key, without_quotes(info.definition or "")))
        pending += below
    return ViewSources(tuple(definition for _, definition in sorted(definitions)), tuple(sorted(found)))


def _tables_of_view(definition: str, key: RelationKey) -> list[RelationKey] | None:
    """Return the relations a view reads; None for files, functions, and what changes by itself."""
    try:
        tree = parse_one(definition, "duckdb")
    except UnreadableSqlError:
        return None
    query = tree.expression if isinstance(tree, exp.Create) else tree
    if query is None or volatility(query.sql(dialect="duckdb"), "duckdb").expiry is not None:
        return None
    ctes = {cte.alias.lower() for cte in query.find_all(exp.CTE)}
    found = []
    for table in query.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or "." in table.name or "/" in table.name:
            return None
        if not table.db and table.name.lower() in ctes:
            continue
        found.append(((table.catalog or key[0]).lower(), (table.db or key[1]).lower(), table.name.lower()))
    return found
