"""The assets of a project: one subsettable step for models and seeds, one for the checks of sources, one to observe them."""

# no `from __future__ import annotations` here: Dagster reads the annotation of `context` as an object

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import dagster as dg
from pydantic import Field

from sao_dagster.core.nodes import is_source
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import Selection
from sao_dagster.dagster.project_view import MODE_TAG, DagsterProject, Granularity
from sao_dagster.dagster.sources import build_source_observations
from sao_dagster.dagster.step import Step
from sao_dagster.dagster.translator import identifier

Body: TypeAlias = Callable[[dg.AssetExecutionContext, Step], Iterator[Any]]
"""What a step of models does: `step.run()`, and whatever goes around it."""


class RunConfig(dg.Config):
    """What the launchpad offers for a run of models."""

    mode: str = Field(
        default=Mode.STATE_AWARE.value,
        description=(
            "state-aware builds what would change, and reuses the rest. force builds all that is selected. full-refresh "
            "builds it from scratch, incremental models too. dry-run builds nothing, and shows the plan. In capitals and with _ is "
            f"the same. Where it stays state-aware, the run tag {MODE_TAG} decides, if the run has one."
        ),
    )


def state_aware_assets(
    dagster_project: DagsterProject,
    *,
    name: str | None = None,
    select: str | None = None,
    exclude: str | None = None,
    pool: str | None = None,
    op_tags: Mapping[str, Any] | None = None,
    retry_policy: dg.RetryPolicy | None = None,
) -> Callable[[Body], dg.AssetsDefinition]:
    """Return a decorator that makes one subsettable step of a project's models, with something of your own around it.

        @state_aware_assets(dagster_project, pool="warehouse")
        def shop(context, step):
            context.log.info("about to build")
            yield from step.run()

    Args:
        dagster_project: The project in Dagster.
        name: The step's name; that of the project if nothing is said.
        select: The models that belong to this step, in dbt's syntax; all if nothing is said.
        exclude: Those that do not.
        pool: Dagster's concurrency pool of the step.
        op_tags: Tags of the step, for executors.
        retry_policy: Whether Dagster tries again when the step fails; what was built is not built again.
    """
    chosen = set(dagster_project.select(select, exclude).nodes)
    models = [each for each in dagster_project.asset_names if each in chosen]
    options = {"op_tags": op_tags, "pool": pool, "retry_policy": retry_policy}
    return _step(dagster_project, name or _op_name(dagster_project), models, _checks(dagster_project), options)


def _checks(dagster_project: DagsterProject) -> dict[str, list[dg.AssetCheckSpec]]:
    """Return the checks of models and seeds by what they belong to."""
    found: dict[str, list[dg.AssetCheckSpec]] = {}
    for spec in dagster_project.check_specs(of_sources=False):
        found.setdefault(dagster_project.names[spec.asset_key], []).append(spec)
    return found


def _step(
    dagster_project: DagsterProject,
    name: str,
    models: Sequence[str],
    checks: Mapping[str, Sequence[dg.AssetCheckSpec]],
    options: Mapping[str, Any],
) -> Callable[[Body], dg.AssetsDefinition]:
    """Return a decorator that makes one subsettable step of some models and their checks."""

    def decorate(body: Body) -> dg.AssetsDefinition:
        @dg.multi_asset(
            name=name,
            specs=[dagster_project.asset_spec(each) for each in models],
            check_specs=[spec for each in models for spec in checks.get(each, ())],
            can_subset=True,
            required_resource_keys={dagster_project.warehouse_key},
            **options,
        )
        def _assets(context: dg.AssetExecutionContext, config: RunConfig) -> Iterator[Any]:
            selection = dagster_project.selection_of(context.selected_asset_keys, context.selected_asset_check_keys)
            yield from body(
                context,
                Step(context, dagster_project, _with_source_tests(context, dagster_project, selection), config.mode),
            )

        return _assets

    return decorate


def build_assets(dagster_project: DagsterProject) -> list[dg.AssetsDefinition]:
    """Return all models and seeds of a project: one step that can run any subset of them, or one for each of them.

    A step for each is for executors that spread steps over processes and machines; its pool is what the translator says.
    """
    if dagster_project.granularity is Granularity.PROJECT:
        return [state_aware_assets(dagster_project)(_plain)]
    checks = _checks(dagster_project)
    return [
        _step(
            dagster_project,
            f"{_op_name(dagster_project)}__{identifier('__'.join(dagster_project.keys[name].path))}",
            [name],
            checks,
            {"pool": dagster_project.translator.get_pool(dagster_project.project, dagster_project.project.nodes[name])},
        )(_plain)
        for name in dagster_project.asset_names
    ]


def _plain(_: dg.AssetExecutionContext, step: Step) -> Iterator[Any]:
    return step.run()


def build_source_checks(dagster_project: DagsterProject) -> dg.AssetChecksDefinition | None:
    """Return the data tests and the age checks of sources as checks, or None if there are none."""
    specs = dagster_project.check_specs(of_sources=True)
    if not specs:
        return None

    @dg.multi_asset_check(
        name=f"{_op_name(dagster_project)}_source_checks",
        specs=specs,
        can_subset=True,
        required_resource_keys={dagster_project.warehouse_key},
    )
    def _checks(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        yield from Step(
            context, dagster_project, dagster_project.selection_of((), context.selected_asset_check_keys)
        ).run()

    return _checks


def build_sources(dagster_project: DagsterProject) -> list[dg.AssetsDefinition]:
    """Return the sources of a project as observable assets; those that other assets produce are left to them."""
    observed = build_source_observations(dagster_project, f"{_op_name(dagster_project)}_sources")
    return [observed] if observed is not None else []


def build_savings(dagster_project: DagsterProject) -> dg.AssetSpec:
    """Return the asset on which each run leaves what it did and saved, for Dagster to plot over time."""
    return dg.AssetSpec(
        dagster_project.savings_key,
        description=(
            "What each run built, reused and saved. Seconds saved are an estimate: what the reused models and tests took "
            "when they were built or run last, less the time that deciding took."
        ),
        group_name="state_aware",
        kinds={"sao"},
    )


def _op_name(dagster_project: DagsterProject) -> str:
    return identifier(dagster_project.project.name)


def _with_source_tests(
    context: dg.AssetExecutionContext, dagster_project: DagsterProject, selection: Selection
) -> Selection:
    """Add the tests of the sources that are read, so that a source that fails one stops the models that read it.

    Their results are reported by the step of the source checks; a verdict that stands is not asked for twice.
    """
    chosen = context.run.asset_check_selection
    read = {each for name in selection.nodes for each in dagster_project.project.graph.read(name)}
    tests = [
        name
        for name, test in dagster_project.project.tests.items()
        if is_source(test.tested)
        and test.tested in read
        and (chosen is None or dagster_project.check_keys.get(name) in chosen)
    ]
    return replace(selection, tests=tuple(dict.fromkeys((*selection.tests, *tests))))
