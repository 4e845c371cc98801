"""How runs go, whatever they are about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

OBSERVE_SECONDS = 60.0
LEASE_SECONDS = 60.0
QUEUE_SECONDS = 3600.0


def utc_now() -> datetime:
    """Return the time of this machine (UTC)."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How runs go.

    Attributes:
        clock: Tells the time (UTC).
        threads: How many steps go on at once; None for the warehouse's own setting.
        observe_seconds: The time for reading data versions before a plan.
        verify: Whether the content of built relations is compared with what was built, to notice foreign changes.
        build_without_state: Whether a run whose state cannot be reached builds everything, rather than fail.
        lease_seconds: After what time without a sign of life a model may be taken over from a run.
        queue_seconds: How long a model waits for another run that builds it.
        patience: How long a plan leaves an incremental model alone after a build that changed it, where its use of itself is not understood.
        job: On whose behalf runs go, such as a job or a command, as savings name it; empty where nobody says.
        verify_proofs: Whether data tests that are proven to pass are run all the same.
    """

    clock: Callable[[], datetime] = utc_now
    threads: int | None = None
    observe_seconds: float = OBSERVE_SECONDS
    verify: bool = True
    build_without_state: bool = False
    lease_seconds: float = LEASE_SECONDS
    queue_seconds: float = QUEUE_SECONDS
    patience: timedelta = timedelta(0)
    verify_proofs: bool = False
    job: str = ""
