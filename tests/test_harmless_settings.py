"""Each setting of the engines is known: it changes no result, or it counts. One that is new in an engine has to be looked at here."""

from __future__ import annotations

import duckdb

from sao_dagster.sql.harmless_settings import is_harmless_setting
from sao_dagster.warehouses.postgres.settings import DECIDES_NOTHING
from tests.postgres import Postgres, execute, fetch, warehouse_at

COUNT_IN_DUCKDB = frozenset({
    "active_grammar_extensions", "allow_community_extensions", "allow_extension_repositories",
    "allow_extensions_metadata_mismatch", "allow_parser_override_extension", "allow_persistent_secrets",
    "allow_unsigned_extensions", "arrow_lossless_conversion", "autoinstall_extension_repository", "binary_as_string",
    "cache_local_files", "calendar", "current_dialect", "custom_extension_repository", "default_collation",
    "default_null_order", "default_order", "default_secret_storage", "dialect_compatibility_mode",
    "disable_timestamptz_casts", "disabled_filesystems", "disabled_optimizers", "enable_external_file_cache",
    "enable_geoparquet_conversion", "enable_http_metadata_cache", "enable_optimizer", "extension_directories",
    "extension_repository_directory", "file_search_path", "home_directory", "ieee_floating_point_ops",
    "ignore_unknown_crs", "integer_division", "json_geometry_format", "null_order", "order_by_non_integer_literal",
    "pandas_analyze_sample", "parquet_can_have_nan", "parquet_metadata_cache", "parquet_use_page_index", "pivot_limit",
    "preserve_identifier_case", "preserve_insertion_order", "python_enable_replacements", "python_scan_all_frames",
    "scalar_subquery_error_on_multiple_rows", "schema", "search_path", "secret_directory", "show_behavior", "timezone",
    "validate_external_file_cache",
})  # fmt: skip
COUNT_IN_POSTGRES = frozenset({
    "allow_system_table_mods", "array_nulls", "backslash_quote", "bytea_output", "datestyle", "debug_discard_caches",
    "default_table_access_method", "default_text_search_config", "default_transaction_isolation",
    "dynamic_library_path", "extra_float_digits", "gin_fuzzy_search_limit", "ignore_checksum_failure",
    "ignore_invalid_pages", "ignore_system_indexes", "intervalstyle", "lc_collate", "lc_ctype", "lc_monetary",
    "lc_numeric", "lc_time", "lo_compat_privileges", "pre_auth_delay", "quote_all_identifiers",
    "remove_temp_files_after_crash", "restrict_nonsystem_relation_kind", "row_security", "search_path",
    "session_replication_role", "standard_conforming_strings", "synchronize_seqscans", "timezone",
    "timezone_abbreviations", "trace_recovery_messages", "transaction_isolation", "transform_null_equals", "xmlbinary",
    "xmloption", "zero_damaged_pages",
})  # fmt: skip


PRELOADED = frozenset({"local_preload_libraries", "session_preload_libraries"})


def test_what_only_begins_like_a_harmless_setting_counts() -> None:
    assert is_harmless_setting("Enable_Progress_Bar")
    for name in (
        "enable_",
        "enable_optimizer",
        "log_",
        "pg_trgm.similarity_threshold",
        "my_token",
        "enable_new_rounding",
    ):
        assert not is_harmless_setting(name)


def test_each_setting_of_duckdb_is_known() -> None:
    with duckdb.connect() as connection:
        names = {name.lower() for (name,) in connection.execute("select name from duckdb_settings()").fetchall()}
    counted = {name for name in names if not is_harmless_setting(name)}
    assert counted <= COUNT_IN_DUCKDB
    assert not {name for name in COUNT_IN_DUCKDB if is_harmless_setting(name)}


def test_each_setting_of_postgres_is_known(postgres: Postgres) -> None:
    """By its group, as it is asked of a connection, and by its name, as it stands in a statement."""
    by_anybody = "context in ('user', 'superuser', 'backend', 'superuser-backend')"
    counts = " and ".join(f"category not like '{group}'" for group in DECIDES_NOTHING)
    rows = fetch(postgres.database(), f"select lower(name), {by_anybody}, {counts} from pg_settings")
    assert {name for name, _, counts in rows if counts and not is_harmless_setting(name)} <= COUNT_IN_POSTGRES
    assert {
        name for name, is_set, _ in rows if is_set and not is_harmless_setting(name)
    } <= COUNT_IN_POSTGRES | PRELOADED
    assert not {name for name in COUNT_IN_POSTGRES if is_harmless_setting(name)}


def test_what_a_server_sets_counts_where_it_decides_results(postgres: Postgres) -> None:
    url = postgres.database()
    database = url.rsplit("/", 1)[1]

    def given() -> dict[str, str]:
        with warehouse_at(url).session() as session:
            return dict(session.settings().given)

    before = given()
    execute(
        url, f"alter database {database} set geqo = off", f"alter database {database} set synchronize_seqscans = off"
    )
    assert given() == {**before, "synchronize_seqscans": "off"}
    execute(url, f"alter database {database} set gin_fuzzy_search_limit = 100")
    assert given() == {**before, "synchronize_seqscans": "off", "gin_fuzzy_search_limit": "100"}
