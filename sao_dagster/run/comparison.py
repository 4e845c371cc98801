"""How a project differs from what another environment has built, and what became of it in the last run: what `state:` and `result:` select.

As https://docs.getdbt.com/reference/node-selection/state-selection, with the shared state in place of a manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sao_dagster.core.code_version import ATTACHED, CODE_SCHEME, PLACES, RELATION, SETTINGS
from sao_dagster.core.nodes import DataTest, Materialized, Node
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord, TestRecord
from sao_dagster.core.selection_methods import NEW
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.state.protocol import DecisionRecord

_WORDS = {"sql": "body", "python": "body", ATTACHED: "persisted_descriptions", "config": "configs"}
"""What dbt calls a part of a code version that has changed, where that is another word."""


def changes(
    project: Project, builds: Mapping[str, BuildRecord], tests: Mapping[str, TestRecord], proven: Mapping[str, str]
) -> dict[str, frozenset[str]]:
    """Return how nodes and data tests differ from what another environment has, by name; nothing for those that do not.

    A difference is `new`, or what dbt calls what was modified: `body`, `configs`, `relation`, `macros`, `persisted_descriptions`. What is
    set in a connection is that of a place, and no difference. An ephemeral model is built nowhere: it is in what reads it.

    Args:
        project: The project.
        builds: The last builds there, by model.
        tests: The last verdicts there, by test.
        proven: What the state says there of tests that were proven last; see `proven_definition`.
    """
    found = {}
    for name, node in project.nodes.items():
        if node.materialized is Materialized.EPHEMERAL:
            continue
        record = builds.get(name)
        differences = frozenset({NEW}) if record is None else _differences(node, record, project.dialect)
        if differences:
            found[name] = differences
    for name, test in project.tests.items():
        verdict = tests.get(name)
        if proven.get(name) == proven_definition(test):
            continue
        if verdict is None:
            found[name] = frozenset({"body"} if name in proven else {NEW})
        elif verdict.code_scheme != CODE_SCHEME or verdict.definition != test.version:
            found[name] = frozenset({"body"})
    return found


PROVEN = "proven"
"""The scope in which the state keeps how data tests were defined when they were proven: a proof leaves no verdict that would say so."""


def proven_definition(test: DataTest) -> str:
    """Return how a data test is defined, as that is kept of those that are proven."""
    return f"{CODE_SCHEME} {test.version}"


def results(decisions: Iterable[DecisionRecord]) -> dict[str, frozenset[str]]:
    """Return what became of nodes and data tests in a run, by name, in dbt's words.

    What was reused has the same result as if it had been built: it is a `success` that was `reused`, or the verdict of a data test.

    >>> from datetime import datetime
    >>> at = datetime(2026, 3, 1)
    >>> one = DecisionRecord(model="a", outcome="reused", reason="no_new_data", decided_at=at)
    >>> two = DecisionRecord(model="t", outcome="ran", reason="never_run", evidence={"verdict": "fail"}, decided_at=at)
    >>> {name: sorted(words) for name, words in results([one, two]).items()}
    {'a': ['reused', 'success'], 't': ['fail']}
    """
    found = {}
    for each in decisions:
        verdict = each.evidence.get("verdict")
        words = {_RESULTS.get(each.outcome, each.outcome)} if verdict is None else {str(verdict)}
        found[each.model] = frozenset(words | ({"reused"} if each.outcome == "reused" else set()))
    return found


_RESULTS = {"built": "success", "reused": "success", "failed": "error"}


def _differences(node: Node, record: BuildRecord, dialect: str) -> frozenset[str]:
    parts = {*node.code.changed_parts(*record.code)} - {RELATION, PLACES, SETTINGS}
    found = {_WORDS.get(part, part) for part in parts}
    built = dialect_named(dialect).parsed_relation(record.relation)
    if built is not None and built.key[2] != node.relation.key[2]:
        found.add("relation")
    return frozenset(found)
