"""What runs inside the user's own dbt: a package that knows nothing of `sao_dagster`, and that dbt's Python imports by its folder.

It is written for the oldest Python that dbt 1.8 runs on, and touches these private names of dbt, in 1.8 to 1.12: `BuildTask` and its
`run`, `execute_nodes`, `get_runner`, `call_runner` and others, `Compiler.compile_node`, `RunResult.from_node`, some of adapters. `guard` has
them all, and says at the start which are not as expected.
"""
