"""What the catalog of a warehouse says of a selection: what is there, and with which columns."""

from __future__ import annotations

from collections.abc import Mapping

from sao_dagster.core.data_version import DataVersion, columns_version
from sao_dagster.core.facts import Existence
from sao_dagster.core.nodes import Materialized, is_source
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection
from sao_dagster.run.altered import shown_elsewhere
from sao_dagster.run.undeclared import UndeclaredVersions
from sao_dagster.warehouses.protocol import Catalog
from sao_dagster.warehouses.shared.files import files_version


def existence(
    project: Project, selection: Selection, catalog: Catalog, records: Mapping[str, BuildRecord]
) -> dict[str, Existence]:
    """Return whether what was built is there; a relation that has a new name is a change of the code."""
    found = {}
    yes, no, nodes = Existence.YES, Existence.NO, project.nodes  # members of enumerations take time to look up
    for name in selection.nodes:
        relation, record = nodes[name].relation, records.get(name)
        if record is None or record.relation == str(relation):
            found[name] = yes if relation.key in catalog else no
    return found


def schemas(
    project: Project,
    selection: Selection,
    catalog: Catalog,
    undeclared: UndeclaredVersions,
    records: Mapping[str, BuildRecord],
) -> dict[str, DataVersion | None]:
    """Return the versions of the columns that the selected views were made over; None for a view over what another environment has no more."""
    found: dict[str, DataVersion | None] = {}
    for name in selection.nodes:
        if project.nodes[name].materialized is not Materialized.VIEW:
            continue
        for read in project.graph.relations_read(name):
            if is_source(read):
                source = project.sources[read]
                if source.relation is None:
                    found[read] = files_version(source, project.root)
                    continue
                key = source.relation.key
            else:
                key = project.nodes[read].relation.key
            shown = shown_elsewhere(project, [read] if read in records else [], records).get(read)
            info = catalog.get(key) if shown is None or shown.key in catalog else None
            found[read] = columns_version(info.columns) if info and info.columns is not None else None
        for each in project.nodes[name].undeclared:
            relation = undeclared.reached.relations.get(each)
            info = catalog.get(relation.key) if relation is not None else None
            if info is not None and info.columns is not None:
                found[each.id] = columns_version(info.columns)
            else:
                found.update(undeclared.of([each]))
    return found


def columns(project: Project, selection: Selection, catalog: Catalog) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the columns of what the selection reads directly, and of the selected sources."""
    wanted = {read for name in selection.nodes for read in project.graph.relations_read(name)}
    found = {}
    for name in {*wanted, *selection.sources}:
        relation = project.relation(name)
        info = catalog.get(relation.key) if relation else None
        if info is not None and info.columns is not None:
            found[name] = info.columns
    return found
