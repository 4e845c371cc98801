"""Deferral: what a selection reads and this environment does not have is read from another environment.

As dbt's `--defer` (https://docs.getdbt.com/reference/node-selection/defer), with the shared state in place of a manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sao_dagster.core.deferral import Deferral
from sao_dagster.core.nodes import Materialized
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.core.selection import Selection
from sao_dagster.run.elsewhere import Elsewhere
from sao_dagster.warehouses.protocol import Session


@dataclass(frozen=True, kw_only=True)
class DeferringTo(Elsewhere):
    """Another environment of the project, to read from what this one does not have.

    Attributes:
        assemble: Puts the project together so that nodes are read where a deferral says, for a selection and in a session; None where the
            session has let go of its database for that, so that what is there has to be looked at again.
        favored: Whether it is read even where this environment has a relation of its own.
    """

    assemble: Callable[[Deferral, Selection, Session], Project | None]
    favored: bool = False


def deferral_of(
    project: Project,
    selection: Selection,
    elsewhere: DeferringTo,
    records: Mapping[str, BuildRecord],
    there: Collection[RelationKey],
) -> Deferral:
    """Return what a selection reads from another environment.

    That is what it reads and does not select, where this environment has no record of it or its relation is gone, and the other one
    has it. An ephemeral model is nowhere: what it reads is read by what reads it.

    Args:
        project: The project, in this environment.
        selection: What is decided, built and tested.
        elsewhere: The other environment.
        records: The last builds of this one, by name.
        there: All tables and views that SQL here sees.
    """
    known = elsewhere.relations(project.dialect)
    found: dict[str, Relation] = {}
    missing: list[str] = []
    for name in sorted(_read(project, selection) - frozenset(selection.nodes)):
        node, record, relation = project.nodes[name], records.get(name), known.get(name)
        is_here = record is not None and record.relation == str(node.relation) and node.relation.key in there
        if (is_here and not elsewhere.favored) or relation is None or relation == node.relation:
            continue
        if relation.key in there:
            found[name] = relation
        elif not is_here:
            missing.append(name)
    return Deferral(environment=elsewhere.name, relations=found, missing=tuple(missing))


def _read(project: Project, selection: Selection) -> set[str]:
    """Return the nodes that a selection reads directly, or through ephemerals."""
    tests = (project.tests[name] for name in selection.tests)
    pending = [
        *(each for name in selection.nodes for each in project.nodes[name].depends_on),
        *(each for test in tests for each in test.reads),
    ]
    found: set[str] = set()
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in project.nodes:
            continue
        seen.add(name)
        node = project.nodes[name]
        if node.materialized is Materialized.EPHEMERAL:
            pending += node.depends_on
        else:
            found.add(name)
    return found
