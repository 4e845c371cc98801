"""What the files of DuckDB databases show of themselves, without a look into them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sao_dagster.core.hashing import JSON, digest
from sao_dagster.warehouses.shared.files import file_stamp

_MEANWHILE = (".wal.checkpoint", ".wal.recovery")
"""What is there only while a log is written into its database, from DuckDB 1.5 on: what is committed then is in there."""


def stamp_of(databases: Iterable[Path]) -> str | None:
    """Return a token that differs whenever one of some databases, or the log beside it, was written to; see `file_stamp`.

    None where nothing tells that: a file that is not there may be somewhere else for DuckDB, and one that was written just now may be
    written again within one tick of the clock.
    """
    parts: list[JSON] = []
    for path in databases:
        log, *meanwhile = (path.with_name(path.name + suffix) for suffix in (".wal", *_MEANWHILE))
        found = file_stamp(path)
        if not found or any(file_stamp(each) != [] for each in meanwhile):
            return None
        written = file_stamp(log)
        if written is None:
            return None
        parts += [[path.name, *found], [log.name, *written]]
    return digest(parts)
