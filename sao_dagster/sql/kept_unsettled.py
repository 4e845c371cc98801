"""Whether one build of an incremental model is enough, kept by what that follows from: to work it out takes the parser, to look it up does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sao_dagster.core.facts import Unsettled
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.sql.kept import Kept

Entry = tuple[str, str]
"""A digest of what was asked, and the answer: a value of `Unsettled`, or nothing where one build is enough."""


@dataclass
class KeptUnsettled(Kept[Entry]):
    """What was found of the incremental models of one project; see `Kept`."""

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
