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
opened.model(name="slow", materialized="table", sql="select pg_sleep(120)::text as x")

running = dg.DefaultScheduleStatus.RUNNING
defs = definitions(
    opened,
    parts=[
        lambda edge: build_schedule(edge, "one", "* * * * *", select="+m25 +m29", default_status=running),
        lambda edge: build_schedule(edge, "other", "* * * * *", select="m0+ m1+ m2+", default_status=running),
        lambda edge: build_evaluator_sensor(
            edge,
            exclude="slow fragile below",
            minimum_interval_seconds=5,
            default_status=dg.DefaultSensorStatus.RUNNING,
        ),
        lambda edge: build_job(edge, "fragile_job", select="m0 fragile below"),
        lambda edge: build_job(edge, "slow_job", select="slow"),
    ],
)
