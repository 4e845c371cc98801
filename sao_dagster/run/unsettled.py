"""Incremental models that read themselves: whether one build takes all that there is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from sao_dagster.core.facts import Unsettled
from sao_dagster.core.hashing import JSON
from sao_dagster.core.nodes import IncrementalStrategy, Materialized, Model
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection
from sao_dagster.sql.kept_unsettled import KeptUnsettled


def unsettled_models(
    project: Project, selection: Selection, records: Mapping[str, BuildRecord], kept: KeptUnsettled
) -> dict[str, Unsettled | None]:
    """Return of the selected incremental models whose last build may have changed something whether one build is enough.

    Args:
        project: The project.
        selection: What is going to be decided.
        records: The last builds.
        kept: What was found of these models before.
    """
    found: dict[str, Unsettled | None] = {}
    for name in selection.nodes:
        node, record = project.nodes[name], records.get(name)
        if not isinstance(node, Model) or node.materialized is not Materialized.INCREMENTAL or node.policy.settled:
            continue
        if record is None or record.changed is False:
            continue
        appends = node.incremental_strategy is IncrementalStrategy.APPEND or not node.unique_key
        queries: list[JSON] = (
            [node.compiled.sql, node.compiled.incremental_sql] if node.compiler is None else [node.raw_sql]
        )
        asked: list[JSON] = [
            node.compiler is None,
            *queries,
            [*node.hooks],
            project.dialect,
            [*node.relation.key],
            appends,
        ]
        found[name] = kept.of(name, asked, partial(_of, node, project.dialect, appends=appends))
    return found


def _of(model: Model, dialect: str, *, appends: bool) -> Unsettled | None:
    """Return why one build of an incremental model may not be enough; None where it is.

    Args:
        model: The model.
        dialect: Sqlglot's name of the dialect.
        appends: Whether what a build gives is added to what is there.
    """
    from sao_dagster.sql.hooks import changes_rows  # the parser, where something is not known yet
    from sao_dagster.sql.settled import unsettled

    if any(changes_rows(hook, model.relation, dialect) for hook in model.hooks):
        return Unsettled.NOT_UNDERSTOOD
    if model.compiler is not None:  # how it asks its own table shows only when it is built
        return Unsettled.NOT_UNDERSTOOD if re.search(r"\bthis\b", model.raw_sql) else None
    if model.compiled.incremental_sql is None:
        return None
    full, incremental = model.compiled.sql, model.compiled.incremental_sql
    return unsettled(full, incremental, dialect, model.relation.key, appends=appends)
