"""What is told to whoever watches a run."""

from __future__ import annotations

from dataclasses import dataclass
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
