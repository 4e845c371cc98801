"""The graph: order, neighbours, and the inputs that are left when views and ephemerals are looked through."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, wraps
from typing import TypeVar

from sao_dagster.core.nodes import DataTest, Materialized, Model, Node, Source, is_source
from sao_dagster.core.policy import BuildAfter, Expiry, Volatile, soonest
from sao_dagster.errors import CycleError


@dataclass(frozen=True)
class Inputs:
    """What a model's result depends on.

    Attributes:
        data: What holds data: tables, incrementals, seeds and sources, and what is read without being declared.
        views: The view models on the way to them; their definitions count, their data is elsewhere.
    """

    data: tuple[str, ...]
    views: tuple[str, ...]


T = TypeVar("T")


def _worked_out_once(answer: Callable[[Graph, str], T]) -> Callable[[Graph, str], T]:
    """Return a method of a graph that works out what it says of a node once: a graph never changes."""
    place = f"{answer.__name__} by node"

    @wraps(answer)
    def known(self: Graph, name: str) -> T:
        answers: dict[str, T] | None = self.__dict__.get(place)
        if answers is None:
            answers = self.__dict__[place] = {}
        if name not in answers:
            answers[name] = answer(self, name)
        return answers[name]

    return known


class Graph:
    """The graph between the nodes of a project; every answer is in a deterministic order.

    Args:
        nodes: Models and seeds by name.
        sources: Sources by id.

    Raises:
        CycleError: Models depend on each other in a circle.
    """

    def __init__(self, nodes: Mapping[str, Node], sources: Mapping[str, Source]) -> None:
        self._nodes = nodes
        self.parents: dict[str, tuple[str, ...]] = {name: node.depends_on for name, node in nodes.items()}
        children: dict[str, list[str]] = {name: [] for name in (*nodes, *sources)}
        for name, parents in self.parents.items():
            for parent in parents:
                children.setdefault(parent, []).append(name)
        self.children: dict[str, tuple[str, ...]] = {name: tuple(kids) for name, kids in children.items()}

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All nodes, each after what it depends on; by name where the graph leaves a choice."""
        waiting = {name: sum(parent in self._nodes for parent in parents) for name, parents in self.parents.items()}
        ready = [name for name, count in waiting.items() if count == 0]
        heapq.heapify(ready)
        order = []
        while ready:
            name = heapq.heappop(ready)
            order.append(name)
            for child in self.children[name]:
                waiting[child] -= 1
                if waiting[child] == 0:
                    heapq.heappush(ready, child)
        if len(order) < len(self._nodes):
            raise self._cycle(set(order))
        return tuple(order)

    def _cycle(self, sorted_names: set[str]) -> CycleError:
        """Return the error that names one circle among what could not be sorted, with the files."""
        stuck = {name for name in self._nodes if name not in sorted_names}
        name = min(stuck)
        path: list[str] = []
        while name not in path:
            path.append(name)
            name = next(parent for parent in self.parents[name] if parent in stuck)
        circle = path[path.index(name) :]
        files = ", ".join(str(place) for each in circle if (place := self._nodes[each].location))
        return CycleError(
            f"models depend on each other in a circle: {' <- '.join((*circle, name))}"
            + (f" ({files})" if files else "")
        )

    @_worked_out_once
    def inputs(self, name: str) -> Inputs:
        """Return what the result of a node depends on, looking through views and ephemerals.

        A view is treated like any other model here: these are the relations that its rows come from.
        """
        data: dict[str, None] = {}
        views: dict[str, None] = {}
        for parent in self.parents[name]:
            node = self._nodes.get(parent)
            if node is None or node.materialized.holds_data:
                data[parent] = None
                continue
            if node.materialized is Materialized.VIEW:
                views[parent] = None
            deeper = self.inputs(parent)
            data.update(dict.fromkeys(deeper.data))
            views.update(dict.fromkeys(deeper.views))
        data.update(dict.fromkeys(each.id for each in self._nodes[name].undeclared))
        return Inputs(tuple(data), tuple(views))

    def read(self, name: str) -> tuple[str, ...]:
        """Return all that a node reads: what its SQL names, and what it looks through to."""
        through = self.inputs(name)
        return tuple(dict.fromkeys((*self.relations_read(name), *through.data, *through.views)))

    def behind(self, name: str) -> tuple[str, ...]:
        """Return the nodes whose relations are read when a node is queried: itself, or what a view or ephemeral looks through."""
        kind = self._nodes[name].materialized
        if kind.holds_data:
            return (name,)
        below = self.inputs(name)
        itself = (name,) if kind is Materialized.VIEW else ()
        return (*itself, *(each for each in (*below.views, *below.data) if each in self._nodes))

    def is_made_of(self, name: str, others: AbstractSet[str]) -> bool:
        """Return whether the content of a node or source is that of one of the others: its own, or what a view looks through to."""
        node = self._nodes.get(name)
        if node is None or node.materialized.holds_data:
            return name in others
        inputs = self.inputs(name)
        return not others.isdisjoint((name, *inputs.data, *inputs.views))

    @_worked_out_once
    def relations_read(self, name: str) -> tuple[str, ...]:
        """Return the relations that a node's SQL names, with ephemerals replaced by what they name."""
        found: dict[str, None] = {}
        for parent in self.parents[name]:
            node = self._nodes.get(parent)
            if node is not None and node.materialized is Materialized.EPHEMERAL:
                found.update(dict.fromkeys(self.relations_read(parent)))
            else:
                found[parent] = None
        return tuple(found)

    def ancestors(self, names: Iterable[str], depth: int | None = None) -> set[str]:
        """Return what lies above the names, at most `depth` steps away, without the names themselves."""
        return self._walk(names, self.parents, depth)

    def descendants(self, names: Iterable[str], depth: int | None = None) -> set[str]:
        """Return what lies below the names, at most `depth` steps away, without the names themselves."""
        return self._walk(names, self.children, depth)

    def views_over(self, name: str) -> set[str]:
        """Return the views that show a node, directly or through other views and ephemerals."""
        shown_by = self._walk((name,), self._looking_through, None)
        return {each for each in shown_by if self._nodes[each].materialized is Materialized.VIEW}

    @cached_property
    def _looking_through(self) -> dict[str, tuple[str, ...]]:
        """By node and source, the views and ephemerals that read it."""
        return {
            name: tuple(each for each in children if not self._nodes[each].materialized.holds_data)
            for name, children in self.children.items()
        }

    def is_below_all(self, name: str, others: Collection[str]) -> bool:
        """Return whether a node lies below each of the others: whether all that they are, and there are any, is above it."""
        place = 1 << self._places[name]
        return bool(others) and all(self._below.get(other, 0) & place for other in others)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.order)}

    @cached_property
    def _below(self) -> dict[str, int]:
        """What lies below each node and source, as a set of bits: one for each place in the order."""
        found: dict[str, int] = {}
        for name in (*reversed(self.order), *(each for each in self.children if each not in self._nodes)):
            bits = 0
            for child in self.children[name]:
                bits |= found[child] | 1 << self._places[child]
            found[name] = bits
        return found

    @staticmethod
    def _walk(names: Iterable[str], edges: Mapping[str, tuple[str, ...]], depth: int | None) -> set[str]:
        start = set(names)
        seen = set(start)
        frontier = start
        while frontier and (depth is None or depth > 0):
            frontier = {next_ for name in frontier for next_ in edges.get(name, ())} - seen
            seen |= frontier
            depth = None if depth is None else depth - 1
        return seen - start

    def sources_above(self, names: Iterable[str]) -> set[str]:
        """Return the sources that the names read, directly or through anything."""
        above = set(names) | self.ancestors(names)
        return {name for name in above if is_source(name)}

    @_worked_out_once
    def expiry(self, name: str) -> Expiry | None:
        """Return when the result of a node stops being true by itself.

        The views that a model looks through are part of its query, so theirs counts too.
        """
        node = self._nodes[name]
        if not isinstance(node, Model):
            return None
        if node.policy.volatile is not Volatile.AUTO:
            return node.policy.expiry(node.expiry)
        detected = [node.expiry]
        for view in self.inputs(name).views:
            viewed = self._nodes[view]
            if isinstance(viewed, Model):
                detected.append(viewed.policy.expiry(viewed.expiry))
        return soonest(*detected)

    def expiry_of_read(self, names: Iterable[str]) -> Expiry | None:
        """Return when what is read from nodes stops being true by itself: where they hold no data, that of their queries."""
        nodes = (self._nodes[name] for name in names if name in self._nodes)
        return soonest(*(self.expiry(node.name) for node in nodes if not node.materialized.holds_data))

    @_worked_out_once
    def read_by_build(self, name: str) -> frozenset[str]:
        """Return the models whose version is the id of their build for what reads them through a node.

        These are those of which it, or a view or ephemeral that it looks through, reads a column that holds nothing but a volatile value.
        """
        views = self.inputs(name).views
        return frozenset(self._nodes[name].volatile_reads).union(*(self._nodes[view].volatile_reads for view in views))

    def test_reads_by_build(self, test: DataTest) -> frozenset[str]:
        """Return the same for what a data test reads."""
        through = (
            self.read_by_build(each)
            for each in test.reads
            if each in self._nodes and not self._nodes[each].materialized.holds_data
        )
        return frozenset(test.volatile_reads).union(*through)

    def test_expiry(self, test: DataTest) -> Expiry | None:
        """Return when a verdict stops standing by itself: its own SQL is volatile, or that of a view it reads."""
        return soonest(test.expiry, self.expiry_of_read(test.reads))

    @cached_property
    def _with_interval(self) -> tuple[str, ...]:
        """What may have an interval, each after what is below it."""
        policies = ((name, self._nodes[name].policy) for name in reversed(self.order))
        return tuple(name for name, each in policies if each.build_after is not None or each.inherit_from_children)

    def intervals(self, now: datetime) -> dict[str, BuildAfter]:
        """Return the interval of each model that has one, its own or inherited from its children.

        With `inherit_from_children`, a model without its own takes the smallest of its children's when all of
        its children have one.
        """
        found: dict[str, BuildAfter] = {}
        for name in self._with_interval:
            policy = self._nodes[name].policy
            if policy.build_after is not None:
                found[name] = policy.build_after
            elif policy.inherit_from_children and (children := self.children[name]):
                theirs = [(found[child].interval(now), child) for child in children if child in found]
                if len(theirs) == len(children):
                    child = min(theirs)[1]
                    origin = found[child].inherited_from or child
                    found[name] = BuildAfter(found[child].count, found[child].period, inherited_from=origin)
        return found
