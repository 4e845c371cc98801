"""What is in a PostgreSQL database: tables, views, their columns, and what views read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from psycopg import Connection

from sao_dagster.core.models import Relation
from sao_dagster.sql.volatile import volatility
from sao_dagster.warehouses.base import Catalog, RelationInfo, RelationKey
from sao_dagster.warehouses.postgres_builds import BuildIds

_OURS = "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_t%%'"
_KEY = "lower(current_database()), lower(n.nspname), lower(c.relname)"
_COLUMNS = (
    "(select array_agg(array[a.attname::text, format_type(a.atttypid, a.atttypmod)] order by a.attnum) from pg_attribute a "
    "where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)"
)


def read_catalog(connection: Connection[Any], build_ids: BuildIds) -> Catalog:
    """Return all tables and views; foreign tables, materialized views and partitioned tables count as tables."""
    _plain_names(connection)
    kept = build_ids.exists(connection)
    join = f"left join {build_ids.table} b on (b.schema_name, b.relation_name, b.relation_oid) = (n.nspname, c.relname, c.oid)"
    rows = connection.execute(
        f"select {_KEY}, c.relkind = 'v', {_COLUMNS}, case when c.relkind = 'v' then pg_get_viewdef(c.oid) end, "
        f"{'b.build_id' if kept else 'null'} from pg_class c join pg_namespace n on n.oid = c.relnamespace {join if kept else ''} "
        f"where c.relkind in ('r', 'p', 'f', 'm', 'v') and {_OURS.replace('%%', '%')}".encode()
    )
    return {
        (database, schema, name): RelationInfo(
            is_view=is_view,
            columns=tuple((column, kind) for column, kind in columns or ()),
            definition=definition,
            build_id=build_id,
        )
        for database, schema, name, is_view, columns, definition, build_id in rows
    }


def columns_of(connection: Connection[Any], table: str) -> tuple[tuple[str, str], ...]:
    """Return names as written and types of a table or view, in order."""
    row = connection.execute(
        f"select {_COLUMNS} from pg_class c where c.oid = %s::regclass".encode(), [table]
    ).fetchone()
    return tuple((column, kind) for column, kind in (row[0] or ())) if row else ()


def view_definition(connection: Connection[Any], view: Relation) -> str | None:
    """Return the SQL of a view as the catalog keeps it."""
    _plain_names(connection)
    row = connection.execute("select pg_get_viewdef(%s::regclass)", [str(view)]).fetchone()
    return row[0] if row else None


def tables_below(
    connection: Connection[Any], views: Collection[RelationKey]
) -> dict[RelationKey, tuple[RelationKey, ...]]:
    """Return the tables that each view shows; no entry where that cannot be told: functions, and what changes by itself."""
    if not views:
        return {}
    _plain_names(connection)
    rows = connection.execute(
        f"""
        with recursive reads as (
            select array[{_KEY}] as view, c.oid, true as is_view
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where (n.nspname, c.relname) in (select n2.nspname, c2.relname from pg_class c2 join pg_namespace n2 on n2.oid = c2.relnamespace
                where c2.relkind = 'v' and (lower(n2.nspname), lower(c2.relname)) in (select * from unnest(%s::text[], %s::text[])))
            union
            select reads.view, c.oid, c.relkind = 'v'
            from reads join pg_rewrite r on r.ev_class = reads.oid and reads.is_view
            join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
            join pg_class c on c.oid = d.refobjid and c.oid <> reads.oid
        )
        select reads.view, array[{_KEY}], reads.is_view, case when reads.is_view then pg_get_viewdef(reads.oid) end,
            reads.is_view and exists (
                select 1 from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                where r.ev_class = reads.oid and d.refclassid = 'pg_proc'::regclass)
        from reads join pg_class c on c.oid = reads.oid join pg_namespace n on n.oid = c.relnamespace
        """.encode(),
        [[view[1] for view in views], [view[2] for view in views]],
    ).fetchall()
    found: dict[RelationKey, dict[RelationKey, None]] = {}
    opaque = set()
    for view, name, is_view, definition, calls_functions in rows:
        below = found.setdefault(tuple(view), {})
        if not is_view:
            below[tuple(name)] = None
        elif calls_functions or volatility(definition, "postgres").expiry is not None:
            opaque.add(tuple(view))
    return {view: tuple(sorted(tables)) for view, tables in found.items() if view not in opaque}


def _plain_names(connection: Connection[Any]) -> None:
    """Let definitions name the schema of everything, whatever the search path of this session is."""
    connection.execute("set local search_path = ''")
