"""What is told to whoever watches a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Level(str, Enum):
    """How much a message matters."""

    LOG = "log"  # a line of the log of another program
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Message:
    """Something a person watching should know."""

    text: str
    level: Level = Level.INFO


def local_time(moment: datetime) -> str:
    """Return a time by the clock of this machine, with its zone, as all messages show it.

    >>> from datetime import timezone
    >>> local_time(datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc))[:8]
    '2026-03-'
    """
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z").rstrip()


def counted(number: int, word: str) -> str:
    """Return a number of things.

    >>> counted(1, "failure"), counted(2, "failure")
    ('1 failure', '2 failures')
    """
    return f"{number:,} {word}" + ("" if number == 1 else "s")
