"""What is set on a connection to PostgreSQL that may change results."""

from __future__ import annotations

from sao_dagster.core.connection import ConnectionSettings
from sao_dagster.sql.session import is_harmless_setting
from sao_dagster.warehouses.postgres.server import Connection

# https://www.postgresql.org/docs/current/runtime-config.html, of all settings those that decide how values are read, written, compared and
# found. What the planner, the memory and the log have for settings changes no result.
_COUNTED = (
    "array_nulls", "backslash_quote", "bytea_output", "datestyle", "default_text_search_config", "default_with_oids", "extra_float_digits",
    "intervalstyle", "lc_collate", "lc_ctype", "lc_monetary", "lc_numeric", "lc_time", "plpgsql.variable_conflict", "quote_all_identifiers",
    "row_security", "search_path", "session_replication_role", "standard_conforming_strings", "timezone", "timezone_abbreviations",
    "transform_null_equals", "xmlbinary", "xmloption",
)  # fmt: skip
_OF_CLIENTS = ("datestyle", "timezone")
"""Those that a client takes from its environment (`PGDATESTYLE`, `PGTZ`), in place of what the server has."""


def connection_settings(connection: Connection) -> ConnectionSettings:
    """Return the settings of a new connection.

    Those that have their default are left out, so that a server that knows more of them is no other one. Where there are policies for
    rows, the role counts. Settings of the user's own (`shop.currency`) are known where a role or the database has them.
    """
    rows = connection.execute(
        """
        select lower(name), setting, source from pg_settings
        where lower(name) = any(%s) and setting is distinct from boot_val
        union all
        select 'role', current_user, 'user' where exists (select from pg_class where relrowsecurity)
        union all
        (select distinct on (name) name, value, 'user'
        from pg_db_role_setting s cross join unnest(s.setconfig) as given
            cross join lateral (select split_part(given, '=', 1), substr(given, strpos(given, '=') + 1)) as parts (name, value)
        where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
            and s.setrole in (0, (select oid from pg_roles where rolname = session_user)) and name like '%%.%%'
        order by name, s.setrole <> 0 desc, s.setdatabase <> 0 desc)
        """,
        [list(_COUNTED)],
    ).fetchall()
    given: dict[str, str] = {}
    process: dict[str, str] = {}
    for name, value, source in rows:
        if name in _OF_CLIENTS and source not in ("user", "database", "database user"):
            process[name] = value
        elif not is_harmless_setting(name):
            given[name] = value
    return ConnectionSettings(given, process)
