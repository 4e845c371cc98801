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
from sao_dagster.warehouses.postgres.column_types import meanings
from sao_dagster.warehouses.postgres.made import FIRST_OF_USERS
from sao_dagster.warehouses.postgres.view_rules import OF_VIEW, READ_NOW

_COLUMNS = (
    "(select string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attmissingval::text), ',' order by a.attnum) "
    "from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)"
)
# counts begin anew after a crash of the server, and where somebody resets them
_COUNTED_SINCE = "(select stats_reset from pg_stat_archiver), (select stats_reset from pg_stat_database where datname = current_database())"
_QUIET = "30 seconds"
# a server that is made of several counts in each of them what went by it, and a distributed table has its rows elsewhere
_COUNTS = """current_setting('track_counts')::boolean and not pg_is_in_recovery() and version() ~ '^PostgreSQL [0-9]+\\.[0-9]+ '
    and not exists (select from pg_extension where extname = 'citus') and not exists (
    select from pg_db_role_setting s where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
    and array_to_string(s.setconfig, ' ') ilike '%%track_counts%%')"""
_ALL_COUNTED = f"""
    select concat_ws(' ', pg_postmaster_start_time(), pg_conf_load_time(), pg_stat_get_tuples_inserted(s), pg_stat_get_tuples_updated(s),
        pg_stat_get_tuples_deleted(s)), {_COUNTS} and not exists (
        select from pg_stat_activity a where a.pid <> pg_backend_pid() and a.backend_type is distinct from 'autovacuum worker'
        and a.datid = (select oid from pg_database where datname = current_database())
        and (a.state is distinct from 'idle' or a.state_change is null or a.state_change > clock_timestamp() - interval '{_QUIET}'))
    from (select 'pg_db_role_setting'::regclass::oid) as settings (s)
""".encode()
_TOLD_BY_WRITES = f"""
    select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_am m on m.oid = c.relam
    where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[])) and m.amname = 'heap'
    and c.relkind = 'r' and c.relpersistence = 'p' and not c.relhassubclass and not c.relrowsecurity and not exists (
        select from pg_attribute a join pg_type t on t.oid = a.atttypid where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        and (t.oid >= {FIRST_OF_USERS} or t.typtype not in ('b', 'r', 'm') or t.typname ~ '^_?(reg|aclitem|pg_)' or a.attgenerated = 'v'))
""".encode()
_WAYS = ("inserted", "updated", "deleted")
_WRITTEN = ", ".join(f"pg_stat_get_tuples_{way}(c.oid)" for way in _WAYS)
_WRITTEN_SOON = ", ".join(f"pg_stat_get_tuples_{way}(c.oid) + pg_stat_get_xact_tuples_{way}(c.oid)" for way in _WAYS)


def movements(connection: Connection[Any], tables: Collection[RelationKey]) -> dict[RelationKey, str]:
    """Return a token by table that differs whenever it may hold something else; none for tables on other servers, for views, and where the server does not count.

    Rows of partitions and of children are rows of the table.
    """
    connection.execute("select pg_stat_clear_snapshot()")
    return _tokens(connection, tables, _WRITTEN)


def count_from_here(connection: Connection[Any], table: RelationKey) -> None:
    """Let this transaction know the counts of a table as they are now, whatever is written to it from here on; for `movement_left`."""
    if connection.info.server_version >= 150000:  # older servers do that anyway
        connection.execute("set local stats_fetch_consistency = 'cache'")
    _tokens(connection, [table], _WRITTEN)


def movement_left(connection: Connection[Any], table: RelationKey) -> str | None:
    """Return what `movements` gives of a table as soon as this transaction has ended, if nobody else has written to it since `count_from_here`."""
    return _tokens(connection, [table], _WRITTEN_SOON).get(table)


def _tokens(connection: Connection[Any], tables: Collection[RelationKey], written: str) -> dict[RelationKey, str]:
    rows = connection.execute(
        f"""
        with recursive held as (
            select n.nspname, c.relname, c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[]))
            union
            select held.nspname, held.relname, i.inhrelid from held join pg_inherits i on i.inhparent = held.oid
        )
        select held.nspname, held.relname, array_agg(concat_ws(':', c.oid, pg_relation_filenode(c.oid), {written}, {_COLUMNS}) order by c.oid),
            concat_ws(':', {_COUNTED_SINCE})
        from held join pg_class c on c.oid = held.oid group by held.nspname, held.relname
        having bool_and(c.relkind in ('r', 'p', 'm')) and {_COUNTS}
        """.encode(),
        [[table[1] for table in tables], [table[2] for table in tables]],
    ).fetchall()
    special = meanings(connection, tables)
    found = {(schema, name): [parts, since] for schema, name, parts, since in rows}
    return {table: digest([*found[table[1:]], special.get(table)]) for table in tables if table[1:] in found}


def identities(connection: Connection[Any], relations: Collection[RelationKey]) -> dict[RelationKey, str]:
    """Return a token for each table and view that differs once it is made anew, truncated, has other columns or another query, or reads what has another name now.

    It is seen with the transaction that changes it, unlike counts.
    """
    rows = connection.execute(
        f"""
        select n.nspname, c.relname, concat_ws(':', c.relkind, c.oid, pg_relation_filenode(c.oid), {_COLUMNS},
            (select concat_ws(':', md5(w.ev_action::text), {READ_NOW}) from pg_rewrite w where {OF_VIEW}))
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where (n.nspname, c.relname) in (select * from unnest(%s::text[], %s::text[])) and c.relkind in ('r', 'p', 'm', 'v')
        """.encode(),
        [[key[1] for key in relations], [key[2] for key in relations]],
    ).fetchall()
    found = {(schema, name): digest(token) for schema, name, token in rows}
    return {key: found[key[1:]] for key in relations if key[1:] in found}


def content_tokens(connection: Connection[Any], tables: Collection[RelationKey]) -> tuple[dict[RelationKey, str], bool]:
    """Return a token for each table whose content is told by what is written to it, and whether all that was written is counted.

    It is where nobody else is connected to the database but those that have done nothing for `_QUIET`: what they have written was counted at
    the latest ten seconds after they fell idle, and what has gone was counted before it went. A server that has started anew, and one that
    another one writes to, say nothing, nor do settings that are other ones since. Not told by writes are what the text of a value takes from the catalog (labels of types, names of roles),
    rows that are hidden by a policy, rows of children, what a crash empties, and other ways to store rows than the server's own.

    Whoever switches `track_counts` off in a session of a superuser's writes without being counted.
    """
    connection.execute("select pg_stat_clear_snapshot()")
    row = connection.execute(_ALL_COUNTED).fetchone()  # before the counts are read
    started, is_settled = row or ("", False)
    plain = connection.execute(
        _TOLD_BY_WRITES, [[table[1] for table in tables], [table[2] for table in tables]]
    ).fetchall()
    told = {tuple(each) for each in plain}
    found = movements(connection, [table for table in tables if table[1:] in told])
    return {table: digest([token, str(started)]) for table, token in found.items()}, bool(is_settled)


def show_at_once(connection: Connection[Any]) -> None:
    """Let what this transaction writes be counted as soon as it has ended; older servers do that in their own time."""
    if connection.info.server_version >= 150000:
        connection.execute("select pg_stat_force_next_flush()")
