"""Python's collections of garbage, in a process that holds a whole project: that stays, and to look at it again and again finds nothing."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Collect less often from now on, while the project is read."""
    gc.set_threshold(50_000, 20, 20)


def leave_out_what_is_there() -> None:
    """Look at nothing any more of what there is now, the project; each of dbt's contexts is thousands of objects that lead to it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(300_000, 20, 20)
