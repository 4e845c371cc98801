"""Holding Python's garbage collector still while many objects are made that all live on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def collect_rarely() -> None:
    """Collect less often from now on: for a process that lives for one command, and whose modules and projects stay."""
    gc.set_threshold(50_000, 20, 20)


@contextmanager
def no_collection() -> Iterator[None]:
    """Make no collections inside; with many models they cost time and find nothing.

    >>> with no_collection(): gc.isenabled()
    False
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
