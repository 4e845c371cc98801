"""Turns of whole runs at a file of DuckDB that is let go in between: whoever came in then might wait for what the other one is to build."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sao_dagster.core.hashing import digest
from sao_dagster.core.messages import Message
from sao_dagster.errors import WarehouseBusyError

PAUSE_SECONDS = 0.1  # between two tries
_guard = threading.Lock()
_mine: dict[str, int] = {}  # how often this process is at a file


@contextmanager
def turn_at(file: str, seconds: float, tell: Callable[[Message], None]) -> Iterator[None]:
    """Wait for the turn of this process at a file, on this machine, and have it; whoever has it comes in again.

    Args:
        file: The file.
        seconds: How long to wait.
        tell: Told once that there is something to wait for.

    Raises:
        WarehouseBusyError: Another process had it for longer.
    """
    real = os.path.realpath(file)
    with _guard:
        _mine[real] = _mine.get(real, 0) + 1
        is_first = _mine[real] == 1
    opened = None
    try:
        if is_first:
            opened = _locked(real, seconds, tell)
        yield
    finally:
        with _guard:
            _mine[real] -= 1
        if opened is not None:
            os.close(opened)


def _locked(file: str, seconds: float, tell: Callable[[Message], None]) -> int:
    """Return the open file whose lock is the turn."""
    import fcntl  # not on Windows

    opened = os.open(
        Path(tempfile.gettempdir()) / f"sao-dagster-{os.getuid()}-{digest(file)}.lock", os.O_RDWR | os.O_CREAT, 0o600
    )
    give_up, is_told = time.monotonic() + seconds, False
    while True:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() >= give_up:
                os.close(opened)
                message = f"another run has the DuckDB file {file}, and did not end within {seconds:g} s"
                raise WarehouseBusyError(message) from error
            if not is_told:
                tell(Message(f"waits for the DuckDB file {file}, which another run gives to dbt"))
            is_told = True
            time.sleep(PAUSE_SECONDS)
        else:
            return opened
