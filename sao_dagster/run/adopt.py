"""Adopting: relations that were there before count as built by the code of today from the inputs of today, because somebody says so.

What shows that this cannot be so is refused; all else is taken on trust, so nothing is proven of what was adopted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sao_dagster.core.inputs import is_answers
from sao_dagster.core.nodes import Materialized, Model, Node
from sao_dagster.core.plan import node_facts
from sao_dagster.core.project import Project
from sao_dagster.core.selection import Selection
from sao_dagster.errors import SaoError, WarehouseError
from sao_dagster.run.context import RunContext
from sao_dagster.run.lease_queue import Queued
from sao_dagster.run.materialize import NodeBuilds
from sao_dagster.run.observe import Observation
from sao_dagster.warehouses.protocol import BuildRequest, Built, Materializer, Session


@dataclass(frozen=True)
class Adoption:
    """What becomes of a selection that is adopted.

    Attributes:
        environment: Where it is.
        nodes: What is adopted, each after what it reads.
        refused: By other node without a record, why it is not.
        recorded: What has a record of a build already, which stays.
    """

    environment: str
    nodes: tuple[str, ...]
    refused: Mapping[str, str]
    recorded: tuple[str, ...]


def adoptable(project: Project, selection: Selection, seen: Observation, session: Session) -> Adoption:
    """Return what can be adopted, without doing it.

    Args:
        project: The project.
        selection: What is asked for.
        seen: What there is.
        session: The warehouse, open.
    """
    wanted = [project.nodes[name] for name in selection.nodes if not project.is_ephemeral(name)]
    recorded = tuple(node.name for node in wanted if node.name in seen.facts.records)
    chosen: dict[str, None] = {}
    refused: dict[str, str] = {}
    for node in wanted:
        if node.name not in recorded:
            why = _why_not(project, node, seen, session, chosen)
            if why is None:
                chosen[node.name] = None
            else:
                refused[node.name] = why
    return Adoption(project.environment, tuple(chosen), refused, recorded)


def _why_not(
    project: Project, node: Node, seen: Observation, session: Session, chosen: Mapping[str, None]
) -> str | None:
    """Return why a node cannot be adopted, after what it reads was looked at; None where it can."""
    if node.name in project.broken:
        return f"it is broken: {project.broken[node.name].message}"
    there = seen.catalog.get(node.relation.key)
    if there is None:
        return f"{node.relation} is not there"
    is_view = node.materialized is Materialized.VIEW
    if there.is_view != is_view and (is_view or node.materialized.is_native):
        return (
            f"{node.relation} is a {'view' if there.is_view else 'table'}, and a build makes it a {node.materialized}"
        )
    observed = node_facts(project, node.name, seen.facts)
    read = {**observed.definitions, **observed.inputs} if node.materialized.holds_data else {}
    for each, version in read.items():
        if version is None and each not in chosen and not is_answers(each):
            return f"nobody knows what {each} holds, so that it is built anyway"
    return _other_columns(node, session)


def _other_columns(node: Node, session: Session) -> str | None:
    """Return that a relation has other columns than its code gives; None where it has these, or nobody can tell without building it."""
    if not isinstance(node, Model) or node.compiler is not None:
        return None
    if node.materialized not in (Materialized.TABLE, Materialized.VIEW):
        return None  # an incremental table keeps the columns that it had
    try:
        given = session.columns_of(f"({node.compiled.sql}\n) as given")
    except WarehouseError as error:
        return f"its code cannot be run: {error.message}"
    expected, found = [[column.lower() for column, _ in each] for each in (given, session.columns_of(node.relation))]
    return (
        None if expected == found else f"its columns are {', '.join(found)}, and its code gives {', '.join(expected)}"
    )


class Adopter(Materializer):
    """Builds nothing: what is there is taken for what a build has left."""

    def build(self, node: Node, request: BuildRequest) -> Built:
        """Return what there is."""
        return request.session.adopt(node)


def record_adopted(context: RunContext, found: Adoption) -> Adoption:
    """Record what can be adopted; return what was.

    What another run builds meanwhile is left to that run.

    Args:
        context: A run that has not begun.
        found: What is to be adopted.
    """
    context = replace(context, materializer=Adopter())
    builds, leases = NodeBuilds(context), context.leases
    assert leases is not None  # noqa: S101 - who adopts has a state
    adopted: list[str] = []
    refused = dict(found.refused)
    try:
        for name in found.nodes:
            granted = leases.acquire(name)
            if isinstance(granted, Queued):
                leases.leave(name)
                refused[name] = "another run builds it just now"
                continue
            context.run_facts.sync(name, exact=True)
            if name in context.run_facts.facts.records:
                leases.release(granted.lease)
                refused[name] = "another run has built it just now"
                continue
            try:
                builds.build(name, context.run_facts.facts, granted.lease)
            except SaoError as error:
                leases.release(granted.lease)
                refused[name] = error.message
            else:
                adopted.append(name)
        builds.finish(anything_done=False)
    finally:
        leases.close()
    return replace(found, nodes=tuple(adopted), refused=refused)
