"""What runs inside the user's own dbt: a package that knows nothing of `sao_dagster`, and that dbt's Python imports by its folder.

It is written for the oldest Python that dbt 1.8 runs on, and touches these private names of dbt, in 1.8 to 1.11: `BuildTask` and its
`run`, `_runtime_initialize`, `before_run`, `execute_nodes`, `get_runner`, `call_runner`, `_handle_result`, `model_to_unit_test_map`;
`Compiler.compile_node`; `RunResult.from_node`; of adapters `connection_named`, `execute`, `cleanup_connections`. `guard` says at the
start which of them are not as expected.
"""
