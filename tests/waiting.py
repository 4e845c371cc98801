"""Waiting for events, on machines that may do much else at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 300.0  # seconds; only what never happens takes as long
T = TypeVar("T")


def until(what: str, holds: Callable[[], T], pause: float = 0.05) -> T:
    """Ask until the answer is true, and return it.

    Args:
        what: The event that is waited for.
        holds: What is asked.
        pause: How long to wait before it is asked again (seconds).
    """
    give_up = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < give_up, f"waited {PATIENCE:g} s for {what}"
        time.sleep(pause)
    return found
