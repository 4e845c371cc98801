"""Secrets for places such as S3, as dbt-duckdb's profiles list them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sao_dagster.core.relations import quote
from sao_dagster.warehouses.shared.names import literal

_WORDS = ("type", "provider")  # which DuckDB takes as words


def secret_sql(secret: Mapping[str, Any], number: int) -> str:
    r"""Return the statement that makes a secret; one without a name is called by its number, so that it replaces itself.

    It is made anew in each session, and not kept by the engine, whatever the profile says of `persistent`.

    >>> secret_sql({"type": "s3", "region": "eu", "scope": ["s3://a", "s3://b"]}, 0)
    'create or replace temporary secret "_sao_secret_0" (type s3, region \'eu\', scope [\'s3://a\', \'s3://b\'])'
    """
    values = {key: value for key, value in secret.items() if key not in ("name", "persistent") and value is not None}
    parts = [f"{key} {value if key in _WORDS else _written(value)}" for key, value in values.items()]
    name = quote(str(secret.get("name") or f"_sao_secret_{number}"))
    return f"create or replace temporary secret {name} ({', '.join(parts)})"


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return "map {" + ", ".join(f"{literal(str(key))}: {literal(str(each))}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(literal(str(each)) for each in value)}]"
    return literal(value)
