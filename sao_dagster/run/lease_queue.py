"""The leases of one run on its models: taking them, the queues for them, and the heartbeat that keeps both."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from sao_dagster.core.messages import local_time
from sao_dagster.core.policy import describe_duration
from sao_dagster.core.records import HOLDER_LENGTH, Lease, QueuePosition
from sao_dagster.errors import LeaseTimeoutError, StateError
from sao_dagster.state.protocol import LeaseStore


@dataclass(frozen=True)
class Granted:
    """A lease is granted: it is this run's turn at a model.

    Attributes:
        lease: The lease on it.
        waited: Whether another run had it first, so that what is known of it may be old.
    """

    lease: Lease
    waited: bool


@dataclass(frozen=True)
class Queued:
    """Another run is at a model.

    Attributes:
        message: Whom this run waits for, where that has not been said yet.
    """

    message: str | None


class LeaseQueue:
    """Leases of one run in one process; threads may share it.

    Args:
        store: The shared state.
        environment: Where models are built.
        run_id: The run, as others are told.
        lease_seconds: How long a lease, or a place in a queue, lasts without a heartbeat.
        queue_seconds: How long to wait at one model.
    """

    def __init__(
        self, store: LeaseStore, environment: str, run_id: str, lease_seconds: float, queue_seconds: float
    ) -> None:
        self.holder = f"{uuid.uuid4().hex[:16]} {os.getpid()}@{socket.gethostname()}"[:HOLDER_LENGTH]
        self._store = store
        self._environment = environment
        self._run_id = run_id
        self._lease_seconds = lease_seconds
        self._queue_seconds = queue_seconds
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[float, str]] = {}  # since when (monotonic), and for which run
        self._held: set[str] = set()
        self._closed = threading.Event()
        self._heart: threading.Thread | None = None

    def acquire(self, model: str) -> Granted | Queued:
        """Return the lease on a model, or a place in its queue; to be asked again until it is this run's turn.

        Raises:
            LeaseTimeoutError: It has been waited for long enough.
            StateError: The state cannot be reached.
        """
        self._beat()
        answer = self._store.take_lease(self._environment, model, self.holder, self._run_id, self._lease_seconds)
        with self._lock:
            since, told = self._waiting.get(model, (time.monotonic(), ""))
            if isinstance(answer, Lease):
                self._held.add(model)
                return Granted(answer, waited=self._waiting.pop(model, None) is not None)
            self._waiting[model] = (since, answer.run_id)
        if time.monotonic() - since > self._queue_seconds:
            self.leave(model)
            raise LeaseTimeoutError(
                f"waited {describe_duration(timedelta(seconds=self._queue_seconds))} for {describe_position(answer)}; is that run still alive? "
                f"`sao state show` lists who holds what"
            )
        return Queued(f"waits for {describe_position(answer)}" if told != answer.run_id else None)

    def release(self, lease: Lease) -> None:
        """Give a lease back without a record; where the state cannot be reached, it expires by itself."""
        self.released(lease)
        with suppress(StateError):
            self._store.release_lease(self._environment, lease)

    def is_waiting(self, model: str) -> bool:
        """Return whether this run has a place in the queue for a model."""
        with self._lock:
            return model in self._waiting

    def leave(self, model: str) -> None:
        """Leave the queue for a model that need not be built any more; those behind would wait for this run."""
        with self._lock:
            waits = self._waiting.pop(model, None) is not None
        if waits:
            self._store.leave_queues(self._environment, self.holder, model)

    def released(self, lease: Lease) -> None:
        """Note that a lease is no longer held."""
        with self._lock:
            self._held.discard(lease.model)

    def close(self) -> None:
        """Stop the heartbeat, and give up all leases and places."""
        self._closed.set()
        if self._heart is not None:
            self._heart.join()
            try:
                self._store.leave_queues(self._environment, self.holder)
            except StateError:
                return  # they expire by themselves

    def _beat(self) -> None:
        with self._lock:
            if self._heart is None:
                self._heart = threading.Thread(target=self._renew, name="sao-heartbeat", daemon=True)
                self._heart.start()

    def _renew(self) -> None:
        while not self._closed.wait(self._lease_seconds / 3):
            with self._lock:
                needed = bool(self._held or self._waiting)
            if not needed:
                continue
            try:
                self._store.renew_leases(self._environment, self.holder, self._lease_seconds)
            except StateError:
                continue  # tried again; if it stays so, the record is refused or cannot be written, and says so


def describe_position(waiting: QueuePosition) -> str:
    """Return whom a model waits for, in words: the run, its process, and since when by the clock of this machine."""
    queue = f", {waiting.ahead} runs ahead" if waiting.ahead > 1 else ""
    return f"run {waiting.run_id}{describe_holder(waiting.holder)}, at {waiting.model} since {local_time(waiting.since)}{queue}"


def describe_holder(holder: str) -> str:
    """Return which process on which host holds something, as it is put behind its run; nothing where an older version holds it.

    >>> describe_holder("0123456789abcdef 4711@worker-1"), describe_holder("0123456789abcdef")
    (' (process 4711 on worker-1)', '')
    """
    pid, at, host = holder.partition(" ")[2].partition("@")
    return f" (process {pid} on {host})" if at else ""
