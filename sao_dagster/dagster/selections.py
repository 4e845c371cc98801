"""What jobs, schedules and sensors are about: a selection in dbt's syntax, or one of Dagster's."""

from __future__ import annotations

from typing import TypeAlias

import dagster as dg

from sao_dagster.core.selection import Selection
from sao_dagster.dagster.assets import build_assets
from sao_dagster.dagster.project_view import DagsterProject
from sao_dagster.errors import SelectionError

Select: TypeAlias = str | dg.AssetSelection | None
"""dbt's syntax, one of Dagster's selections, or None for everything."""


def selection_from(dagster_project: DagsterProject, select: Select, exclude: str | None = None) -> Selection:
    """Return what a selection means in a project; data tests are selected with what they read.

    Args:
        dagster_project: The project in Dagster.
        select: What is in it.
        exclude: What is not, in dbt's syntax.

    Raises:
        SelectionError: It selects nothing of the project.
    """
    if not isinstance(select, dg.AssetSelection):
        return dagster_project.select(select, exclude)
    names = [
        dagster_project.names[key]
        for key in select.resolve(build_assets(dagster_project))
        if key in dagster_project.names
    ]
    if not names:
        raise SelectionError(f"{select} selects no model or seed of {dagster_project.project.name}")
    return dagster_project.select(" ".join(sorted(names)), exclude)


def target_of_sensor(dagster_project: DagsterProject, selection: Selection) -> dg.AssetSelection:
    """Return what a sensor is said to look after, with all that it may request for a selection.

    As assets alone, whose checks come with them, since Dagster has no words for a selection of checks, and shows Python in their place: with
    the sources whose checks it asks. Not so where one of these is somebody else's, or is automated, or where checks of other assets are meant.
    """
    keys = dagster_project.keys
    assets = [keys[name] for name in selection.nodes if name in keys]
    others = {check.asset_key for check in dagster_project.checks_of(selection)}.difference(assets)
    sources = [name for name in dagster_project.own_sources if keys[name] in others]
    if len(sources) < len(others) or any(dagster_project.asset_spec(each).automation_condition for each in sources):
        return dagster_project.asset_selection(selection)
    return dg.AssetSelection.assets(*assets, *(keys[name] for name in sources))
