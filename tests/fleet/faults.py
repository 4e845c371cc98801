"""Named points of a run at which a process can be killed or paused; patched in from outside, so that the product knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sao_dagster.state.connection import StateConnection

POINTS = {
    "observe": "sao_dagster.run.runner.Runner.observe",
    "lease": "sao_dagster.state.sql_store.SqlStateStore.take_lease",
    "build": "sao_dagster.warehouses.postgres.session.PostgresSession.build_model",
    "read": "sao_dagster.warehouses.postgres.build_ids.BuildIds.hold",
    "swap": "sao_dagster.warehouses.postgres.session.put_in_place",
    "version": "sao_dagster.warehouses.postgres.session.content_of",
    "keep": "sao_dagster.warehouses.postgres.build_ids.BuildIds.keep",
    "record": "sao_dagster.state.sql_store.SqlStateStore.record_build",
    "tests": "sao_dagster.run.data_tests.run_tests",
    "verdicts": "sao_dagster.state.sql_store.SqlStateStore.record_tests",
    "release": "sao_dagster.state.sql_store.SqlStateStore.leave_queues",
    "run": "sao_dagster.state.sql_store.SqlStateStore.record_run",
}
NAMES = [f"{when} {point}" for point in POINTS for when in ("before", "after")]


@contextmanager
def at(fault: dict[str, Any] | None, hit: Callable[[str], None]) -> Iterator[None]:
    """Call `hit` with the name of a signal when a point is reached for the n-th time.

    Args:
        fault: `{"point": "before record", "signal": "SIGKILL", "count": 3}`, or None.
        hit: What to do then.
    """
    if fault is None:
        yield
        return
    when, point = fault["point"].split(" ")
    target = POINTS[point]
    module, _, name = target.rpartition(".")
    left = [int(fault.get("count", 1))]
    original = _find(module, name)

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        now = left[0] == 0
        if now and when == "before":
            hit(fault["signal"])
        answer = original(*args, **kwargs)
        if now and when == "after":
            hit(fault["signal"])
        return answer

    with patch(target, call):
        yield


def move_clock(offset: Path) -> None:
    """Let the clock of the state be ahead by as many seconds as a file says, from now on."""
    original = StateConnection.now

    def now(self: StateConnection, connection: Any) -> float:
        return original(self, connection) + float(offset.read_text())

    StateConnection.now = now  # type: ignore[method-assign]


def _find(module: str, name: str) -> Any:
    from pkgutil import resolve_name

    return getattr(resolve_name(module), name)
