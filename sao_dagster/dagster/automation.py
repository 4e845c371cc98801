"""What shows on an asset's Automation tab: a label for its policy, and a tree of conditions for each decision; and what a check is about.

The one module that uses what Dagster does not publish, with the reason. A sensor of type `AUTOMATION` that hands over
evaluations is how Dagster's own automation sensor reports, and there is no public way to do the same. (Dagster's RFC
23188 foresees it for other sensors.) Where an installed Dagster has changed these names, `HOOKED` is False: the
evaluator is a plain sensor then, decides and requests just the same, and only the trees and labels are missing.
The pointer from a result of a check to the materialization that it is about (`target_of`) is made by Dagster for checks in runs alone;
without it, Dagster goes by the times of both, whole seconds of them on SQLite.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg

from sao_dagster.core.conditions import Condition

if TYPE_CHECKING:
    from dagster._core.definitions.declarative_automation.serialized_objects import AutomationConditionEvaluation

    Evaluation: TypeAlias = AutomationConditionEvaluation[dg.AssetKey]

try:
    from dagster._core.asset_graph_view.serializable_entity_subset import SerializableEntitySubset
    from dagster._core.definitions.declarative_automation import serialized_objects
    from dagster._core.definitions.sensor_definition import SensorType

    _TYPE: Any = SensorType.AUTOMATION
    dg.SensorResult(automation_condition_evaluations=[])
    HOOKED = True
except (ImportError, AttributeError, TypeError, dg.DagsterError):  # pragma: no cover - for a Dagster to come
    HOOKED = False


try:
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationTargetMaterializationData,
    )

    _Target: Any = AssetCheckEvaluationTargetMaterializationData
    _Target(storage_id=1, run_id="", timestamp=0.0)
except (ImportError, TypeError):  # pragma: no cover - for a Dagster to come
    _Target = None


class StateAware(dg.AutomationCondition[dg.AssetKey]):
    """Marks an asset as automated, with its policy in words. The evaluator sensor decides, not this condition.

    It is never serialized: host processes of other versions see a label and nothing else.
    """

    def __init__(self, policy: str) -> None:
        self._policy = policy

    @property
    def name(self) -> str:
        """Return what Dagster calls the condition."""
        return "state_aware"

    @property
    def description(self) -> str:
        """Return what the condition means."""
        return f"builds when its result would change; {self._policy}"

    def get_label(self) -> str:
        """Return what the UI shows."""
        return f"state-aware: {self._policy}"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Return that nothing is requested: a sensor that does not know the shared state must not build."""
        return dg.AutomationResult(context, context.get_empty_subset())


if HOOKED:

    class _EvaluatorSensor(dg.SensorDefinition):
        """A sensor that Dagster takes for the automation sensor of its assets, so that it makes no default one."""

        @property
        def sensor_type(self) -> Any:
            return _TYPE

        def with_attributes(self, **attributes: Any) -> dg.SensorDefinition:
            return as_evaluator(super().with_attributes(**attributes))


def as_evaluator(sensor: dg.SensorDefinition) -> dg.SensorDefinition:
    """Return the sensor as the automation sensor of its assets; as it is, where Dagster does not allow that."""
    if HOOKED:
        # Dagster's ways to make and copy sensors name their class; the subclass adds no state of its own
        sensor.__class__ = _EvaluatorSensor
    return sensor


def is_evaluator(sensor: dg.SensorDefinition) -> bool:
    """Return whether a sensor was made by `as_evaluator`, and Dagster allowed it."""
    return HOOKED and isinstance(sensor, _EvaluatorSensor)


def sensor_result(
    requests: Sequence[dg.RunRequest],
    evaluations: Sequence[Evaluation],
    why_not: str | None,
) -> dg.SensorResult | dg.SkipReason:
    """Return what a tick gives back: run requests and evaluations.

    Args:
        requests: The runs to launch.
        evaluations: Trees to show; needs `HOOKED`.
        why_not: Why no run is requested.
    """
    hooked: dict[str, Any] = {"automation_condition_evaluations": list(evaluations)} if evaluations else {}
    if not requests and not hooked:
        return dg.SkipReason(why_not)
    skip = dg.SkipReason(why_not) if not requests else None
    return dg.SensorResult(run_requests=list(requests), skip_reason=skip, **hooked)


def _evaluation(key: dg.AssetKey, condition: Condition, started: float, ended: float, path: str) -> Evaluation:
    """Return a tree of conditions. One that was not asked has no candidates."""
    return serialized_objects.AutomationConditionEvaluation(
        condition_snapshot=serialized_objects.AutomationConditionNodeSnapshot(
            class_name="StateAware",
            description="",
            unique_id=path,
            label=condition.label if condition.children else None,  # the UI cuts labels off
            name=condition.label,
            operator_type=condition.operator,
        ),
        start_timestamp=started,
        end_timestamp=ended,
        true_subset=SerializableEntitySubset(key, bool(condition.holds)),
        candidate_subset=SerializableEntitySubset(key, condition.holds is not None),
        subsets_with_metadata=[],
        child_evaluations=[
            _evaluation(key, child, started, ended, f"{path}.{number}")
            for number, child in enumerate(condition.children)
        ],
    )


def purge_evaluations(instance: dg.DagsterInstance, before: datetime) -> None:
    """Forget the evaluations from before a time; Dagster itself does so only where its own automation runs."""
    storage = instance.schedule_storage
    if storage is not None and storage.supports_auto_materialize_asset_evaluations:
        storage.purge_asset_evaluations(before=before.timestamp())


def trees_of(
    conditions: Iterable[tuple[dg.AssetKey, Condition]], started: datetime, ended: datetime
) -> list[Evaluation]:
    """Return the conditions of several assets as Dagster stores them; none where it cannot take them."""
    if not HOOKED:
        return []
    times = started.timestamp(), ended.timestamp()
    return [_evaluation(key, condition, *times, "0") for key, condition in conditions]


def with_marker(spec: dg.AssetSpec, policy: str) -> dg.AssetSpec:
    """Return a spec that is marked as looked after by the evaluator; one that has a condition keeps its own."""
    if not HOOKED or spec.automation_condition is not None:
        return spec
    return spec.replace_attributes(automation_condition=StateAware(policy))


def target_of(materialization: dg.EventLogRecord | None) -> Any:
    """Return what says in the result of a check that it is about a materialization; None where there is none, or no way to say so."""
    if materialization is None or _Target is None:
        return None
    return _Target(
        storage_id=materialization.storage_id, run_id=materialization.run_id, timestamp=materialization.timestamp
    )
