"""Databases that are open beside one's own, and which others may write to: what shows that, and what is read of them by a build."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import duckdb

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.relations import Relation, folded
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.duckdb.attached import is_file
from sao_dagster.warehouses.duckdb.content import content_sql, content_version
from sao_dagster.warehouses.protocol import Catalog
from sao_dagster.warehouses.shared.contents import ContentReader, CountedTable, ViewSources
from sao_dagster.warehouses.shared.files import file_stamp
from sao_dagster.warehouses.shared.names import sql_name

SECONDS = 600.0  # after which no other table is begun

_WITH_SNAPSHOTS = ("duckdb", "ducklake", "postgres")
"""Of which a transaction shows one moment: tried with each. The tables of SQLite are read by connections of their own; of others it is not known."""

DATABASES = "select database_name, type, path from duckdb_databases()"
Databases = Iterable[tuple[str, str, str | None]]
"""Names, types and paths of what is open, as `DATABASES` gives them."""


def tokens_of(databases: Databases) -> dict[str, str]:
    """Return a token by database that differs whenever it may have been written to; none of what shows nothing.

    A file of DuckDB's own is nobody else's to write for now. What is committed to a file of SQLite's is written to it, or to its log.
    """
    found: dict[str, str] = {}
    for name, kind, path in databases:
        if kind == "duckdb" and is_file(path or ""):
            found[folded(name)] = "own"
        elif kind == "sqlite" and path:
            stamps = [file_stamp(path + suffix) for suffix in ("", "-journal", "-wal")]
            if stamps[0] and None not in stamps:
                written: list[JSON] = [
                    stamp if stamp and stamp[0] else [] for stamp in stamps
                ]  # a log without a byte is none
                found[folded(name)] = digest(written)
    return found


def read_contents(
    cursor: duckdb.DuckDBPyConnection, catalog: Catalog, tables: Sequence[CountedTable]
) -> dict[CountedTable, DataVersion]:
    """Return the content versions of tables, by one statement; none for those whose columns have no version."""
    contents = {
        number: content_sql(sql_name(key), catalog[key].columns or (), omitted)
        for number, (key, omitted) in enumerate(tables)
    }
    queries = [f"select {number} as n, * from ({sql})" for number, sql in contents.items() if sql]
    rows = cursor.execute(" union all ".join(queries)).fetchall() if queries else []
    found = {}
    for number, *row in rows:
        key, omitted = tables[number]
        version = content_version(row, catalog[key].columns or (), omitted)
        if version is not None:
            found[tables[number]] = version
    return found


def read_in_snapshot(
    cursor: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    shown: Callable[[Relation], ViewSources | None],
    unwatched: Mapping[Relation, Collection[str]],
) -> dict[Relation, DataVersion | None]:
    """Return the content versions of relations in the transaction of a cursor; None for what does not show one moment in it.

    Args:
        cursor: Of a transaction, that of a build.
        catalog: What is there.
        shown: Returns what a view shows.
        unwatched: The relations, with the columns that do not count.
    """
    databases: Databases = cursor.execute(DATABASES).fetchall()
    with_snapshots = {folded(name) for name, kind, _ in databases if kind in _WITH_SNAPSHOTS}

    def read(tables: Sequence[CountedTable], _: float) -> dict[CountedTable, DataVersion]:
        if not all(key[0] in with_snapshots for key, _ in tables):
            raise WarehouseError("there is no snapshot")  # so that each is read alone
        return read_contents(cursor, catalog, tables)

    found = ContentReader(catalog, shown, read).versions(unwatched, SECONDS)
    return {each: None if version is None or version.is_of_files else version for each, version in found.items()}
