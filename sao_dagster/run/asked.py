"""What the templates of a selection ask of the warehouse, and what follows from it: tables that nobody named before.

A node that is asked by its name comes first, and is an input, like one that is read by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.inputs import InputKind, UndeclaredInput, answers_id
from sao_dagster.core.nodes import DataTest, Model, Node
from sao_dagster.core.project import Project
from sao_dagster.core.relations import RelationKey
from sao_dagster.core.selection import Selection
from sao_dagster.core.templates import Answers, AskingTemplate
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.warehouses.protocol import Session
from sao_dagster.warehouses.shared.asked_at_once import AskedAtOnce


@dataclass(frozen=True)
class AskedTables:
    """A project in which it is known what the SQL reads that follows from answers.

    Attributes:
        project: The project.
        by: The tables that templates ask, by the id of their answers; each is known by its answer alone, unless it is a node.
    """

    project: Project
    by: Mapping[str, tuple[UndeclaredInput, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Project, selection: Selection, session: Session, now: datetime) -> AskedTables:
        """Return what the templates of a selection ask at a time (UTC); those whose configuration says what they read are not looked at."""
        nodes, tests = dict(project.nodes), dict(project.tests)
        by: dict[str, tuple[UndeclaredInput, ...]] = {}
        asking = AskedAtOnce(session)

        def ask(answers: str, template: AskingTemplate) -> list[UndeclaredInput]:
            found = template.answers(asking, now)
            by[answers] = found.asked
            return [each for each in found.reads if each.kind is not InputKind.UNKNOWN]

        for name in selection.nodes:
            node = nodes[name]
            if isinstance(node, Model) and node.asks and node.compiler is not None and node.policy.inputs is None:
                reads = ask(answers_id(name), node.compiler)
                more = tuple(dict.fromkeys((*node.undeclared, *reads)))
                nodes[name] = replace(node, undeclared=more, compiler=node.compiler.knowing(reads))
        for name in selection.tests:
            test = tests[name]
            if test.asks is not None:
                reads = ask(test.answers_id, test.asks)
                more = tuple(dict.fromkeys((*test.undeclared, *reads)))
                tests[name] = replace(test, undeclared=more, asks=test.asks.knowing(reads))
        return cls(replace(project, nodes=nodes, tests=tests), by) if by else cls(project)


def nodes_named(project: Project, table: UndeclaredInput) -> tuple[str, ...]:
    """Return the nodes that a table may be by its name, whether they are there or not, in the order of the project."""
    parts, schema = table.parts, dialect_named(project.dialect).default_schema

    def may_be(key: RelationKey) -> bool:
        return key[-len(parts) :] == parts or ((key[0], key[2]) == parts and key[1] == schema)

    return tuple(name for name in project.by_identifier.get(parts[-1], ()) if may_be(project.nodes[name].relation.key))


def version_of_answers(project: Project, asking: Node | DataTest, answers: Answers) -> DataVersion | None:
    """Return the version of what a template gets; None where it asks what may be a node that does not come first.

    That happens where it asks another table than it did when the run began.
    """
    asked = {each for table in answers.asked for each in nodes_named(project, table)}
    if not asked:
        return answers.version
    graph = project.graph
    if isinstance(asking, DataTest):
        known = {*asking.reads, *graph.ancestors(asking.reads)}
    else:
        known = {asking.name, *graph.ancestors([asking.name]), *graph.descendants([asking.name])}
    return answers.version if asked <= known else None
