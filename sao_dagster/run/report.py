"""What a run did, as data: events while it goes, a result at its end, and the JSON of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.decide import Decision
from sao_dagster.core.decide_test import TestDecision, TestOutcome
from sao_dagster.core.deferral import Deferral
from sao_dagster.core.evidence import as_json
from sao_dagster.core.explain import explain, explain_test
from sao_dagster.core.hashing import JSON
from sao_dagster.core.nodes import DataTest
from sao_dagster.core.plan import Plan
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode, Outcome, Reason
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection
from sao_dagster.run.comparison import PROVEN, proven_definition
from sao_dagster.run.events import ModelResult, TestResult
from sao_dagster.run.observe import Observation
from sao_dagster.state.protocol import DecisionRecord, HistoryStore, RunRecord, StateStore
from sao_dagster.warehouses.protocol import NodeOutcome


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A whole run.

    Attributes:
        deciding_seconds: How long observing and planning took.
        cut_off: The models that the plan foresaw as built, and that were reused since what is above them came out as it was.
        job: On whose behalf it went.
        broken_sources: What is wrong with the sources that were selected, or are above what was, in words.
        deferral: What was read from another environment, where one is deferred to.
    """

    run_id: str
    environment: str
    mode: Mode
    started_at: datetime
    finished_at: datetime
    models: tuple[ModelResult, ...]
    tests: tuple[TestResult, ...]
    seconds: float
    deciding_seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    broken_sources: tuple[str, ...] = ()
    cut_off: frozenset[str] = frozenset()
    job: str = ""
    deferral: Deferral | None = None

    @property
    def succeeded(self) -> bool:
        """Whether no model failed, no source is broken, and no `error` test failed."""
        failed = any(each.decision.outcome in (Outcome.FAILED, Outcome.SKIPPED) for each in self.models)
        return not failed and not self.broken_sources and not any(each.blocks for each in self.tests)

    def summary(self) -> dict[str, JSON]:
        """Return counts by outcome and times, as they are stored and printed."""
        cut_off = [each for each in self.models if each.name in self.cut_off]
        by_models = sum(each.seconds_saved for each in self.models)
        by_tests = sum((each.record.seconds for each in self.tests if each.record is not None), 0.0)
        return _summary(
            (each.decision.outcome for each in self.models),
            (each.decision.outcome for each in self.tests),
            statements=len({each.statement for each in self.tests if each.statement}),
            seconds=self.seconds,
            seconds_saved=max(0.0, by_models + by_tests - self.deciding_seconds),
            seconds_saved_by_tests=by_tests,
            seconds_saved_by_cut_off=sum((each.seconds_saved for each in cut_off), 0.0),
            cut_off=len(cut_off),
        )

    def to_json(self) -> dict[str, JSON]:
        """Return the run as the command line prints it."""
        return {
            "run_id": self.run_id,
            "environment": self.environment,
            "started_at": self.started_at.isoformat(),
            "finished_at": self.finished_at.isoformat(),
            "models": [
                _model_json(each.decision, each.relation, each.data_version, each.record, each.seconds)
                for each in self.models
            ],
            "tests": [_test_json(each.test, each.decision, each) for each in self.tests],
            "summary": self.summary(),
            "warnings": list(self.warnings),
            "errors": list(self.broken_sources),
            **_deferred_json(self.deferral),
        }


def foreseen_reuse(
    project: Project, plan: Plan, seen: Observation, run_id: str, deciding_seconds: float, job: str
) -> RunResult:
    """Return what a plan reuses as a run that did nothing else: for one that is not launched, or only for the rest."""
    records = seen.facts.records
    return RunResult(
        run_id=run_id,
        environment=plan.environment,
        mode=plan.mode,
        started_at=plan.taken_at,
        finished_at=plan.taken_at,
        models=tuple(
            ModelResult(
                decision=decision,
                relation=str(project.nodes[name].relation),
                record=records.get(name),
                data_version=None,
                seconds=0.0,
                decided_at=plan.taken_at,
            )
            for name, decision in plan.decisions.items()
            if decision.outcome is Outcome.REUSED and not decision.makes
        ),
        tests=tuple(
            TestResult(
                test=project.tests[name],
                decision=decision,
                verdict=record.verdict,
                failures=record.failures,
                record=record,
            )
            for name, decision in plan.tests.items()
            if decision.outcome is TestOutcome.REUSED
            and decision.offer is None
            and (record := seen.facts.test_records.get(name)) is not None
        ),
        seconds=deciding_seconds,
        deciding_seconds=deciding_seconds,
        job=job,
    )


def broken_sources(project: Project, selection: Selection) -> tuple[str, ...]:
    """Return what is wrong with the sources of a selection, in words."""
    return tuple(f"{name}: {project.broken[name]}" for name in selection.sources if name in project.broken)


def plan_to_json(project: Project, plan: Plan, seconds: float, records: Mapping[str, BuildRecord]) -> dict[str, JSON]:
    """Return a plan in the shape of a run: what is foreseen, with nothing measured."""
    models: list[JSON] = []
    for name, decision in plan.decisions.items():
        record = records.get(name) if decision.outcome is Outcome.REUSED else None
        record = decision.offer.record if decision.offer is not None else record
        version = record.data_version if record else None
        models.append(_model_json(decision, str(project.nodes[name].relation), version, record, 0.0))
    return {
        "run_id": None,
        "environment": plan.environment,
        "started_at": plan.taken_at.isoformat(),
        "finished_at": plan.taken_at.isoformat(),
        "models": models,
        "tests": [_test_json(project.tests[name], decision, None) for name, decision in plan.tests.items()],
        "summary": _summary(
            (each.outcome for each in plan.decisions.values()),
            (each.outcome for each in plan.tests.values()),
            statements=0,
            seconds=seconds,
        ),
        "warnings": list(plan.warnings),
        **_deferred_json(plan.deferral),
    }


def _deferred_json(deferral: Deferral | None) -> dict[str, JSON]:
    """Return what is read from another environment; nothing where none is deferred to."""
    if deferral is None:
        return {}
    relations = {name: str(relation) for name, relation in deferral.relations.items()}
    return {"deferred": {"environment": deferral.environment, "relations": relations}}


def _summary(
    models: Iterable[Outcome],
    tests: Iterable[TestOutcome],
    *,
    statements: int,
    seconds: float,
    seconds_saved: float = 0.0,
    seconds_saved_by_tests: float = 0.0,
    seconds_saved_by_cut_off: float = 0.0,
    cut_off: int = 0,
) -> dict[str, JSON]:
    """Return counts by outcome and times, under the names that are stored and printed."""
    built, tested = Counter(models), Counter(tests)
    return {
        **{outcome.value: built[outcome] for outcome in Outcome},
        **{f"tests_{outcome.value}": tested[outcome] for outcome in TestOutcome if outcome is not TestOutcome.SKIPPED},
        "test_statements": statements,
        "seconds": round(seconds, 3),
        "seconds_saved": round(seconds_saved, 3),
        "seconds_saved_by_tests": round(seconds_saved_by_tests, 3),
        "seconds_saved_by_cut_off": round(seconds_saved_by_cut_off, 3),
        "cut_off": cut_off,
    }


def _model_json(
    decision: Decision, relation: str, version: DataVersion | None, record: BuildRecord | None, seconds: float
) -> dict[str, JSON]:
    return {
        "name": decision.model,
        "outcome": decision.outcome.value,
        "reason": decision.reason.value,
        "evidence": as_json(decision.evidence),
        "relation": relation,
        "data_version": None if version is None else str(version),
        "rows": record.rows if record else None,
        "seconds": round(seconds, 4),
        "warnings": list(decision.warnings),
    }


def _test_json(test: DataTest, decision: TestDecision, result: TestResult | None) -> dict[str, JSON]:
    return {
        "name": test.name,
        "model": test.tested,
        "column": test.column,
        "kind": test.kind,
        "outcome": decision.outcome.value,
        "reason": decision.reason.value,
        "verdict": result.verdict.value if result and result.verdict else None,
        "failures": result.failures if result else None,
        "statement": result.statement if result else None,
        "error": result.error if result else None,
        "sample": [dict(row) for row in result.sample] if result else [],
    }


def record_run(store: HistoryStore, result: RunResult) -> None:
    """Keep a run, its summary and its decisions."""
    store.record_run(
        RunRecord(
            run_id=result.run_id,
            environment=result.environment,
            mode=result.mode.value,
            started_at=result.started_at,
            finished_at=result.finished_at,
            summary=result.summary(),
            job=result.job,
        ),
        [
            DecisionRecord(
                model=each.name,
                outcome=each.decision.outcome.value,
                reason=each.decision.reason.value,
                evidence=as_json(each.decision.evidence),
                decided_at=each.decided_at,
                seconds=each.seconds,
                seconds_saved=each.seconds_saved,
            )
            for each in result.models
        ]
        + [
            DecisionRecord(
                model=each.test.name,
                outcome=each.decision.outcome.value,
                reason=each.decision.reason.value,
                evidence={**as_json(each.decision.evidence), "verdict": each.verdict.value if each.verdict else None},
                decided_at=result.started_at,
                seconds=each.seconds,
                seconds_saved=each.record.seconds if each.record else 0.0,
            )
            for each in result.tests
        ],
    )


def note_proven(store: StateStore, result: RunResult) -> None:
    """Let the state know how the data tests were defined that were proven in a run; written only where that is news."""
    proven = {
        each.test.name: proven_definition(each.test)
        for each in result.tests
        if each.decision.outcome is TestOutcome.PROVEN
    }
    known = store.shown(result.environment, PROVEN) if proven else {}
    store.keep_shown(
        result.environment, PROVEN, {name: said for name, said in proven.items() if known.get(name) != said}
    )


def outcomes(models: Iterable[ModelResult], tests: Iterable[TestResult]) -> list[NodeOutcome]:
    """Return what became of all that was not built, for whoever builds."""
    found = [
        NodeOutcome(name=each.name, status=_STATUS[each.decision.outcome], message=explain(each.decision))
        for each in models
        if each.decision.outcome in _STATUS and each.decision.reason is not Reason.BUILD_ERROR
    ]
    for test in tests:
        status = "skipped" if test.verdict is None else test.verdict.value
        said = test.error or explain_test(test.decision)
        found.append(
            NodeOutcome(name=test.test.name, status=status, message=said, failures=test.failures, seconds=test.seconds)
        )
    return found


_STATUS = {Outcome.REUSED: "reused", Outcome.SKIPPED: "skipped", Outcome.FAILED: "error"}
