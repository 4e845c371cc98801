"""What the catalog adds to a project: functions that took the place of the engine's own, and nodes that are read through something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache, partial

from sao_dagster.core.inputs import InputKind, UndeclaredInput, answers_id
from sao_dagster.core.nodes import DataTest, Model, Node, is_source
from sao_dagster.core.project import Project
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.core.selection import Selection
from sao_dagster.run.asked import AskedTables, nodes_named
from sao_dagster.run.reached import Reached
from sao_dagster.warehouses.protocol import Session


def with_catalog(project: Project, selection: Selection, session: Session, now: datetime) -> Project:
    """Return a project with the inputs and the edges that only an open warehouse can tell, at a time (UTC).

    What templates ask of it is looked at for a selection alone: the others are not rendered.
    """
    return _with_edges(AskedTables.of(_with_redefined(project, session), selection, session, now), session)


def with_first(selection: Selection, within: Selection, declared: Project, project: Project) -> Selection:
    """Return a selection with what comes before it by the catalog alone, of all that a run is about.

    A step of a run that is one of several knows by that what no other step is certain to have built before it.

    Args:
        selection: What the step is about.
        within: What the run is about, with its data tests: those that may hold back what is selected are added.
        declared: The project as its files say it, by which the steps are in order.
        project: The same with what the catalog adds.
    """
    if not within.nodes:
        return selection

    def above(known: Project) -> set[str]:
        read = {each for name in selection.tests for each in known.tests[name].reads}
        return {*read, *known.graph.ancestors(read.union(selection.nodes))}.difference(selection.nodes)

    found = above(project)
    new = found - above(declared)
    nodes = {*selection.nodes, *new.intersection(within.nodes)}
    holding = {
        test.name
        for test in map(project.tests.__getitem__, within.tests)
        if (test.tested in nodes or is_source(test.tested))
        and not new.isdisjoint(test.reads)
        and found.issuperset(test.reads)
    }
    return replace(
        selection,
        nodes=tuple(name for name in project.graph.order if name in nodes),
        tests=tuple(dict.fromkeys((*selection.tests, *(name for name in within.tests if name in holding)))),
    )


def _with_redefined(project: Project, session: Session) -> Project:
    """Return a project in which functions of the user's own that are called as if they were the engine's own are inputs of what calls them."""
    made = session.made_functions()
    if not made.is_hidden(project.dialect):
        return project

    def added(known: tuple[UndeclaredInput, ...], *texts: str | None) -> tuple[UndeclaredInput, ...]:
        found = sorted({each for text in texts if text for each in made.called_by(text, project.dialect)})
        return tuple(dict.fromkeys((*known, *found)))

    def of_node(node: Node) -> Node:
        if not isinstance(node, Model) or node.language != "sql" or node.policy.inputs is not None:
            return node
        found = added(node.undeclared, node.compiled.sql or node.raw_sql, node.compiled.incremental_sql)
        kept = tuple(each for each in found if each in node.undeclared or each.name not in node.policy.stable_functions)
        return node if kept == node.undeclared else replace(node, undeclared=kept)

    nodes = {name: of_node(node) for name, node in project.nodes.items()}

    def of_test(test: DataTest) -> DataTest:
        conditions = f"select {test.fail_calc} {test.warn_if}, {test.fail_calc} {test.error_if}"
        return replace(test, undeclared=added(test.undeclared, test.sql, conditions))

    tests = {name: of_test(test) for name, test in project.tests.items()}
    return replace(project, nodes=nodes, tests=tests)


def _with_edges(asked: AskedTables, session: Session) -> Project:
    """Return a project in which a node comes first that others read as a source, by a view of somebody's, or in a function, or ask.

    Where that would close a circle there is no edge: the child reads what was there before. Nor is there one to what is above another node that
    is seen in the same way: it comes first anyway, and through a view of the project it is seen only once that is there.
    """
    project = asked.project
    shown = _nodes_shown(asked, session)
    if not shown:
        return project
    seen_through: dict[str, list[str]] = {}
    for read, names in shown.items():
        for name in names:
            seen_through.setdefault(name, []).append(read)
    last_of = cache(partial(_last_of, project))
    nodes = dict(project.nodes)
    for name, node in project.nodes.items():
        read_there = (*node.depends_on, *(each.id for each in (*node.undeclared, *asked.by.get(answers_id(name), ()))))
        for one in read_there:
            before = nodes[name].depends_on
            may_be = (each for each in shown.get(one, ()) if each in before or not _is_above(nodes, name, each))
            added = tuple(each for each in last_of(tuple(may_be)) if each not in before)
            if added:
                nodes[name] = replace(nodes[name], depends_on=(*before, *added))

    def of_test(test: DataTest) -> DataTest:
        read_there = (*test.inputs, *(each.id for each in asked.by.get(test.answers_id, ())))
        first = (each for read in read_there for each in last_of(shown.get(read, ())))
        reads = tuple(dict.fromkeys((*test.reads, *first)))
        return test if reads == test.reads else replace(test, reads=reads)

    tests = {name: of_test(test) for name, test in project.tests.items()}
    return replace(
        project, nodes=nodes, tests=tests, seen_through={name: tuple(each) for name, each in seen_through.items()}
    )


def _nodes_shown(asked: AskedTables, session: Session) -> dict[str, tuple[str, ...]]:
    """Return by source and undeclared input the nodes whose relations are read there, in the order of the project; none where there are none."""
    project = asked.project
    undeclared = {each.id: each for found in asked.by.values() for each in found} | dict(project.undeclared)
    reached = Reached(session, project.dialect)
    relations: dict[str, set[Relation]] = {
        source.id: {source.relation} for source in project.sources.values() if source.relation is not None
    }
    for name, each in undeclared.items():
        below = reached.all_of([each])
        relations[name] = {reached.relations[one] for one in below if one in reached.relations}
    wanted = {relation for found in relations.values() for relation in found}
    behind = session.behind_views(wanted) if wanted else {}
    places = project.by_relation
    shown: dict[str, tuple[str, ...]] = {}
    for read, found in relations.items():
        keys: set[RelationKey] = {key for relation in found for key in (relation.key, *behind.get(relation, ()))}
        names = {places[key] for key in keys if key in places}
        if not found and undeclared[read].kind is InputKind.TABLE:  # not there yet, perhaps
            names.update(nodes_named(project, undeclared[read]))
        if names:
            shown[read] = tuple(name for name in project.nodes if name in names)
    return shown


def _last_of(project: Project, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the nodes among some that are above none of the others."""
    if len(names) < 2:
        return names
    above = set[str]().union(*(project.graph.ancestors([name]) for name in names))
    return tuple(name for name in names if name not in above)


def _is_above(nodes: Mapping[str, Node], name: str, other: str) -> bool:
    """Return whether a node is another one, or above it."""
    pending, seen = [other], set[str]()
    while pending:
        each = pending.pop()
        if each == name:
            return True
        if each not in seen and each in nodes:
            seen.add(each)
            pending += nodes[each].depends_on
    return False
