"""The public names for Dagster. Importing this imports Dagster."""

from sao_dagster.core.reasons import Mode
from sao_dagster.dagster.assets import (
    RunConfig,
    build_assets,
    build_savings,
    build_source_checks,
    build_sources,
    state_aware_assets,
)
from sao_dagster.dagster.component import SaoProjectComponent
from sao_dagster.dagster.definitions import definitions
from sao_dagster.dagster.evaluator import build_evaluator_sensor
from sao_dagster.dagster.jobs import build_job, build_schedule
from sao_dagster.dagster.project_view import DagsterProject, Granularity, ReuseEvent
from sao_dagster.dagster.resources import (
    DeployedWarehouse,
    DuckDBResource,
    PostgresResource,
    ProjectWarehouse,
    WarehouseResource,
    resource_for,
)
from sao_dagster.dagster.translator import CheckGranularity, SaoTranslator

__all__ = [
    "CheckGranularity",
    "DagsterProject",
    "DeployedWarehouse",
    "DuckDBResource",
    "Granularity",
    "Mode",
    "PostgresResource",
    "ProjectWarehouse",
    "ReuseEvent",
    "RunConfig",
    "SaoProjectComponent",
    "SaoTranslator",
    "WarehouseResource",
    "build_assets",
    "build_evaluator_sensor",
    "build_job",
    "build_savings",
    "build_schedule",
    "build_source_checks",
    "build_sources",
    "definitions",
    "resource_for",
    "state_aware_assets",
]
