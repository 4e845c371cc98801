"""The order of a run: which steps wait for which, worked out before it starts.

A node waits for the selected nodes above it, and for the data tests that may hold it back: those all of whose inputs are
above it, as in dbt (https://docs.getdbt.com/reference/commands/build). Data tests wait for all that they read; those of an ephemeral,
which has no step, for what it would wait for. So no step waits for itself: what a test waits for is above whatever waits for the test.

The tests of one node are one step, so that they can be one statement. A node below may then wait for more than holds it back,
which could close a circle; where it does, the tests in it are steps of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from sao_dagster.core.nodes import DataTest
from sao_dagster.core.project import Project
from sao_dagster.core.selection import Selection
from sao_dagster.errors import StalledError


@dataclass(frozen=True)
class RunStep:
    """One step: a node to decide and build, or data tests of one node or source to decide and run.

    Attributes:
        node: The node it is about.
        tests: The tests; empty for the step of the node itself.
        number: Counts the steps that the tests of one node are, from 0.
    """

    node: str
    tests: tuple[DataTest, ...] = ()
    number: int = 0

    @property
    def name(self) -> str:
        """What statements of the step are called.

        >>> RunStep("orders").name, RunStep("orders", number=1).name
        ('orders', 'orders/1')
        """
        return self.node if self.number == 0 else f"{self.node}/{self.number}"


def steps_of(project: Project, selection: Selection) -> dict[RunStep, tuple[RunStep, ...]]:
    """Return all steps of a run, each with the steps it waits for, in an order in which they can be taken.

    Raises:
        StalledError: There is none, which the rules above exclude.
    """
    order = _Order(project, frozenset(selection.nodes))
    groups: dict[str, list[list[DataTest]]] = {}
    for name in selection.tests:
        test = project.tests[name]
        groups.setdefault(test.tested, [[]])[0].append(test)
    while True:
        waits = order.waits(groups)
        try:
            return {step: waits[step] for step in TopologicalSorter(waits).static_order()}
        except CycleError as error:
            circle: list[RunStep] = error.args[1]
            divisible = {step.node for step in circle if len({test.reads for test in step.tests}) > 1}
            if not divisible:
                raise StalledError(f"steps of the run wait for one another: {describe_steps(circle)}") from error
            for node in divisible:
                groups[node] = _by_reads(groups[node])


def describe_steps(steps: Iterable[RunStep]) -> str:
    """Return steps in words.

    >>> describe_steps([RunStep("orders")])
    'orders'
    """
    return ", ".join(f"tests of {step.name}" if step.tests else step.name for step in steps)


def _by_reads(groups: Iterable[Iterable[DataTest]]) -> list[list[DataTest]]:
    """Return the tests of a node in a group for each set of relations that they read."""
    found: dict[frozenset[str], list[DataTest]] = {}
    for group in groups:
        for test in group:
            found.setdefault(frozenset(test.reads), []).append(test)
    return list(found.values())


class _Order:
    """What waits for what, in a run over some nodes."""

    def __init__(self, project: Project, selected: frozenset[str]) -> None:
        self._project = project
        self._graph = project.graph
        self._selected = selected
        self._nearest: dict[str, frozenset[str]] = {}
        self._first_below: dict[frozenset[str], tuple[str, ...]] = {}

    def waits(self, groups: Mapping[str, Iterable[Iterable[DataTest]]]) -> dict[RunStep, tuple[RunStep, ...]]:
        """Return what each step waits for, with the data tests of each node in the given groups."""
        steps = {name: RunStep(name) for name in self._project.graph.order if name in self._selected}
        waits = {step: self._makers(steps, self._graph.parents[name]) for name, step in steps.items()}
        for node, parts in groups.items():
            for number, tests in enumerate(parts):
                step = RunStep(node, tuple(tests), number)
                waits[step] = self._makers(steps, (read for test in tests for read in test.reads))
                for reads in dict.fromkeys(frozenset(test.reads) for test in tests):
                    for name in self.first_below(node, reads):
                        waits[steps[name]][step] = None
        for step, needed in waits.items():
            ephemerals = {each for test in step.tests for each in test.reads if self._project.is_ephemeral(each)}
            for other in waits if ephemerals else ():
                if other is not step and any(self._holds(test, ephemerals) for test in other.tests):
                    needed[other] = None
        return {step: tuple(found) for step, found in waits.items()}

    def _holds(self, test: DataTest, names: Iterable[str]) -> bool:
        return any(self._graph.is_below_all(name, test.reads) for name in names)

    def _makers(self, steps: Mapping[str, RunStep], names: Iterable[str]) -> dict[RunStep, None]:
        return dict.fromkeys(steps[each] for name in names for each in sorted(self.nearest(name)))

    def nearest(self, name: str) -> frozenset[str]:
        """Return the selected nodes that the content of a node comes from: itself, or the nearest ones above it."""
        if name in self._selected:
            return frozenset((name,))
        if name not in self._nearest:
            found = (self.nearest(parent) for parent in self._graph.parents.get(name, ()))
            self._nearest[name] = frozenset().union(*found)
        return self._nearest[name]

    def first_below(self, start: str, reads: frozenset[str]) -> tuple[str, ...]:
        """Return the selected nodes below all of `reads` that are not below another such node, looked for from one of them."""
        if reads not in self._first_below:
            found: dict[str, None] = {}
            seen = {start}
            pending = [start]
            while pending:
                for child in self._graph.children.get(pending.pop(), ()):
                    if child in seen:
                        continue
                    seen.add(child)
                    if child in self._selected and self._graph.is_below_all(child, reads):
                        found[child] = None
                    else:
                        pending.append(child)
            self._first_below[reads] = tuple(found)
        return self._first_below[reads]
