"""What several threads ask for one by one, asked in waves: one of them asks for all, once nothing else goes on that could make more ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.nodes import Node

PAUSE_SECONDS = 0.01  # between two looks whether anything else goes on


@dataclass
class Job:
    """A node or data test that somebody waits for.

    Attributes:
        unique_id: What dbt calls it.
        node: The node; None for a data test.
        said: What dbt says of it; an error where nobody can tell; None as long as nobody has asked.
        version: The version of what was built.
    """

    unique_id: str
    node: Node | None
    said: Mapping[str, Any] | BaseException | None = None
    version: DataVersion | None = None


class Waves:
    """The jobs of one run.

    Args:
        call: Asks for some jobs at once, and sets what is said of each.

    Attributes:
        going: How many steps of the run are being taken: where all of them wait here, nothing else goes on.
        is_stopping: Whether nothing is waited for any more.
    """

    def __init__(self, call: Callable[[Sequence[Job]], None]) -> None:
        self._call = call
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._is_led = False
        self.going: Callable[[], int] = lambda: 0
        self.is_stopping = False

    def ask(self, job: Job) -> Mapping[str, Any]:
        """Return what is said of a job, which is asked for with what else is ready. What the call raises, all of a wave raise."""
        with self._changed:
            self._waiting.append(job)
        while (said := self._said(job)) is None:
            wave: list[Job] = []
            try:
                wave = self._ready()
                self._call(wave)
            except BaseException as error:  # noqa: BLE001 - each of those who wait has it
                for each in wave:
                    each.said = each.said or error
            finally:
                with self._changed:
                    self._is_led = False
                    self._changed.notify_all()
        if isinstance(said, BaseException):
            raise said
        return said

    def _said(self, job: Job) -> Mapping[str, Any] | BaseException | None:
        """Return what is said of a job, after waiting for whoever asks; None where nobody does, so that whoever waits is to ask."""
        with self._changed:
            self._changed.wait_for(lambda: job.said is not None or not self._is_led)
            self._is_led = self._is_led or job.said is None
            return job.said

    def _ready(self) -> list[Job]:
        """Return what is ready, once nothing else goes on."""
        while True:
            with self._changed:
                if self.is_stopping or len(self._waiting) >= self.going():
                    wave, self._waiting = self._waiting, []
                    return wave
            time.sleep(PAUSE_SECONDS)
