"""Whether one build of an incremental model is enough, kept by what that follows from: to work it out takes the parser, to look it up does not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sao_dagster.core.facts import Unsettled
from sao_dagster.core.hashing import JSON, digest

Entry = tuple[str, str]
"""A digest of what was asked, and the answer: a value of `Unsettled`, or nothing where one build is enough."""


@dataclass
class KeptUnsettled:
    """What was found of the incremental models of one project, the last of each.

    Attributes:
        entries: By model, as they were kept.
        keep: Keeps them for the next process.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    keep: Callable[[dict[str, Entry]], None] | None = None
    _has_news: bool = False

    def of(self, model: str, asked: JSON, work_out: Callable[[], Unsettled | None]) -> Unsettled | None:
        """Return why one build of a model may not be enough; None where it is.

        Args:
            model: The model.
            asked: All that the answer follows from, but for this package and the parser.
            work_out: Finds it out.

        >>> kept = KeptUnsettled()
        >>> kept.of("m", ["select 1"], lambda: Unsettled.PART), kept.of("m", ["select 1"], lambda: None)
        (<Unsettled.PART: 'part'>, <Unsettled.PART: 'part'>)
        >>> kept.of("m", ["select 2"], lambda: None)
        """
        key = digest(asked)
        before, answer = self.entries.get(model, ("", ""))
        if before != key:
            found = work_out()
            answer = "" if found is None else found.value
            self.entries[model], self._has_news = (key, answer), True
        return Unsettled(answer) if answer else None

    def save(self, models: Collection[str]) -> None:
        """Keep what is new, with what is known of these models."""
        if self._has_news and self.keep is not None:
            self.keep({name: entry for name, entry in self.entries.copy().items() if name in models})
            self._has_news = False
