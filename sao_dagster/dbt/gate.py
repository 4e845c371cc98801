"""A door that several pass at once, or one who is alone then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets some in at once; whoever is to be alone waits until they have left, and keeps others out meanwhile.

    Args:
        places: How many may be in at once, at least 1. Whoever is in comes in again without another place.
    """

    def __init__(self, places: int) -> None:
        self._changed = threading.Condition()
        self._free, self._places = places, places
        self._waiting = 0
        self._inside = threading.local()

    @contextmanager
    def use(self) -> Iterator[None]:
        """Be in with others."""
        if getattr(self._inside, "is_in", False):
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 and not self._waiting)
            self._free -= 1
        self._inside.is_in = True
        try:
            yield
        finally:
            self._inside.is_in = False
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be in alone."""
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._free == self._places)
            self._free = 0
        self._inside.is_in = True
        try:
            yield
        finally:
            self._inside.is_in = False
            with self._changed:
                self._free = self._places
                self._waiting -= 1
                self._changed.notify_all()
