"""A small shop as Dagster definitions, with an instance of its own."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import dagster as dg

from sao_dagster import load_project
from sao_dagster.dagster import ProjectWarehouse, definitions
from tests.world import World


def write_shop(world: World) -> World:
    world.write(
        "models/sources.yml",
        "sources: [{name: raw, tables: [{name: orders, columns: [{name: id, data_tests: [not_null]}]}, {name: customers}]}]",
    )
    world.sql("create table raw.orders as select 1 as id, 5 as amount", "create table raw.customers as select 1 as id")
    world.write("models/core/orders.sql", "select * from {{ source('raw', 'orders') }}")
    world.write(
        "models/core/customers.sql",
        "{{ config(materialized='view', tags=['daily']) }} select * from {{ source('raw', 'customers') }}",
    )
    world.write(
        "models/reports/report.sql",
        "select sum(amount) as amount from {{ ref('orders') }} join {{ ref('customers') }} using (id)",
    )
    world.write(
        "models/core/t.yml",
        "models: [{name: orders, description: All orders., columns: [{name: id, data_tests: [unique, {not_null: {severity: warn}}]}]}]",
    )
    return world


class Deployment:
    """Definitions with an instance of their own."""

    def __init__(self, defs: dg.Definitions) -> None:
        self.defs = defs
        self.instance = dg.DagsterInstance.ephemeral()
        self.repository = defs.get_repository_def()

    def run(self, assets: list[str] | None = None, checks: Any = None, **tags: str) -> Any:
        job = self.defs.resolve_implicit_global_asset_job_def()
        selection = None if assets is None else [dg.AssetKey(each.split("/")) for each in assets]
        return job.execute_in_process(
            instance=self.instance, asset_selection=selection, tags=tags, raise_on_error=False
        )

    def tick(self, name: str = "shop_evaluator") -> Any:
        sensor = self.repository.get_sensor_def(name)
        with dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, resources={"sao_warehouse": ProjectWarehouse()}
        ) as context:
            return sensor.evaluate_tick(context)

    def scheduled(self, name: str = "hourly") -> Any:
        """Evaluate a tick of a schedule, always that of the same time."""
        with dg.build_schedule_context(
            scheduled_execution_time=datetime(2026, 3, 2, 10, tzinfo=timezone.utc),
            instance=self.instance,
            repository_def=self.repository,
            resources={"sao_warehouse": ProjectWarehouse()},
        ) as context:
            return self.repository.get_schedule_def(name).evaluate_tick(context)


def deploy(world: World, **options: Any) -> Deployment:
    return Deployment(definitions(load_project(world.root), **options))


def names(result: Any, kind: str) -> set[str]:
    keys = {event.asset_key.to_user_string() for event in result.all_events if event.event_type_value == kind}
    return {key for key in keys if not key.startswith("raw/") and key != "shop/savings"}


def checks(result: Any) -> dict[str, tuple[bool, str]]:
    return {each.check_name: (each.passed, each.severity.value) for each in result.get_asset_check_evaluations()}


def metadata(result: Any, asset: str, kind: str = "ASSET_MATERIALIZATION") -> dict[str, Any]:
    """Return the metadata of the event of an asset in a run, as plain values."""
    key = dg.AssetKey(asset.split("/"))
    (found,) = (each for each in result.all_events if each.event_type_value == kind and each.asset_key == key)
    data = found.event_specific_data
    event = data.materialization if kind == "ASSET_MATERIALIZATION" else data.asset_observation
    return {name: value.value for name, value in event.metadata.items()}
