"""The evaluator: a sensor that decides over a whole selection and requests one run with what has something to do.

It decides from stored state, never from what changed since its last tick, so it has no cursor to lose, and a second
evaluator or a repeated tick changes nothing. What it has shown already is kept beside the state; losing that only
means that it is shown again.
"""

# no `from __future__ import annotations` here: Dagster reads the annotation of `context` as an object

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

import dagster as dg

from sao_dagster.core.conditions import Condition, conditions_of
from sao_dagster.core.decide import Decision, KeptDecisions
from sao_dagster.core.decide_test import TestOutcome
from sao_dagster.core.evidence import describe_names, timeless
from sao_dagster.core.explain import explain
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.messages import counted
from sao_dagster.core.plan import Plan, resolve_policy
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Outcome, Reason
from sao_dagster.core.selection import Selection
from sao_dagster.dagster.attempts import Attempts, GivenUp, causes_of, waiting_for_sources
from sao_dagster.dagster.automation import as_evaluator, purge_evaluations, sensor_result, trees_of
from sao_dagster.dagster.outdated import with_outdated
from sao_dagster.dagster.project_view import (
    EVALUATOR_TAG,
    MODE_TAG,
    PLAN_TAG,
    UNFINISHED,
    DagsterProject,
)
from sao_dagster.dagster.resources import WarehouseResource
from sao_dagster.dagster.selections import Select, selection_from, target_of_sensor
from sao_dagster.dagster.told import try_to_tell
from sao_dagster.dagster.translator import identifier
from sao_dagster.errors import SaoError, WarehouseBusyError
from sao_dagster.gc_pause import no_collection
from sao_dagster.state.url import without_password
from sao_dagster.warehouses.shared.kept_answers import KeptAnswers

TREES_A_TICK = 500  # trees that one tick hands over; the others follow with the next ticks
LOGGED = 100  # models that the log of a tick names
PATIENCE = timedelta(hours=1)  # between two requests of an incremental model whose use of itself is not understood
SHOWN_AGAIN = timedelta(days=14)  # after which an unchanged decision is shown again, so that none is purged
KEPT = timedelta(days=30)  # how long Dagster keeps evaluations, too


def build_evaluator_sensor(
    dagster_project: DagsterProject,
    *,
    name: str | None = None,
    select: Select = None,
    exclude: str | None = None,
    minimum_interval_seconds: int = 30,
    max_attempts: int = 3,
    tick_seconds: float = 20.0,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """Return a sensor that keeps a selection up to date, in place of Dagster's default automation sensor.

    Args:
        dagster_project: The project in Dagster.
        name: The sensor's name; that of the project with `_evaluator` if nothing is said.
        select: What it looks after, in dbt's syntax or as one of Dagster's selections; everything if nothing is said.
        exclude: What it leaves out.
        minimum_interval_seconds: The least time between two ticks.
        max_attempts: How often the same work is requested while nothing comes of it.
        tick_seconds: How long a tick reads data versions. What is not read by then is decided in the run, which has
            more time; versions that were read are kept for as long as the warehouse does not change.
        default_status: Whether it runs as soon as it is deployed.
    """
    selection = selection_from(dagster_project, select, exclude)
    evaluator = _Evaluator(
        dagster_project, name or evaluator_name(dagster_project), selection, max_attempts, tick_seconds
    )

    @dg.sensor(
        name=evaluator.name,
        description=f"Builds what would change among {counted(len(selection.nodes), 'model')}, and nothing else.",
        asset_selection=target_of_sensor(dagster_project, selection),
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        required_resource_keys={dagster_project.warehouse_key},
    )
    def _evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with no_collection():
            return evaluator.tick(context)

    return as_evaluator(_evaluate)


def evaluator_name(dagster_project: DagsterProject) -> str:
    """Return the name of the evaluator over the whole project."""
    return f"{identifier(dagster_project.project.name)}_evaluator"


@dataclass(frozen=True)
class _Evaluator:
    dagster_project: DagsterProject
    name: str
    selection: Selection
    max_attempts: int
    tick_seconds: float
    published: dict[str, Project] = field(default_factory=dict, compare=False)  # what others were told, by environment
    decisions: KeptDecisions = field(default_factory=KeptDecisions, compare=False)  # of earlier ticks
    answers: KeptAnswers = field(default_factory=KeptAnswers, compare=False)  # of the warehouse to these

    def tick(self, context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """Observe, decide, and request what has something to do."""
        going = context.instance.get_runs(
            dg.RunsFilter(tags={EVALUATOR_TAG: self.name}, statuses=list(UNFINISHED)), limit=1
        )
        if going:
            return dg.SkipReason(f"the run {going[0].run_id} of this evaluator is {going[0].status.value.lower()}")
        resource: WarehouseResource = getattr(context.resources, self.dagster_project.warehouse_key)
        started = datetime.now(timezone.utc)
        try:
            runner = replace(
                self.dagster_project.runner(resource),
                observe_seconds=self.tick_seconds,
                patience=PATIENCE,
                decisions=self.decisions,
                answers=self.answers,
            )
            plan, seen = runner.plan(self.selection, wait_seconds=0)
            if (
                self.published.get(plan.environment) is not runner.project
            ):  # runs say it themselves, and there may be none
                runner.publish(self.dagster_project.opened.store, plan.environment)
                self.published[plan.environment] = runner.project
            project, environment = self.dagster_project.project, plan.environment
            state = without_password(self.dagster_project.opened.state_url)
            context.log.info(f"the environment is {environment}, its state is in {state}")
            if (other := self.dagster_project.opened.other_state(environment)) is not None:
                context.log.warning(other)
            try_to_tell(self.dagster_project, context.instance, plan, seen, context.log)
            leases = self.dagster_project.opened.store.leases(environment)
            building = {each.model: each.run_id for each in leases}
            missing = waiting_for_sources(project, plan, seen.facts, seen.catalog)
            causes = causes_of(project, plan, seen.facts)
            attempts = Attempts(
                self.dagster_project.opened.store,
                environment,
                self.name,
                self.max_attempts,
                causes,
                self.dagster_project.code,
                self.dagster_project.opened.read_at,
            )
            left_out = {
                **{
                    name: f"waits for {describe_names(sources)}, which is not there"
                    for name, sources in missing.items()
                },
                **{name: f"waits for run {run_id}, which is building it" for name, run_id in building.items()},
            }
            given_up = attempts.given_up(context.instance)
            request, why_not = self._request(context, plan, attempts, left_out, given_up)
            in_words = {**given_up.words(self.max_attempts), **left_out}
            shown = self._to_show(context, plan, in_words, started, requested=request is not None)
        except WarehouseBusyError as error:
            return dg.SkipReason(f"another process holds the warehouse: {error}")
        except SaoError as error:
            return dg.SkipReason(f"cannot decide: {error}")
        why_not = with_outdated(self.dagster_project, plan.decisions, why_not, context.log)
        if request is not None:
            for model in plan.to_make[:LOGGED]:
                context.log.info(f"{model}: {explain(plan.decisions[model])}")
            if len(plan.to_make) > LOGGED:
                context.log.info(f"and {len(plan.to_make) - LOGGED} more")
        else:
            context.log.info(why_not)
        keys = self.dagster_project.keys
        trees = trees_of(
            ((keys[name], each) for name, each in shown.items() if name in keys),
            started,
            datetime.now(timezone.utc),
        )
        return sensor_result([request] if request is not None else [], trees, why_not)

    def _request(
        self,
        context: dg.SensorEvaluationContext,
        plan: Plan,
        attempts: Attempts,
        left_out: Mapping[str, str],
        given_up: GivenUp,
    ) -> tuple[dg.RunRequest | None, str]:
        """Return what to request, or None and the reason.

        Args:
            context: Dagster's, of the tick.
            plan: What is due.
            attempts: What was requested before.
            left_out: What is not requested now, and why, in words.
            given_up: What is not requested any more.
        """
        idle = {*left_out, *given_up.tried, *given_up.by_other_code}
        asked = [name for name in plan.to_make if name not in idle]
        asked += [
            name for name in plan.to_record if idle.isdisjoint((name, *self.dagster_project.project.tests[name].reads))
        ]
        tags = {MODE_TAG: "state-aware", EVALUATOR_TAG: self.name, PLAN_TAG: attempts.mark(asked), **reason_tags(plan)}
        here = self.dagster_project.in_process and _has_default_executor(context)
        config: dict[str, Any] = {"execution": {"config": {"in_process": {}}}} if here else {}
        request = self.dagster_project.request(plan, tags, idle, config)
        if request is not None:
            attempts.note(asked)
            return request, ""
        why = [f"{name} {words}" for name, words in left_out.items() if name in attempts.causes]
        why += given_up.sentences(self.max_attempts)
        return None, "; ".join(why) or nothing_to_do(plan)

    def _to_show(
        self,
        context: dg.SensorEvaluationContext,
        plan: Plan,
        left_out: Mapping[str, str],
        now: datetime,
        *,
        requested: bool,
    ) -> dict[str, Condition]:
        """Return the trees of the decisions that changed since they were shown last, or that led to a run."""
        store, environment, scope = (
            self.dagster_project.opened.store,
            plan.environment,
            f"shown by {self.name}",
        )
        known = store.shown(environment, scope)
        today = now.date().isoformat()
        again = (now - SHOWN_AGAIN).date().isoformat()
        told = {}
        for name in dict.fromkeys((*plan.to_make, *plan.decisions)):  # what is due first
            decision = plan.decisions[name]
            said = _digest(decision, left_out.get(name))
            was, _, day = known.get(name, "").partition(" ")
            if was != said or day < again or (requested and decision.makes):
                told[name] = f"{said} {today}"
            if len(told) == TREES_A_TICK:
                break
        intervals = self.dagster_project.project.graph.intervals(now)
        project, shown = self.dagster_project.project, {}
        for name in told:
            policy = resolve_policy(project, project.nodes[name], intervals)
            tree = conditions_of(plan.decisions[name], policy, left_out.get(name))
            is_held = plan.decisions[name].outcome is Outcome.SKIPPED
            shown[name] = replace(tree, children=(*tree.children, *_causes(name, plan))) if is_held else tree
        if known.get("") != today:  # no model has that name
            purge_evaluations(context.instance, now - KEPT)
            told[""] = today
        store.keep_shown(environment, scope, told)
        return shown


def _has_default_executor(context: dg.SensorEvaluationContext) -> bool:
    """Return whether runs of the code location are executed by Dagster's default, which a run can tell to stay in one process."""
    repository = context.repository_def
    return repository is not None and (
        repository.get_implicit_global_asset_job_def().executor_def.name == "multi_or_in_process_executor"
    )


def _digest(decision: Decision, left_out: str | None) -> str:
    """Return what differs where there is something else to show of a decision, or of why it is left out."""
    evidence = timeless(decision.evidence)
    if not evidence and left_out is None:
        return _digest_of_reason(decision.outcome, decision.reason)
    facts: list[JSON] = [decision.outcome.value, decision.reason.value, evidence]
    return digest([*facts, *([] if left_out is None else [left_out])])


@cache
def _digest_of_reason(outcome: Outcome, reason: Reason) -> str:
    return digest([outcome.value, reason.value, {}])


def nothing_to_do(plan: Plan) -> str:
    """Return one sentence that says why a plan builds nothing."""
    reasons = Counter(each.reason.value.replace("_", " ") for each in plan.decisions.values())
    by_reason = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    reused = sum(each.outcome in (TestOutcome.REUSED, TestOutcome.PROVEN) for each in plan.tests.values())
    failed = [name for name, each in plan.decisions.items() if each.outcome is Outcome.FAILED]
    if failed:
        words = explain(plan.decisions[failed[0]])
        return f"nothing can be built ({by_reason}): {failed[0]} has an error, {words}"
    models = "the one model is" if len(plan.decisions) == 1 else f"all {len(plan.decisions):,} models are"
    stand = f"{counted(reused, 'data test')} {'stands' if reused == 1 else 'stand'}"
    return f"{models} reused ({by_reason}), and {stand}"


def _causes(name: str, plan: Plan) -> Iterator[Condition]:
    """Yield why what holds a skipped node back failed, from the nodes that failed themselves."""
    seen = [name]
    for each in seen:  # which grows
        decision = plan.decisions.get(each)
        if decision is not None and decision.outcome is Outcome.FAILED:
            yield Condition(f"error in {each}", f"{each}: {explain(decision)}", holds=True)
        elif decision is not None and decision.outcome is Outcome.SKIPPED:
            seen += [above for above in decision.evidence.get("inputs", ()) if above not in seen]


def reason_tags(plan: Plan) -> dict[str, str]:
    """Return the reasons of a plan as run tags, counted."""
    counts: dict[str, int] = {}
    for decision in plan.decisions.values():
        if decision.makes:
            counts[decision.reason.value] = counts.get(decision.reason.value, 0) + 1
    return {f"sao/{reason}": str(count) for reason, count in counts.items()}
