"""A code location with two schedules and an evaluator that all fire at once."""

from __future__ import annotations

import os

import dagster as dg

from sao_dagster.dagster import build_evaluator_sensor, build_job, build_schedule, definitions
from tests.fleet.project import fleet_project

opened = fleet_project(os.environ["FLEET_URL"], None, models=30, pause=0.3)
opened.source("raw", "fragile")
opened.model(name="fragile", materialized="table", sql="select 12 / v as v from {{ source('raw', 'fragile') }}")
opened.model(name="below", materialized="table", sql="select v from {{ ref('fragile') }}")
opened.model(name="slow", materialized="table", sql="select pg_sleep(3600)::text as x")

running = dg.DefaultScheduleStatus.RUNNING
defs = definitions(
    opened,
    parts=[
        lambda dagster_project: build_schedule(
            dagster_project, "one", "* * * * *", select="+m25 +m29", default_status=running
        ),
        lambda dagster_project: build_schedule(
            dagster_project, "other", "* * * * *", select="m0+ m1+ m2+", default_status=running
        ),
        lambda dagster_project: build_evaluator_sensor(
            dagster_project,
            exclude="slow fragile below",
            minimum_interval_seconds=5,
            default_status=dg.DefaultSensorStatus.RUNNING,
        ),
        lambda dagster_project: build_job(dagster_project, "fragile_job", select="m0 fragile below"),
        lambda dagster_project: build_job(dagster_project, "slow_job", select="slow"),
    ],
)
