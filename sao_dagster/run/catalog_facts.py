"""What the catalog of a warehouse says of a selection: what is there, and with which columns."""

from __future__ import annotations

from collections.abc import Mapping

from sao_dagster.core.facts import Existence
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection
from sao_dagster.warehouses.protocol import Catalog


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
