"""Which data tests are selected with what they read: dbt's `--indirect-selection`.

https://docs.getdbt.com/reference/node-selection/test-selection-examples#indirect-selection
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from sao_dagster.core.graph import Graph
from sao_dagster.core.nodes import DataTest


class Indirect(str, Enum):
    """Which data tests come with what is selected; dbt's words."""

    EAGER = "eager"
    """Those that read any of it."""
    CAUTIOUS = "cautious"
    """Those that read nothing else."""
    BUILDABLE = "buildable"
    """Those that read nothing but it, and what is above it."""
    EMPTY = "empty"
    """None but those that are selected themselves."""


@dataclass(frozen=True)
class Chosen:
    """What a part of a selection selects.

    Attributes:
        names: Nodes, sources and data tests.
        perhaps: Data tests that read some of it, and are selected if other parts select the rest.
    """

    names: set[str] = field(default_factory=set)
    perhaps: set[str] = field(default_factory=set)

    def without(self, excluded: Chosen) -> Chosen:
        """Return what is not in another one, either."""
        return Chosen(self.names - excluded.names, (self.names | self.perhaps) - (excluded.names | excluded.perhaps))


def combined(parts: Sequence[Chosen], combine: Callable[..., set[str]]) -> Chosen:
    """Return the union (`set.union`) or the intersection of parts.

    >>> both = combined([Chosen({"a", "t"}), Chosen({"b"}, {"t"})], set.intersection)
    >>> both.names, both.perhaps
    (set(), {'t'})
    """
    return Chosen(combine(*(each.names for each in parts)), combine(*(each.names | each.perhaps for each in parts)))


@dataclass
class IndirectTests:
    """Adds data tests to what is selected, as dbt does.

    Attributes:
        tests: The data tests of a project, by name.
        sources: Its sources, by their id.
        graph: What reads what.
        mode: Which tests are added, where nothing else is said.
    """

    tests: Mapping[str, DataTest]
    sources: Collection[str]
    graph: Graph
    mode: Indirect = Indirect.EAGER

    def reading(self, names: Iterable[str]) -> Iterator[str]:
        """Yield the data tests that read any of some things, some of them repeatedly."""
        for name in names:
            yield from self._readers.get(name, ())

    def expanded(self, names: set[str], mode: Indirect | None = None) -> Chosen:
        """Return what one term selects, with the tests that come with it.

        Args:
            names: What it says, with what is above or below that.
            mode: Which tests are added; None for the usual.
        """
        mode = mode or self.mode
        if mode is Indirect.EMPTY:
            return Chosen(names)
        near = {*self.reading(names)} - names
        if mode is Indirect.EAGER:
            return Chosen(names | near)
        there = names if mode is Indirect.CAUTIOUS else self._with_above(names).union(self.sources)
        added = {name for name in near if there.issuperset(self.tests[name].reads)}
        return Chosen(names | added, near - added)

    def joined(self, chosen: Chosen) -> Chosen:
        """Return what was put together of parts, with the tests of which all is selected only now."""
        if self.mode not in (Indirect.CAUTIOUS, Indirect.BUILDABLE):
            return chosen
        there = chosen.names if self.mode is Indirect.CAUTIOUS else self._with_above(chosen.names)
        added = {name for name in chosen.perhaps if name in self.tests and there.issuperset(self.tests[name].reads)}
        return Chosen(chosen.names | added, chosen.perhaps)

    def _with_above(self, names: set[str]) -> set[str]:
        return names | self.graph.ancestors(names - self.tests.keys())

    @cached_property
    def _readers(self) -> Mapping[str, Sequence[str]]:
        """The data tests that read each node and source."""
        found: dict[str, list[str]] = {}
        for test in self.tests.values():
            for name in test.reads:
                found.setdefault(name, []).append(test.name)
        return found
