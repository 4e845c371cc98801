"""Content versions of relations, read once for as long as the warehouse has not changed."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.nodes import Node
from sao_dagster.core.project import Project
from sao_dagster.core.relations import Relation
from sao_dagster.warehouses.protocol import Catalog, Session

SHOWN_BY_VIEW = "view "
"""How the keys begin under which it is kept what views show: any build may change that."""


@dataclass
class CachedContents:
    """Reads content versions, of what is not known already.

    Attributes:
        session: The warehouse.
        catalog: What is in it.
        known: Versions by `content_key`, which are true for as long as the warehouse has not changed.
        give_up: When to stop reading, on the monotonic clock.
    """

    session: Session
    catalog: Catalog
    known: dict[str, DataVersion]
    give_up: float

    def know(self, versions: Mapping[Relation, DataVersion]) -> None:
        """Take the versions of whole relations as read."""
        self.known.update({content_key(relation, ()): version for relation, version in versions.items()})

    @property
    def lasting(self) -> dict[str, DataVersion]:
        """What is known that the warehouse alone can change."""
        return {key: version for key, version in self.known.items() if not version.is_of_files}

    def read(self, omit: Mapping[Relation, tuple[str, ...]]) -> dict[Relation, DataVersion | None]:
        """Return the versions of relations, given with the columns that do not count."""
        keys = {relation: self.key(relation, omitted) for relation, omitted in omit.items()}
        missing = {relation: omitted for relation, omitted in omit.items() if keys[relation] not in self.known}
        if missing:
            left = max(0.0, self.give_up - time.monotonic())
            for relation, version in self.session.versions(self.catalog, missing, left).items():
                if version is not None:
                    self.known[keys[relation]] = version
        return {relation: self.known.get(key) for relation, key in keys.items()}

    def key(self, relation: Relation, omitted: Collection[str]) -> str:
        """Return under which key the version of a relation is known."""
        info = self.catalog.get(relation.key)
        shown = SHOWN_BY_VIEW + self._process if info is not None and info.is_view else ""
        return shown + content_key(relation, omitted)

    @cached_property
    def _process(self) -> str:
        """What tells apart processes in which a view may show something else, as in another time zone, although nothing was written."""
        process = self.session.settings().process
        return f"{digest(dict(process))} " if process else ""


def content_key_of(node: Node) -> str:
    """Return the key of the content that a node has now; columns that hold nothing but volatile values are no part of it."""
    return content_key(node.relation, node.volatile_columns)


def content_key(relation: Relation, omitted: Collection[str]) -> str:
    """Return the name under which the content version of a relation is kept, without some of its columns."""
    return " ".join([str(relation), *sorted(omitted)]) if omitted else str(relation)


def contents_of(
    project: Project, names: Iterable[str], reader: CachedContents, shown: Mapping[str, Relation] | None = None
) -> dict[str, DataVersion | None]:
    """Return the content versions of nodes as they are in the warehouse; of views, those of what they show there.

    Args:
        project: The project.
        names: The nodes.
        reader: Reads contents.
        shown: The relations whose content is that of a node, where that is not its own.
    """
    elsewhere = shown or {}
    keys: dict[str, str] = {}
    missing: dict[Relation, tuple[str, ...]] = {}
    for name in names:
        node = project.nodes[name]
        relation = elsewhere.get(name, node.relation)
        if relation.key in reader.catalog:
            key = keys[name] = reader.key(relation, node.volatile_columns)
            if key not in reader.known:
                missing[relation] = node.volatile_columns
    reader.read(missing)
    return {name: reader.known.get(key) for name, key in keys.items()}
