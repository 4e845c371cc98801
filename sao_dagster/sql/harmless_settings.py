"""Settings of engines that change no result: how much, how fast, how long, where to spill, what to log, as whom to connect.

Each is named in full: what only begins alike may change what comes out, so a setting that is not here counts. That a setting may make
a statement fail is no change of a result. Sources: `duckdb_settings()`, and
https://www.postgresql.org/docs/current/runtime-config.html.
"""

from __future__ import annotations

_OF_DUCKDB = frozenset({
    "access_mode", "allocator_background_threads", "allocator_bulk_deallocation_flush_threshold",
    "allocator_flush_threshold", "allow_unredacted_secrets", "allowed_configs", "allowed_directories",
    "allowed_paths", "approximate_join_order_threshold", "arrow_large_buffer_size", "arrow_output_list_view",
    "arrow_output_version", "asof_loop_join_threshold", "async_threads", "auto_checkpoint_skip_wal_threshold",
    "autoinstall_known_extensions", "autoload_known_extensions", "azure_read_buffer_size",
    "azure_read_transfer_chunk_size", "azure_read_transfer_concurrency", "block_allocator_memory", "ca_cert_file",
    "catalog_error_max_schemas", "checkpoint_on_detach", "checkpoint_threshold",
    "current_transaction_invalidation_policy", "custom_profiling_settings", "custom_user_agent",
    "debug_checkpoint_scan_sleep_ms", "debug_force_external", "default_block_size",
    "default_transaction_invalidation_policy", "disable_database_invalidation", "disable_parquet_prefetching",
    "disabled_compression_methods", "disabled_log_types", "duckdb_api", "dynamic_or_filter_threshold",
    "enable_curl_server_cert_verification", "enable_external_access", "enable_fsst_vectors", "enable_http_logging",
    "enable_logging", "enable_macro_dependencies", "enable_object_cache", "enable_optimistic_write",
    "enable_profiling", "enable_progress_bar", "enable_progress_bar_print", "enable_server_cert_verification",
    "enable_view_dependencies", "enabled_log_types", "errors_as_json", "explain_output",
    "external_file_cache_local_max_block_size", "external_file_cache_remote_max_block_size",
    "external_file_cache_remote_min_block_size", "external_file_cache_request_sizing", "external_file_cache_spill",
    "external_threads", "force_compression", "fsync_mode", "geometry_minimum_shredding_size",
    "http_client_pool_capacity", "http_keep_alive", "http_logging_output", "http_proxy", "http_proxy_password",
    "http_proxy_username", "http_retries", "http_retry_backoff", "http_retry_quota_throttled",
    "http_retry_throttled_wait_ms", "http_retry_wait_ms", "http_timeout", "immediate_transaction_mode",
    "index_scan_max_count", "index_scan_percentage", "initial_column_segment_size", "late_materialization_max_rows",
    "lock_configuration", "log_query_path", "logging_level", "logging_mode", "logging_sink", "max_execution_time",
    "max_expression_depth", "max_memory", "max_streaming_buffer_size", "max_temp_directory_size",
    "max_vacuum_tasks", "memory_limit", "merge_join_threshold", "motherduck_token", "mysql_debug_show_queries",
    "nested_loop_join_threshold", "operator_memory_limit", "ordered_aggregate_threshold",
    "parquet_prefetch_column_gap", "partitioned_write_flush_threshold", "partitioned_write_max_open_files",
    "password", "perfect_ht_threshold", "pg_connection_limit", "pg_debug_show_queries", "pg_pages_per_task",
    "pin_threads", "pivot_filter_threshold", "prefer_range_joins", "prefetch_all_parquet_files", "profile_output",
    "profiling_coverage", "profiling_mode", "profiling_output", "profiling_renderer_settings", "progress_bar_time",
    "read_ahead_depth", "redact_http_logs", "s3_access_key_id", "s3_secret_access_key", "s3_session_token",
    "s3_uploader_max_filesize", "s3_uploader_max_parts_per_file", "s3_uploader_thread_limit",
    "scheduler_process_partial", "standard_vector_size", "storage_block_prefetch", "storage_compatibility_version",
    "streaming_buffer_size", "temp_directory", "temp_file_encryption", "threads", "tracked_metrics", "user",
    "username", "variant_minimum_shredding_size", "wal_autocheckpoint", "wal_autocheckpoint_entries",
    "warnings_as_errors", "worker_threads", "write_buffer_row_group_count", "write_buffer_row_group_memory_limit",
    "zstd_min_string_length",
})  # fmt: skip
_OF_POSTGRES = frozenset({
    "allow_in_place_tablespaces", "application_name", "auto_explain.log_analyze", "auto_explain.log_buffers",
    "auto_explain.log_format", "auto_explain.log_level", "auto_explain.log_min_duration",
    "auto_explain.log_nested_statements", "auto_explain.log_parameter_max_length", "auto_explain.log_settings",
    "auto_explain.log_timing", "auto_explain.log_triggers", "auto_explain.log_verbose", "auto_explain.log_wal",
    "auto_explain.sample_rate", "backend_flush_after", "backtrace_functions", "check_function_bodies",
    "client_connection_check_interval", "client_encoding", "client_min_messages", "commit_delay", "commit_siblings",
    "compute_query_id", "constraint_exclusion", "cpu_index_tuple_cost", "cpu_operator_cost", "cpu_tuple_cost",
    "cron.database_name", "cron.host", "cron.log_min_messages", "cron.log_run", "cron.log_statement",
    "cron.max_running_jobs", "cron.timezone", "cron.use_background_workers", "cursor_tuple_fraction",
    "deadlock_timeout", "debug_parallel_query", "debug_pretty_print", "debug_print_parse", "debug_print_plan",
    "debug_print_rewritten", "default_statistics_target", "default_tablespace", "default_toast_compression",
    "default_transaction_deferrable", "default_transaction_read_only", "effective_cache_size",
    "effective_io_concurrency", "enable_async_append", "enable_bitmapscan", "enable_gathermerge", "enable_hashagg",
    "enable_hashjoin", "enable_incremental_sort", "enable_indexonlyscan", "enable_indexscan", "enable_material",
    "enable_memoize", "enable_mergejoin", "enable_nestloop", "enable_parallel_append", "enable_parallel_hash",
    "enable_partition_pruning", "enable_partitionwise_aggregate", "enable_partitionwise_join",
    "enable_presorted_aggregate", "enable_seqscan", "enable_sort", "enable_tidscan", "escape_string_warning",
    "exit_on_error", "extension_destdir", "force_parallel_mode", "from_collapse_limit", "geqo", "geqo_effort",
    "geqo_generations", "geqo_pool_size", "geqo_seed", "geqo_selection_bias", "geqo_threshold",
    "gin_pending_list_limit", "hash_mem_multiplier", "idle_in_transaction_session_timeout", "idle_session_timeout",
    "jit", "jit_above_cost", "jit_debugging_support", "jit_dump_bitcode", "jit_expressions",
    "jit_inline_above_cost", "jit_optimize_above_cost", "jit_profiling_support", "jit_tuple_deforming",
    "join_collapse_limit", "lc_messages", "lock_timeout", "log_connections", "log_disconnections", "log_duration",
    "log_error_verbosity", "log_executor_stats", "log_lock_waits", "log_min_duration_sample",
    "log_min_duration_statement", "log_min_error_statement", "log_min_messages", "log_parameter_max_length",
    "log_parameter_max_length_on_error", "log_parser_stats", "log_planner_stats", "log_replication_commands",
    "log_statement", "log_statement_sample_rate", "log_statement_stats", "log_temp_files",
    "log_transaction_sample_rate", "logical_decoding_work_mem", "maintenance_io_concurrency",
    "maintenance_work_mem", "max_parallel_maintenance_workers", "max_parallel_workers",
    "max_parallel_workers_per_gather", "max_stack_depth", "min_parallel_index_scan_size",
    "min_parallel_table_scan_size", "parallel_leader_participation", "parallel_setup_cost", "parallel_tuple_cost",
    "password_encryption", "pg_stat_statements.max", "pg_stat_statements.save", "pg_stat_statements.track",
    "pg_stat_statements.track_planning", "pg_stat_statements.track_utility", "pgaudit.log", "pgaudit.log_catalog",
    "pgaudit.log_client", "pgaudit.log_level", "pgaudit.log_parameter", "pgaudit.log_relation", "pgaudit.log_rows",
    "pgaudit.log_statement", "pgaudit.log_statement_once", "pgaudit.role", "plan_cache_mode", "post_auth_delay",
    "random_page_cost", "recursive_worktable_factor", "seq_page_cost", "statement_timeout",
    "stats_fetch_consistency", "synchronous_commit", "tcp_keepalives_count", "tcp_keepalives_idle",
    "tcp_keepalives_interval", "tcp_user_timeout", "temp_buffers", "temp_file_limit", "temp_tablespaces",
    "trace_notify", "trace_sort", "track_activities", "track_counts", "track_functions", "track_io_timing",
    "track_wal_io_timing", "transaction_deferrable", "transaction_read_only", "transaction_timeout",
    "update_process_title", "vacuum_cost_delay", "vacuum_cost_limit", "vacuum_cost_page_dirty",
    "vacuum_cost_page_hit", "vacuum_cost_page_miss", "vacuum_failsafe_age", "vacuum_freeze_min_age",
    "vacuum_freeze_table_age", "vacuum_multixact_failsafe_age", "vacuum_multixact_freeze_min_age",
    "vacuum_multixact_freeze_table_age", "wal_compression", "wal_consistency_checking", "wal_init_zero",
    "wal_recycle", "wal_sender_timeout", "wal_skip_threshold", "work_mem",
})  # fmt: skip
_HARMLESS = _OF_DUCKDB | _OF_POSTGRES


def is_harmless_setting(name: str) -> bool:
    """Return whether a setting of an engine can change no result.

    >>> is_harmless_setting("statement_timeout"), is_harmless_setting("default_null_order"), is_harmless_setting("enable_of_tomorrow")
    (True, False, False)
    """
    return name.lower() in _HARMLESS
