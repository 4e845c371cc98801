"""All of it in one line: a project as Dagster definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import dagster as dg

from sao_dagster.dagster.assets import build_assets, build_savings, build_source_checks, build_sources
from sao_dagster.dagster.automation import is_evaluator
from sao_dagster.dagster.evaluator import build_evaluator_sensor, evaluator_name
from sao_dagster.dagster.project_view import WAREHOUSE_KEY, DagsterProject, Granularity, ReuseEvent, checked_project
from sao_dagster.dagster.resources import PROJECT_WAREHOUSE, WarehouseResource
from sao_dagster.dagster.translator import CheckGranularity, SaoTranslator, freshness_policy, identifier
from sao_dagster.sql_project import SqlProject

Part: TypeAlias = Any
"""A job, schedule or sensor; Dagster has no public name for the type of an asset job before it is resolved."""


def definitions(
    project: SqlProject,
    *,
    translator: Any = None,
    warehouse: WarehouseResource | None = None,
    reuse_event: ReuseEvent = ReuseEvent.OBSERVATION,
    check_granularity: CheckGranularity = CheckGranularity.TEST,
    granularity: Granularity = Granularity.PROJECT,
    virtual_views: bool = True,
    evaluator: bool = True,
    parts: Sequence[Callable[[DagsterProject], Part]] = (),
    assets: Sequence[dg.AssetsDefinition] = (),
    upstream_assets: Sequence[str] = (),
    executor: dg.ExecutorDefinition | None = None,
) -> dg.Definitions:
    """Return a project as Dagster definitions: assets, checks, sources, the evaluator sensor, and what is added.

        defs = definitions(
            load_project("shop"),
            parts=[lambda dagster_project: build_schedule(dagster_project, "hourly", "0 * * * *", select="tag:hourly")],
        )

    Args:
        project: The project.
        translator: Makes keys and specs: a `SaoTranslator`, or a `DagsterDbtTranslator` of dagster-dbt.
        warehouse: Where runs build, as the resource `sao_warehouse_<project>`; the project's own warehouse if nothing is said, which is the
            resource `sao_warehouse` of all such projects.
        reuse_event: What a reused model leaves in Dagster's log.
        check_granularity: Whether each data test is an asset check, or several of a model share one.
        granularity: Whether a step of a run is the whole project, or one model, for executors that spread steps over machines.
        virtual_views: Whether views are virtual assets, which Dagster looks through, where the installed Dagster has them.
        evaluator: Whether there is an evaluator sensor over the whole project.
        parts: Functions that make jobs, schedules and sensors of the project. A sensor among them that is an
            evaluator is in place of the one over the whole project, if that has its name.
        assets: Other assets of the code location. A source that one of them produces is theirs.
        upstream_assets: Keys of assets that are defined elsewhere in the code location and produce sources, such as `raw/orders`, or
            patterns of such keys (`raw/*`).
        executor: How Dagster runs the steps of the whole code location. If nothing is said, that is left to the other definitions in it
            (Dagster's default is multiprocess), and what the evaluator, schedules and jobs of the project launch runs in-process: a
            project that is one step has threads of its own, and that saves the start of another process.

    Raises:
        ProjectErrors: The project has errors.
        UnsupportedError: A translator of dagster-dbt is given, and dbt has not read the project.
    """
    dagster_project = DagsterProject(
        checked_project(project),
        translator or SaoTranslator(),
        reuse_event=reuse_event,
        check_granularity=check_granularity,
        granularity=granularity,
        virtual_views=virtual_views,
        foreign=frozenset(key for each in assets for key in each.keys),
        warehouse_key=WAREHOUSE_KEY if warehouse is None else f"{WAREHOUSE_KEY}_{identifier(project.project.name)}",
        in_process=executor is None and granularity is Granularity.PROJECT,
        upstream_assets=tuple(upstream_assets),
    )
    made = [part(dagster_project) for part in parts]
    sensors = [each for each in made if isinstance(each, dg.SensorDefinition)]
    if evaluator and evaluator_name(dagster_project) not in {each.name for each in sensors}:
        sensors.append(build_evaluator_sensor(dagster_project))
    dagster_project = replace(dagster_project, evaluator=any(is_evaluator(each) for each in sensors))
    checks = build_source_checks(dagster_project)
    return dg.Definitions(
        assets=[
            *build_assets(dagster_project),
            *build_sources(dagster_project),
            build_savings(dagster_project),
            *(_with_freshness(each, dagster_project) for each in assets),
        ],
        asset_checks=[checks] if checks else [],
        schedules=[each for each in made if isinstance(each, dg.ScheduleDefinition)],
        jobs=[each for each in made if not isinstance(each, dg.SensorDefinition | dg.ScheduleDefinition)],
        sensors=sensors,
        resources={dagster_project.warehouse_key: warehouse or PROJECT_WAREHOUSE},
        executor=executor,
    )


def _with_freshness(asset: dg.AssetsDefinition, dagster_project: DagsterProject) -> dg.AssetsDefinition:
    """Return an asset that makes a source with the freshness policy that the project has for it; its own comes first."""
    policies = {
        dagster_project.keys[name]: policy
        for name, source in dagster_project.project.sources.items()
        if (policy := freshness_policy(source.warn_after, source.error_after)) is not None
    }
    if not any(spec.key in policies and spec.freshness_policy is None for spec in asset.specs):
        return asset
    return asset.map_asset_specs(
        lambda spec: spec.replace_attributes(freshness_policy=spec.freshness_policy or policies.get(spec.key))
    )
