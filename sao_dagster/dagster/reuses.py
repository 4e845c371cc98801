"""What a Dagster instance is told of models that a tick of a schedule finds to be reused: no run is launched for them that could say so."""

from __future__ import annotations

import logging
import time

import dagster as dg

from sao_dagster.core.evidence import timeless
from sao_dagster.core.explain import explain
from sao_dagster.core.hashing import digest
from sao_dagster.dagster.metadata import model_metadata
from sao_dagster.dagster.project_view import DagsterProject, ReuseEvent, scope_of
from sao_dagster.dagster.told import SECONDS
from sao_dagster.errors import words_of
from sao_dagster.run.events import ModelResult
from sao_dagster.run.report import RunResult


def try_to_tell_of_reuse(
    dagster_project: DagsterProject, instance: dg.DagsterInstance, reused: RunResult, log: logging.Logger
) -> None:
    """Leave an observation, as a run does, on each model whose decision to reuse it is another one than Dagster was told last.

    What some seconds do not suffice for follows with the next ticks; an error is for the log alone.

    Args:
        dagster_project: The project in Dagster; its `reuse_event` says whether there are observations at all.
        instance: The instance.
        reused: What is reused.
        log: That of the tick.
    """
    if dagster_project.reuse_event is not ReuseEvent.OBSERVATION:
        return
    store, scope = dagster_project.opened.store, scope_of(instance, "dagster_reuses")
    known, told = store.shown(reused.environment, scope), dict[str, str]()
    give_up = time.monotonic() + SECONDS
    try:
        for each in reused.models:
            if known.get(each.name) != (said := _digest(each)) and each.name in dagster_project.keys:
                if time.monotonic() > give_up:
                    break
                instance.report_runless_asset_event(_observation(dagster_project, each))
                told[each.name] = said
    except Exception as error:  # noqa: BLE001 - the storage of an instance may raise anything; what is due is requested all the same
        log.warning(f"Dagster is not told of what is reused now: {words_of(error)}")
    store.keep_shown(reused.environment, scope, told)


def _observation(dagster_project: DagsterProject, reused: ModelResult) -> dg.AssetObservation:
    words = f"{reused.decision.outcome.value.capitalize()}: {explain(reused.decision)}."
    return dg.AssetObservation(
        asset_key=dagster_project.keys[reused.name],
        description=words,
        metadata=model_metadata(dagster_project, reused, {}, words),
        tags={"sao/reason": reused.decision.reason.value},
    )


def _digest(reused: ModelResult) -> str:
    """Return what differs where there is something else to say: another build that is kept, another reason, or other evidence."""
    decision, record = reused.decision, reused.record
    return digest([decision.reason.value, timeless(decision.evidence), None if record is None else record.build])
