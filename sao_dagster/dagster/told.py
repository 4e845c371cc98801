"""What a Dagster instance is told outside of runs: news of sources, and what the command line or dbt has built and tested.

Verdicts come after what they are about: a check whose asset is materialized after it counts as not evaluated.
"""

from __future__ import annotations

import logging
import time

import dagster as dg

from sao_dagster.core.decide_test import TestOutcome
from sao_dagster.core.messages import counted
from sao_dagster.core.plan import Plan
from sao_dagster.dagster.project_view import DagsterProject
from sao_dagster.dagster.sources import news_of_sources
from sao_dagster.dagster.told_builds import ToldBuilds
from sao_dagster.dagster.told_verdicts import ToldVerdicts
from sao_dagster.errors import words_of
from sao_dagster.run.observe import Observation

SECONDS = 5.0  # of a tick, or of the end of a run, that go into telling


def tell(
    dagster_project: DagsterProject, instance: dg.DagsterInstance, plan: Plan, seen: Observation
) -> tuple[int, int]:
    """Tell Dagster outside of a run what is new of sources, and of builds and verdicts that it does not know; return how many of these are left for later.

    Sources come first, for Dagster takes what is older than what it reads for stale.
    """
    give_up = time.monotonic() + SECONDS
    for event in news_of_sources(dagster_project, instance, plan, seen, give_up):
        instance.report_runless_asset_event(event)
    records = seen.facts.records
    columns = {**seen.columns, **{name: record.columns for name, record in records.items()}}
    builds = ToldBuilds(dagster_project, instance, plan.environment)
    left = builds.catch_up(seen.facts, columns, give_up)
    proven = {name: each for name, each in plan.tests.items() if each.outcome is TestOutcome.PROVEN}
    return left, ToldVerdicts(builds).catch_up(seen.facts, plan.taken_at, give_up, proven)


def try_to_tell(
    dagster_project: DagsterProject,
    instance: dg.DagsterInstance,
    plan: Plan,
    seen: Observation,
    log: logging.Logger,
) -> None:
    """Tell Dagster what `tell` does; what is left for later, or an error, is for the log alone: a tick goes on without."""
    try:
        builds, verdicts = tell(dagster_project, instance, plan, seen)
    except Exception as error:  # noqa: BLE001 - the storage of an instance may raise anything; what is due is requested all the same
        log.warning(f"Dagster is not told of sources and other builds now: {words_of(error)}")
        return
    left = [counted(builds, "build")] * bool(builds) + [counted(verdicts, "check")] * bool(verdicts)
    if left:
        log.info(f"{' and '.join(left)} of the command line or dbt are told to Dagster with the next ticks")
