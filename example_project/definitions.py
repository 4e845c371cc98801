"""The shop in Dagster: `dagster dev -w workspace.yaml` in the folder above."""

from pathlib import Path

import dagster as dg

from sao_dagster import load_project
from sao_dagster.dagster import Mode, build_job, build_schedule, definitions

defs = definitions(
    load_project(Path(__file__).parent),
    parts=[
        lambda dagster_project: build_schedule(dagster_project, "hourly", "0 * * * *"),
        lambda dagster_project: build_schedule(dagster_project, "nightly_reports", "0 2 * * *", select="tag:report"),
        lambda dagster_project: build_job(dagster_project, "rebuild_everything", mode=Mode.FULL_REFRESH),
    ],
    executor=dg.in_process_executor,  # nothing else is in this code location
)
