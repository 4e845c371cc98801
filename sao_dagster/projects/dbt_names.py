"""What the nodes, sources and data tests of dbt's manifest are called here.

dbt's unique ids name the package of everything (`model.shop.orders`). Here all has its plain name, which is what people write, and what the
state knows it by. Names need to be unique in one package alone for dbt (`RefableLookup` and `_check_resource_uniqueness` of dbt-core), so of several that
have one, that of the project itself keeps it, and those of packages begin with their package: `lib.orders`, `source:lib.raw.orders`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

BUILT = ("model", "seed", "snapshot")


@dataclass(frozen=True)
class ManifestNames:
    """The names of one manifest.

    Attributes:
        nodes: What is built, and sources, by unique id.
        tests: Data tests, by unique id.
        shared: Names that several data tests have for dbt.
    """

    nodes: Mapping[str, str]
    tests: Mapping[str, str]
    shared: frozenset[str]

    @classmethod
    def of(cls, manifest: Mapping[str, Any], project: str) -> ManifestNames:
        """Return those of a manifest.

        Args:
            manifest: The manifest.
            project: The project's own package.

        >>> built = {f"model.{package}.orders": {"resource_type": "model", "name": "orders"} for package in ("shop", "lib")}
        >>> names = ManifestNames.of({"nodes": built, "sources": {"source.lib.raw.items": {}}}, "shop")
        >>> names.nodes
        {'model.shop.orders': 'orders', 'model.lib.orders': 'lib.orders', 'source.lib.raw.items': 'source:raw.items'}
        """
        nodes = manifest["nodes"].items()
        built = [unique_id for unique_id, node in nodes if node["resource_type"] in BUILT]
        tests = {unique_id: str(node["name"]) for unique_id, node in nodes if node["resource_type"] == "test"}
        shared = _several(tests.values())
        by_digest = {
            each: f"{name}.{each.rpartition('.')[2]}" if name in shared else name for each, name in tests.items()
        }
        again = _several(by_digest.values())
        named = {
            unique_id: _told_apart(unique_id, _without_digest(tests[unique_id], name), project)
            if name in again
            else name
            for unique_id, name in by_digest.items()
        }
        return cls(_unique([*built, *manifest["sources"]], project), named, shared)

    def node(self, unique_id: str) -> str:
        """Return the name of what is read; of what is not there, one that nothing else has."""
        if unique_id in self.nodes:
            return self.nodes[unique_id]
        name = node_id(unique_id)
        return _of_package(unique_id, name) if name in self.nodes.values() else name

    def package(self, unique_id: str) -> str:
        """Return the package that the name of a node or source begins with; empty for one that has its plain name."""
        return "" if self.nodes[unique_id] == node_id(unique_id) else package_of(unique_id)


def node_id(unique_id: str) -> str:
    """Return the plain name of a node: without its package, and a source by its group.

    >>> node_id("model.shop.orders"), node_id("source.shop.raw.items"), node_id("model.shop.orders.v2")
    ('orders', 'source:raw.items', 'orders.v2')
    """
    kind, _, name = unique_id.split(".", 2)
    return f"source:{name}" if kind == "source" else name


def package_of(unique_id: str) -> str:
    """Return the package of a node, source or data test.

    >>> package_of("model.shop.orders.v2")
    'shop'
    """
    return unique_id.split(".", 2)[1]


def _unique(unique_ids: Iterable[str], project: str) -> dict[str, str]:
    plain = {each: node_id(each) for each in unique_ids}
    several = _several(plain.values())
    return {each: _told_apart(each, name, project) if name in several else name for each, name in plain.items()}


def _told_apart(unique_id: str, name: str, project: str) -> str:
    """Return the name of one of several that have it in different packages: the project's own keeps it."""
    return name if package_of(unique_id) == project else _of_package(unique_id, name)


def _of_package(unique_id: str, name: str) -> str:
    kind, colon, bare = name.rpartition(":")
    return f"{kind}{colon}{package_of(unique_id)}.{bare}"


def _without_digest(name: str, by_digest: str) -> str:
    """Return a name as it is where what tells it apart is no digest of dbt's, but the name of a singular test itself."""
    return name if by_digest == f"{name}.{name}" else by_digest


def _several(names: Iterable[str]) -> frozenset[str]:
    """Return the names that are there more than once."""
    seen, found = set[str](), set[str]()
    for each in names:
        (found if each in seen else seen).add(each)
    return frozenset(found)
