"""What is so in one thread for a while, and not in the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Meanwhile(threading.local):
    """Whether this thread is in the middle of something.

    Attributes:
        holds: Whether it is.
    """

    holds = False

    @contextmanager
    def within(self) -> Iterator[None]:
        """Let it be so inside, in this thread."""
        before, self.holds = self.holds, True
        try:
            yield
        finally:
            self.holds = before
