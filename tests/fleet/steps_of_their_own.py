"""A code location in which each model is a step, for Dagster's multiprocess executor."""

from __future__ import annotations

import os

import dagster as dg

from sao_dagster.dagster import Granularity, build_job, definitions
from tests.fleet.project import fleet_project

opened = fleet_project(os.environ["FLEET_URL"], None, models=5, pause=0.2)
opened.source("raw", "fragile")
opened.model(name="fragile", materialized="table", sql="select 12 / v as v from {{ source('raw', 'fragile') }}")
opened.model(
    name="below",
    materialized="table",
    sql="select v from {{ ref('fragile') }}",
    meta={"dagster": {"pool": "warehouse"}},
)

defs = definitions(
    opened,
    granularity=Granularity.MODEL,
    evaluator=False,
    parts=[lambda dagster_project: build_job(dagster_project, "all_job")],
    executor=dg.multiprocess_executor.configured({"max_concurrent": 3}),
)
