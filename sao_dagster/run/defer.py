"""What is read from another environment, since this one does not have it.

Deferral reads there what a selection reads and does not select, as dbt's `--defer` does
(https://docs.getdbt.com/reference/node-selection/defer), with the shared state in place of a manifest. With `clone: defer` what is
built there from the same code and inputs is read there, too, selected or not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sao_dagster.core.data_version import ANY_BUILD, DataVersion
from sao_dagster.core.decide import Decision
from sao_dagster.core.deferral import Deferral
from sao_dagster.core.elsewhere import Offer
from sao_dagster.core.nodes import Materialized
from sao_dagster.core.plan import Plan
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode, Reason
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.core.selection import Selection
from sao_dagster.run.elsewhere import Elsewhere
from sao_dagster.run.events import ModelResult
from sao_dagster.run.observe import Observation

CODE_PARTS = frozenset({"sql", "config", "macros", "python"})
"""The parts of a definition that are what somebody has written, and not where and by what it is built."""


@dataclass(frozen=True, kw_only=True)
class DeferringTo(Elsewhere):
    """Another environment of the project, to read from what this one does not have.

    Attributes:
        favored: Whether it is read even where this environment has a relation of its own.
    """

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
    here = _here(project, records, there)
    found: dict[str, Relation] = {}
    missing, outdated = list[str](), list[str]()
    for name in sorted(_read(project, selection) - frozenset(selection.nodes)):
        node, is_here = project.nodes[name], name in here
        relation = known.get(_name_there(project, name, known))
        if relation is None or relation == node.relation:
            continue
        if is_here and not elsewhere.favored:
            if set(node.code.changed_parts(*records[name].code)) & CODE_PARTS:
                outdated.append(name)
            continue
        if relation.key in there:
            found[name] = relation
        elif not is_here:
            missing.append(name)
    return Deferral(environments=(elsewhere.name,), relations=found, missing=tuple(missing), outdated=tuple(outdated))


def known_by_builds(seen: Observation, project: Project, elsewhere: DeferringTo) -> Observation:
    """Return an observation in which tables that are read elsewhere have the version that their build has in the records there.

    That is for a warehouse that dbt's adapter alone reaches: where that tells no version of them, and they count by their builds there, too.
    Such a record is forgotten before its table is built anew, and written when it is; so what is read has that version, or one that will be news.
    """
    deferral, versions = project.deferral, seen.facts.versions
    if deferral is None:
        return seen
    unknown = [name for name in deferral.relations if name in versions and versions[name] is None]
    builds = elsewhere.builds() if unknown else {}
    found: dict[str, DataVersion] = {}
    for name in unknown:
        record, relation = builds.get(name), deferral.relations[name]
        info = seen.catalog.get(relation.key)
        if record is None or info is None or info.is_view or elsewhere.relation(record, project.dialect) != relation:
            continue
        if record.build_id is None and record.data_version.comparable(ANY_BUILD):
            found[name] = record.data_version
    return replace(seen, facts=replace(seen.facts, versions={**versions, **found})) if found else seen


@dataclass(frozen=True)
class InPlace:
    """Models of which another environment has the same, and this one nothing: they are read there (`clone: defer`).

    Attributes:
        offers: What is there, by model.
        decisions: About those of them that are selected: they are reused, and nothing is made of them.
    """

    offers: Mapping[str, Offer] = field(default_factory=dict)
    decisions: Mapping[str, Decision] = field(default_factory=dict)

    @classmethod
    def of(
        cls, plan: Plan, selection: Selection, mode: Mode, there: Collection[RelationKey], project: Project
    ) -> InPlace:
        """Return what of a plan is read in place.

        A model that was built here once is none of it: whoever reads its relation would read what is out of date.

        Args:
            plan: Of a selection, and of what is above it and not here.
            selection: That selection.
            mode: How a run decides about that; what is above it is decided by the state in any.
            there: All tables and views that SQL here sees.
            project: The project, in this environment.
        """
        offers = {
            name: decision.offer
            for name, decision in plan.decisions.items()
            if decision.offer is not None
            and (mode is Mode.STATE_AWARE or name not in selection.nodes)
            and decision.evidence["instead_of"] in (Reason.NEVER_BUILT.value, Reason.RELATION_MISSING.value)
            and project.nodes[name].relation.key not in there
        }
        decisions = {
            name: replace(decision, offer=None, evidence={**decision.evidence, "in_place": True})
            for name, decision in plan.decisions.items()
            if name in offers and name in selection.nodes
        }
        return cls(offers, decisions)

    @property
    def environments(self) -> tuple[str, ...]:
        """What people call the environments that have them."""
        return tuple(sorted({offer.environment for offer in self.offers.values()}))

    @property
    def relations(self) -> dict[str, Relation]:
        """Where they are read."""
        return {name: offer.relation for name, offer in self.offers.items()}

    @property
    def versions(self) -> dict[str, DataVersion]:
        """What they held when that was decided."""
        return {name: offer.record.data_version for name, offer in self.offers.items()}

    def results(self, at: datetime) -> list[ModelResult]:
        """Return what became of those that are selected, decided at a time (UTC)."""
        return [
            ModelResult(
                decision=decision,
                relation=str(self.offers[name].relation),
                record=self.offers[name].record,
                data_version=self.offers[name].record.data_version,
                seconds=0.0,
                decided_at=at,
            )
            for name, decision in self.decisions.items()
        ]

    def added_to(self, plan: Plan) -> Plan:
        """Return the plan of all else with these decisions, in the order of the graph as far as they depend on one another."""
        return replace(plan, decisions={**self.decisions, **plan.decisions})


def with_missing(
    project: Project, selection: Selection, records: Mapping[str, BuildRecord], there: Collection[RelationKey]
) -> Selection:
    """Return a selection with what it reads and this environment does not have, and what that reads, and so on."""
    deferred = () if project.deferral is None else project.deferral.relations
    here = _here(project, records, there).union(deferred)
    wanted = {*selection.nodes}
    tests = (project.tests[name] for name in selection.tests)
    pending = [*selection.nodes, *(read for test in tests for read in test.reads)]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in project.nodes or (name in here and name not in wanted):
            continue
        seen.add(name)
        pending += project.nodes[name].depends_on
    wanted |= {name for name in seen if project.nodes[name].materialized is not Materialized.EPHEMERAL}
    nodes = tuple(name for name in project.graph.order if name in wanted and name not in project.broken)
    return replace(selection, nodes=nodes)


def _here(project: Project, records: Mapping[str, BuildRecord], there: Collection[RelationKey]) -> frozenset[str]:
    """Return the nodes that are in this environment: those that it has built, and whose relation is still there."""
    return frozenset(
        name
        for name, node in project.nodes.items()
        if (record := records.get(name)) is not None
        and record.relation == str(node.relation)
        and node.relation.key in there
    )


def _name_there(project: Project, name: str, known: Collection[str]) -> str:
    """Return what another environment calls a node: there, another one of its name may have come or gone, and is not taken for it.

    Args:
        project: The project, in this environment.
        name: The name of the node here.
        known: The names of what was built there.
    """
    node = project.nodes[name]
    package = node.fqn[0] if node.fqn else project.name
    if package != project.name:
        by_both = f"{package}.{node.plain_name}"
        return by_both if by_both in known else name
    return name if all(each in known for each in project.namesakes(name)) else ""


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
