"""What the columns of a table in PostgreSQL are beyond the names of their types: collations, and what somebody's own types are made of.

The text of a value says neither how it compares, nor which of two fields it is in, nor where a label stands in an enum; and
`alter type` may change what a value is shown as without a trace at the table.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from psycopg import Connection

from sao_dagster.core.relations import RelationKey
from sao_dagster.warehouses.postgres.made import FIRST_OF_USERS, extension_of
from sao_dagster.warehouses.postgres.plain_text import plain_text

_COLUMNS = "a.attnum > 0 and not a.attisdropped"
_SPECIAL = f"""
    select distinct n.nspname, c.relname, c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid join pg_type t on t.oid = a.atttypid
    where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))
    and {_COLUMNS} and (t.oid >= {FIRST_OF_USERS} or a.attcollation <> t.typcollation)
""".encode()
"""Few tables have such columns, and to ask what they are takes longer."""


def _collation(oid: str) -> str:
    return (
        "(select jsonb_build_array(n.nspname, to_jsonb(l) - array['oid', 'collnamespace', 'collowner']) "
        f"from pg_collation l join pg_namespace n on n.oid = l.collnamespace where l.oid = {oid})"
    )


_MEANING = f"""
        with recursive used (type) as (
            select a.atttypid from pg_attribute a where a.attrelid = %(table)s and {_COLUMNS}
            union
            select below.type from used join pg_type t on t.oid = used.type cross join lateral (
                select t.typbasetype union all select t.typelem union all
                select a.atttypid from pg_attribute a where a.attrelid = t.typrelid and {_COLUMNS} union all
                select r.rngsubtype from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
            ) as below (type) where below.type <> 0 and t.oid >= {FIRST_OF_USERS}
        )
        select string_agg(each, ';' order by each) from (
            select concat_ws(' ', format_type(t.oid, null), t.typtype, format_type(nullif(t.typbasetype, 0), t.typtypmod),
                {_collation("t.typcollation")}, {extension_of("pg_type", "t")},
                (select jsonb_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid),
                (select jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), {_collation("a.attcollation")})
                    order by a.attnum) from pg_attribute a where a.attrelid = t.typrelid and {_COLUMNS}),
                (select jsonb_build_array(format_type(r.rngsubtype, null), c.opcname, {_collation("r.rngcollation")})
                    from pg_range r join pg_opclass c on c.oid = r.rngsubopc where r.rngtypid = t.oid)) as each
            from used join pg_type t on t.oid = used.type where t.oid >= {FIRST_OF_USERS} and t.typelem = 0
            union all
            select jsonb_build_array(a.attname, {_collation("a.attcollation")})::text
            from pg_attribute a join pg_type t on t.oid = a.atttypid
            where a.attrelid = %(table)s and {_COLUMNS} and a.attcollation <> t.typcollation
        ) as known
""".encode()


def meanings(connection: Connection[Any], tables: Collection[RelationKey]) -> dict[RelationKey, str]:
    """Return what the types of columns are, by table; no entry where their names say all.

    No numbers of objects are in it, so that types that were made anew as they were, or in another database, are the same.
    """
    rows = connection.execute(_SPECIAL, [[table[1] for table in tables], [table[2] for table in tables]]).fetchall()
    if not rows:
        return {}
    found = {}
    with plain_text(connection):  # types are written with their schemas
        for schema, name, number in rows:
            [meaning] = connection.execute(_MEANING, {"table": number}).fetchone() or ("",)
            found[schema, name] = str(meaning)
    return {table: found[table[1:]] for table in tables if table[1:] in found}
