"""Holding Python's garbage collector still while many objects are made that all live on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def collect_rarely() -> None:
    """Collect less often from now on: for a process that lives for one command, and whose modules and projects stay."""
    gc.set_threshold(50_000, 20, 20)


def keep_all() -> None:
    """Collect nothing any more: for a process that ends, in which Python would look at everything several times for what it forgets anyway."""
    gc.disable()
    gc.freeze()


@contextmanager
def no_collection() -> Iterator[None]:
    """Make no collections inside; with many models they cost time and find nothing.

    What was made inside counts as old afterwards: the next collection would else begin with looking at all of it. What of it is
    garbage is found when old objects are looked at.

    >>> with no_collection(): made, is_enabled = [1], gc.isenabled()
    >>> is_enabled, any(each is made for each in gc.get_objects(generation=2))
    (False, True)
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():  # else somebody has set objects aside, and is to keep them there
                gc.freeze()
                gc.unfreeze()
            gc.enable()
