"""What a branch changes: what a run of it did, and how its models compare with those of another environment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sao_dagster.core.hashing import JSON
from sao_dagster.core.reasons import Outcome
from sao_dagster.core.records import Verdict
from sao_dagster.errors import WarehouseError
from sao_dagster.run.branch_schemas import compared_with
from sao_dagster.run.relation_diff import RelationDiff, diff_relations, keys_of
from sao_dagster.run.report import RunResult
from sao_dagster.run.runner import Runner
from sao_dagster.warehouses.protocol import Session


@dataclass(frozen=True, kw_only=True)
class BranchReport:
    """What a branch changes: what a run of it did, and how its models compare with those of another environment.

    Attributes:
        against: What that one is called.
        schema: Where the branch was built.
        result: The run.
        changes: How nodes and data tests differ from what was built there, by name.
        compared: How the relation of each model that was built, or reused here, differs from the one there.
        unread: Why one of the two cannot be read, of those that are not compared for that.
        new: Models that are not there, or whose relation is gone there.
        gone: Models that are there, and no longer in the project.
    """

    against: str
    schema: str
    result: RunResult
    changes: Mapping[str, Collection[str]]
    compared: Mapping[str, RelationDiff] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to build and nothing to test."""
        return not self.result.models and not self.result.tests

    def to_json(self) -> dict[str, JSON]:
        """Return the run as the command line prints it, with what is compared."""
        return {
            **self.result.to_json(),
            "against": self.against,
            "schema": self.schema,
            "changes": {name: sorted(each) for name, each in sorted(self.changes.items())},
            "compared": {name: each.to_json() for name, each in self.compared.items()},
            "unread": dict(self.unread),
            "new": list(self.new),
            "gone": list(self.gone),
        }


def compare(
    runner: Runner, session: Session, result: RunResult, changes: Mapping[str, Collection[str]]
) -> BranchReport:
    """Return what a run of a branch did, with how each model that it built or reused compares with the environment that it defers to.

    Args:
        runner: That of the branch.
        session: The warehouse that it works in.
        result: What the run did.
        changes: How nodes and data tests differ from what was built there.
    """
    elsewhere, project = compared_with(runner), runner.project
    there = elsewhere.relations(project.dialect)
    standing = [
        each.name
        for each in result.models
        if each.decision.outcome in (Outcome.BUILT, Outcome.REUSED) and not each.decision.evidence.get("in_place")
    ]
    passed = [each.test for each in result.tests if each.verdict is Verdict.PASS]
    compared: dict[str, RelationDiff] = {}
    unread: dict[str, str] = {}
    catalog = session.catalog() if standing else {}
    both = {name: there[name] for name in standing if name in there and there[name].key in catalog}
    enforced = session.constraints().unique if both else {}
    for name, other in both.items():
        node = project.nodes[name]
        keys = keys_of(node, passed, enforced.get(node.relation.key, ()))
        try:
            compared[name] = diff_relations(session, node.relation, other, keys, node.volatile_columns)
        except WarehouseError as error:
            unread[name] = error.message
    gone = sorted(name for name in there if name not in project.nodes)
    return BranchReport(
        against=elsewhere.name,
        schema=runner.warehouse.schema,
        result=result,
        changes=changes,
        compared=compared,
        unread=unread,
        new=tuple(name for name in standing if name not in both),
        gone=tuple(gone),
    )
