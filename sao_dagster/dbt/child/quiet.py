"""What dbt logs of statements while it renders for fingerprints: nothing. What it renders to build is logged as ever."""

from __future__ import annotations

from typing import Any

from dbt_common.events.base_types import EventLevel
from dbt_common.events.event_manager import EventManager

from .threads import Meanwhile

_quiet = Meanwhile()
quietly = _quiet.within
"""Leaves out meanwhile, in this thread, what dbt logs for debugging: to put it together takes longer than many a statement."""


def let_be_quiet() -> None:
    """Let dbt log nothing for debugging where it is to be quiet, from now on in this process."""
    original = EventManager.fire_event

    def fire_event(manager: Any, e: Any, level: Any = None, *args: Any, **kwargs: Any) -> None:
        if not (_quiet.holds and (level or e.level_tag()) is EventLevel.DEBUG):
            original(manager, e, level, *args, **kwargs)

    EventManager.fire_event = fire_event
