"""What marks the writes of a node, where a table format keeps who wrote: they are told from what somebody else writes at the same time."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

Signature = Callable[..., "str | None"]
"""Returns what is kept with all that a `node` writes from now on, by its unique id; None where nothing is."""

_LAKES = "select database_name from duckdb_databases() where type = 'ducklake' and not readonly"
_CAN_SIGN = "select count(*) from duckdb_functions() where function_name = 'ducklake_set_commit_message'"


def signing(adapter: Any) -> Signature:
    """Let an adapter mark what it writes, where it can be told to; return the marks."""
    makers: dict[str, Callable[[Any], Signature]] = {"duckdb": _of_lakes, "spark": _of_spark}
    return makers[adapter.type()](adapter) if adapter.type() in makers else _of_none()


def _of_none() -> Signature:
    return lambda node: None


def _of_lakes(adapter: Any) -> Signature:
    """Give each transaction an `extra_info`, https://ducklake.select/docs/stable/duckdb/usage/snapshots."""
    if adapter.config.credentials.disable_transactions:
        return _of_none()
    manager, original, process = adapter.connections, adapter.connections.begin, secrets.token_hex(8)

    def asked(sql: str) -> list[Any]:
        return [value for (value,) in manager.add_query(sql, auto_begin=False)[1].fetchall()]

    def begin() -> Any:
        lakes = asked(_LAKES)
        lakes = lakes if lakes and asked(_CAN_SIGN) != [0] else []
        connection = original()
        info = f"sao {process} {connection.name}".replace("'", "''")
        for name in lakes:
            lake = '"' + name.replace('"', '""') + '"'
            manager.add_query(f"call {lake}.set_commit_message(null, null, extra_info => '{info}')", auto_begin=False)
        return connection

    manager.begin = begin
    return lambda node: f"sao {process} {node}"


def _of_spark(adapter: Any) -> Signature:
    """Return the id of Spark's application, which Iceberg keeps with each snapshot, where this process has one to itself."""
    if str(getattr(adapter.config.credentials.method, "value", adapter.config.credentials.method)) != "session":
        return _of_none()  # a server's is that of all who are connected to it

    def signature(node: str) -> str | None:
        from pyspark.sql import SparkSession  # type: ignore[import-not-found]

        context = getattr(SparkSession.builder.getOrCreate(), "sparkContext", None)  # none where Spark is remote
        return None if context is None else str(context.applicationId)

    return signature
