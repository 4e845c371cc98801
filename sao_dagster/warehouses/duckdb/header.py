"""The first bytes of a DuckDB file, read in a way that leaves the locks on it alone."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# the main header of a file: checksum, magic bytes, version, flags, version and commit of the library, encryption, id of the database
# (https://github.com/duckdb/duckdb/blob/main/src/include/duckdb/storage/storage_info.hpp)
_MAGIC, _ID = slice(8, 12), slice(124, 140)


@dataclass(frozen=True)
class Header:
    """What a file begins with; nothing of an empty file, or of one that cannot be read."""

    start: bytes

    @property
    def is_duckdb(self) -> bool:
        """Whether it is a file of DuckDB's."""
        return self.start[_MAGIC] == b"DUCK"

    @property
    def database_id(self) -> str | None:
        """The id that DuckDB gives a file when it makes it, from 1.4 on; it stays where the file is moved."""
        found = self.start[_ID]
        return found.hex() if self.is_duckdb and any(found) else None


def header_of(path: str) -> Header:
    """Return what a file begins with.

    Another process reads it: where a process closes a file, POSIX takes all locks away that it has on that (`fcntl(2)`), also those of
    DuckDB, and another process could then write to the database meanwhile.
    """
    try:
        found = Path(path).stat()
    except OSError:
        return Header(b"")
    return _read(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=64)
def _read(path: str, _: tuple[int, ...]) -> Header:
    """Return what a file begins with; it is read again where its size or a time has changed."""
    command = ["head", "-c", str(_ID.stop), "--", path]
    nowhere = subprocess.DEVNULL
    try:
        if os.name == "nt":
            with Path(path).open("rb") as file:
                return Header(file.read(_ID.stop))
        done = subprocess.run(command, stdin=nowhere, stdout=subprocess.PIPE, stderr=nowhere, check=False)  # noqa: S603 - our own command
    except OSError:  # the file cannot be read, or the system has no such program
        return Header(b"")
    return Header(done.stdout)
