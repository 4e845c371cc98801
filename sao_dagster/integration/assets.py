"""The assets of a project: one subsettable step, gated at each model's turn."""

# no `from __future__ import annotations` here: Dagster reads the annotation of `context` as an object

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dagster as dg

from sao_dagster.core.decide import Mode, Outcome
from sao_dagster.core.explain import explain, explain_test
from sao_dagster.core.models import is_source
from sao_dagster.core.records import Verdict
from sao_dagster.core.selection import Selection
from sao_dagster.core.verdicts import TestOutcome
from sao_dagster.errors import SaoError
from sao_dagster.integration.edge import WAREHOUSE_KEY, Edge, ReuseEvent, failure, mode_of
from sao_dagster.integration.resources import WarehouseResource
from sao_dagster.results import Event, Message, ModelResult, Planned, RunResult, Started, TestResult


def build_assets(edge: Edge) -> dg.AssetsDefinition:
    """Return all models and seeds of a project as one step that can run any subset of them and of their checks."""
    project = edge.project
    specs = [edge.translator.get_asset_spec(project, project.nodes[name]) for name in edge.asset_names]
    tests = [test for name, test in project.tests.items() if name in edge.check_keys and not is_source(test.tested)]

    @dg.multi_asset(
        name=_op_name(project.name),
        specs=specs,
        check_specs=[edge.translator.get_check_spec(project, test) for test in tests],
        can_subset=True,
        required_resource_keys={WAREHOUSE_KEY},
        op_tags={"dagster/compute_kind": project.dialect},
    )
    def _assets(context: dg.AssetExecutionContext) -> Iterator[Any]:
        selection = edge.selection_of(context.selected_asset_keys, context.selected_asset_check_keys)
        yield from _run(context, edge, _with_source_tests(context, edge, selection))

    return _assets


def build_source_checks(edge: Edge) -> dg.AssetChecksDefinition | None:
    """Return the data tests of sources as checks, or None if there are none."""
    project = edge.project
    tests = [test for name, test in project.tests.items() if name in edge.check_keys and is_source(test.tested)]
    if not tests:
        return None

    @dg.multi_asset_check(
        name=f"{_op_name(project.name)}_sources",
        specs=[edge.translator.get_check_spec(project, test) for test in tests],
        can_subset=True,
        required_resource_keys={WAREHOUSE_KEY},
    )
    def _checks(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        selection = edge.selection_of((), context.selected_asset_check_keys)
        yield from _run(context, edge, selection)

    return _checks


def build_sources(edge: Edge) -> list[dg.AssetSpec]:
    """Return the sources of a project as external assets."""
    return [edge.translator.get_asset_spec(edge.project, source) for source in edge.project.sources.values()]


def _op_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _with_source_tests(context: dg.AssetExecutionContext, edge: Edge, selection: Selection) -> Selection:
    """Add the tests of the sources above, so that a source that fails one stops the models that read it.

    Their results are reported by the step of the source checks; a verdict that stands is not asked for twice.
    """
    chosen = context.run.asset_check_selection
    above = edge.project.graph.sources_above(selection.nodes)
    tests = [
        name
        for name, test in edge.project.tests.items()
        if test.tested in above and (chosen is None or edge.check_keys.get(name) in chosen)
    ]
    return replace(selection, tests=tuple(dict.fromkeys((*selection.tests, *tests))))


def _run(context: Any, edge: Edge, selection: Selection) -> Iterator[Any]:
    """Run a selection and yield what Dagster should know of it."""
    resource: WarehouseResource = getattr(context.resources, WAREHOUSE_KEY)
    mode = mode_of(context.run.tags)
    try:
        runner = edge.runner(resource)
        if mode is None:
            _dry_run(context, edge, selection, resource)
            return
        running = runner.events(selection, mode, run_id=context.run.run_id)
        while True:
            try:
                event = next(running)
            except StopIteration as stop:
                _conclude(context, stop.value)
                return
            yield from _translate(context, edge, event)
    except SaoError as error:
        raise failure(error) from error


def _dry_run(context: Any, edge: Edge, selection: Selection, resource: WarehouseResource) -> None:
    plan, _ = edge.runner(resource).plan(selection, Mode.STATE_AWARE)
    for name, decision in plan.decisions.items():
        context.log.info(f"{name} would be {decision.outcome.value}: {explain(decision)}")
    for name, tested in plan.tests.items():
        context.log.info(f"{name}: {tested.outcome.value}: {explain_test(tested)}")


def _conclude(context: Any, result: RunResult) -> None:
    """Log the summary; fail the step if models failed or were skipped, so that a run is never green by mistake."""
    context.log.info(f"summary: {dict(result.summary())}")
    wrong = {
        outcome: [each for each in result.models if each.decision.outcome is outcome]
        for outcome in (Outcome.FAILED, Outcome.SKIPPED)
    }
    if not any(wrong.values()):
        return
    lines = [
        f"{each.name} {outcome.value}: {explain(each.decision)}" for outcome, them in wrong.items() for each in them
    ]
    counted = ", ".join(f"{len(them)} {outcome.value}" for outcome, them in wrong.items())
    raise dg.Failure(
        description="\n".join([f"models: {counted}", *lines]),
        metadata={
            f"sao/{outcome.value}": dg.MetadataValue.json([each.name for each in them])
            for outcome, them in wrong.items()
        },
    )


def _translate(context: Any, edge: Edge, event: Event) -> Iterator[Any]:
    if isinstance(event, Message):
        context.log.info(event.text)
    elif isinstance(event, Planned):
        for warning in event.plan.warnings:
            context.log.warning(warning)
    elif isinstance(event, Started):
        context.log.info(f"building {event.model} ({event.reason.value})")
    elif isinstance(event, ModelResult):
        context.log.info(f"{event.name} {event.decision.outcome.value}: {explain(event.decision)}")
        for warning in event.decision.warnings:
            context.log.warning(warning)
        yield from _model_events(context, edge, event)
    elif event.test.name in edge.check_keys:
        yield from _check_events(context, edge, event)


def _model_events(context: Any, edge: Edge, result: ModelResult) -> Iterator[Any]:
    key = edge.keys[result.name]
    if result.decision.outcome is Outcome.BUILT:
        yield dg.MaterializeResult(
            asset_key=key,
            metadata=_metadata(result),
            data_version=dg.DataVersion(result.data_version) if result.data_version else None,
            tags={"sao/reason": result.decision.reason.value},
        )
    elif result.decision.outcome is Outcome.REUSED:
        if edge.reuse_event is ReuseEvent.MATERIALIZATION or _is_needed_below(context, key):
            # otherwise Dagster would silently skip the steps below it in this run
            yield dg.MaterializeResult(
                asset_key=key,
                metadata=_metadata(result),
                data_version=dg.DataVersion(result.data_version) if result.data_version else None,
                tags={"sao/reason": result.decision.reason.value},
            )
        elif edge.reuse_event is ReuseEvent.OBSERVATION:
            yield dg.AssetObservation(
                asset_key=key,
                description=f"Reused: {explain(result.decision)}",
                metadata=_metadata(result),
                tags={"sao/reason": result.decision.reason.value},
            )


def _is_needed_below(context: Any, key: dg.AssetKey) -> bool:
    """Return whether another step of this run waits for the asset."""
    layer = context.job_def.asset_layer
    children = layer.asset_graph.get(key).child_keys
    return any(child in layer.executable_asset_keys and child not in context.selected_asset_keys for child in children)


def _metadata(result: ModelResult) -> dict[str, Any]:
    record = result.record
    metadata: dict[str, Any] = {
        "sao/outcome": result.decision.outcome.value,
        "sao/reason": result.decision.reason.value,
        "sao/because": explain(result.decision),
        "sao/evidence": dg.MetadataValue.json(_plain(result.decision.evidence)),
        "dagster/table_name": result.relation.replace('"', ""),
    }
    if record is None:
        return metadata
    if result.decision.outcome is Outcome.REUSED:
        metadata["sao/seconds_saved"] = round(record.seconds, 3)
        metadata["sao/built_by_run"] = dg.MetadataValue.dagster_run(record.run_id)
        return metadata
    metadata["sao/seconds"] = round(result.seconds, 3)
    columns = [dg.TableColumn(name, kind) for name, kind in record.columns]
    metadata["dagster/column_schema"] = dg.TableSchema(columns)
    if record.rows is not None:
        metadata["dagster/row_count"] = record.rows
    return metadata


def _check_events(context: Any, edge: Edge, result: TestResult) -> Iterator[Any]:
    key = edge.check_keys[result.test.name]
    if key not in context.selected_asset_check_keys or result.verdict is None:
        return
    reused = result.decision.outcome is TestOutcome.REUSED
    because = explain_test(result.decision)
    metadata: dict[str, Any] = {
        "sao/outcome": result.decision.outcome.value,
        "sao/verdict": result.verdict.value,
        "sao/because": because,
        "sao/failures": result.failures or 0,
    }
    if result.statement:
        metadata["sao/statement"] = result.statement
    if result.record is not None:
        metadata["sao/from_run"] = dg.MetadataValue.dagster_run(result.record.run_id)
    if result.sample:
        metadata["sao/failing_rows"] = _table(result.sample)
    if result.error:
        metadata["sao/error"] = result.error
    severe = result.verdict in (Verdict.FAIL, Verdict.ERROR)
    yield dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.verdict is Verdict.PASS,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=f"Reused: {because}" if reused else result.error or because,
        metadata=metadata,
    )


def _table(rows: tuple[Mapping[str, Any], ...]) -> dg.TableMetadataValue:
    records = [dg.TableRecord({name: "" if value is None else value for name, value in row.items()}) for row in rows]
    columns = [dg.TableColumn(name, "string") for name in rows[0]]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
