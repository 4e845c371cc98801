"""What jobs, schedules and sensors are about: a selection in dbt's syntax, or one of Dagster's."""

from __future__ import annotations

from typing import TypeAlias

import dagster as dg

from sao_dagster.core.selection import Selection
from sao_dagster.errors import SelectionError
from sao_dagster.integration.assets import build_assets
from sao_dagster.integration.edge import Edge

Select: TypeAlias = str | dg.AssetSelection | None
"""dbt's syntax, one of Dagster's selections, or None for everything."""


def selection_from(edge: Edge, select: Select, exclude: str | None = None) -> Selection:
    """Return what a selection means in a project; data tests are selected with what they read.

    Args:
        edge: The project in Dagster.
        select: What is in it.
        exclude: What is not, in dbt's syntax.

    Raises:
        SelectionError: It selects nothing of the project.
    """
    if not isinstance(select, dg.AssetSelection):
        return edge.select(select, exclude)
    names = [edge.names[key] for key in select.resolve(build_assets(edge)) if key in edge.names]
    if not names:
        raise SelectionError(f"{select} selects no model or seed of {edge.project.name}")
    return edge.select(" ".join(sorted(names)), exclude)
