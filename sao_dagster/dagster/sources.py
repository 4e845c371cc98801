"""Sources in Dagster: observable assets, and what runs and ticks tell of them when their data version changes."""

# no `from __future__ import annotations` here: Dagster reads the annotation of `context` as an object

import time
import warnings
from collections.abc import Iterator
from typing import Any, TypeAlias

import dagster as dg

from sao_dagster.core.plan import Plan
from sao_dagster.core.selection import Selection
from sao_dagster.dagster.project_view import DagsterProject, failure, scope_of
from sao_dagster.dagster.resources import WarehouseResource
from sao_dagster.errors import SaoError
from sao_dagster.run.observe import Observation

SCOPE = "dagster_sources"
SourceEvent: TypeAlias = dg.AssetObservation | dg.AssetMaterialization


def build_source_observations(dagster_project: DagsterProject, name: str) -> dg.AssetsDefinition | None:
    """Return the sources of a project as observable assets, or None if there are none."""
    specs = [dagster_project.asset_spec(each) for each in dagster_project.own_sources]
    if not specs:
        return None

    def _observe(context: dg.AssetExecutionContext) -> Iterator[Any]:
        resource: WarehouseResource = getattr(context.resources, dagster_project.warehouse_key)
        chosen = {dagster_project.names[key] for key in context.selected_asset_keys}
        selection = Selection((), (), tuple(each for each in dagster_project.own_sources if each in chosen))
        try:
            plan, seen = dagster_project.runner(resource).plan(selection)
            dagster_project.opened.store.keep_shown(
                plan.environment, scope_of(context.instance, SCOPE), _versions(seen, chosen)
            )
        except SaoError as error:
            raise failure(error) from error
        for each in selection.sources:
            version = seen.facts.versions.get(each)
            if version is None:
                context.log.warning(f"the data version of {each} cannot be read")
            yield dg.ObserveResult(  # also without a version: Dagster skips what is below a source that was not observed
                asset_key=dagster_project.keys[each],
                data_version=None if version is None else dg.DataVersion(str(version)),
                metadata=_metadata(dagster_project, seen, each),
            )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        observed: dg.AssetsDefinition = dg.multi_observable_source_asset(
            name=name,
            specs=specs,
            can_subset=True,
            required_resource_keys={dagster_project.warehouse_key},
        )(_observe)  # without a description: Dagster would show it as that of each source that has none
    return observed


def news_of_sources(
    dagster_project: DagsterProject,
    instance: dg.DagsterInstance,
    plan: Plan,
    seen: Observation,
    give_up: float | None = None,
) -> Iterator[SourceEvent]:
    """Yield events about the sources whose data version differs from the one that the Dagster instance was told last.

    A source with a freshness policy has a materialization too: Dagster tells freshness by these alone. A source whose events were all
    yielded, and are done with, is not told again.

    Args:
        dagster_project: The project in Dagster.
        instance: Whose log they are for.
        plan: The plan, which names the environment.
        seen: The versions, columns and ages that were read.
        give_up: When to leave the sources that follow for later, on the monotonic clock; None for no limit.
    """
    store, scope = dagster_project.opened.store, scope_of(instance, SCOPE)
    known = store.shown(plan.environment, scope)
    versions = _versions(seen, set(dagster_project.own_sources))
    told: dict[str, str] = {}
    try:
        for name in [each for each in versions if known.get(each) != versions[each]]:
            source = dagster_project.project.sources[name]
            facts: dict[str, Any] = {
                "asset_key": dagster_project.keys[name],
                "description": "New data." if name in known else "Seen for the first time.",
                "metadata": _metadata(dagster_project, seen, name),
                "tags": {"dagster/data_version": versions[name]},
            }
            yield dg.AssetObservation(**facts)
            if source.error_after is not None:
                yield dg.AssetMaterialization(**facts)
            told[name] = versions[name]
            if give_up is not None and time.monotonic() > give_up:
                break
    finally:
        store.keep_shown(plan.environment, scope, told)


def _versions(seen: Observation, chosen: set[str]) -> dict[str, str]:
    found = seen.facts.versions.items()
    return {name: str(version) for name, version in found if version is not None and name in chosen}


def _metadata(dagster_project: DagsterProject, seen: Observation, name: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if name in seen.columns:
        declared = {each.name.lower(): each for each in dagster_project.project.sources[name].columns}
        metadata["dagster/column_schema"] = dg.TableSchema(
            [
                dg.TableColumn(column, kind, description=(each and each.description) or None)
                for column, kind in seen.columns[name]
                for each in [declared.get(column.lower())]
            ]
        )
    if name in seen.loaded_at and (loaded := seen.loaded_at[name].time) is not None:
        metadata["dagster/last_updated_timestamp"] = dg.MetadataValue.timestamp(loaded)
    return metadata
