"""The order of a run: which steps wait for which, worked out before it starts.

A node waits for the selected nodes above it and for the data tests of what it reads; the tests of a model wait
for everything they read. A test that reads something below its own model cannot hold that up, so it is a step of
its own that comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sao_dagster.core.models import DataTest, Project
from sao_dagster.core.selection import Selection


@dataclass(frozen=True)
class Task:
    """One step: a node to decide and build, or data tests of one node or source to decide and run.

    Attributes:
        node: The node it is about.
        tests: The tests; empty for the step of the node itself.
        late: Whether these are the tests that read something below the node.
    """

    node: str
    tests: tuple[DataTest, ...] = ()
    late: bool = False


def tasks_for(project: Project, selection: Selection) -> dict[Task, frozenset[Task]]:
    """Return all steps of a run, each with the steps it waits for, in an order in which they could be taken."""
    above = _NearestSelected(project, frozenset(selection.nodes))
    nodes = {name: Task(name) for name in selection.nodes}
    early: dict[str, list[DataTest]] = {}
    late: dict[str, list[DataTest]] = {}
    for name in selection.tests:
        test = project.tests[name]
        below = project.graph.descendants([test.tested]) if len(test.reads) > 1 else set()
        (late if below.intersection(test.reads) else early).setdefault(test.tested, []).append(test)
    blocking = {name: Task(name, tuple(tests)) for name, tests in early.items()}
    waits: dict[Task, set[Task]] = {}
    for task in blocking.values():
        waits[task] = {nodes[each] for test in task.tests for read in test.reads for each in above.of(read)}
    for name, task in nodes.items():
        parents = {each for parent in project.graph.parents[name] for each in above.of(parent)}
        read = {name_ for parent in project.graph.parents[name] for name_ in above.with_between(parent)}
        waits[task] = {nodes[each] for each in parents}
        waits[task] |= {
            blocking[each] for each in read if each in blocking and not _waits_for(blocking[each], name, project)
        }
    for name, tests in late.items():
        task = Task(name, tuple(tests), late=True)
        waits[task] = {nodes[each] for test in tests for read in test.reads for each in above.of(read)}
    return {task: frozenset(waits[task]) for task in (*blocking.values(), *nodes.values(), *waits) if task in waits}


def _waits_for(task: Task, name: str, project: Project) -> bool:
    """Return whether tests read a node, or something below it, so that the node cannot wait for them."""
    others = {read for test in task.tests for read in test.reads} - {task.node}
    return bool(others) and not others.isdisjoint({name, *project.graph.descendants([name])})


class _NearestSelected:
    """For a node, the selected nodes that its content comes from: itself, or the nearest ones above it."""

    def __init__(self, project: Project, selected: frozenset[str]) -> None:
        self._parents: Mapping[str, Iterable[str]] = project.graph.parents
        self._selected = selected
        self._known: dict[str, frozenset[str]] = {}

    def of(self, name: str) -> frozenset[str]:
        """Return the nearest selected nodes."""
        if name in self._selected:
            return frozenset((name,))
        if name not in self._known:
            found = (self.of(parent) for parent in self._parents.get(name, ()))
            self._known[name] = frozenset().union(*found)
        return self._known[name]

    def with_between(self, name: str) -> frozenset[str]:
        """Return the node itself and the nearest selected nodes, whose tests both matter."""
        return self.of(name) | {name}
