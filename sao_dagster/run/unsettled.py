"""Incremental models that read themselves: whether one build takes all that there is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sao_dagster.core.facts import Unsettled
from sao_dagster.core.nodes import IncrementalStrategy, Materialized, Model
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection


def unsettled_models(
    project: Project, selection: Selection, records: Mapping[str, BuildRecord]
) -> dict[str, Unsettled | None]:
    """Return of the selected incremental models whose last build may have changed something whether one build is enough."""
    found: dict[str, Unsettled | None] = {}
    for name in selection.nodes:
        node, record = project.nodes[name], records.get(name)
        if not isinstance(node, Model) or node.materialized is not Materialized.INCREMENTAL or node.policy.settled:
            continue
        if record is None or record.changed is False:
            continue
        from sao_dagster.sql.hooks import changes_rows  # the parser, where there is something to look at
        from sao_dagster.sql.settled import unsettled

        if any(changes_rows(hook, node.relation, project.dialect) for hook in node.hooks):
            found[name] = Unsettled.NOT_UNDERSTOOD
        elif node.compiler is not None:  # how it asks its own table shows only when it is built
            found[name] = Unsettled.NOT_UNDERSTOOD if re.search(r"\bthis\b", node.raw_sql) else None
        elif node.compiled.incremental_sql is not None:
            found[name] = unsettled(
                node.compiled.sql,
                node.compiled.incremental_sql,
                project.dialect,
                node.relation.key,
                appends=node.incremental_strategy is IncrementalStrategy.APPEND or not node.unique_key,
            )
    return found
