"""Inputs that are not there, as far as is known: what cannot be built for that, and what is foreseen of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sao_dagster.core.decide import Decision
from sao_dagster.core.decide_test import TestDecision
from sao_dagster.core.evidence import describe_names
from sao_dagster.core.facts import HeldBack
from sao_dagster.core.nodes import NodeError
from sao_dagster.core.plan import Plan, decide_data_test, decide_node, failed
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Outcome
from sao_dagster.run.observe import Observation
from sao_dagster.warehouses.protocol import Catalog
from sao_dagster.warehouses.shared.files import are_gone

UNLISTED = frozenset({"information_schema", "pg_catalog"})
"""Schemas whose relations are in no `Catalog`."""


def missing_sources(project: Project, catalog: Catalog) -> frozenset[str]:
    """Return the ids of the sources that are not there: whose relation is not, and is none that the project makes, or whose files are not.

    Of another database of the server the catalog says nothing.
    """
    databases = {key[0] for key in catalog} | {node.relation.key[0] for node in project.nodes.values()}
    files = frozenset(
        name for name, source in project.sources.items() if source.files and are_gone(source, project.root)
    )
    return files.union(
        name
        for name, source in project.sources.items()
        if (relation := source.relation) is not None
        and not source.files
        and relation.key not in catalog
        and relation.key not in project.by_relation
        and relation.key[0] in databases
        and relation.schema.lower() not in UNLISTED
    )


def with_missing_inputs(plan: Plan, project: Project, seen: Observation) -> Plan:
    """Return a plan, to be shown, in which what reads an input that is not there is foreseen as failed, and what is below it as skipped.

    Such inputs are sources, and nodes that are to be read in another environment and are gone there, of which the plan warns already. A run tries it all the same. Where a hook of the run may make the input,
    nothing but a warning is added.
    """
    sources = missing_sources(project, seen.catalog)
    missing = sources.union(() if plan.deferral is None else plan.deferral.missing)
    if not missing:
        return plan
    may_be_made = bool(project.on_run_start) or any(project.nodes[name].hooks for name in plan.to_make)
    decisions, read = dict(plan.decisions), dict[str, list[str]]()
    stopped: set[str] = set()
    for name, decision in plan.decisions.items():
        above = project.graph.relations_read(name)
        absent = [each for each in above if each in missing] if decision.outcome is Outcome.BUILT else []
        for each in sources.intersection(absent):
            read.setdefault(each, []).append(name)
        if may_be_made or decision.outcome in (Outcome.FAILED, Outcome.SKIPPED):
            continue
        if held := tuple(each for each in above if each in stopped):
            foreseen = _below(plan, project, seen, name, held)
        elif absent:
            words = f"it reads {describe_names(absent)}, which is not there"
            first = project.sources.get(absent[0]) or project.nodes[absent[0]]
            foreseen = failed(project.nodes[name], NodeError(words, first.location), decision)
        else:
            continue
        decisions[name] = replace(foreseen, evidence={**foreseen.evidence, "tentative": True})
        stopped.add(name)
    tests = {
        name: _test_below(plan, project, seen, name, held)
        if (held := tuple(each for each in project.tests[name].reads if each in stopped))
        else decision
        for name, decision in plan.tests.items()
    }
    warnings = [_warning(project, source, names, may_be_made=may_be_made) for source, names in read.items()]
    return replace(plan, decisions=decisions, tests=tests, warnings=(*plan.warnings, *warnings))


def _below(plan: Plan, project: Project, seen: Observation, name: str, held: tuple[str, ...]) -> Decision:
    """Return the decision about a node below others that fail or are skipped."""
    back = HeldBack(failed=held)
    return decide_node(project, name, seen.facts, now=plan.taken_at, mode=plan.mode, intervals={}, held=back)


def _test_below(plan: Plan, project: Project, seen: Observation, name: str, held: tuple[str, ...]) -> TestDecision:
    """Return the decision about a data test of what fails or is skipped."""
    return decide_data_test(
        project,
        project.tests[name],
        seen.facts,
        now=plan.taken_at,
        mode=plan.mode,
        versions={},
        blocked_by=held,
        prove=lambda: None,
    )


def _warning(project: Project, name: str, read_by: Sequence[str], *, may_be_made: bool) -> str:
    source = project.sources[name]
    place = "" if source.location is None else f"{source.location}: "
    hooks = ", unless a hook makes it" if may_be_made else ""
    where, remedy = (
        (f"has no file {', '.join(source.files)}", "put it there, or correct its external_location")
        if source.files
        else (f"({source.relation}) is not in the warehouse", "load it, or correct its name, schema or database")
    )
    return f"{place}the source {describe_names([name])} {where}, and {describe_names(read_by)} cannot be built without it{hooks}; {remedy}"
