"""Asking a warehouse through dbt's process and the user's adapter."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sao_dagster.core.connection import ConnectionSettings
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.messages import Level, Message
from sao_dagster.core.relations import Relation
from sao_dagster.dbt.adapters.bigquery import Resources
from sao_dagster.dbt.adapters.delta import Rows
from sao_dagster.dbt.adapters.table import Adapter, SignedSnapshots, Snapshots
from sao_dagster.dbt.process import DbtProcess
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import Catalog, Columns, Constraints, QueryResult, RelationInfo, Session


@dataclass(frozen=True)
class ProjectRelations:
    """The relations that a project has to do with.

    Attributes:
        by_id: By what dbt calls them.
        read_by_views: Unique ids of those whose columns are looked at.
        elsewhere: Those of another environment that may be read in place of nodes, by unique id.
    """

    by_id: Mapping[str, Relation] = field(default_factory=dict)
    read_by_views: tuple[str, ...] = ()
    elsewhere: Mapping[str, Relation] = field(default_factory=dict)


class AdapterSession(Session):
    """A session in which dbt's adapter answers. It is asked for relations of the project alone, and says which of them are there.

    Args:
        process: dbt's process, which has read the project.
        relations: The relations of the project.
        settings: What the profile sets in each connection.
        adapter: What is known of the adapter.
    """

    def __init__(
        self, process: DbtProcess, relations: ProjectRelations, settings: ConnectionSettings, adapter: Adapter
    ) -> None:
        self.process = process
        self._relations, self._settings = relations, settings
        self._read_snapshots, self._signed = adapter.snapshots, adapter.signed
        self._untold = threading.Lock()
        self._refused: set[str] = set()

    def catalog(self) -> Catalog:
        """Return the tables and views of the project that are there, sources too, and those that may be read of another environment.

        Of these, all that is not known to be a table counts as a view, which may show something else without a build.
        """
        said = self._ask("relations", columns=list(self._relations.read_by_views))
        found = {
            self._relations.by_id[name].key: RelationInfo(kind == "view", None if columns is None else _pairs(columns))
            for name, (kind, columns) in said.items()
        }
        elsewhere = self._relations.elsewhere
        if elsewhere:
            kinds = self._ask("elsewhere", relations={name: _named(each) for name, each in elsewhere.items()})
            there = {elsewhere[name].key: RelationInfo(kind != "table", None) for name, kind in kinds.items()}
            found = {**there, **found}
        return found

    def query(self, sql: str) -> QueryResult:
        """Return all rows of a query."""
        names, rows = self._ask("query", sql=sql)
        return QueryResult(tuple(names), rows)

    def rows(self, statements: Sequence[str], columns: Sequence[str]) -> list[Rows | None]:
        """Return some columns of the rows of each of many statements; see `Asks.rows`."""
        asked = [each for each in statements if each not in self._refused]
        answers = self._ask("rows", statements=asked, columns=[*columns]) if asked else {}
        self._refused.update(each for each in asked if answers[each] is None)
        return [answers.get(each) for each in statements]

    def resources(self, relations: Sequence[Relation]) -> Resources:
        """Return what BigQuery says of tables; see `Asks.resources`. What it has refused is not asked for again."""
        asked = [each for each in relations if str(each) not in self._refused]
        if not asked:
            return Resources(found=[(None, None)] * len(relations))
        said = self._ask("resources", relations=[_named(each) for each in asked])
        found = dict(zip(asked, said["found"], strict=True))
        self._refused.update(str(each) for each, resources in found.items() if None in resources)
        return Resources(said["endpoint"], said["location"], [found.get(each, (None, None)) for each in relations])

    def execute(self, sql: str) -> None:
        """Run a statement that returns nothing."""
        self._ask("execute", sql=sql)

    def columns_of(self, read: Relation | str) -> Columns:
        """Return names and types of the columns of what can stand after `from`; types only where that is a relation."""
        if isinstance(read, str):
            return _pairs(self._ask("described", read=read))
        return _pairs(self._ask("columns", **_named(read)))

    def kind_of(self, relation: Relation) -> str | None:
        """Return what a relation is in the adapter's words, such as `table` or `view`; None where it is not there."""
        kind: str | None = self._ask("kind", **_named(relation))
        return kind

    def versions(
        self, catalog: Catalog, omit: Mapping[Relation, Collection[str]], seconds: float
    ) -> Mapping[Relation, DataVersion | None]:
        """Return the exact versions of tables, where they have them; columns that do not count are in them."""
        snapshots = self.snapshots(omit)
        found = {} if snapshots is None else snapshots.versions
        return {relation: found.get(relation.key) for relation in omit}

    def movements(self, catalog: Catalog, relations: Collection[Relation]) -> Mapping[Relation, str]:
        """Return the exact versions of tables, where they have them."""
        versions = self.versions(catalog, dict.fromkeys(relations, ()), 0.0)
        return {relation: str(version) for relation, version in versions.items() if version is not None}

    def snapshots(self, relations: Collection[Relation]) -> Snapshots | None:
        """Return the exact versions that tables have now; None where the warehouse has none. What it has refused is not asked again."""
        if self._read_snapshots is None:
            return None
        try:
            return self._read_snapshots(self, relations)
        except WarehouseError:
            if not self.process.has_ended:
                self._read_snapshots = None
            return None

    def before_build(self, relation: Relation) -> Snapshots | None:
        """Return the exact versions before a build of a table; None where they would not say who wrote it."""
        return self.snapshots([relation]) if self._signed else None

    def built_since(self, before: Snapshots, relation: Relation, unique_id: str) -> DataVersion | None:
        """Return the exact version of a table that dbt's process has built since; None where it is not known.

        Why it cannot be read is told once.
        """
        try:
            signature = self.process.ask("signature", node=unique_id)
            after = self.snapshots([relation]) if signature is not None else None
            if not isinstance(after, SignedSnapshots):
                return None
            return after.built_since(before, relation, signature, self.query)
        except WarehouseError as error:
            if not self.process.has_ended and self._untold.acquire(blocking=False):  # never given back: it is said once
                said = "which writes are those of a build cannot be read, so that models count by their builds"
                self.process.on_message(Message(f"{said}: {error.message}", Level.WARNING))
            return None

    def interrupt(self) -> None:
        """Stop all running statements."""
        self.process.asking("interrupt")

    def settings(self) -> ConnectionSettings:
        """Return what the profile sets."""
        return self._settings

    def constraints(self) -> Constraints:
        """Return that nothing is known, so that nothing is proven: functions of the user's own may hide the engine's."""
        return Constraints({}, {}, collations=True, overrides=True)

    def _ask(self, about: str, **arguments: Any) -> Any:
        return self.process.ask("adapter", about=about, arguments=arguments)


def _named(relation: Relation) -> dict[str, str | None]:
    return {"database": relation.database, "schema": relation.schema, "identifier": relation.identifier}


def _pairs(columns: Iterable[Iterable[str]]) -> Columns:
    return tuple((name, kind) for name, kind in columns)
