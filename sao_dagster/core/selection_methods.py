"""What stands before the colon of a selection: dbt's methods, each of which says what a value selects in a project.

https://docs.getdbt.com/reference/node-selection/methods
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeAlias

from sao_dagster.core.nodes import DataTest, Model, Node, Source
from sao_dagster.core.others import ProjectModel
from sao_dagster.core.project import Project
from sao_dagster.errors import Location, SelectionError

Method: TypeAlias = Callable[[Project, str, str], set[str]]
"""Returns the names that a value selects, given that and, for `config.`, the key between."""
Changes: TypeAlias = Callable[[], Mapping[str, Collection[str]]]
"""Returns how nodes and data tests differ from another environment, by name."""
Results: TypeAlias = Callable[[], Mapping[str, Collection[str]]]
"""Returns what became of nodes and data tests in the last run, by name, in the words of `RESULTS`."""

NEW = "new"
"""How a node or data test differs from an environment that does not have it."""
MODIFIED = ("body", "configs", "relation", "macros", "persisted_descriptions")
"""What may have been modified, in dbt's words."""
RESULTS = ("error", "fail", "warn", "pass", "success", "skipped", "reused")
"""What may have become of something, in dbt's words."""

_FILES = (".sql", ".py", ".csv")


def method_of(text: str) -> str:
    """Return the method that is meant where none is named.

    >>> method_of("models/staging"), method_of("orders.sql"), method_of("staging.orders")
    ('path', 'file', 'fqn')
    """
    return "path" if "/" in text else "file" if text.lower().endswith(_FILES) else "fqn"


def opaque(project: Project) -> set[str]:
    """Return what is broken such that its tags, its configuration or what it reads cannot be known."""
    return {name for name, error in project.broken.items() if error.is_opaque}


def by_result(project: Project, value: str, results: Results | None) -> set[str]:
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


def by_state(project: Project, value: str, changes: Changes | None) -> set[str]:
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
    return {name for name, each in differing.items() if not part or part in each} | opaque(project)


def _by_access(project: Project, value: str, key: str) -> set[str]:
    return {node.name for node in project.nodes.values() if isinstance(node, Model) and node.access.value == value}


def _by_config(project: Project, value: str, key: str) -> set[str]:
    keys = key.split(".")
    configs = {
        **{node.name: node.config for node in project.nodes.values()},
        **{test.name: _config_of(test) for test in project.tests.values()},
    }
    return {name for name, config in configs.items() if _configured(config, keys, value)} | opaque(project)


def _by_file(project: Project, value: str, key: str) -> set[str]:
    """Return what is written in a file of a name, with its ending or without."""
    found = set()
    for name, location in _written(project):
        file = location.path.rpartition("/")[2]
        if fnmatchcase(file, value) or fnmatchcase(file.rpartition(".")[0], value):
            found.add(name)
    return found


def _by_fqn(project: Project, value: str, key: str) -> set[str]:
    named = {value} & project.nodes.keys()  # which begins with a package where several have it
    nodes = {node.name for node in project.nodes.values() if _is_called(node.fqn, value, is_versioned=_versioned(node))}
    nodes |= {name for name in named if project.nodes[name].qualifier}
    return nodes | {test.name for test in project.tests.values() if _is_called(test.fqn, value)}


def _by_group(project: Project, value: str, key: str) -> set[str]:
    nodes = project.nodes.values()
    return {node.name for node in nodes if node.group is not None and fnmatchcase(node.group, value)}


def _by_package(project: Project, value: str, key: str) -> set[str]:
    wanted = project.name if value == "this" else value
    everything: tuple[Node | DataTest, ...] = (*project.nodes.values(), *project.tests.values())
    named = [(each.name, each.fqn) for each in everything] + [(each.id, each.fqn) for each in _sources(project)]
    return {name for name, fqn in named if fqn and fnmatchcase(fqn[0], wanted)}


def _by_path(project: Project, value: str, key: str) -> set[str]:
    """Return what is written in a file or below a folder of a path, which may be a pattern; and of what a YAML file of that path speaks."""
    wanted = _parts(value)
    written = {name for name, location in _written(project) if _globs(_parts(location.path), wanted)}
    spoken_of = [node for node in project.nodes.values() if node.patch_path]
    return written | {node.name for node in spoken_of if _globs(_parts(node.patch_path), wanted, whole=True)}


def _by_resource_type(project: Project, value: str, key: str) -> set[str]:
    if value == "source":
        return {each.id for each in _sources(project)}
    if value in ("test", "data_test"):
        return set(project.tests)
    if value in ("model", "seed"):
        return {node.name for node in project.nodes.values() if node.resource_type == value}
    raise SelectionError(f"resource_type:{value} is unknown; there are model, seed, source, test")


def _by_source(project: Project, value: str, key: str) -> set[str]:
    parts = value.split(".")
    if len(parts) > 3:
        raise SelectionError(f"source:{value} is too long; it is a source, source.table, or package.source.table")
    package, source, table = (("*", *parts, "*") if len(parts) == 1 else ("*", *parts))[-3:]
    return {
        each.id
        for each in _sources(project)
        if fnmatchcase(each.fqn[0] if each.fqn else project.name, package)
        and fnmatchcase(each.source_name, source)
        and fnmatchcase(each.table_name, table)
    }


def _by_tag(project: Project, value: str, key: str) -> set[str]:
    everything: tuple[Node | DataTest, ...] = (*project.nodes.values(), *project.tests.values())
    tagged = [(each.name, each.tags) for each in everything] + [
        (each.id, each.tags) for each in project.sources.values()
    ]
    return {name for name, tags in tagged if any(fnmatchcase(tag, value) for tag in tags)} | opaque(project)


def _by_test_name(project: Project, value: str, key: str) -> set[str]:
    generic = (test for test in project.tests.values() if test.kind != "singular")
    return {test.name for test in generic if fnmatchcase(test.kind, value)}


def _by_test_type(project: Project, value: str, key: str) -> set[str]:
    kinds = {"data": (True, False), "singular": (True,), "generic": (False,), "schema": (False,), "unit": ()}
    if value not in kinds:
        raise SelectionError(f"test_type:{value} is unknown; there are: {', '.join(kinds)}")
    return {test.name for test in project.tests.values() if (test.kind == "singular") in kinds[value]}


def _by_version(project: Project, value: str, key: str) -> set[str]:
    """Return the models whose version is the latest one, one after that, or one before; or that have none."""
    models = [node for node in project.nodes.values() if isinstance(node, Model)]
    if value == "none":
        return {model.name for model in models if model.version is None}
    versioned = [(model, model.version) for model in models if model.version is not None]
    latest = {model.fqn[:-1]: version for model, version in versioned if model.is_latest}
    if value == "latest":
        return {model.name for model, _ in versioned if model.is_latest}
    if value not in ("prerelease", "old"):
        raise SelectionError(f"version:{value} is unknown; there are latest, prerelease, old, none")
    return {
        model.name
        for model, version in versioned
        if (last := latest.get(model.fqn[:-1], version)) != version
        and _is_before(last, version) == (value == "prerelease")
    }


def _is_before(version: str, other: str) -> bool:
    """Return whether a version of a model comes before another one: by their numbers, where both are, else as text.

    >>> _is_before("9", "10"), _is_before("1.5", "1a"), _is_before("b", "a")
    (True, True, False)
    """
    try:
        return float(version) < float(other)
    except ValueError:
        return version < other


METHODS: Mapping[str, Method] = {
    "access": _by_access,
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
    "version": _by_version,
}
"""Those that ask nothing but the project, by what stands before the colon."""


def _sources(project: Project) -> list[Source]:
    return [each for each in project.sources.values() if not isinstance(each, ProjectModel)]


def _written(project: Project) -> Iterable[tuple[str, Location]]:
    """Yield all that is written in a file, with where; what properties say of a model is written beside it."""
    everything: tuple[Node | DataTest, ...] = (*project.nodes.values(), *project.tests.values())
    for each in everything:
        if each.location is not None:
            yield each.name, each.location
    for source in _sources(project):
        if source.location is not None:
            yield source.id, source.location


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _globs(path: tuple[str, ...], pattern: tuple[str, ...], *, whole: bool = False) -> bool:
    """Return whether a pattern means a path or, unless it is to be the whole of it, a folder above it, as `glob` of Python's `pathlib` does: `*` is within one name, `**` any folders.

    >>> [_globs(("models", "a", "b.sql"), tuple(each.split("/"))) for each in ("models/*.sql", "models/**/*.sql", "models/?", "**")]
    [False, True, True, True]
    """
    if not pattern:
        return not (path and whole)
    if pattern[0] == "**":
        return any(_globs(path[number:], pattern[1:], whole=whole) for number in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _globs(path[1:], pattern[1:], whole=whole)


def _versioned(node: Node) -> bool:
    return isinstance(node, Model) and node.version is not None


def _is_called(fqn: tuple[str, ...], wanted: str, *, is_versioned: bool = False) -> bool:
    """Return whether a name, or the start of the folder path with or without the project, is what is wanted.

    From the first part with a wildcard on, that is about all of the rest. One version of a model is called as the model, too, and as its file is.

    >>> fqn = ("shop", "staging", "raw", "orders")
    >>> [_is_called(fqn, each) for each in ("orders", "staging.raw", "staging.*ders", "raw.orders", "ord*", "stag")]
    [True, True, True, False, True, False]
    """
    if not fqn:
        return False
    leaf = fqn[-2] if is_versioned else fqn[-1]
    parts = wanted.split(".")
    if wanted == leaf or (is_versioned and "_".join(fqn[-2:]) == "_".join(parts[-2:])):
        return True
    for path in (fqn, fqn[1:]):
        flat = [part for segment in path for part in segment.split(".")]
        first = next((number for number, part in enumerate(parts) if any(mark in part for mark in "*?[]")), len(parts))
        if len(flat) < len(parts) or flat[:first] != parts[:first]:
            continue
        if first == len(parts) or fnmatchcase(".".join(flat[first:]), ".".join(parts[first:])):
            return True
    return "." not in wanted and fnmatchcase(leaf, wanted)


def _config_of(test: DataTest) -> Mapping[str, object]:
    """Return the configuration of a data test, in dbt's words."""
    return {
        "severity": test.severity.value,
        "where": test.where,
        "limit": test.limit,
        "fail_calc": test.fail_calc,
        "warn_if": test.warn_if,
        "error_if": test.error_if,
        "store_failures": None if test.store_failures is None else True,
        "tags": test.tags,
        "materialized": "test",
        "enabled": True,
    }


def _configured(config: object, keys: list[str], wanted: str) -> bool:
    """Return whether a key of a configuration has a value, or holds it; truth values and severities are compared without regard to case."""
    for key in keys:
        if not isinstance(config, Mapping) or key not in config:
            return False
        config = config[key]
    if isinstance(config, list | tuple):
        return any(_is_value(each, wanted) for each in config)
    return _is_value(config, wanted) or (keys == ["severity"] and str(config).lower() == wanted.lower())


def _is_value(value: object, wanted: str) -> bool:
    if isinstance(value, bool):
        return str(value).lower() == wanted.lower()
    return value is not None and str(value) == wanted
