"""What was found of the SQL of models, kept for the next process."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Generic, TypeVar

E = TypeVar("E")


@dataclass
class Kept(Generic[E]):
    """What was found of the models of one project, the last of each.

    Attributes:
        entries: By model, as they were kept.
        keep: Keeps them for the next process.
    """

    entries: dict[str, E] = field(default_factory=dict)
    keep: Callable[[dict[str, E]], None] | None = None
    _has_news: bool = field(default=False, init=False)

    def save(self, models: Collection[str]) -> None:
        """Keep what is new, with what is known of these models."""
        if self._has_news and self.keep is not None:
            self.keep({name: entry for name, entry in self.entries.copy().items() if name in models})
            self._has_news = False
