"""What is in a PostgreSQL database: tables, views, their columns, and what views read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from psycopg import Connection

from sao_dagster.core.inputs import InputKind
from sao_dagster.core.relations import RelationKey
from sao_dagster.sql.reads import undeclared_reads
from sao_dagster.sql.volatile import volatility
from sao_dagster.warehouses.postgres.build_ids import NAME, BuildIds
from sao_dagster.warehouses.postgres.made import (
    FIRST_OF_USERS,
    MADE,
    MADE_CAST,
    MADE_OPERATOR,
    OBJECTS,
    REPLACED,
    of_extension,
)
from sao_dagster.warehouses.postgres.settings import process_settings
from sao_dagster.warehouses.protocol import Catalog, Constraints, RelationInfo
from sao_dagster.warehouses.shared.contents import ViewSources

_KEY = "current_database()::text, n.nspname::text, c.relname::text"
_TABLES = ("r", "p", "f", "m")  # kinds of relations that hold rows
_COLUMNS = (
    "(select array_agg(array[a.attname::text, format_type(a.atttypid, a.atttypmod)] order by a.attnum) from pg_attribute a "
    "where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)"
)


def read_catalog(connection: Connection[Any], build_ids: BuildIds, only: RelationKey | None = None) -> Catalog:
    """Return all tables and views but those of build ids, or one; foreign tables, materialized views and partitioned tables count as tables.

    Not how views are defined, since to ask for that would lock what they read. What somebody did to a view shows in its build id.
    """
    built = build_ids.everything(connection)
    rows = connection.execute(
        f"select {_KEY}, c.relkind = 'v', {_COLUMNS} from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        f"where c.relkind in ('r', 'p', 'f', 'm', 'v') and n.nspname not in ('pg_catalog', 'information_schema') "
        f"and n.nspname !~ '^pg_t' and c.relname <> '{NAME}' "
        f"and (%(schema)s::text is null or (n.nspname, c.relname) = (%(schema)s, %(name)s))".encode(),
        {"schema": only and only[1], "name": only and only[2]},
    )
    return {
        (database, schema, name): RelationInfo(
            is_view=is_view,
            columns=tuple((column, kind) for column, kind in columns or ()),
            build_id=built.get((schema, name)),
        )
        for database, schema, name, is_view, columns in rows
    }


def read_constraints(connection: Connection[Any]) -> Constraints:
    """Return what the database enforces: not null, and unique indexes over whole columns and all rows; and what users redefined.

    What an extension brings for types of its own takes the place of nothing. Another server's rows in a partition may be anything. A record of nulls is no null to a constraint, and is one to
    `is null`.
    """
    tables = (
        f"select c.oid, array[{_KEY}] as key from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        f"where (c.relkind = 'r' and not c.relhassubclass) or (c.relkind = 'p' and not exists (select from pg_partition_tree(c.oid) as part "
        f"join pg_class f on f.oid = part.relid where f.relkind = 'f'))"
    )
    columns = "array_agg(a.attname::text order by a.attnum)"
    not_null = connection.execute(
        f"select t.key, {columns} from ({tables}) t join pg_attribute a on a.attrelid = t.oid "
        f"join pg_type y on y.oid = a.atttypid left join pg_type b on b.oid = y.typbasetype "
        f"where a.attnotnull and a.attnum > 0 and not a.attisdropped and 'c' not in (y.typtype, coalesce(b.typtype, 'b')) "
        f"group by t.key".encode()
    ).fetchall()
    unique: dict[RelationKey, list[tuple[str, ...]]] = {}
    for key, names in connection.execute(
        f"select t.key, {columns} from ({tables}) t join pg_index i on i.indrelid = t.oid "
        f"join pg_attribute a on a.attrelid = t.oid and a.attnum = any(i.indkey[0:i.indnkeyatts - 1]) "
        f"where i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null "
        f"group by t.key, i.indexrelid".encode()
    ).fetchall():
        unique.setdefault(tuple(key), []).append(tuple(names))
    collations = connection.execute(
        b"select exists (select 1 from pg_attribute a join pg_collation c on c.oid = a.attcollation where not c.collisdeterministic)"
    ).fetchone()
    functions = connection.execute(
        f"select distinct lower(p.proname) from pg_proc p where {MADE} and not ({of_extension('pg_proc', 'p')} "
        f"and exists (select from unnest(p.proargtypes::oid[]) t where t >= {FIRST_OF_USERS}))".encode()
    ).fetchall()
    overrides = connection.execute(
        f"select exists (select from pg_operator o where {MADE_OPERATOR}) or exists (select from pg_cast c where {MADE_CAST}) "
        f"or exists (select from pg_proc p where {REPLACED})".encode()
    ).fetchone()
    return Constraints(
        {tuple(key): tuple(names) for key, names in not_null},
        {key: tuple(sorted(found)) for key, found in unique.items()},
        bool(collations and collations[0]),
        frozenset(name for (name,) in functions),
        bool(overrides and overrides[0]),
    )


def sizes(connection: Connection[Any], relations: Collection[RelationKey]) -> dict[RelationKey, int]:
    """Return how many bytes relations take, with their indexes."""
    wanted = [[each[1] for each in relations], [each[2] for each in relations]]
    rows = connection.execute(
        f"select array[{_KEY}], pg_total_relation_size(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where (n.nspname::text, c.relname::text) in (select * from unnest(%s::text[], %s::text[]))".encode(),
        wanted,
    ).fetchall()
    return {tuple(key): int(size) for key, size in rows}


def columns_of(connection: Connection[Any], table: str) -> tuple[tuple[str, str], ...]:
    """Return names as written and types of a table or view, in order; none where it is not there."""
    row = connection.execute(
        f"select {_COLUMNS} from pg_class c where c.oid = to_regclass(%s)".encode(), [table]
    ).fetchone()
    return tuple((column, kind) for column, kind in (row[0] or ())) if row else ()


def _is_opaque(definition: str) -> bool:
    """Return whether a view shows what its tables do not say: the server's catalog, a sequence, what changes by itself.

    Args:
        definition: With the schema of all that is not the server's own.
    """
    changes = volatility(definition, "postgres")
    reads = undeclared_reads(definition, "postgres")
    own = any(
        each.kind is not InputKind.TABLE or each.parts[0] == "pg_catalog" or len(each.parts) == 1 for each in reads
    )
    return own or changes.expiry is not None or bool(changes.columns)


_READS = f"""
    with recursive reads as (
        select array[{_KEY}] as view, c.oid, c.relkind
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind = 'v' and (n.nspname::text, c.relname::text) in (select * from unnest(%s::text[], %s::text[]))
        union
        select reads.view, c.oid, c.relkind
        from reads join pg_rewrite r on r.ev_class = reads.oid and reads.relkind = 'v'
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
        join pg_class c on c.oid = d.refobjid and c.oid <> reads.oid
    )
"""
"""What views read, at any depth, and they themselves: `reads`, by the schemas and by the names of the views."""


def behind_views(
    connection: Connection[Any], relations: Collection[RelationKey]
) -> dict[RelationKey, set[RelationKey]]:
    """Return the tables and views that the views among some relations read, whatever else they do."""
    rows = connection.execute(
        f"{_READS} select reads.view, array[{_KEY}] from reads join pg_class c on c.oid = reads.oid "
        "join pg_namespace n on n.oid = c.relnamespace".encode(),
        [[each[1] for each in relations], [each[2] for each in relations]],
    ).fetchall()
    found: dict[RelationKey, set[RelationKey]] = {}
    for view, name in rows:
        found.setdefault(tuple(view), set()).add(tuple(name))
    return {view: names - {view} for view, names in found.items()}


def view_sources(connection: Connection[Any], views: Collection[RelationKey]) -> dict[RelationKey, ViewSources]:
    """Return what each view shows; no entry where that cannot be told: functions, and what changes by itself."""
    if not views:
        return {}
    connection.execute("set local search_path = ''")  # so that definitions name the schema of everything
    rows = connection.execute(
        f"""
        {_READS}
        select reads.view, array[{_KEY}], reads.relkind, case when reads.relkind = 'v' then pg_get_viewdef(reads.oid) end,
            (select string_agg(o.definition, ' ' order by o.definition) from pg_rewrite r
                join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                join ({OBJECTS}) o on o.class = d.refclassid and o.oid = d.refobjid where r.ev_class = reads.oid),
            reads.relkind = 'v' and exists (
                select 1 from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                where r.ev_class = reads.oid and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass))
        from reads join pg_class c on c.oid = reads.oid join pg_namespace n on n.oid = c.relnamespace
        """.encode(),
        [[view[1] for view in views], [view[2] for view in views]],
    ).fetchall()
    tables: dict[RelationKey, set[RelationKey]] = {}
    definitions: dict[RelationKey, list[tuple[RelationKey, str]]] = {}
    opaque = set()
    for view, name, kind, definition, objects, calls in rows:
        key, below = tuple(view), tuple(name)
        if kind != "v":
            if kind not in _TABLES:
                opaque.add(key)
            tables.setdefault(key, set()).add(below)
            continue
        definitions.setdefault(key, []).append((below, definition if objects is None else f"{definition} {objects}"))
        if calls or _is_opaque(definition):
            opaque.add(key)
    settings = process_settings(connection)
    return {
        key: ViewSources(
            tuple(definition for _, definition in sorted(found)), tuple(sorted(tables.get(key, ())))
        ).under(settings)
        for key, found in definitions.items()
        if key not in opaque
    }
