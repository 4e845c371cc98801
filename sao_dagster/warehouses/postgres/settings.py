"""What is set on a connection to PostgreSQL that may change results."""

from __future__ import annotations

from sao_dagster.core.connection import ConnectionSettings
from sao_dagster.sql.harmless_settings import is_harmless_setting
from sao_dagster.warehouses.postgres.made import REPLACED, TEXT_SEARCH, TEXT_SEARCH_ALTERED
from sao_dagster.warehouses.postgres.server import Connection

DECIDES_NOTHING = (
    "Autovacuum", "Client Connection Defaults / Shared Library Preloading", "Connections and Authentication / %", "Error Handling",
    "File Locations", "Lock Management", "Preset Options", "Query Tuning / %", "Replication / %", "Reporting and Logging / %",
    "Resource Usage / %", "Statistics / %", "Write-Ahead Log / %",
)  # fmt: skip
"""Groups of settings that change no result, as patterns of `pg_settings.category`: what a server, its memory and its planner need."""
_FIXED = ("lc_collate", "lc_ctype")
"""Of the preset options those that decide what comes out."""
_OF_THIS_CONNECTION = ("transaction_isolation",)
_OF_CLIENTS = ("datestyle", "timezone")
"""Those that a client takes from its environment (`PGDATESTYLE`, `PGTZ`), in place of what the server has."""
_OF_PROFILES = ("user", "database", "database user")
"""Where a setting is from that is nobody's environment."""


def connection_settings(connection: Connection, schema: str) -> ConnectionSettings:
    """Return the settings of a new connection.

    Those that have their default are left out, so that a server that knows more of them is no other one. Where there are policies for
    rows, the role counts, and in the search path the schema that is called like the role, where there is one. Settings of the user's own
    (`shop.currency`) are known where a role or the database has them. Functions of the server's own that somebody replaced count as one more
    setting, since operators, casts and aggregates call them by no name. So do text search configurations, where that which is taken where none
    is named is one of the user's own, or where one of the server's own was altered.

    Args:
        connection: The connection.
        schema: The default schema of models, which is there as soon as something is built.
    """
    rows = connection.execute(
        f"""
        select lower(name), setting, source from pg_settings
        where (category not like all(%(groups)s) or name = any(%(fixed)s)) and setting is distinct from boot_val and name <> 'search_path'
        union all
        select 'search_path', path, 'user' from (select coalesce(string_agg(named, ', ' order by place), '') from (
            select place, case when is_user then quote_ident(current_user) else trim(part) end
            from unnest(string_to_array(current_setting('search_path'), ',')) with ordinality as parts (part, place)
                cross join lateral (select trim(part, ' "') = '$user') as kinds (is_user)
            where not is_user or current_user = %(schema)s or exists (select from pg_namespace where nspname = current_user)
        ) as parts (place, named)) as found (path) where path <> 'public'
        union all
        select 'pg_catalog', md5(string_agg((to_jsonb(p) - 'proacl')::text, ' ' order by p.oid)), 'user'
        from pg_proc p where {REPLACED} having count(*) > 0
        union all
        select 'text search', md5(string_agg(definition, ' ' order by definition)), 'user' from ({TEXT_SEARCH}) as searched
        where current_setting('default_text_search_config') not like 'pg_catalog.%%' or exists ({TEXT_SEARCH_ALTERED})
        union all
        select 'role', current_user, 'user' where exists (select from pg_class where relrowsecurity)
        union all
        (select distinct on (name) name, value, 'user'
        from pg_db_role_setting s cross join unnest(s.setconfig) as given
            cross join lateral (select split_part(given, '=', 1), substr(given, strpos(given, '=') + 1)) as parts (name, value)
        where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
            and s.setrole in (0, (select oid from pg_roles where rolname = session_user)) and name like '%%.%%'
        order by name, s.setrole <> 0 desc, s.setdatabase <> 0 desc)
        """.encode(),
        {"groups": list(DECIDES_NOTHING), "fixed": list(_FIXED), "schema": schema},
    ).fetchall()
    given: dict[str, str] = {}
    process: dict[str, str] = {}
    for name, value, source in rows:
        if name in _OF_CLIENTS and source not in _OF_PROFILES:
            process[name] = value
        elif name not in _OF_THIS_CONNECTION and not is_harmless_setting(name):
            given[name] = value
    return ConnectionSettings(given, process)


def process_settings(connection: Connection) -> ConnectionSettings:
    """Return those settings of a connection alone that come from the process, or from the server's own files."""
    rows = connection.execute(
        "select lower(name), setting from pg_settings where lower(name) = any(%s) and setting is distinct from boot_val and source <> all(%s)",
        [list(_OF_CLIENTS), list(_OF_PROFILES)],
    ).fetchall()
    return ConnectionSettings(process=dict(rows))
