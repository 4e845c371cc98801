"""How a project differs from dbt's `manifest.json` of another one, as dbt compares them, as far as the manifest shows it.

https://docs.getdbt.com/reference/node-selection/state-comparison-caveats and `same_contents` of dbt's nodes say what counts: the file as it is
written, configuration before it is rendered, where it is built, its place in the folders, descriptions that are persisted, and the text of
all macros that it calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from sao_dagster.core.nodes import DataTest, Materialized, Model, Node
from sao_dagster.core.policy import POLICY_KEYS
from sao_dagster.core.project import Project
from sao_dagster.core.selection_methods import NEW
from sao_dagster.errors import SelectionError
from sao_dagster.projects.dbt_names import ManifestNames

MANIFEST = "manifest.json"
_NOT_COMPARED = {
    *("alias", "schema", "database", "tags", "group", "enabled", "docs"),
    *(key.path.partition(".")[0] for key in POLICY_KEYS),
}
"""Keys of the configuration that dbt leaves out, or compares as the place that is built into; and those that only say when something is built."""
_HOOKS = {"pre-hook": "pre_hook", "post-hook": "post_hook"}


def manifest_changes(project: Project, folder: Path) -> dict[str, frozenset[str]]:
    """Return how nodes and data tests differ from those of a manifest, by name; nothing for those that do not.

    A difference is `new`, or what dbt calls what was modified: `body`, `configs`, `relation`, `macros`, `persisted_descriptions`, and `fqn`,
    which has no selection of its own. An ephemeral model is compared like any other.

    Args:
        project: The project.
        folder: Where the manifest is.

    Raises:
        SelectionError: It is no manifest.
    """
    manifest = _read(folder / MANIFEST)
    nodes, tests = _by_name(manifest, project.name)
    macros = _changed_macros(manifest, Path(project.root))
    found: dict[str, frozenset[str]] = {}
    for name, node in project.nodes.items():
        before = nodes.get(name)
        found[name] = frozenset({NEW}) if before is None else _of_node(node, before, project, macros)
    for name, test in project.tests.items():
        before = tests.get(name)
        found[name] = frozenset({NEW}) if before is None else _of_test(test, before, project, macros)
    return {name: each for name, each in found.items() if each}


def _read(file: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SelectionError(f"{file} cannot be read as a manifest of dbt: {error}") from error
    if not isinstance(manifest, Mapping) or not {"nodes", "macros", "metadata"} <= manifest.keys():
        raise SelectionError(f"{file} is no manifest of dbt; it has no nodes, macros and metadata")
    return manifest


def _by_name(
    manifest: Mapping[str, Any], project: str
) -> tuple[dict[str, Mapping[str, Any]], dict[str, Mapping[str, Any]]]:
    """Return the nodes that are built, and the data tests, by their names here."""
    names, there = ManifestNames.of(manifest, project), manifest["nodes"]
    nodes = {name: there[unique_id] for unique_id, name in names.nodes.items() if unique_id in there}
    return nodes, {name: there[unique_id] for unique_id, name in names.tests.items()}


def _of_node(
    node: Node, before: Mapping[str, Any], project: Project, macros: Callable[[Iterable[str]], bool]
) -> frozenset[str]:
    said: dict[str, bool] = {
        "body": _is_other_file(node, before, project),
        "configs": _is_other_config(node.config, before),
        "relation": node.materialized is not Materialized.EPHEMERAL and _is_elsewhere(node, before),
        "macros": macros(before["depends_on"].get("macros", ())),
        "persisted_descriptions": _is_described_otherwise(node, before),
        "fqn": bool(node.fqn) and list(node.fqn) != before["fqn"],
    }
    return frozenset(word for word, differs in said.items() if differs)


def _of_test(
    test: DataTest, before: Mapping[str, Any], project: Project, macros: Callable[[Iterable[str]], bool]
) -> frozenset[str]:
    found = set()
    if (
        test.kind == "singular"
        and test.location is not None
        and _text(project, test.location.path) != before["raw_code"].strip()
    ):
        found.add("body")
    config = before["config"]
    settings = {
        "severity": test.severity.value == str(config.get("severity", "error")).lower(),
        "where": (test.where or None) == (config.get("where") or None),
        "limit": test.limit == config.get("limit"),
        "warn_if": test.warn_if == config.get("warn_if", "!= 0"),
        "error_if": test.error_if == config.get("error_if", "!= 0"),
        "fail_calc": test.fail_calc == config.get("fail_calc", "count(*)"),
    }
    if not all(settings.values()):
        found.add("configs")
    if macros(before["depends_on"].get("macros", ())):
        found.add("macros")
    return frozenset(found)


def _is_other_file(node: Node, before: Mapping[str, Any], project: Project) -> bool:
    """Return whether the file of a node is another one: the text of a model, the checksum of a seed."""
    if isinstance(node, Model):
        return node.raw_sql.strip() != str(before["raw_code"]).strip()
    checksum, path = before["checksum"], before["original_file_path"]
    file = Path(project.root, path)
    if checksum["name"] != "sha256":  # a large one, of which dbt keeps the path alone
        return node.location is None or node.location.path != path
    try:
        return sha256(file.read_bytes().decode("utf-8").strip().encode()).hexdigest() != str(checksum["checksum"])
    except (OSError, ValueError):
        return True


def _is_other_config(config: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether a key of the configuration is another one, or is there on one side only."""
    now = {_HOOKS.get(key, key): value for key, value in config.items()}
    written = {_HOOKS.get(key, key) for key in before.get("unrendered_config", {})}
    then = {_HOOKS.get(key, key): value for key, value in before["config"].items()}
    compared = (now.keys() | written) - _NOT_COMPARED
    return any(_plain(now.get(key)) != _plain(then.get(key)) for key in compared)


def _plain(value: Any) -> Any:
    """Return a value of the configuration as both sides write it: what is empty is nothing, and a hook is its statement.

    >>> _plain([{"sql": "select 1", "transaction": True}]) == _plain("select 1"), _plain({}), _plain(["id"]) == _plain("id")
    (True, None, True)
    """
    if isinstance(value, Mapping) and "sql" in value and "transaction" in value:
        value = value["sql"]
    if isinstance(value, list | tuple):
        listed = [_plain(each) for each in value]
        return (listed[0] if len(listed) == 1 else listed) if listed else None
    if isinstance(value, Mapping):
        return {str(key): found for key, each in sorted(value.items()) if (found := _plain(each)) is not None} or None
    return str(value).strip() if value is not None and not isinstance(value, bool) else value


def _is_elsewhere(node: Node, before: Mapping[str, Any]) -> bool:
    """Return whether what the project says of where a node is built is another thing: its alias, its custom schema or database."""
    given, written = node.config, before["config"]
    custom = any((given.get(key) or None) != (written.get(key) or None) for key in ("schema", "database"))
    return custom or node.relation.identifier != before["alias"]


def _is_described_otherwise(node: Node, before: Mapping[str, Any]) -> bool:
    """Return whether what is described of a node is another thing, where that is kept in the warehouse."""
    kept = before["config"].get("persist_docs") or {}
    columns = {each.name: each.description for each in node.columns if each.description}
    then = {name: each["description"] for name, each in before["columns"].items() if each["description"]}
    of_relation = bool(kept.get("relation")) and node.description != before["description"]
    return of_relation or (bool(kept.get("columns")) and columns != then)


def _changed_macros(manifest: Mapping[str, Any], root: Path) -> Callable[[Iterable[str]], bool]:
    """Return what tells whether one of some macros, or one that they call, is another one; those that come with dbt and its packages are taken as they are."""
    macros = manifest["macros"]
    project = manifest["metadata"].get("project_name")

    @cache
    def is_changed(name: str) -> bool:
        macro = macros.get(name)
        if macro is None or macro["package_name"] != project:
            return False
        path = root / macro["original_file_path"]
        try:
            is_there = macro["macro_sql"].strip() in path.read_text(encoding="utf-8").replace("\r\n", "\n")
        except (OSError, ValueError):
            is_there = False
        return not is_there

    def any_changed(names: Iterable[str]) -> bool:
        pending, seen = list(names), set[str]()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if is_changed(name):
                return True
            pending += macros.get(name, {}).get("depends_on", {}).get("macros", ())
        return False

    return any_changed


def _text(project: Project, path: str) -> str | None:
    try:
        return Path(project.root, path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
