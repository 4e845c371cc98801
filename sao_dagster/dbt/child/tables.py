"""Tables of what statements gave: agate finds out the type of each column from all its values, over and over for the columns of a relation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

SMALL = 500
"""Rows of a table that is kept."""


def keep_small_tables() -> None:
    """Let dbt make a small table of texts once, from now on in this process; nobody changes one that is made."""
    from dbt_common.clients import agate_helper

    original = agate_helper.table_from_data_flat

    @lru_cache(maxsize=1024)
    def kept(names: tuple[str, ...], rows: tuple[tuple[Any, ...], ...]) -> Any:
        return original([dict(zip(names, row)) for row in rows], names)  # noqa: B905 - dbt 1.8 runs on Python 3.9

    def table_from_data_flat(data: Iterable[dict[str, Any]], column_names: Sequence[str]) -> Any:
        found = list(data)  # which may name columns that have one name anew
        if len(found) <= SMALL:
            names = tuple(column_names)
            rows = tuple(tuple(row[name] for name in names) for row in found)
            if all(value is None or type(value) is str for row in rows for value in row):
                return kept(names, rows)
        return original(found, column_names)

    agate_helper.table_from_data_flat = table_from_data_flat
