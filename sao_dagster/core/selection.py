"""dbt's selection syntax: `+` on either side, methods such as `tag:`, `*`; space is union, comma is intersection.

https://docs.getdbt.com/reference/node-selection/syntax
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sao_dagster.core.nodes import DataTest, Materialized
from sao_dagster.core.project import Project
from sao_dagster.errors import SelectionError

_TERM = re.compile(r"(?P<at>@)?(?:(?P<up>\d*)(?P<plus>\+))?(?P<core>.+?)(?:(?P<down_plus>\+)(?P<down>\d*))?$")
_METHODS = (
    "config", "fqn", "group", "name", "package", "path", "resource_type", "source", "tag", "test_name", "test_type",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """What a run is about.

    Attributes:
        nodes: Models and seeds that are built (no ephemerals), in the order of the graph.
        tests: Data tests, in the order of the project.
        sources: Sources that were selected themselves, for their checks.
    """

    nodes: tuple[str, ...]
    tests: tuple[str, ...]
    sources: tuple[str, ...]


def select(project: Project, include: str | None = None, exclude: str | None = None) -> Selection:
    """Return what a selection means in a project.

    A data test is selected with any of the things it reads (dbt's `eager` way), or by itself.

    Args:
        project: The project.
        include: dbt's `--select`; None or blank is everything.
        exclude: dbt's `--exclude`.

    Raises:
        SelectionError: The text is not understood, or a part of `include` matches nothing.
    """
    chosen = _union(project, include, strict=True) if include and include.strip() else set(_all(project))
    removed = _union(project, exclude, strict=False) if exclude else set()
    kept = chosen - removed
    tests = [
        test.name
        for test in project.tests.values()
        if test.name not in removed and (test.name in kept or any(name in kept for name in test.reads))
    ]
    if removed:  # a test of something that was excluded goes with it, unless it was named
        tests = [
            name for name in tests if name in kept or not any(read in removed for read in project.tests[name].reads)
        ]
    nodes = [
        name
        for name in project.graph.order
        if name in kept and project.nodes[name].materialized is not Materialized.EPHEMERAL
    ]
    return Selection(tuple(nodes), tuple(tests), tuple(name for name in project.sources if name in kept))


def _all(project: Project) -> Iterable[str]:
    yield from project.nodes
    yield from project.sources


def _union(project: Project, text: str, *, strict: bool) -> set[str]:
    found: set[str] = set()
    for part in text.split():
        terms = [_term(project, term) for term in part.split(",")]
        matched = set.intersection(*terms)
        if strict and not matched:
            raise SelectionError(f"{part!r} selects nothing in project {project.name!r}")
        found |= matched
    return found


def _term(project: Project, text: str) -> set[str]:
    match = _TERM.match(text)
    if match is None or not match["core"]:
        raise SelectionError(f"{text!r} is not a selection; write for example 'orders', 'tag:daily' or '+orders+1'")
    found = _method(project, match["core"])
    graph = project.graph
    near = {name for name in found if name not in project.tests}
    grown = set(found)
    if match["at"]:
        below = graph.descendants(near)
        grown |= below | graph.ancestors(near | below)
    if match["plus"]:
        grown |= graph.ancestors(near, int(match["up"]) if match["up"] else None)
    if match["down_plus"]:
        grown |= graph.descendants(near, int(match["down"]) if match["down"] else None)
    return grown


def _method(project: Project, text: str) -> set[str]:
    method, colon, value = text.partition(":")
    if not colon:
        is_path = "/" in text or text.endswith((".sql", ".csv", ".yml", ".yaml"))
        method, value = ("path" if is_path else "fqn"), text
    name, _, key = method.partition(".")
    if name not in _METHODS:
        known = ", ".join(_METHODS)
        raise SelectionError(f"{method!r} in {text!r} is no selection method; there are: {known}")
    nodes, sources, tests = project.nodes.values(), project.sources.values(), project.tests.values()
    if name in ("fqn", "name"):
        found = {node.name for node in nodes if _fqn(node.fqn, node.name, value)}
        return found | {test.name for test in tests if _fqn(test.fqn, test.name, value)}
    if name == "tag":
        return {
            *(node.name for node in nodes if any(fnmatchcase(tag, value) for tag in node.tags)),
            *(source.id for source in sources if any(fnmatchcase(tag, value) for tag in source.tags)),
            *(test.name for test in tests if any(fnmatchcase(tag, value) for tag in test.tags)),
        }
    if name == "path":
        return {
            *(node.name for node in nodes if node.location and _under(node.location.path, value)),
            *(source.id for source in sources if source.location and _under(source.location.path, value)),
            *(test.name for test in tests if test.kind == "singular" and test.location and _under(test.location.path, value)),
        }  # fmt: skip
    if name == "source":
        wanted = value if "." in value else f"{value}.*"
        return {source.id for source in sources if fnmatchcase(f"{source.source_name}.{source.table_name}", wanted)}
    if name == "resource_type":
        return _of_type(project, value)
    if name == "config":
        return {node.name for node in nodes if _config(node.config, key.split("."), value)}
    if name == "group":
        return {node.name for node in nodes if node.group == value}
    if name == "package":
        wanted = project.name if value == "this" else value
        return {node.name for node in nodes if node.fqn[:1] == (wanted,)}
    return {test.name for test in tests if _is_test(test, name, value)}


def _is_test(test: DataTest, method: str, value: str) -> bool:
    if method == "test_name":
        return test.kind == value
    return value in ("data", "singular" if test.kind == "singular" else "generic")


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


def _under(path: str, wanted: str) -> bool:
    wanted = wanted.rstrip("/")
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


def _of_type(project: Project, value: str) -> set[str]:
    if value == "source":
        return set(project.sources)
    if value in ("test", "data_test"):
        return set(project.tests)
    if value in ("model", "seed"):
        return {node.name for node in project.nodes.values() if node.resource_type == value}
    raise SelectionError(f"resource_type:{value} is unknown; there are model, seed, source, test")
