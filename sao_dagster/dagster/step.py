"""One step of a Dagster run: runs a selection and tells Dagster of it, model by model."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg

from sao_dagster.core.decide_test import TestOutcome
from sao_dagster.core.explain import explain
from sao_dagster.core.facts import Facts
from sao_dagster.core.messages import Level, Message
from sao_dagster.core.nodes import Materialized, is_source
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection
from sao_dagster.dagster.check_results import CheckReports, repeat
from sao_dagster.dagster.metadata import model_metadata, plan_table, run_table, savings_metadata
from sao_dagster.dagster.outdated import outdated
from sao_dagster.dagster.project_view import (
    CODE_TAG,
    DEFER_TAG,
    DRY_RUN,
    MODE_TAG,
    PLAN_TAG,
    DagsterProject,
    Granularity,
    ReuseEvent,
    failure,
    mode_of,
    selection_by,
)
from sao_dagster.dagster.resources import WarehouseResource
from sao_dagster.dagster.sources import news_of_sources
from sao_dagster.dagster.told import SECONDS, catch_up
from sao_dagster.dagster.told_builds import ToldBuilds
from sao_dagster.dagster.told_verdicts import ToldVerdicts
from sao_dagster.errors import SaoError, StateError, words_of
from sao_dagster.run.events import Event, ModelResult, Planned, Started
from sao_dagster.run.missing import with_missing_inputs
from sao_dagster.run.report import RunResult
from sao_dagster.run.runner import Runner
from sao_dagster.run.savings import PERIODS, over_periods
from sao_dagster.state.url import without_password

TOLD = 50  # models that a failure names; Dagster keeps and shows it as one text
LONGEST = 300  # characters of what it says of one of them


class Step:
    """What a step of models, or of the checks of sources, does.

    Args:
        context: Dagster's, of an asset or a check step.
        dagster_project: The project in Dagster.
        selection: What it is about.
        mode: The mode that the launchpad says; the run's tag decides where it says none.
    """

    def __init__(
        self, context: Any, dagster_project: DagsterProject, selection: Selection, mode: str | None = None
    ) -> None:
        self.selection = selection_by(context.run.tags, selection)
        self._context = context
        self._edge = dagster_project
        self._mode = mode
        self._reports = CheckReports(dagster_project, frozenset(context.selected_asset_check_keys))
        self._columns: dict[str, tuple[tuple[str, str], ...]] = {}
        self._before: Mapping[str, BuildRecord] = {}
        self._facts = Facts()
        self._built: set[str] = set()
        self._told: ToldVerdicts | None = None

    def run(self) -> Iterator[Any]:
        """Run the selection and yield what Dagster should know of it.

        Raises:
            dg.Failure: A model failed or was skipped, or nothing could be run; so a run is never green by mistake.
        """
        resource: WarehouseResource = getattr(self._context.resources, self._edge.warehouse_key)
        mode = mode_of(self._context.run.tags, self._mode)
        try:
            runner = self._edge.runner(resource, self._context.run.tags.get(DEFER_TAG))
            runner = replace(runner, job=_job(self._context.run))
            if mode is None and self._edge.granularity is Granularity.MODEL:
                raise dg.Failure(
                    "a dry run needs all models in one step, and here each is its own (granularity: model); use `sao plan`",
                    allow_retries=False,
                )
            if mode is None:
                yield from self._dry_run(runner)
                return
            run_id = self._context.run.run_id
            running = runner.events(self.selection, mode, run_id=run_id, within=self._of_run(), on_message=self._say)
            result = yield from self._events(running)
        except SaoError as error:
            raise failure(error) from None
        try:
            self._tell_the_rest()
        except Exception as error:  # noqa: BLE001 - the storage of an instance may raise anything, and the models are built
            self._context.log.warning(f"Dagster is not told of other builds now: {words_of(error)}")
        self._conclude(result)

    def _of_run(self) -> Selection:
        """Return what all steps of the run are about."""
        run, layer = self._context.run, self._context.job_def.asset_layer
        checks = self._edge.tests if run.asset_check_selection is None else run.asset_check_selection
        return selection_by(run.tags, self._edge.selection_of(layer.executable_asset_keys, checks))

    def _events(self, running: Generator[Event, None, RunResult]) -> Generator[Any, None, RunResult]:
        """Tell Dagster of a run while it goes, and return what it did.

        Whatever is raised while an exception is handled takes it along into Dagster's log, and the one that ends a generator
        holds the whole result; so that is left behind here.
        """
        while True:
            try:
                event = next(running)
            except StopIteration as stop:
                result: RunResult = stop.value
                return result
            yield from self._translate(event)

    def _dry_run(self, runner: Runner) -> Iterator[Any]:
        """Show the plan: as run tags, as a table on the savings asset, and in the log."""
        plan, seen = runner.plan(self.selection, Mode.STATE_AWARE, on_message=self._say)
        plan = with_missing_inputs(plan, self._edge.project, seen)
        for warning in plan.warnings:
            self._context.log.warning(warning)
        for name in plan.to_build:
            self._context.log.info(f"{name} would be built: {explain(plan.decisions[name])}")
        counts = {
            "built": len(plan.to_build),
            "reused": sum(each.outcome is Outcome.REUSED for each in plan.decisions.values()),
            "tests_ran": len(plan.to_test),
            "tests_reused": sum(each.outcome is TestOutcome.REUSED for each in plan.tests.values()),
            "tests_proven": sum(each.outcome is TestOutcome.PROVEN for each in plan.tests.values()),
        }
        if self.selection.nodes:
            self._tag({f"sao/would/{name}": count for name, count in counts.items()})
            self._context.op_execution_context.log_event(
                dg.AssetObservation(
                    asset_key=self._edge.savings_key,
                    description=f"Dry run: {counts['built']} would be built, {counts['reused']} reused",
                    metadata={"sao/plan": plan_table(plan), **{f"sao/would/{name}": n for name, n in counts.items()}},
                    tags={MODE_TAG: DRY_RUN},
                )
            )
        records = seen.facts.test_records
        for key in self._context.selected_asset_check_keys:
            last = [records[name] for name in self._edge.tests[key] if name in records]
            again = repeat(key, last) if len(last) == len(self._edge.tests[key]) else None
            if again is not None:
                yield again

    def _translate(self, event: Event) -> Iterator[Any]:
        log = self._context.log
        if isinstance(event, Message):
            self._say(event)
        elif isinstance(event, Planned):
            self._planned(event)
        elif isinstance(event, Started):
            log.info(f"building {event.model} ({event.reason.value})")
        elif isinstance(event, ModelResult):
            if event.decision.outcome is not Outcome.REUSED or self._edge.reuse_event is ReuseEvent.NONE:
                log.info(f"{event.name} {event.decision.outcome.value}: {explain(event.decision)}")
            for warning in event.decision.warnings:
                log.warning(warning)
            yield from self._model(event)
        else:
            yield from self._reports.add(event)

    def _say(self, message: Message) -> None:
        """Show a message in the log of the run, and a line of another program's log in the compute logs of the step."""
        log = self._context.log
        if message.level is Level.LOG:
            print(message.text, flush=True)  # noqa: T201 - Dagster keeps what is printed as compute logs
        else:
            {Level.INFO: log.info, Level.WARNING: log.warning, Level.ERROR: log.error}[message.level](message.text)

    def _planned(self, event: Planned) -> None:
        """Tell where the run is, of warnings, and of sources that have changed since Dagster was told last."""
        state = without_password(self._edge.opened.state_url)
        self._context.log.info(f"the environment is {event.plan.environment}, its state is in {state}")
        notices = outdated(self._edge, event.plan.decisions), self._edge.opened.other_state(event.plan.environment)
        for warning in (*event.plan.warnings, *filter(None, notices)):
            self._context.log.warning(warning)
        self._columns = dict(event.seen.columns)
        self._before = dict(event.seen.facts.records)
        self._facts = event.seen.facts
        if event.plan.mode is not Mode.WITHOUT_STATE:
            self._begin_to_tell(event)

    def _begin_to_tell(self, planned: Planned) -> None:
        """Read what Dagster knows, so that the state is not asked for it while models are built, and tell of new sources, and of builds and verdicts outside of it.

        That is told before the verdicts of this run: a check whose asset is materialized after it counts as not evaluated.
        """
        instance = self._context.instance
        try:
            self._told = ToldVerdicts(ToldBuilds(self._edge, instance, planned.plan.environment))
            for event in news_of_sources(self._edge, instance, planned.plan, planned.seen):
                self._context.op_execution_context.log_event(event)
            self._catch_up(self._told, self._facts)
        except Exception as error:  # noqa: BLE001 - the storage of an instance may raise anything; models are built all the same
            self._context.log.warning(f"Dagster is not told of sources and builds now: {words_of(error)}")

    def _model(self, result: ModelResult) -> Iterator[Any]:
        outcome = result.decision.outcome
        key = self._edge.keys[result.name]
        if outcome not in (Outcome.BUILT, Outcome.REUSED) or key not in self._context.selected_asset_keys:
            return  # a model of another step is told by that one
        facts: dict[str, Any] = {
            "asset_key": key,
            "metadata": model_metadata(self._edge, result, self._columns, self._in_words(result)),
            "tags": {"sao/reason": result.decision.reason.value},
        }
        if result.decision.makes and result.record is not None:
            self._columns[result.name] = result.record.columns
            self._built.add(result.name)
        # a reused model on which another step waits is materialized, or Dagster would silently skip that step
        told = self._edge.reuse_event
        repeats = result.repeats(self._context.run.run_id)
        is_new = result.decision.makes or repeats or self._shows_something_new(result)
        if is_new or told is ReuseEvent.MATERIALIZATION or self._is_needed_below(key):
            version = dg.DataVersion(str(result.data_version)) if result.data_version else None
            yield dg.MaterializeResult(**facts, data_version=version)
            if self._told is not None and result.record is not None:
                self._told.builds.note(result.name, result.record, result.data_version)
        elif told is ReuseEvent.OBSERVATION:
            yield dg.AssetObservation(**facts, description=self._in_words(result))

    def _shows_something_new(self, result: ModelResult) -> bool:
        """Return whether a view that is not built shows something else than Dagster was told: other people's conditions wait for that."""
        is_view = self._edge.project.nodes[result.name].materialized is Materialized.VIEW
        if self._told is None or not is_view or result.record is None or result.data_version is None:
            return False
        return not self._told.builds.knows(result.name, result.record, result.data_version)

    def _in_words(self, result: ModelResult) -> str:
        """Return what became of a model in a sentence, and whether it is cut off: rebuilt, with the rows that it had."""
        if result.repeats(self._context.run.run_id):
            return "Built in this run before its own step, since another step reads it."
        said = f"{result.decision.outcome.value.capitalize()}: {explain(result.decision)}"
        before = self._before.get(result.name)
        is_same = before is not None and result.data_version == before.data_version
        if result.decision.outcome is Outcome.BUILT and is_same:
            return f"{said}. Rebuilt, same rows as before: nothing below is built for it."
        return f"{said}."

    def _tell_the_rest(self) -> None:
        """Tell Dagster of views over what was built, and of builds and verdicts that no run of it has made; within some seconds."""
        if self._told is None:
            return
        project, store, environment = self._edge.project, self._edge.opened.store, self._told.builds.environment
        records = store.builds(environment)
        versions = {name: version for name, version in self._facts.versions.items() if name not in self._built}
        for name in self._edge.asset_names:
            # what such a view reads besides may not have been looked at in this run
            reads = project.graph.inputs(name).data
            if project.nodes[name].materialized is Materialized.VIEW and self._built.intersection(reads):
                unseen = [each for each in reads if is_source(each) and each not in versions]
                history = store.history(environment, unseen) if unseen else {}
                versions.update({each: seen[-1][0] for each, seen in history.items() if seen})
        verdicts = store.tests(environment)
        self._told.note(self._reports, self._context.run.run_id, self._facts.test_records, verdicts)
        self._catch_up(self._told, replace(self._facts, records=records, versions=versions, test_records=verdicts))

    def _catch_up(self, told: ToldVerdicts, facts: Facts) -> None:
        """Tell Dagster within some seconds of builds and verdicts that it does not know."""
        catch_up(told, facts, self._columns, datetime.now(timezone.utc), time.monotonic() + SECONDS)

    def _is_needed_below(self, key: dg.AssetKey) -> bool:
        """Return whether another step of this run waits for the asset."""
        layer = self._context.job_def.asset_layer
        here = self._context.selected_asset_keys
        children = layer.asset_graph.get(key).child_keys
        return any(child in layer.executable_asset_keys and child not in here for child in children)

    def _conclude(self, result: RunResult) -> None:
        """Leave the summary on the run and on the savings asset; fail the step if models failed or were skipped."""
        saved = savings_metadata(result)
        if result.models:
            self._edge.opened.note_state(result.environment)
        self._context.log.info(_counted(result))
        if PLAN_TAG in self._context.run.tags:
            self._tag({CODE_TAG: self._edge.code})
        if result.models:
            shown = ("built", "reused", "skipped", "failed", "seconds_saved")
            whole = self._summary_of_run(result.environment) or result.summary()
            self._tag({f"sao/{name}": whole[name] for name in shown if whole[name]})
            if self._edge.granularity is Granularity.PROJECT:  # a point for each run, not one for each model
                self._context.op_execution_context.log_event(
                    dg.AssetMaterialization(
                        asset_key=self._edge.savings_key,
                        description=_counted(result),
                        metadata={"sao/models": run_table(result), **saved, **self._saved_lately(result)},
                    )
                )
        wrong = {
            outcome: [each for each in result.models if each.decision.outcome is outcome]
            for outcome in (Outcome.FAILED, Outcome.SKIPPED)
        }
        if not any(wrong.values()) and not result.broken_sources:
            return
        lines = [
            *result.broken_sources,
            *(
                f"{each.name} {outcome.value}: {explain(each.decision)}"
                for outcome, them in wrong.items()
                for each in them
            ),
        ]
        more = [f"and {len(lines) - TOLD} more"] if len(lines) > TOLD else []
        counted = ", ".join(f"{len(them)} {outcome.value}" for outcome, them in wrong.items())
        raise dg.Failure(
            description="\n".join([f"models: {counted}", *(line[:LONGEST] for line in lines[:TOLD]), *more]),
            metadata={
                f"sao/{outcome.value}": dg.MetadataValue.json([each.name for each in them[:TOLD]])
                for outcome, them in wrong.items()
            },
        )

    def _saved_lately(self, result: RunResult) -> dict[str, float]:
        """Return the seconds that were saved over the last days, with this run, as numbers that Dagster plots."""
        now = result.finished_at
        try:
            runs = self._edge.opened.store.runs(result.environment, since=now - timedelta(days=max(PERIODS)))
        except StateError:  # `on_state_error: build` has said so already
            return {}
        return {f"sao/seconds_saved_{days}_days": each.seconds_saved for days, each in over_periods(runs, now).items()}

    def _summary_of_run(self, environment: str) -> Mapping[str, object] | None:
        """Return the summary of all steps of this run so far, as the state has it."""
        try:
            runs = self._edge.opened.store.runs(environment, limit=10)
        except StateError:  # `on_state_error: build` has said so already
            return None
        return next((each.summary for each in runs if each.run_id == self._context.run.run_id), None)

    def _tag(self, tags: dict[str, object]) -> None:
        """Tag the run, so that the list of runs shows what each did."""
        self._context.instance.add_run_tags(
            self._context.run.run_id, {name: str(value) for name, value in tags.items()}
        )


def _job(run: dg.DagsterRun) -> str:
    """Return on whose behalf a run goes: the schedule or sensor that launched it, else its job; one of Dagster's own is by hand."""
    by = run.tags.get("dagster/schedule_name") or run.tags.get("dagster/sensor_name")
    return by or ("launched by hand" if run.job_name.startswith("__") else run.job_name)


def _counted(result: RunResult) -> str:
    """Return what a run did in one line."""
    summary = result.summary()
    models = ", ".join(
        f"{summary[each.value]} {each.value}" for each in Outcome if summary[each.value] or each is Outcome.BUILT
    )
    tests = ", ".join(f"{count} {word}" for word in ("ran", "reused", "proven") if (count := summary[f"tests_{word}"]))
    return f"models: {models}" + (f"; data tests: {tests}" if tests else "") + f"; {summary['seconds']} s"
