"""What a template sees of the run that it is rendered in: the real one, one that is pinned for fingerprints, or others to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sao_dagster.core.policy import Expiry


@dataclass(frozen=True)
class TemplateRun:
    """What a template sees of the run that it is rendered in.

    Attributes:
        started_at: What `run_started_at` says, and the clock of `modules.datetime` (UTC).
        run_id: What `invocation_id` says.
    """

    started_at: datetime
    run_id: str = "00000000-0000-0000-0000-000000000000"


def real_run() -> TemplateRun:
    """Return what a template sees that is rendered now, outside of a run."""
    return TemplateRun(datetime.now(timezone.utc))


PINNED = TemplateRun(datetime(2000, 1, 1, tzinfo=timezone.utc))
"""The run that fingerprints are made in; nothing that is executed sees it."""
OTHER_ID = "ffffffff-ffff-4fff-bfff-ffffffffffff"
DIFFERENT = TemplateRun(PINNED.started_at + timedelta(days=533, hours=13, seconds=71.5), OTHER_ID)
"""A run in which each part of the time is another one, and the id."""
OTHER_RUNS = (
    *(
        (TemplateRun(PINNED.started_at + timedelta(hours=hours, seconds=71.5)), Expiry.HOUR)
        for hours in (1, 6, 13, 22.97)
    ),
    (TemplateRun(PINNED.started_at, OTHER_ID), Expiry.HOUR),
    (TemplateRun(PINNED.started_at + timedelta(days=533)), Expiry.UTC_DAY),
)
"""Runs at other times, and when what a template gave stops being true if it gives something else in them: the soonest first."""
