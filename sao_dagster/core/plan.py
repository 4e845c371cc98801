"""A whole selection: one sweep of `decide` down the graph, and the same step again for each model's turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.decide import Decision, KeptDecisions, decide
from sao_dagster.core.decide_test import TEST_ROWS_BY_REASON, TestDecision, TestOutcome, decide_test
from sao_dagster.core.deferral import Deferral
from sao_dagster.core.elsewhere import Offer, Refusal, record_of_offer, same_elsewhere
from sao_dagster.core.evidence import Evidence
from sao_dagster.core.facts import Existence, Facts, HeldBack, Observed
from sao_dagster.core.inputs import answers_id, is_function
from sao_dagster.core.nodes import DataTest, Materialized, Model, Node, NodeError, Severity
from sao_dagster.core.policy import BuildAfter, RefreshPolicy, describe_duration
from sao_dagster.core.project import Project
from sao_dagster.core.proofs import Proof
from sao_dagster.core.reasons import Mode, Outcome, Reason
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection
from sao_dagster.core.situation import ResolvedPolicy
from sao_dagster.core.standing import StandingFailures
from sao_dagster.core.truth_table import TRUTH_TABLE
from sao_dagster.core.verdicts import VerdictOffer, passed_elsewhere


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do, with reasons, in the order of the graph.

    Attributes:
        environment: Where.
        taken_at: When it was made (UTC).
        mode: Whether it goes by the state.
        decisions: By model or seed.
        tests: By data test.
        warnings: About policies that may not do what was meant.
        deferral: What is read from another environment, where something is.
    """

    environment: str
    taken_at: datetime
    mode: Mode
    decisions: Mapping[str, Decision]
    tests: Mapping[str, TestDecision]
    warnings: tuple[str, ...] = ()
    deferral: Deferral | None = None

    @property
    def to_build(self) -> tuple[str, ...]:
        """The models and seeds that the plan foresees as built."""
        return tuple(name for name, each in self.decisions.items() if each.outcome is Outcome.BUILT)

    @cached_property
    def to_make(self) -> tuple[str, ...]:
        """Those, and the models that the plan foresees as taken from another environment: all for which a run has something to do."""
        return tuple(name for name, each in self.decisions.items() if each.makes)

    @property
    def to_test(self) -> tuple[str, ...]:
        """The data tests that the plan foresees as run."""
        return tuple(name for name, each in self.tests.items() if each.outcome is TestOutcome.RAN)

    @property
    def to_record(self) -> tuple[str, ...]:
        """Those, and the data tests whose verdict the plan foresees as taken from another environment: all for which a run has something to do."""
        return tuple(name for name, each in self.tests.items() if each.outcome is TestOutcome.RAN or each.offer)


def make_plan(
    project: Project,
    selection: Selection,
    facts: Facts,
    now: datetime,
    mode: Mode = Mode.STATE_AWARE,
    prove: Callable[[DataTest], Proof | None] = lambda test: None,
    patience: timedelta = timedelta(0),
    offers: Callable[[Node], Iterable[Offer | Refusal]] = lambda node: (),
    verdicts: Callable[[DataTest], Iterable[VerdictOffer]] = lambda test: (),
    kept: KeptDecisions | None = None,
) -> Plan:
    """Return what a run over `selection` would do at `now`.

    A model below one that will build is foreseen as built, marked `tentative`: the build above it may turn out
    to have changed nothing.

    Args:
        project: The project.
        selection: What is asked about.
        facts: What is known.
        now: The time (UTC).
        mode: Whether to go by the state at all.
        prove: Returns why a data test must pass, if that can be proven.
        patience: How long a model whose use of itself is not understood is left alone after a build that changed it.
        offers: Returns what other environments have of a node that is to be built, or why they have nothing.
        verdicts: Returns what other environments have said of a data test that is to be run.
        kept: Decisions of earlier plans of this project.
    """
    pending: set[str] = set()
    decisions: dict[str, Decision] = {}
    intervals = project.graph.intervals(now)
    standing = StandingFailures.of(project, selection, facts, mode)
    selected = frozenset(selection.nodes)
    decide_one = decide if kept is None else kept.decide
    for name in (each for each in project.graph.order if each in selected):
        decision = decide_node(
            project,
            name,
            facts,
            now=now,
            mode=mode,
            intervals=intervals,
            pending=pending,
            held=_foreseen(selection, standing, name, facts, now, pending),
            patience=patience,
            offers=offers,
            decide_one=decide_one,
        )
        decisions[name] = decision
        if decision.offer is not None:  # what it will hold is known
            facts = facts.with_record(record_of_offer(project.nodes[name], facts, decision.offer))
        elif decision.makes:
            pending.add(name)
    stopped = {name for name, each in decisions.items() if each.outcome in (Outcome.SKIPPED, Outcome.FAILED)}
    tests, asked = {}, {*selection.tests}
    failing = [test for test in standing.failing(facts, now, pending) if test.name in asked]
    for name in selection.tests:
        test = project.tests[name]
        tests[name] = decide_data_test(
            project,
            test,
            facts,
            now=now,
            mode=mode,
            versions=facts.versions_tested(project, test),
            blocked_by=project.stopped_among(test.reads, stopped, failing),
            pending=frozenset(read for read in test.reads if project.graph.is_made_of(read, pending)),
            prove=partial(prove, test),
            verdicts=verdicts,
        )
    return Plan(
        environment=project.environment,
        taken_at=now,
        mode=mode,
        decisions=decisions,
        tests=tests,
        warnings=(
            *_throttled(project, selection, intervals, now),
            *(project.deferral.warnings if project.deferral else ()),
        ),
        deferral=project.deferral,
    )


_NOTHING = HeldBack()
_NO_NAMES: frozenset[str] = frozenset()


def _foreseen(
    selection: Selection,
    standing: StandingFailures,
    name: str,
    facts: Facts,
    now: datetime,
    pending: AbstractSet[str],
) -> HeldBack:
    """Return what failing tests hold back a node by: those that are asked in the run will fail in it, the others have."""
    if not standing:
        return _NOTHING
    failing = standing.above(name, facts, now, pending)
    return HeldBack(
        tested=tuple(dict.fromkeys(test.tested for test in failing)),
        tests=tuple(test.name for test in failing if test.name in selection.tests),
        standing=tuple(test.name for test in failing if test.name not in selection.tests),
    ).and_elsewhere(standing.elsewhere_above(name))


def decide_node(
    project: Project,
    name: str,
    facts: Facts,
    *,
    now: datetime,
    mode: Mode,
    intervals: Mapping[str, BuildAfter],
    pending: AbstractSet[str] = frozenset(),
    held: HeldBack = HeldBack(),  # noqa: B008 - frozen
    patience: timedelta = timedelta(0),
    offers: Callable[[Node], Iterable[Offer | Refusal]] = lambda node: (),
    decide_one: Callable[..., Decision] = decide,
) -> Decision:
    """Return the decision about one node; the same step for a plan and for the model's turn in a run.

    One that is broken as it is written fails, and what is below it is skipped; neither the state nor the warehouse has a say in that.
    """
    node = project.nodes[name]
    if node.error is not None:
        return failed(node, node.error)
    if project.broken and (broken := project.broken_above((name,))):
        held = replace(held, failed=tuple(dict.fromkeys((*held.failed, *broken))))
    policy = resolve_policy(project, node, intervals, patience)
    seen = node_facts(project, name, facts, pending, held)
    decision = decide_one(name, now=now, policy=policy, record=facts.records.get(name), seen=seen, mode=mode)
    if decision.outcome is Outcome.BUILT and TRUTH_TABLE.by_reason[decision.reason].elsewhere:
        same = same_elsewhere(project, node, facts, seen, offers(node), now=now, expiry=policy.expiry)
        return decision.taken_from(same) if isinstance(same, Offer) else decision.not_taken(same)
    return decision


def decide_data_test(
    project: Project,
    test: DataTest,
    facts: Facts,
    *,
    now: datetime,
    mode: Mode,
    versions: Mapping[str, DataVersion | None],
    blocked_by: tuple[str, ...],
    prove: Callable[[], Proof | None],
    pending: frozenset[str] = frozenset(),
    verify: bool = False,
    verdicts: Callable[[DataTest], Iterable[VerdictOffer]] = lambda test: (),
) -> TestDecision:
    """Return the decision about one data test; the same step for a plan and for the test's turn in a run."""
    decision = decide_test(
        test,
        now=now,
        record=facts.test_records.get(test.name),
        versions=versions,
        expiry=project.graph.test_expiry(test),
        zone=facts.zone,
        blocked_by=blocked_by,
        pending=pending,
        mode=mode,
        prove=prove,
        verify=verify,
        version=facts.test_version(test),
    )
    if pending or not TEST_ROWS_BY_REASON[decision.reason].elsewhere:
        return decision
    offer = passed_elsewhere(project, test, facts, versions, verdicts(test), now=now)
    return decision if offer is None else decision.taken_from(offer)


def failed(node: Node, error: NodeError, tried: Decision | None = None) -> Decision:
    """Return the decision about a node that cannot be built, or whose build, tried for a reason, ended in an error."""
    evidence: Evidence = {"error": error.message, "file": str(error.location) if error.location else None}
    return Decision(
        model=node.name,
        outcome=Outcome.FAILED,
        reason=Reason.BUILD_ERROR,
        evidence=evidence if tried is None else {**evidence, "because": tried.reason.value},
        warnings=() if tried is None else tried.warnings,
    )


def resolve_policy(
    project: Project, node: Node, intervals: Mapping[str, BuildAfter], patience: timedelta = timedelta(0)
) -> ResolvedPolicy:
    """Return what holds for a node, given the intervals of all nodes at the time, and how long an unsettled one waits."""
    if node.materialized is Materialized.VIEW:  # it stores no result, so there is nothing to hold back
        return ResolvedPolicy(configured=RefreshPolicy(on_test_failure=node.policy.on_test_failure), patience=patience)
    return ResolvedPolicy(
        configured=node.policy,
        patience=patience,
        build_after=intervals.get(node.name),
        expiry=project.graph.expiry(node.name),
    )


def node_facts(
    project: Project,
    name: str,
    facts: Facts,
    pending: AbstractSet[str] = frozenset(),
    held: HeldBack = HeldBack(),  # noqa: B008 - frozen
) -> Observed:
    """Return what the facts say of one node; a build that starts now is recorded with these versions."""
    node = project.nodes[name]
    definitions: dict[str, str | None]
    inputs: dict[str, DataVersion | None]
    if isinstance(node, Model) and node.materialized is Materialized.VIEW:
        # the rows of a view are those of its inputs; only their columns are frozen into it
        read = (*project.graph.relations_read(node.name), *(each.id for each in node.undeclared))
        inputs = {name: facts.schemas.get(name) for name in read}
        definitions = {}
    else:
        reads, by_build = project.graph.inputs(node.name), project.graph.read_by_build(node.name)
        inputs = {name: facts.version(project, name, by_build) for name in reads.data}
        definitions = {
            name: facts.definition_if_built(project.nodes[name])
            if name in pending
            else facts.definition(project.nodes[name])
            for name in reads.views
        }
    if isinstance(node, Model) and node.asks:
        inputs[answers_id(name)] = facts.versions.get(answers_id(name))
    record = facts.records.get(node.name)
    if record is not None and not record.inputs.keys() <= inputs.keys():
        # a function that took the place of one of the engine's own is gone: nobody knows what is called now
        inputs.update({name: None for name in record.inputs if is_function(name) and name not in inputs})
    above = (*inputs, *definitions)
    return Observed(
        code=facts.code(node).parts,
        code_scheme=node.code.scheme,
        zone=facts.zone,
        harmless=facts.harmless.get(node.name, _NO_NAMES),
        exists=facts.exists.get(node.name, Existence.UNKNOWN),
        dropped_with=facts.dropped_with.get(node.name, ""),
        altered=facts.altered.get(node.name),
        built_elsewhere=node.name in facts.built_elsewhere,
        is_unknown=facts.is_unknown(name),
        shows_other=record is not None and record.shows is not None and name in facts.versions,
        inputs=inputs,
        definitions=definitions,
        altered_inputs=facts.altered_by_others.intersection(above),
        pending=frozenset(above).intersection(pending) if pending else _NO_NAMES,
        changed_since=_changed_since(facts, record, tuple(inputs)) if record and facts.history else {},
        held=held,
        unsettled=facts.unsettled.get(node.name),
        test_failed=_test_failed(project, node.name, facts),
        unrendered=node.unrendered,
    )


def _changed_since(facts: Facts, record: BuildRecord, inputs: tuple[str, ...]) -> dict[str, datetime]:
    """Return when the version that followed the recorded one was first seen, by input."""
    found = {}
    for name in inputs:
        seen = facts.history.get(name, ())
        places = [index for index, (version, _) in enumerate(seen) if version == record.inputs.get(name)]
        if places and places[-1] + 1 < len(seen):
            found[name] = seen[places[-1] + 1][1]
    return found


def _test_failed(project: Project, name: str, facts: Facts) -> bool:
    return bool(facts.test_records) and any(
        test.severity is Severity.ERROR
        and (record := facts.test_records.get(test.name)) is not None
        and not record.verdict.stands
        for test in project.tests_of.get(name, ())
    )


def _throttled(
    project: Project, selection: Selection, intervals: Mapping[str, BuildAfter], now: datetime
) -> tuple[str, ...]:
    """Return a warning for each model that holds news back longer than a model below it asks for."""
    if not intervals:
        return ()
    shortest: dict[str, tuple[timedelta, str]] = {}  # of all that is below a node
    selected = set(selection.nodes)
    warnings = []
    for name in reversed(project.graph.order):
        children = project.graph.children[name]
        below = [shortest[child] for child in children if child in shortest]
        below += [(intervals[child].interval(now), child) for child in children if child in intervals]
        if not below:
            continue
        shortest[name] = min(below)
        own = intervals.get(name)
        theirs, child = shortest[name]
        if name in selected and own and own.inherited_from is None and (window := own.interval(now)) > theirs:
            warnings.append(
                f"{name} builds at most every {describe_duration(window)}, so {child} below it, with "
                f"{describe_duration(theirs)}, gets its news no more often than that"
            )
    return tuple(reversed(warnings))
