"""Connections of one kind, each lent to one user at a time and kept for the next one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

C = TypeVar("C", bound=Any)
_OF_PARENTS: list[Any] = []
"""Connections of a process from which this one was forked: kept, since one that is thrown away may end the session of that process."""


class ConnectionPool(Generic[C]):
    """Connections of one kind.

    Args:
        connect: Makes one more.
        keep: How many are kept at most while nobody uses them.
        most: How many there may be at once; None for as many as are asked for.
        patience: How long to wait for one where there may be no more (seconds).
    """

    def __init__(
        self, connect: Callable[[], C], *, keep: int, most: int | None = None, patience: float | None = None
    ) -> None:
        self._connect = connect
        self._keep = keep
        self._patience = patience
        self._places = None if most is None else threading.Semaphore(most)
        self._guard = threading.Lock()
        self._kept: list[C] = []
        self._process = os.getpid()

    def take(self) -> C:
        """Return a connection that nobody else uses: the one that was given back last, or one more.

        Raises:
            TimeoutError: There may be no more, and none was given back in time.
        """
        if self._places is not None and not self._places.acquire(timeout=self._patience):
            message = f"no connection was free within {self._patience:g} seconds"
            raise TimeoutError(message)
        try:
            with self._guard:
                self._leave_to_parent()
                kept = self._kept.pop() if self._kept else None
            return self._connect() if kept is None else kept
        except BaseException:
            self._leave()
            raise

    def give_back(self, connection: C, *, usable: bool = True) -> None:
        """Keep a connection for the next user; one that is not usable, or one too many, is closed."""
        with self._guard:
            if kept := usable and len(self._kept) < self._keep:
                self._kept.append(connection)
        if not kept:
            _close(connection)
        self._leave()

    def close(self) -> None:
        """Close all that nobody uses; whoever asks from now on gets a new one."""
        with self._guard:
            self._leave_to_parent()
            closing, self._kept = self._kept, []
        for each in closing:
            _close(each)

    def _leave_to_parent(self) -> None:
        """Let go of connections that a fork took along: they go on in the process that made them, and are not to be ended from here."""
        if self._process != os.getpid():
            _OF_PARENTS.extend(self._kept)
            self._kept, self._process = [], os.getpid()

    def _leave(self) -> None:
        if self._places is not None:
            self._places.release()


def _close(connection: Any) -> None:
    with suppress(Exception):  # it is gone, however that ends
        connection.close()
