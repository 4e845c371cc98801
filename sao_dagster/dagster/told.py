"""What a Dagster instance is told outside of runs: news of sources, and what the command line or dbt has built and tested.

Verdicts come after what they are about: a check whose asset is materialized after it counts as not evaluated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime

import dagster as dg

from sao_dagster.core.decide_test import TestDecision, TestOutcome
from sao_dagster.core.facts import Facts
from sao_dagster.core.messages import counted
from sao_dagster.core.plan import Plan
from sao_dagster.dagster.metadata import Columns
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
    proven = {name: each for name, each in plan.tests.items() if each.outcome is TestOutcome.PROVEN}
    told = ToldVerdicts(ToldBuilds(dagster_project, instance, plan.environment))
    return catch_up(told, seen.facts, seen.columns, plan.taken_at, give_up, proven)


def catch_up(
    told: ToldVerdicts,
    facts: Facts,
    columns: Columns,
    now: datetime,
    give_up: float,
    proven: Mapping[str, TestDecision] | None = None,
) -> tuple[int, int]:
    """Tell Dagster of builds that it does not know, and then of verdicts on them; return how many of both are left for later.

    Args:
        told: What it was told before.
        facts: What is known now.
        columns: Of sources and models; those of builds are as they are recorded.
        now: The time (UTC), as decisions are taken.
        give_up: When to leave the rest for later, on the monotonic clock.
        proven: The data tests that are proven to pass, with their proofs.
    """
    built = {name: record.columns for name, record in facts.records.items()}
    builds = told.builds.catch_up(facts, {**columns, **built}, give_up)
    return builds, told.catch_up(facts, now, give_up, proven)


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
