"""The public names of the Dagster edge. Importing this imports Dagster."""

from sao_dagster.core.decide import Mode
from sao_dagster.integration.assets import (
    RunConfig,
    build_assets,
    build_savings,
    build_source_checks,
    build_sources,
    state_aware_assets,
)
from sao_dagster.integration.component import SaoProjectComponent
from sao_dagster.integration.definitions import definitions
from sao_dagster.integration.edge import Edge, Granularity, ReuseEvent
from sao_dagster.integration.jobs import build_job, build_schedule
from sao_dagster.integration.resources import DuckDBResource, PostgresResource, ProjectWarehouse, WarehouseResource
from sao_dagster.integration.sensor import build_evaluator_sensor
from sao_dagster.integration.translator import CheckGranularity, SaoTranslator

__all__ = [
    "CheckGranularity",
    "DuckDBResource",
    "Edge",
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
    "state_aware_assets",
]
