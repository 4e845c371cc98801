"""A microbatch model of which batches were not built, in words: `run_results.json` names them, and says no cause.

https://docs.getdbt.com/docs/build/incremental-microbatch has what a batch is; its names are those that dbt prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

SHOWN = 5  # names of batches in a message
_FORMATS = {"year": "%Y", "month": "%Y-%m", "hour": "%Y-%m-%dT%H"}
_CAUSE = "Exception on worker thread. "
_NEXT_EVENT = re.compile(r"\d\d:\d\d:\d\d\s")
_FAILED = re.compile(r"Batch \d+ of \d+ ERROR creating batch \S+ of (\S+)")


def not_built(batches: Mapping[str, Any] | None, size: object) -> str:
    """Return which batches of a model were not built, and why the first was not; nothing where all were.

    Args:
        batches: `successful` and `failed` with pairs of start and end in ISO 8601, and perhaps `error`; None for what has no batches.
        size: The model's `batch_size`.

    >>> days = [[f"2024-01-0{day}T00:00:00+00:00", f"2024-01-0{day + 1}T00:00:00+00:00"] for day in range(1, 9)]
    >>> not_built({"successful": days[1:], "failed": days[:1], "error": "Exception on worker thread. no such column"}, "day")
    '1 of 8 batches was not built: 2024-01-01; the first error: no such column'
    >>> not_built({"successful": [], "failed": days}, "day")
    '8 of 8 batches were not built: 2024-01-01, 2024-01-02, 2024-01-03, 2024-01-04, 2024-01-05 and 3 more'
    """
    if not batches or not batches.get("failed"):
        return ""
    failed, total = batches["failed"], len(batches["failed"]) + len(batches.get("successful") or ())
    form = _FORMATS.get(str(size), "%Y-%m-%d")
    names = [datetime.fromisoformat(str(start).replace("Z", "+00:00")).strftime(form) for start, _ in sorted(failed)]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    error = str(batches.get("error") or "").removeprefix(_CAUSE).strip()
    return (
        f"{len(failed)} of {total} batches {'was' if len(failed) == 1 else 'were'} not built: {', '.join(names[:SHOWN])}{more}"
        + (f"; the first error: {error}" if error else "")
    )


class PrintedErrors:
    r"""Finds in what dbt 1.x prints why batches failed.

    >>> found = PrintedErrors()
    >>> found.hear("10:00:00  Unhandled error while executing ")
    >>> found.hear("Exception on worker thread. Runtime Error")
    >>> found.hear("  no such column")
    >>> found.hear("10:00:01  Batch 2 of 3 ERROR creating batch 2024-01-02 of main.daily ........ [ERROR in 0.04s]")
    >>> found.of("main", "daily")
    'Runtime Error\n  no such column'
    """

    def __init__(self) -> None:
        self._cause: list[str] = []
        self._goes_on = False  # whether the lines that come are the rest of it
        self._first: dict[str, str] = {}  # by schema and name of a relation

    def hear(self, line: str) -> None:
        """Take the next line."""
        if _CAUSE in line:
            self._cause, self._goes_on = [line.partition(_CAUSE)[2]], True
        elif not _NEXT_EVENT.match(line):
            self._cause += [line] if self._goes_on else []
        else:
            self._goes_on = False
            failed = _FAILED.search(line)
            if failed and self._cause:
                self._first.setdefault(failed[1], "\n".join(self._cause))
                self._cause = []

    def of(self, schema: str, name: str) -> str | None:
        """Return the first error of a model by its schema and the name of its relation there."""
        ending = f"{schema}.{name}"
        return next((said for at, said in self._first.items() if f".{at}".endswith(f".{ending}")), None)
