"""Values and names written in one way, whatever a session is set to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from sao_dagster.warehouses.shared.names import literal

_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "search_path": "",
}


@contextmanager
def plain_text(connection: Connection[Any]) -> Iterator[None]:
    """Let values be written in one way for a while, whatever the session is set to."""
    before = connection.execute("select " + ", ".join(f"current_setting('{name}')" for name in _SETTINGS)).fetchone()
    _set(connection, _SETTINGS.values())
    yield
    _set(connection, before or ())


def _set(connection: Connection[Any], values: Iterable[str]) -> None:
    calls = [f"set_config('{name}', {literal(value)}, true)" for name, value in zip(_SETTINGS, values, strict=True)]
    connection.execute(f"select {', '.join(calls)}".encode())
