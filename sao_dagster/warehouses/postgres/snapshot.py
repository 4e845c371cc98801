"""What a build reads and nothing counts, read once more in the build's own snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import Connection

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.postgres.build_ids import BuildIds
from sao_dagster.warehouses.postgres.catalog import read_catalog, view_sources
from sao_dagster.warehouses.postgres.content import read_contents
from sao_dagster.warehouses.shared.contents import ContentReader, CountedTable

SECONDS = 600.0  # after which no other table is begun

# a server that is made of several, or is only like PostgreSQL, has no snapshot that is known of
_HAS_SNAPSHOTS = "select version() ~ '^PostgreSQL [0-9]+\\.[0-9]+ ' and not exists (select from pg_extension where extname = 'citus')"
_PLACES = """
    with recursive held as (
        select n.nspname, c.relname, c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))
        union
        select held.nspname, held.relname, i.inhrelid from held join pg_inherits i on i.inhparent = held.oid
    )
    select held.nspname, held.relname, bool_and(c.relkind <> 'f'), bool_and(c.relkind <> 'f' or p.proname is not null)
    from held join pg_class c on c.oid = held.oid
    left join pg_foreign_table f on f.ftrelid = c.oid left join pg_foreign_server s on s.oid = f.ftserver
    left join pg_foreign_data_wrapper w on w.oid = s.srvfdw
    left join pg_proc p on p.oid = w.fdwhandler and p.proname = 'postgres_fdw_handler' and p.probin = '$libdir/postgres_fdw'
    group by held.nspname, held.relname
"""


def begin_snapshot(connection: Connection[Any]) -> None:
    """Let all that this transaction reads be of one moment; to be called before it reads anything."""
    connection.execute("set transaction isolation level repeatable read")


def read_in_snapshot(
    connection: Connection[Any], build_ids: BuildIds, unwatched: Mapping[Relation, Collection[str]]
) -> dict[Relation, DataVersion | None]:
    """Return the content versions of relations in the snapshot of this transaction; None where it has none of them.

    Tables of another PostgreSQL have one, since postgres_fdw keeps one transaction, at repeatable read, from the first query to the end
    (its manual, "Transaction Management"); by a view that is perhaps another one, of the rights of the view's owner. Other wrappers promise nothing.
    """
    row = connection.execute(_HAS_SNAPSHOTS.encode()).fetchone()
    if row is None or not row[0]:
        return dict.fromkeys(unwatched)
    catalog = read_catalog(connection, build_ids)
    below = view_sources(
        connection, [each.key for each in unwatched if each.key in catalog and catalog[each.key].is_view]
    )
    tables = {each.key for each in unwatched}.union(*(shown.tables for shown in below.values()))
    places = _places(connection, tables)

    def read(wanted: Sequence[CountedTable], _: float) -> dict[CountedTable, DataVersion]:
        try:
            with connection.transaction():  # or an error would be that of the build
                return read_contents(connection, catalog, wanted)
        except psycopg.Error as error:
            raise WarehouseError(str(error)) from error

    found = ContentReader(catalog, lambda relation: below.get(relation.key), read).versions(unwatched, SECONDS)

    def is_certain(relation: Relation) -> bool:
        shown = below.get(relation.key)
        if shown is None:
            return places.get(relation.key, (False, False))[1]
        return all(places.get(table, (False, False))[0] for table in shown.tables)

    return {relation: version if is_certain(relation) else None for relation, version in found.items()}


def _places(connection: Connection[Any], tables: Collection[RelationKey]) -> dict[RelationKey, tuple[bool, bool]]:
    """Return by table whether all its rows are on this server, and whether they are here or on another PostgreSQL."""
    rows = connection.execute(
        _PLACES.encode(), [[table[1] for table in tables], [table[2] for table in tables]]
    ).fetchall()
    found = {(schema, name): (here, known) for schema, name, here, known in rows}
    return {table: found[table[1:]] for table in tables if table[1:] in found}
