"""How commands speak: results on standard output, everything else on standard error; colours only where they are seen.

rich is imported where something is shown, so that what prints JSON, or nothing, starts without it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from sao_dagster.core.messages import Level, Message
from sao_dagster.core.policy import describe_duration
from sao_dagster.core.project import Notice

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {
    "built": "green", "reused": "cyan", "skipped": "yellow", "failed": "red",
    "pass": "green", "warn": "yellow", "fail": "red", "error": "red",
}  # fmt: skip
"""Outcomes of models and verdicts of data tests, in rich's words."""

LISTED = 20
"""How many things of a kind are listed one by one; what is more is counted."""
NAMED = 3
"""How many names or places stand behind such a count."""
UNLIMITED = 100_000  # columns of what is not a terminal: its lines are not broken


@dataclass(frozen=True)
class Terminal:
    """Where one command speaks.

    Attributes:
        as_json: Whether standard output takes one JSON object and nothing else.
        quiet: Whether only what went wrong is shown.
        verbose: Whether everything is listed.
        stdout: Standard output as it was when the command began; what models and macros print goes elsewhere.
    """

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    stdout: TextIO = field(default_factory=lambda: sys.stdout, repr=False)

    @cached_property
    def results(self) -> Console:
        """Standard output, for people."""
        return _console(self.stdout)

    @cached_property
    def aside(self) -> Console:
        """Standard error: progress, notices, errors."""
        return _console(sys.stderr)

    @property
    def listed(self) -> int | None:
        """How many things of a kind are listed; None for all."""
        return None if self.verbose else LISTED

    def say(self, *lines: str) -> None:
        """Print lines of results in rich's markup, for people only."""
        if not self.as_json:
            for line in lines:
                self.results.print(line, soft_wrap=True)

    def table(self, rows: Iterable[Sequence[str]], headings: Sequence[str] = ()) -> None:
        """Print results as a table whose last column takes the room that is left; cells are rich's markup."""
        from rich.table import Table

        rows = list(rows)
        if self.as_json or not rows:
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(headings), header_style="bold")
        for number in range(len(rows[0])):
            is_last = number == len(rows[0]) - 1
            heading = headings[number] if headings else ""
            table.add_column(heading, overflow="fold", no_wrap=not is_last)
        for row in rows:
            table.add_row(*row)
        with self.results.capture() as captured:
            self.results.print(table)
        lines = captured.get().splitlines()
        self.stdout.write("".join(f"{line.rstrip()}\n" for line in lines))
        self.stdout.flush()

    def json(self, value: Mapping[str, Any]) -> None:
        """Print the one JSON object."""
        self.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
        self.stdout.flush()

    def note(self, text: str) -> None:
        """Print something that a person should know, in rich's markup."""
        if not self.quiet:
            self.aside.print(text, soft_wrap=not self.aside.is_terminal)

    def message(self, message: Message) -> None:
        """Print what is told on the way, but for the lines of a log."""
        if message.level is not Level.LOG:
            colour = {Level.WARNING: "yellow", Level.ERROR: "red"}.get(message.level, "dim")
            self.note(f"[{colour}]{escaped(message.text)}[/]")

    def error(self, text: str) -> None:
        """Print an error."""
        self.aside.print(f"[bold red]error[/] {escaped(text)}", soft_wrap=not self.aside.is_terminal)

    def notices(self, notices: Iterable[Notice]) -> None:
        """Print notices, those of one kind together."""
        for line in grouped(notices, self.verbose):
            self.note(f"[yellow]note[/]  {escaped(line)}")


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console.width = UNLIMITED
    return console


def grouped(notices: Iterable[Notice], verbose: bool = False) -> list[str]:
    """Return notices as lines: those that differ only in what they quote or name together, with a count and the first places.

    >>> from sao_dagster.errors import Location
    >>> told = [Notice("the config 'x' has no effect", Location(f"models/{name}.sql"), name) for name in "abcde"]
    >>> grouped(told)
    ["the config 'x' has no effect (5 times: models/a.sql, models/b.sql, models/c.sql and 2 more; --verbose lists them)"]
    >>> len(grouped(told, verbose=True)), grouped(told[:1])
    (5, ["models/a.sql: a: the config 'x' has no effect"])
    """
    kinds: dict[str, list[Notice]] = {}
    for each in dict.fromkeys(notices):
        kinds.setdefault(each.kind or _QUOTED.sub("…", each.message), []).append(each)
    lines: list[str] = []
    for alike in kinds.values():
        if verbose or len(alike) == 1:
            lines += map(str, alike)
            continue
        places = [str(each.location or each.name or each.message) for each in alike]
        words = alike[0].message if len({each.message for each in alike}) == 1 else f"{alike[0].message}, and the like"
        lines.append(f"{words} ({len(alike)} times: {named(list(dict.fromkeys(places)))}; --verbose lists them)")
    return lines


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|(?<=\()[^()]*(?=\))")


def named(names: Sequence[str], limit: int = NAMED) -> str:
    """Return the first of some names and how many more there are.

    >>> named(["a", "b"]), named(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def escaped(text: str) -> str:
    """Return a text as rich's markup shows it as it is."""
    from rich.markup import escape

    return escape(text)


def coloured(text: str, key: str | None = None) -> str:
    """Return an escaped text in the colour of its word, or of another one."""
    return f"[{COLOURS.get((key or text).strip(), 'default')}]{escaped(text)}[/]"


def time_of(seconds: float) -> str:
    """Return a number of seconds for people.

    >>> time_of(0), time_of(2.5), time_of(75), time_of(7260)
    ('0 s', '2.5 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    return describe_duration(timedelta(seconds=round(seconds) if seconds < 3600 else 60 * round(seconds / 60)))
