"""The evaluator: a sensor that decides over a whole selection and requests one run with what has something to do.

It decides from stored state, never from what changed since its last tick, so it has no cursor to lose, and a second
evaluator or a repeated tick changes nothing.
"""

# no `from __future__ import annotations` here: Dagster reads the annotation of `context` as an object

from collections.abc import Mapping

import dagster as dg

from sao_dagster.core.decide import Outcome
from sao_dagster.core.explain import explain
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.plan import Plan
from sao_dagster.core.verdicts import TestOutcome
from sao_dagster.errors import SaoError, WarehouseBusyError
from sao_dagster.integration.edge import EVALUATOR_TAG, MODE_TAG, PLAN_TAG, WAREHOUSE_KEY, Edge
from sao_dagster.integration.resources import WarehouseResource

UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_TIMES = ("_at", "_seconds", "since")  # evidence that moves with the clock, and makes no plan another one


def build_evaluator_sensor(
    edge: Edge,
    *,
    name: str | None = None,
    select: str | None = None,
    exclude: str | None = None,
    minimum_interval_seconds: int = 30,
    max_attempts: int = 3,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """Return a sensor that keeps a selection up to date.

    Args:
        edge: The project in Dagster.
        name: The sensor's name; that of the project with `_evaluator` if nothing is said.
        select: What it looks after, in dbt's syntax; everything if nothing is said.
        exclude: What it leaves out.
        minimum_interval_seconds: The least time between two ticks.
        max_attempts: How often the same work is requested while it keeps failing.
        default_status: Whether it runs as soon as it is deployed.
    """
    sensor_name = name or f"{edge.project.name}_evaluator"
    selection = edge.select(select, exclude)

    @dg.sensor(
        name=sensor_name,
        description=f"Builds what would change among {len(selection.nodes)} models and seeds, and nothing else.",
        asset_selection=dg.AssetSelection.assets(*(edge.keys[each] for each in selection.nodes))
        | dg.AssetSelection.checks(*(edge.check_keys[each] for each in selection.tests if each in edge.check_keys)),
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        required_resource_keys={WAREHOUSE_KEY},
    )
    def _evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        going = context.instance.get_runs(
            dg.RunsFilter(tags={EVALUATOR_TAG: sensor_name}, statuses=list(UNFINISHED)), limit=1
        )
        if going:
            return dg.SkipReason(f"the run {going[0].run_id} of this evaluator is {going[0].status.value.lower()}")
        resource: WarehouseResource = getattr(context.resources, WAREHOUSE_KEY)
        try:
            plan, _ = edge.runner(resource).plan(selection, wait_seconds=0)
        except WarehouseBusyError as error:
            return dg.SkipReason(f"another process holds the warehouse: {error}")
        except SaoError as error:
            return dg.SkipReason(f"cannot decide: {error}")
        mark = plan_mark(plan)
        request = edge.request(
            plan, {MODE_TAG: "state-aware", EVALUATOR_TAG: sensor_name, PLAN_TAG: mark, **_reasons(plan)}
        )
        if request is None:
            return dg.SkipReason(nothing_to_do(plan))
        failed = context.instance.get_runs(
            dg.RunsFilter(tags={PLAN_TAG: mark}, statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]),
            limit=max_attempts,
        )
        if len(failed) >= max_attempts:
            return dg.SkipReason(
                f"the same work failed {len(failed)} times, the last time in run {failed[0].run_id}; "
                f"it is requested again when its inputs or its code change"
            )
        for model in plan.to_build:
            context.log.info(f"{model}: {explain(plan.decisions[model])}")
        return dg.SensorResult(run_requests=[request])

    return _evaluate


def plan_mark(plan: Plan) -> str:
    """Return a digest of the work that a plan has to do, the same for as long as that is the same work."""
    work: dict[str, JSON] = {
        name: [plan.decisions[name].reason.value, _timeless(plan.decisions[name].evidence)] for name in plan.to_build
    }
    tests: dict[str, JSON] = {
        name: [plan.tests[name].reason.value, _timeless(plan.tests[name].evidence)] for name in plan.to_test
    }
    return digest([work, tests])


def _timeless(evidence: object) -> JSON:
    if isinstance(evidence, Mapping):
        return {key: _timeless(value) for key, value in evidence.items() if not key.endswith(_TIMES)}
    if isinstance(evidence, list | tuple):
        return [_timeless(value) for value in evidence]
    return str(evidence)


def nothing_to_do(plan: Plan) -> str:
    """Return one sentence that says why a plan builds nothing."""
    reasons: dict[str, int] = {}
    for decision in plan.decisions.values():
        reasons[decision.reason.value] = reasons.get(decision.reason.value, 0) + 1
    counted = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    reused = sum(each.outcome is TestOutcome.REUSED for each in plan.tests.values())
    return f"all {len(plan.decisions)} models are reused ({counted}), and {reused} data tests stand"


def _reasons(plan: Plan) -> dict[str, str]:
    """Return the reasons of a plan as run tags, counted."""
    counts: dict[str, int] = {}
    for decision in plan.decisions.values():
        if decision.outcome is Outcome.BUILT:
            counts[decision.reason.value] = counts.get(decision.reason.value, 0) + 1
    return {f"sao/{reason}": str(count) for reason, count in counts.items()}
