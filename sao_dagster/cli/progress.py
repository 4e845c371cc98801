"""What a run is doing, on standard error: one line that is drawn anew on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from sao_dagster.cli.terminal import Terminal, named
from sao_dagster.core.messages import Message
from sao_dagster.run.events import Event, ModelResult, Planned, Started, TestResult

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text
    from typing_extensions import Self

PLAIN_SECONDS = 5.0
"""How long at least lies between two lines where there is no terminal."""
READING = "reading the project"
NAMED_RUNNING = 5
"""How many of the models that are being built are named."""


class Progress:
    """The progress of one command, shown from the reading of the project to the end of the block.

    Args:
        terminal: Where to show it.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._lock = threading.Lock()
        self._doing = READING
        self._planned: frozenset[str] | None = None
        self._done: set[str] = set()
        self._running: dict[str, float] = {}  # since when, on the monotonic clock
        self._live: Live | None = None
        self._ended = threading.Event()
        self._plain: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to show it."""
        if self._terminal.quiet or self._terminal.as_json:
            return self
        if self._terminal.aside.is_terminal and not self._terminal.aside.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._drawn, console=self._terminal.aside, transient=True, refresh_per_second=8
            )
            self._live.start()
        else:
            self._plain = threading.Thread(target=self._print_lines, name="sao-progress", daemon=True)
            self._plain.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take it off the screen."""
        self._ended.set()
        if self._live is not None:
            self._live.stop()
        if self._plain is not None:
            self._plain.join()

    def note(self, event: Event) -> None:
        """Take in what has happened; a message is shown at once."""
        with self._lock:
            if isinstance(event, Planned):
                self._planned = frozenset((*event.plan.decisions, *event.plan.tests))
            elif isinstance(event, Started):
                self._running[event.model] = time.monotonic()
            elif isinstance(event, ModelResult):
                self._running.pop(event.name, None)
                self._done.add(event.name)
            elif isinstance(event, TestResult):
                self._done.add(event.test.name)
        if isinstance(event, Message):
            self._terminal.message(event)

    def begin(self, doing: str) -> None:
        """Say what is done before there is a plan."""
        with self._lock:
            self._doing = doing

    def read(self, doing: str) -> None:
        """Say what is done while the project is read; nothing for the reading itself."""
        self.begin(f"{READING}: {doing}" if doing else READING)

    def aside(self, show: Callable[[], None]) -> None:
        """Show something on standard output without mixing it with a line that is drawn anew."""
        if self._live is None:
            show()
            return
        self._live.stop()
        show()
        self._live.start()

    def line(self, *, with_seconds: bool = True) -> str:
        """Return how far the run is: `12/300`, and what is being built, the longest first."""
        with self._lock:
            if not self._planned:
                return self._doing
            now = time.monotonic()
            going = [
                f"{name} ({now - since:.0f} s)" if with_seconds and now - since >= 1 else name
                for name, since in self._running.items()
            ]
            counted = f"{len(self._done & self._planned)}/{len(self._planned)}"
        return f"{counted}  building {named(going, NAMED_RUNNING)}" if going else counted

    def _drawn(self) -> Text:
        from rich.text import Text

        return Text(self.line(), no_wrap=True, overflow="ellipsis")

    def _print_lines(self) -> None:
        """Print a line at the beginning, one whenever something has changed for a while, and one at the end."""
        said = ""
        while True:
            state = self.line(with_seconds=False)
            if state != said:
                self._terminal.aside.print(self.line(), markup=False, soft_wrap=True)
                said = state
            if self._ended.is_set():
                return
            self._ended.wait(PLAIN_SECONDS)
