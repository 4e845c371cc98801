"""Jobs and schedules: any selection, state-aware or forced."""

# no `from __future__ import annotations` here: Dagster reads the annotation of `context` as an object

import time
from contextlib import suppress
from typing import Any

import dagster as dg

from sao_dagster.core.reasons import Mode
from sao_dagster.dagster.evaluator import nothing_to_do, reason_tags
from sao_dagster.dagster.outdated import with_outdated
from sao_dagster.dagster.project_view import MODE_TAG, DagsterProject
from sao_dagster.dagster.resources import WarehouseResource
from sao_dagster.dagster.reuses import try_to_tell_of_reuse
from sao_dagster.dagster.selections import Select, selection_from
from sao_dagster.dagster.told import try_to_tell
from sao_dagster.errors import SaoError
from sao_dagster.run.report import RunResult, foreseen_reuse, record_run


def build_job(
    dagster_project: DagsterProject,
    name: str,
    *,
    select: Select = None,
    exclude: str | None = None,
    mode: Mode = Mode.STATE_AWARE,
    description: str | None = None,
) -> Any:
    """Return a job over a selection, in dbt's syntax or Dagster's; each model is decided at its turn, by its mode."""
    return dg.define_asset_job(
        name,
        selection=dagster_project.asset_selection(selection_from(dagster_project, select, exclude)),
        tags={MODE_TAG: mode.value},
        executor_def=dg.in_process_executor if dagster_project.in_process else None,
        description=description or f"{mode.value} build of {select or 'everything'}",
    )


def build_schedule(
    dagster_project: DagsterProject,
    name: str,
    cron_schedule: str,
    *,
    select: Select = None,
    exclude: str | None = None,
    mode: Mode = Mode.STATE_AWARE,
    execution_timezone: str | None = None,
    default_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED,
) -> dg.ScheduleDefinition:
    """Return a schedule that decides before it launches: one run with what has something to do, or none.

    Args:
        dagster_project: The project in Dagster.
        name: The schedule's name; its job has the same with `_job`.
        cron_schedule: When.
        select: What it builds, in dbt's syntax or as one of Dagster's selections; everything if nothing is said.
        exclude: What it leaves out.
        mode: Whether it goes by the state; a forced one builds all it selects.
        execution_timezone: Of the cron schedule.
        default_status: Whether it runs as soon as it is deployed.
    """
    selection = selection_from(dagster_project, select, exclude)
    job = build_job(dagster_project, f"{name}_job", select=select, exclude=exclude, mode=mode)

    @dg.schedule(
        name=name,
        cron_schedule=cron_schedule,
        job=job,
        execution_timezone=execution_timezone,
        default_status=default_status,
        required_resource_keys={dagster_project.warehouse_key},
    )
    def _schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        resource: WarehouseResource = getattr(context.resources, dagster_project.warehouse_key)
        if mode is not Mode.STATE_AWARE:
            return dg.RunRequest(tags={MODE_TAG: mode.value})
        started = time.perf_counter()
        instance: dg.DagsterInstance | None = None
        with suppress(dg.DagsterInvariantViolationError):  # a context for tests has no instance that it could name
            instance = context.instance
        try:
            plan, seen = dagster_project.runner(resource).plan(selection, wait_seconds=0)
            tick = f"{name}@{context.scheduled_execution_time.isoformat(timespec='seconds')}"
            deciding = time.perf_counter() - started
            reused = foreseen_reuse(dagster_project.project, plan, seen, tick, deciding, name)
            if instance is not None:
                try_to_tell(dagster_project, instance, plan, seen, context.log)
                try_to_tell_of_reuse(dagster_project, instance, reused, context.log)
            _record_reuse(dagster_project, reused)
        except SaoError as error:
            context.log.warning(f"decides in the run, because it cannot now: {error}")
            return dg.RunRequest(tags={MODE_TAG: mode.value})
        why_not = with_outdated(dagster_project, plan.decisions, nothing_to_do(plan), context.log)
        return dagster_project.request(plan, {MODE_TAG: mode.value, **reason_tags(plan)}) or dg.SkipReason(why_not)

    return _schedule


def _record_reuse(dagster_project: DagsterProject, reused: RunResult) -> None:
    """Keep what a schedule's tick reused before it launched the rest, once, so that savings count it."""
    store = dagster_project.opened.store
    if reused.models and reused.run_id not in {each.run_id for each in store.runs(reused.environment, limit=20)}:
        record_run(store, reused)
