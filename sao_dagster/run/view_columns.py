"""What views are made over: the columns of what they read, as it would be read now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sao_dagster.core.code_version import SETTINGS
from sao_dagster.core.data_version import DataVersion, columns_version
from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.nodes import Materialized, Model, is_source
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.relations import Relation
from sao_dagster.core.selection import Selection
from sao_dagster.run.altered import shown_elsewhere
from sao_dagster.run.undeclared import UndeclaredVersions
from sao_dagster.warehouses.protocol import Catalog, Columns, Session
from sao_dagster.warehouses.shared.files import files_version


@dataclass
class ColumnsRead:
    """The versions of the columns of what views read; what was looked up once is kept.

    A view may be there with its columns although what it reads is gone, or has others by now. One of the project that is as it was built shows
    what it did while all that it reads has the columns that it had then. Any other the warehouse is asked for, since that alone knows what it
    reads.

    Attributes:
        project: The project.
        catalog: What is in the warehouse.
        records: The last builds, by name.
        undeclared: Reads what is not declared.
        session: The warehouse, open.
    """

    project: Project
    catalog: Catalog
    records: Mapping[str, BuildRecord]
    undeclared: UndeclaredVersions
    session: Session
    _known: dict[str, DataVersion | None] = field(default_factory=dict, init=False)

    def of_view(self, name: str) -> dict[str, DataVersion | None]:
        """Return the versions of all that a view of the project reads, by name; None for what cannot be read, or is a view that cannot.

        What has no columns, such as a function, has its version.
        """
        found = {read: self._of(read) for read in self.project.graph.relations_read(name)}
        return {**found, **{each.id: self._of_undeclared(each) for each in self.project.nodes[name].undeclared}}

    def _of(self, name: str) -> DataVersion | None:
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _of_undeclared(self, read: UndeclaredInput) -> DataVersion | None:
        if read.id not in self._known:
            reached = self.undeclared.reached
            if read.kind is InputKind.TABLE and read not in reached.relations:
                reached.all_of([read])
            relation = reached.relations.get(read)
            version = None if relation is None else self._of_relation(relation)
            self._known[read.id] = self.undeclared.of([read])[read.id] if version is None else version
        return self._known[read.id]

    def _read(self, name: str) -> DataVersion | None:
        if is_source(name):
            source = self.project.sources[name]
            if source.relation is None:
                return files_version(source, self.project.root)
            return self._of_relation(source.relation)
        shown = shown_elsewhere(self.project, [name] if name in self.records else [], self.records).get(name)
        if shown is not None and shown.key not in self.catalog:
            return None
        return self._of_relation(self.project.nodes[name].relation, name)

    def _of_relation(self, relation: Relation, name: str | None = None) -> DataVersion | None:
        """Return the version of the columns of a relation, which may be that of a node."""
        info = self.catalog.get(relation.key)
        if info is None or info.columns is None:
            return None
        columns: Columns | None = info.columns
        if info.is_view:  # which may have other columns by now than when the catalog last looked
            record = None if name is None else self._view_as_built(name)
            columns = self.session.columns_shown(relation, info.columns) if record is None else record.columns
        return None if columns is None else columns_version(columns)

    def _view_as_built(self, name: str) -> BuildRecord | None:
        """Return the record of a view that is as it was built, by the definition that it has now, if all that it reads has the columns that it had."""
        node, record = self.project.nodes[name], self.records.get(name)
        if not isinstance(node, Model) or node.materialized is not Materialized.VIEW or node.asks or record is None:
            return None
        is_it = record.relation == str(node.relation) and not {*node.code.changed_parts(*record.code)} - {SETTINGS}
        if not is_it or self.catalog[node.relation.key].definition_version != record.data_version:
            return None
        read = self.of_view(name)
        return record if None not in read.values() and read == record.inputs else None


def schemas(project: Project, selection: Selection, columns: ColumnsRead) -> dict[str, DataVersion | None]:
    """Return the versions of the columns that the selected views were made over, by what they read; see `ColumnsRead.of_view`."""
    views = (name for name in selection.nodes if project.nodes[name].materialized is Materialized.VIEW)
    return {read: version for name in views for read, version in columns.of_view(name).items()}
