"""How a project differs from what another environment has built: what `state:` selects.

As https://docs.getdbt.com/reference/node-selection/state-selection, with the shared state in place of a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping

from sao_dagster.core.nodes import ATTACHED, CODE_SCHEME, RELATION, SETTINGS, Materialized, Node
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord, TestRecord
from sao_dagster.core.selection import NEW
from sao_dagster.sql.dialects import dialect_named

_WORDS = {"sql": "body", "python": "body", ATTACHED: "persisted_descriptions", "config": "configs"}
"""What dbt calls a part of a code version that has changed, where that is another word."""


def changes(
    project: Project, builds: Mapping[str, BuildRecord], tests: Mapping[str, TestRecord]
) -> dict[str, frozenset[str]]:
    """Return how nodes and data tests differ from what another environment has, by name; nothing for those that do not.

    A difference is `new`, or what dbt calls what was modified: `body`, `configs`, `relation`, `macros`, `persisted_descriptions`. What is
    set in a connection is that of a place, and no difference. An ephemeral model is built nowhere: it is in what reads it.

    Args:
        project: The project.
        builds: The last builds there, by model.
        tests: The last verdicts there, by test.
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
        if verdict is None:
            found[name] = frozenset({NEW})
        elif verdict.code_scheme != CODE_SCHEME or verdict.definition != test.version:
            found[name] = frozenset({"body"})
    return found


def _differences(node: Node, record: BuildRecord, dialect: str) -> frozenset[str]:
    parts = {*node.code.changed_parts(*record.code)} - {RELATION, SETTINGS}
    found = {_WORDS.get(part, part) for part in parts}
    built = dialect_named(dialect).parsed_relation(record.relation)
    if built is not None and built.key[2] != node.relation.key[2]:
        found.add("relation")
    return frozenset(found)
