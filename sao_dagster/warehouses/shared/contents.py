"""Versions by content, whatever the warehouse: views show tables, and a table is read once, in batches, within a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sao_dagster.core.connection import ConnectionSettings
from sao_dagster.core.data_version import DataVersion, view_version
from sao_dagster.core.hashing import digest
from sao_dagster.core.relations import Relation, RelationKey, folded
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import Catalog, Columns, ReadFiles
from sao_dagster.warehouses.shared.files import version_of_files

_BATCH = 50  # tables by statement

CountedTable = tuple[RelationKey, tuple[str, ...]]
"""A table as the catalog calls it, and the columns that do not count."""


def without(omitted: Collection[str], columns: Columns) -> Columns:
    """Return the columns that count.

    >>> without(["Loaded_At"], (("id", "INTEGER"), ("loaded_at", "TIMESTAMP")))
    (('id', 'INTEGER'),)
    """
    left_out = {folded(name) for name in omitted}
    return tuple((name, kind) for name, kind in columns if folded(name) not in left_out)


@dataclass(frozen=True)
class ViewSources:
    """What a relation shows.

    Attributes:
        definitions: Those of the views in between, with its own.
        tables: Where its rows come from.
        files: Paths and globs that they come from, too, as the engine takes them; None for one that is not known here.
    """

    definitions: tuple[str, ...]
    tables: tuple[RelationKey, ...]
    files: ReadFiles = ()

    def under(self, settings: ConnectionSettings) -> ViewSources:
        """Return the same with the settings of the process that reads it, such as its time zone, where they may be seen in what a view shows."""
        if not settings.process or not self.definitions:
            return self
        from sao_dagster.sql.session import follows_process  # with the parser

        if not follows_process(self.definitions):
            return self
        return replace(self, definitions=(*self.definitions, digest(dict(settings.process))))


@dataclass(frozen=True)
class ContentReader:
    """How one warehouse reads contents.

    Attributes:
        catalog: What is in it.
        shown: Returns what a view shows, None where that cannot be told.
        read: Returns the contents of tables by one statement, given the time it may take (seconds).
    """

    catalog: Catalog
    shown: Callable[[Relation], ViewSources | None]
    read: Callable[[Sequence[CountedTable], float], Mapping[CountedTable, DataVersion]]

    def versions(self, omit: Mapping[Relation, Collection[str]], seconds: float) -> dict[Relation, DataVersion | None]:
        """Return the version of each relation; None where it cannot be read within the time.

        Args:
            omit: The relations, with the columns that do not count.
            seconds: The time for all of them.
        """
        give_up = time.monotonic() + seconds
        below = {relation: self._shown(relation) for relation in omit}
        wanted: dict[CountedTable, DataVersion | None] = {}
        for relation, shown in below.items():
            for table in shown.tables if shown else ():
                wanted[self._counted(relation, table, omit)] = None
        pending = list(wanted)
        for start in range(0, len(pending), _BATCH):
            if time.monotonic() >= give_up:
                break
            wanted.update(self._contents(pending[start : start + _BATCH], give_up))
        found: dict[Relation, DataVersion | None] = {}
        for relation, shown in below.items():
            tables = {table: wanted[self._counted(relation, table, omit)] for table in (shown.tables if shown else ())}
            found[relation] = _version(relation, shown, tables) if shown else None
        return found

    def _shown(self, relation: Relation) -> ViewSources | None:
        info = self.catalog.get(relation.key)
        if info is None:
            return None
        return self.shown(relation) if info.is_view else ViewSources((), (relation.key,))

    @staticmethod
    def _counted(relation: Relation, table: RelationKey, omit: Mapping[Relation, Collection[str]]) -> CountedTable:
        return table, tuple(sorted(omit[relation])) if table == relation.key else ()

    def _contents(self, tables: Sequence[CountedTable], give_up: float) -> Mapping[CountedTable, DataVersion | None]:
        """Return the contents of tables by one statement; one by one where that fails."""
        try:
            return self.read(tables, max(0.001, give_up - time.monotonic()))
        except WarehouseError:
            if len(tables) == 1 or time.monotonic() >= give_up:
                return dict.fromkeys(tables)
            found: dict[CountedTable, DataVersion | None] = {}
            for table in tables:
                found.update(self._contents([table], give_up))
            return found


def _version(
    relation: Relation, shown: ViewSources, versions: Mapping[RelationKey, DataVersion | None]
) -> DataVersion | None:
    if not shown.definitions:
        return versions[relation.key]
    read = {".".join(table): version for table, version in versions.items()}
    if shown.files:
        read["files"] = version_of_files(shown.files, os.sep)
    below = {name: version for name, version in read.items() if version is not None}
    return view_version(shown.definitions, below, of_files=bool(shown.files)) if len(below) == len(read) else None
