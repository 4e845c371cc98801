"""dbt's selection syntax: `+` on either side, methods such as `tag:`, `*`; space is union, comma is intersection.

https://docs.getdbt.com/reference/node-selection/syntax
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property, partial
from typing import TypeAlias

from sao_dagster.core.nodes import DataTest, Materialized, Node
from sao_dagster.core.others import ProjectModel
from sao_dagster.core.project import Project
from sao_dagster.core.selectors import SelectorReader
from sao_dagster.errors import Location, SelectionError

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


Changes: TypeAlias = Callable[[], Mapping[str, Collection[str]]]
"""Returns how nodes and data tests differ from another environment, by name."""
Results: TypeAlias = Callable[[], Mapping[str, Collection[str]]]
"""Returns what became of nodes and data tests in the last run, by name, in the words of `RESULTS`."""
_Method: TypeAlias = Callable[[Project, str, str], set[str]]
NEW = "new"
"""How a node or data test differs from an environment that does not have it."""


def select(
    project: Project,
    include: str | None = None,
    exclude: str | None = None,
    changes: Changes | None = None,
    results: Results | None = None,
) -> Selection:
    """Return what a selection means in a project.

    A data test is selected and excluded with any of the things it reads (dbt's `eager` way), or by itself. What is broken and above what is
    selected is selected too, since it fails what is below it; and what is broken such that its tags, its configuration or what it
    reads cannot be known, by whatever asks for that.

    Args:
        project: The project.
        include: dbt's `--select`; None or blank is everything.
        exclude: dbt's `--exclude`.
        changes: Returns how nodes and data tests differ from another environment, by name, for `state:`: `new`, or what was modified.
        results: Returns what became of nodes and data tests in the last run, by name, for `result:`.

    Raises:
        SelectionError: The text is not understood, or a part of `include` matches nothing.
    """
    asked = _Asked(project, changes, results)
    chosen = _union(asked, include, strict=True) if include and include.strip() else set(_all(project))
    removed = _union(_Asked(project, changes, results), exclude, strict=False) if exclude else set()
    kept = chosen - removed
    tests = [
        test.name
        for test in project.tests.values()
        if removed.isdisjoint((test.name, *test.reads))
        and not kept.isdisjoint((test.name, *test.reads))
        and (test.name in kept or test.name not in asked.left_out)
    ]
    nodes = [
        name
        for name in project.graph.order
        if name in kept and (project.nodes[name].materialized is not Materialized.EPHEMERAL or name in project.broken)
    ]
    sources = tuple(name for name in project.sources if name in kept)
    return with_broken(project, Selection(tuple(nodes), tuple(tests), sources))


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
    yield from _opaque(project)
    yield from (test.name for test in project.tests.values() if not test.reads)


def _opaque(project: Project) -> set[str]:
    """Return what is broken such that its tags, its configuration or what it reads cannot be known."""
    return {name for name, error in project.broken.items() if error.is_opaque}


@dataclass
class _Asked:
    """What one selection is asked of.

    Attributes:
        project: The project.
        changes: How things differ from another environment.
        results: What became of things in the last run.
        left_out: Tests that selectors leave out with what they read.
    """

    project: Project
    changes: Changes | None
    results: Results | None
    left_out: set[str] = field(default_factory=set)

    @cached_property
    def selectors(self) -> SelectorReader:
        """What finds the selections that have a name."""

        def tests_of(read: set[str]) -> set[str]:
            return {test.name for test in self.project.tests.values() if not read.isdisjoint((test.name, *test.reads))}

        return SelectorReader(
            self.project.selectors, partial(_term, self), partial(_union, self, strict=False), tests_of, self.left_out
        )


_MAY_BE_NOTHING = ("state:", "result:", "selector:")


def _union(asked: _Asked, text: str, *, strict: bool) -> set[str]:
    found: set[str] = set()
    for part in text.split():
        matched = set.intersection(*(_term(asked, term) for term in part.split(",")))
        if strict and not matched and not any(each in part for each in _MAY_BE_NOTHING):
            raise SelectionError(f"{part!r} selects nothing in project {asked.project.name!r}")
        found |= matched
    return found


def _term(asked: _Asked, text: str) -> set[str]:
    match = _TERM.match(text)
    if match is None or not match["core"]:
        raise SelectionError(f"{text!r} is not a selection; write for example 'orders', 'tag:daily' or '+orders+1'")
    project = asked.project
    found = _method(asked, match["core"])
    graph = project.graph
    tests = {name for name in found if name in project.tests}
    near = found - tests
    grown = set(found)
    if match["at"]:
        below = near | graph.descendants(near)
        tested = [set(test.reads) for test in project.tests.values() if not below.isdisjoint(test.reads)]
        below = below.union(*tested)
        grown |= below | graph.ancestors(below) | _opaque(project)
    if match["plus"]:
        steps = int(match["up"]) if match["up"] else None
        grown |= graph.ancestors(near, steps)
        read = {each for name in tests for each in project.tests[name].reads}
        if steps != 0:
            grown |= read | graph.ancestors(read, None if steps is None else steps - 1)
    if match["down_plus"]:
        grown |= graph.descendants(near, int(match["down"]) if match["down"] else None) | _opaque(project)
    return grown


def _method(asked: _Asked, text: str) -> set[str]:
    method, colon, value = text.partition(":")
    if not colon:
        is_path = "/" in text or text.endswith((".sql", ".csv", ".yml", ".yaml"))
        method, value = ("path" if is_path else "fqn"), text
    name, _, key = method.partition(".")
    methods: Mapping[str, _Method] = {
        **_METHODS,
        "result": partial(_by_result, results=asked.results),
        "selector": lambda _, value, __: asked.selectors.selected_by(value),
        "state": partial(_by_state, changes=asked.changes),
    }
    if name not in methods:
        known = ", ".join(methods)
        raise SelectionError(f"{method!r} in {text!r} is no selection method; there are: {known}")
    return methods[name](asked.project, value, key)


def _by_config(project: Project, value: str, key: str) -> set[str]:
    nodes = project.nodes.values()
    return {node.name for node in nodes if _config(node.config, key.split("."), value)} | _opaque(project)


def _by_fqn(project: Project, value: str, key: str) -> set[str]:
    nodes = project.nodes.values()
    found = {node.name for node in nodes if any(_fqn(node.fqn, name, value) for name in _names(node))}
    return found | {test.name for test in project.tests.values() if _fqn(test.fqn, test.name, value)}


def _by_file(project: Project, value: str, key: str) -> set[str]:
    """Return what is written in a file of a name, with its ending or without; of tests the singular ones."""
    singular = (test for test in project.tests.values() if test.kind == "singular")
    written: tuple[Node | DataTest, ...] = (*project.nodes.values(), *singular)
    return {
        each.name
        for each in written
        if each.location is not None
        and (name := each.location.path.rpartition("/")[2])
        and (fnmatchcase(name, value) or fnmatchcase(name.rpartition(".")[0], value))
    }


def _by_group(project: Project, value: str, key: str) -> set[str]:
    return {node.name for node in project.nodes.values() if node.group == value}


def _by_package(project: Project, value: str, key: str) -> set[str]:
    wanted = project.name if value == "this" else value
    everything: tuple[Node | DataTest, ...] = (*project.nodes.values(), *project.tests.values())
    sources = {source.id for source in project.sources.values() if source.fqn[:1] == (wanted,)}
    return sources | {each.name for each in everything if each.fqn[:1] == (wanted,)}


def _by_path(project: Project, value: str, key: str) -> set[str]:
    """Return what is written below a path; of tests the singular ones, since the others are written with what they test."""
    nodes, sources, tests = project.nodes.values(), project.sources.values(), project.tests.values()
    return {
        *(node.name for node in nodes if _under(node.location, value)),
        *(source.id for source in sources if _under(source.location, value)),
        *(test.name for test in tests if test.kind == "singular" and _under(test.location, value)),
    }


def _by_resource_type(project: Project, value: str, key: str) -> set[str]:
    if value == "source":
        return {each.id for each in project.sources.values() if not isinstance(each, ProjectModel)}
    if value in ("test", "data_test"):
        return set(project.tests)
    if value in ("model", "seed"):
        return {node.name for node in project.nodes.values() if node.resource_type == value}
    raise SelectionError(f"resource_type:{value} is unknown; there are model, seed, source, test")


def _by_result(project: Project, value: str, key: str, results: Results | None) -> set[str]:
    """Return what came out so in the last run, of what is still in the project.

    Raises:
        SelectionError: Nobody knows of a run, or the word is unknown.
    """
    if value not in RESULTS:
        raise SelectionError(f"result:{value} is unknown; there are: {', '.join(RESULTS)}")
    if results is None:
        raise SelectionError(f"result:{value} asks for the last run, and here nobody knows of one; it is for commands")
    known = {*project.nodes, *project.tests}
    return {name for name, words in results().items() if value in words and name in known}


def _by_source(project: Project, value: str, key: str) -> set[str]:
    wanted = value if "." in value else f"{value}.*"
    sources = [each for each in project.sources.values() if not isinstance(each, ProjectModel)]
    return {source.id for source in sources if fnmatchcase(f"{source.source_name}.{source.table_name}", wanted)}


def _by_state(project: Project, value: str, key: str, changes: Changes | None) -> set[str]:
    """Return what is new or modified as compared with another environment, or what is not.

    Raises:
        SelectionError: None is compared with, or the word is unknown.
    """
    word, _, part = value.partition(".")
    known = ("modified", "new", "old", "unmodified")
    if word not in known or (part and (word != "modified" or part not in MODIFIED)):
        words = ", ".join((*known, *(f"modified.{each}" for each in MODIFIED)))
        raise SelectionError(f"state:{value} is unknown; there are: {words}")
    if changes is None:
        raise SelectionError(f"state:{value} compares with another environment; name it with --state or --defer")
    differing = changes()
    everything = {*project.nodes, *project.tests}
    new = {name for name, each in differing.items() if NEW in each}
    if word == "new":
        return new
    if word == "old":
        return everything - new
    if word == "unmodified":
        return everything - differing.keys()
    return {name for name, each in differing.items() if not part or part in each} | _opaque(project)


def _by_tag(project: Project, value: str, key: str) -> set[str]:
    nodes, sources, tests = project.nodes.values(), project.sources.values(), project.tests.values()
    return {
        *(node.name for node in nodes if _tagged(node.tags, value)),
        *(source.id for source in sources if _tagged(source.tags, value)),
        *(test.name for test in tests if _tagged(test.tags, value)),
        *_opaque(project),
    }


def _by_test_name(project: Project, value: str, key: str) -> set[str]:
    return {test.name for test in project.tests.values() if test.kind == value}


def _by_test_type(project: Project, value: str, key: str) -> set[str]:
    wanted = {"data": (True, False), "singular": (True,), "generic": (False,)}.get(value, ())
    return {test.name for test in project.tests.values() if (test.kind == "singular") in wanted}


MODIFIED = ("body", "configs", "relation", "macros", "persisted_descriptions")
"""What may have been modified, in dbt's words."""

RESULTS = ("error", "fail", "warn", "pass", "success", "skipped", "reused")
"""What may have become of something, in dbt's words."""

_METHODS: Mapping[str, _Method] = {
    "config": _by_config,
    "file": _by_file,
    "fqn": _by_fqn,
    "group": _by_group,
    "name": _by_fqn,
    "package": _by_package,
    "path": _by_path,
    "resource_type": _by_resource_type,
    "source": _by_source,
    "tag": _by_tag,
    "test_name": _by_test_name,
    "test_type": _by_test_type,
}
"""What stands before the colon -> what it selects, given what stands after it and, for `config.`, the key between."""


def _tagged(tags: Iterable[str], wanted: str) -> bool:
    return any(fnmatchcase(tag, wanted) for tag in tags)


def _names(node: Node) -> tuple[str, ...]:
    """Return what a node is called: one version of a model also by the name of the model, and as its file is."""
    model, point, version = node.name.rpartition(".")
    return (node.name, model, f"{model}_{version}") if point and node.fqn[-2:] == (model, version) else (node.name,)


def _fqn(fqn: tuple[str, ...], name: str, wanted: str) -> bool:
    """Return whether a name, or the start of the folder path with or without the project, is what is wanted."""
    if fnmatchcase(name, wanted):
        return True
    parts = wanted.split(".")
    for path in (fqn, fqn[1:]):
        head = path[: len(parts)]
        if len(head) == len(parts) and all(fnmatchcase(a, b) for a, b in zip(head, parts, strict=True)):
            return True
    return False


def _under(location: Location | None, wanted: str) -> bool:
    if location is None:
        return False
    path, wanted = location.path, wanted.rstrip("/")
    return path == wanted or path.startswith(wanted + "/") or fnmatchcase(path, wanted)


def _config(config: object, keys: list[str], wanted: str) -> bool:
    for key in keys:
        if not isinstance(config, dict) or key not in config:
            return False
        config = config[key]
    if isinstance(config, list | tuple):
        return any(str(value) == wanted for value in config)
    text = str(config).lower() if isinstance(config, bool) else str(config)
    return text == wanted
