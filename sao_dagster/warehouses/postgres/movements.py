"""What shows that a table was written to or altered: its file, its columns, and how many rows were ever written in it.

The server counts rows when a transaction ends, and shows the counts at once where the connection is closed or was quiet for a
second, else after ten seconds, at most a minute (`pgstat_report_stat` in its sources). Everything else shows with the commit.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from psycopg import Connection

from sao_dagster.core.hashing import digest
from sao_dagster.core.relations import RelationKey

_COLUMNS = (
    "(select string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attmissingval::text), ',' order by a.attnum) "
    "from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)"
)
# counts begin anew after a crash of the server, and where somebody resets them
_COUNTED_SINCE = "(select stats_reset from pg_stat_archiver), (select stats_reset from pg_stat_database where datname = current_database())"
_WRITTEN = ", ".join(f"pg_stat_get_tuples_{what}(c.oid)" for what in ("inserted", "updated", "deleted"))


def movements(connection: Connection[Any], tables: Collection[RelationKey]) -> dict[RelationKey, str]:
    """Return a token by table that differs whenever it may hold something else; none for tables on other servers, and for views.

    Rows of partitions and of children are rows of the table.
    """
    connection.execute("select pg_stat_clear_snapshot()")
    rows = connection.execute(
        f"""
        with recursive held as (
            select n.nspname, c.relname, c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))
            union
            select held.nspname, held.relname, i.inhrelid from held join pg_inherits i on i.inhparent = held.oid
        )
        select held.nspname, held.relname, array_agg(concat_ws(':', c.oid, pg_relation_filenode(c.oid), {_WRITTEN}, {_COLUMNS}) order by c.oid),
            concat_ws(':', {_COUNTED_SINCE})
        from held join pg_class c on c.oid = held.oid group by held.nspname, held.relname
        having bool_and(c.relkind in ('r', 'p', 'm'))
        """.encode(),
        [[table[1] for table in tables], [table[2] for table in tables]],
    ).fetchall()
    found = {(schema, name): digest([parts, since]) for schema, name, parts, since in rows}
    return {table: found[table[1:]] for table in tables if table[1:] in found}


def show_at_once(connection: Connection[Any]) -> None:
    """Let what this transaction writes be counted as soon as it has ended; older servers do that in their own time."""
    if connection.info.server_version >= 150000:
        connection.execute("select pg_stat_force_next_flush()")
