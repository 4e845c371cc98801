"""The shop in Dagster: `dagster dev -w workspace.yaml` in the folder above."""

from pathlib import Path

from sao_dagster import load_project
from sao_dagster.dagster import Mode, build_job, build_schedule, definitions

defs = definitions(
    load_project(Path(__file__).parent),
    parts=[
        lambda edge: build_schedule(edge, "hourly", "0 * * * *"),
        lambda edge: build_schedule(edge, "nightly_reports", "0 2 * * *", select="tag:report"),
        lambda edge: build_job(edge, "rebuild_everything", mode=Mode.FULL_REFRESH),
    ],
)
