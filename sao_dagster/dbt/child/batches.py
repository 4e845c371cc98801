"""What became of the batches of microbatch models: dbt's result of such a model names them, and says the cause of a failure in an event alone."""

from __future__ import annotations

import threading
from typing import Any

CAUSES = ("GenericExceptionOnRun", "CatchableExceptionOnRun")
"""Events that say why something failed, in the thread in which it did."""


class Batches:
    """Hears dbt's events, and is told of each batch that has run."""

    def __init__(self) -> None:
        self._heard = threading.local()  # the cause of what this thread runs
        self._lock = threading.Lock()
        self._failed: dict[str, list[tuple[Any, str]]] = {}  # by unique id, batches in the order in which they failed

    def hear(self, event: Any) -> None:
        """Take an event of dbt."""
        if getattr(getattr(event, "info", None), "name", None) in CAUSES:
            self._heard.cause = str(event.data.exc)

    def ran(self, runner: Any, result: Any) -> None:
        """Take the result of a runner, in the thread in which it has run; of a batch that failed it is kept."""
        cause, self._heard.cause = getattr(self._heard, "cause", None), None
        if hasattr(runner, "batch_idx") and str(result.status) == "error":
            failed = runner.batches[runner.batch_idx], cause or str(result.message)
            with self._lock:
                self._failed.setdefault(result.node.unique_id, []).append(failed)

    def of(self, result: Any) -> dict[str, Any] | None:
        """Return what is known of the batches of a model that has run; None for what has none.

        `successful` and `failed` are batches, start and end in ISO 8601, where what was not run is among those that failed; `error` is the
        cause of the first that failed, or None.
        """
        with self._lock:
            errors = self._failed.pop(result.node.unique_id, [])
        found = getattr(result, "batch_results", None)
        if found is None and not errors:
            return None
        failed = {*(found.failed if found else ()), *(batch for batch, _ in errors)}  # dbt 1.9 forgets some
        return {
            "successful": _plain(found.successful if found else ()),
            "failed": _plain(failed),
            "error": errors[0][1] if errors else None,
        }


def _plain(batches: Any) -> list[list[str]]:
    return [[start.isoformat(), end.isoformat()] for start, end in sorted(batches)]
