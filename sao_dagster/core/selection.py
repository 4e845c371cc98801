"""dbt's selection syntax: `+` on either side, methods such as `tag:`, `*`; space is union, comma is intersection.

https://docs.getdbt.com/reference/node-selection/syntax
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

from sao_dagster.core.indirect_selection import Chosen, Indirect, IndirectTests, combined
from sao_dagster.core.nodes import Materialized
from sao_dagster.core.project import Project, did_you_mean
from sao_dagster.core.selection_methods import METHODS, Changes, Method, Results, by_result, by_state, method_of, opaque
from sao_dagster.core.selectors import SelectorReader
from sao_dagster.errors import SelectionError

_TERM = re.compile(r"(?P<at>@)?(?:(?P<up>\d*)(?P<plus>\+))?(?P<core>.+?)(?:(?P<down_plus>\+)(?P<down>\d*))?$")


@dataclass(frozen=True)
class Selection:
    """What a run is about.

    Attributes:
        nodes: Models and seeds that are built (no ephemerals), in the order of the graph.
        tests: Data tests, in the order of the project.
        sources: Sources that were selected themselves, for their checks.
        gated: Whether data tests hold back what is below them.
    """

    nodes: tuple[str, ...]
    tests: tuple[str, ...]
    sources: tuple[str, ...]
    gated: bool = True

    def without_tests(self) -> Selection:
        """Return the same without data tests: none is asked, and none holds anything back, nor does a verdict of the past."""
        return replace(self, tests=(), gated=False)

    def without(self, names: Collection[str]) -> Selection:
        """Return the same without some nodes, tests and sources."""
        kept = (
            tuple(each for each in selected if each not in names) for selected in (self.nodes, self.tests, self.sources)
        )
        nodes, tests, sources = kept
        return replace(self, nodes=nodes, tests=tests, sources=sources)


def select(
    project: Project,
    include: str | None = None,
    exclude: str | None = None,
    changes: Changes | None = None,
    results: Results | None = None,
    indirect: Indirect = Indirect.EAGER,
) -> Selection:
    """Return what a selection means in a project.

    What is broken and above what is selected is selected too, since it fails what is below it; and what is broken such that its tags, its
    configuration or what it reads cannot be known, by whatever asks for that.

    Args:
        project: The project.
        include: dbt's `--select`; None or blank is everything.
        exclude: dbt's `--exclude`.
        changes: Returns how nodes and data tests differ from another environment, by name, for `state:`: `new`, or what was modified.
        results: Returns what became of nodes and data tests in the last run, by name, for `result:`.
        indirect: Which data tests are selected, and excluded, with what they read.

    Raises:
        SelectionError: The text is not understood, or a part of `include` matches nothing.
    """
    asked = _Asked(project, changes, results, IndirectTests(project.tests, project.sources, project.graph, indirect))
    chosen = _union(asked, include, strict=True) if include and include.strip() else Chosen(set(_all(project)))
    kept = (chosen.without(_union(asked, exclude, strict=False)) if exclude else chosen).names
    nodes = [
        name
        for name in project.graph.order
        if name in kept and (project.nodes[name].materialized is not Materialized.EPHEMERAL or name in project.broken)
    ]
    tests = tuple(name for name in project.tests if name in kept)
    sources = tuple(name for name in project.sources if name in kept)
    return with_broken(project, Selection(tuple(nodes), tests, sources))


def with_broken(project: Project, selection: Selection) -> Selection:
    """Return a selection with the broken nodes and sources above what it selects."""
    read = [each for test in selection.tests for each in project.tests[test].reads]
    above = {*project.broken_above(selection.nodes), *project.broken_among(read)}
    if not above:
        return selection
    nodes, sources = above.union(selection.nodes), above.union(selection.sources)
    return replace(
        selection,
        nodes=tuple(name for name in project.graph.order if name in nodes),
        sources=tuple(name for name in project.sources if name in sources),
    )


def _all(project: Project) -> Iterable[str]:
    yield from project.nodes
    yield from project.sources
    yield from project.tests


@dataclass
class _Asked:
    """What one selection is asked of.

    Attributes:
        project: The project.
        changes: How things differ from another environment.
        results: What became of things in the last run.
        tests: Adds data tests to what is selected.
    """

    project: Project
    changes: Changes | None
    results: Results | None
    tests: IndirectTests

    @cached_property
    def selectors(self) -> SelectorReader:
        """What finds the selections that have a name."""
        return SelectorReader(self.project.selectors, partial(_term, self), partial(_union, self, strict=False))


_NAMED = "selector:"
_MAY_BE_NOTHING = ("state:", "result:", _NAMED)


def _union(asked: _Asked, text: str, *, strict: bool) -> Chosen:
    found = [Chosen()]
    for part in text.split():
        matched = combined([_term(asked, term) for term in part.split(",")], set.intersection)
        matched = asked.tests.joined(matched)
        if strict and not matched.names and not any(each in part for each in _MAY_BE_NOTHING):
            hint = did_you_mean(_name_in(part), (*asked.project.nodes, *asked.project.tests))
            raise SelectionError(f"{part!r} selects nothing in project {asked.project.name!r}{hint}")
        found.append(matched)
    return asked.tests.joined(combined(found, set.union))


def _name_in(part: str) -> str:
    """Return the name that a part of a selection may have meant, without its operators."""
    match = _TERM.match(part.partition(",")[0])
    return match["core"] if match else part


def _term(asked: _Asked, text: str, indirect: Indirect | None = None) -> Chosen:
    """Return what one term selects, with its tests.

    Args:
        asked: What it is asked of.
        text: A method and a value, perhaps with what is above and below that.
        indirect: Which tests come with it; None for what the command says.
    """
    match = _TERM.match(text)
    if match is None or not match["core"]:
        raise SelectionError(f"{text!r} is not a selection; write for example 'orders', 'tag:daily' or '+orders+1'")
    project, reading = asked.project, asked.tests.reading
    core = match["core"]
    named = asked.selectors.selected_by(core.removeprefix(_NAMED)) if core.startswith(_NAMED) else None
    found = _method(asked, core) if named is None else named.names
    graph = project.graph
    tests = {name for name in found if name in project.tests}
    near = found - tests
    grown = set(found)
    if match["at"]:
        below = near | graph.descendants(near)
        tested = {*reading(below)}
        below = below.union(*(project.tests[name].reads for name in tested))
        grown |= below | tested | graph.ancestors(below) | opaque(project)
    if match["plus"]:
        steps = int(match["up"]) if match["up"] else None
        grown |= graph.ancestors(near, steps)
        read = {each for name in tests for each in project.tests[name].reads}
        if steps != 0:
            grown |= read | graph.ancestors(read, None if steps is None else steps - 1)
    if match["down_plus"]:
        steps = int(match["down"]) if match["down"] else None
        grown |= graph.descendants(near, steps) | opaque(project)
        if steps != 0:  # tests are nodes of dbt's graph
            grown.update(reading(near | graph.descendants(near, None if steps is None else steps - 1)))
    if named is not None:  # what it selects has its tests, or goes without them
        return combined([named, asked.tests.expanded(grown - found, indirect)], set.union)
    return asked.tests.expanded(grown, indirect)


def _method(asked: _Asked, text: str) -> set[str]:
    method, colon, value = text.partition(":")
    if not colon:
        method, value = method_of(text), text
    name, _, key = method.partition(".")
    methods: Mapping[str, Method] = {
        **METHODS,
        "result": lambda project, value, _: by_result(project, value, asked.results),
        "state": lambda project, value, _: by_state(project, value, asked.changes),
    }
    if name not in methods:
        known = ", ".join((*methods, _NAMED.rstrip(":")))
        raise SelectionError(f"{method!r} in {text!r} is no selection method; there are: {known}")
    return methods[name](asked.project, value, key)
