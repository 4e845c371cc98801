"""The truth table of models, as data: read from the top, the first row that holds decides.

A reason is one row. What decides (`decide`), the sentence (`explain`), the tree of conditions (`conditions`) and the
tables of the documentation are made from the rows; none of them knows a rule of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cached_property

from sao_dagster.core.evidence import OTHER_SCHEME, Evidence, describe_names, describe_news, describe_unknown
from sao_dagster.core.facts import Existence, Unsettled
from sao_dagster.core.messages import local_time
from sao_dagster.core.policy import OnTestFailure, UpdatesOn, describe_duration
from sao_dagster.core.reasons import Mode, Outcome, Reason
from sao_dagster.core.situation import ResolvedPolicy, Situation


class Kind(Enum):
    """What a row does: in words, and what becomes of the model. Its place in the tree of conditions follows from that.

    There are two ways to be reused: nothing is new, which holds where no row of `NEW` found anything, or what is new is
    held back. Both stand below all that builds whatever the data. A build that another environment has made is taken from there in
    place of one here; that is asked after a row has said that there is to be one.
    """

    STOPPED = ("something above it stops it", Outcome.SKIPPED)
    RUN = ("the run builds all that it selects", Outcome.BUILT)
    MUST = ("whatever the data", Outcome.BUILT)
    NOTHING = ("nothing is new", Outcome.REUSED)
    HELD = ("what is new is held back", Outcome.REUSED)
    NEW = ("something is new", Outcome.BUILT)
    ELSEWHERE = ("the same is built elsewhere", Outcome.REUSED)
    ERROR = ("the build itself failed", Outcome.FAILED)

    def __init__(self, words: str, outcome: Outcome) -> None:
        self.words = words
        self.outcome = outcome


def _always(policy: ResolvedPolicy) -> bool:
    return True


def _where_it_holds(policy: ResolvedPolicy) -> bool:
    return False


def _nothing(it: Situation) -> Evidence:
    return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One row: a reason, when it holds, what it does, and how it is said.

    Attributes:
        reason: Its name, which is stored.
        kind: What it does.
        meaning: What holds, in a sentence for the documentation.
        holds: Whether it decides, asked where no row above it does; None where the question does not arise.
        sign: Of the kind `NEW`: the evidence that there is something new of its sort, or None; asked together with the
            others of its kind before any of them decides.
        evidence: The facts behind a decision of it.
        warning: What should be looked at where it decides; empty where nothing is.
        sentence: What is said of a decision of it, with the names and numbers of its evidence.
        label: What stands in the tree of conditions, whether it holds or not; short, since Dagster cuts labels off. The
            sentence where nothing is said.
        name: What the condition is called in the tree, where it is not the reason.
        opposite: Of the kind `HELD`: the label of what has to hold for a build.
        shown_for: The policies for whose models the tree shows it even where it does not hold.
        elsewhere: Of a row that builds: whether the same may be taken from another environment instead.
    """

    reason: Reason
    kind: Kind
    meaning: str
    holds: Callable[[Situation], bool | None]
    sign: Callable[[Situation], Evidence | None] | None = None
    evidence: Callable[[Situation], Evidence] = _nothing
    warning: Callable[[Situation], str] | None = None
    sentence: str | Callable[[Evidence], str]
    label: str | Callable[[ResolvedPolicy, Evidence], str] = ""
    name: str = ""
    opposite: str = ""
    shown_for: Callable[[ResolvedPolicy], bool] = _always
    elsewhere: bool = False

    def sentence_for(self, evidence: Evidence) -> str:
        """Return what is said of a decision with this evidence."""
        return self.sentence if isinstance(self.sentence, str) else self.sentence(evidence)

    def label_for(self, policy: ResolvedPolicy, evidence: Evidence) -> str:
        """Return what stands in the tree of a decision with this evidence, which another row may have taken."""
        if isinstance(self.label, str):
            return self.label or self.sentence_for(evidence)
        return self.label(policy, evidence)


@dataclass(frozen=True, eq=False)
class TruthTable:
    """Rows in the order in which they are asked.

    Attributes:
        rows: From the top; one of them always holds.
    """

    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows from the top."""
        return iter(self.rows)

    @cached_property
    def signs(self) -> Mapping[Reason, Callable[[Situation], Evidence | None]]:
        """What may be new, by the reason to build for it."""
        return {row.reason: row.sign for row in self.rows if row.sign is not None}

    @cached_property
    def by_reason(self) -> Mapping[Reason, Row]:
        """The rows by their reason."""
        return {row.reason: row for row in self.rows}


def _missing(it: Situation) -> Evidence:
    found: Evidence = {"relation": it.built.relation}
    return {**found, "dropped_with": it.seen.dropped_with} if it.seen.dropped_with else found


def _gone(it: Situation) -> str:
    if it.seen.dropped_with:
        return ""
    return f"{it.built.relation} is gone from the warehouse; it is built again"


def _why_gone(evidence: Evidence) -> str:
    relation, table = evidence.get("relation"), evidence.get("dropped_with")
    return f"{relation} went with the table of {table}, which was built" if table else f"{relation} is gone"


def _altered(it: Situation) -> str:
    if it.seen.built_elsewhere:
        return (
            f"{it.built.relation} was built since {local_time(it.built.built_at)} by a run that this state knows nothing of; it is built again. Two "
            f"states that build one relation take each other's builds for changes: `sao state environments` shows which one is used; give both one state_url"
        )
    return (
        f"{it.built.relation} was changed by someone else since {local_time(it.built.built_at)}; it is built again "
        f"(if that was a run with another state, give both one state_url; if a hook of the project writes to it, "
        f"such as `on-run-end`, that happens in each run)"
    )


def _changed_code(evidence: Evidence) -> str:
    if "scheme" in evidence.get("parts", ()):
        return OTHER_SCHEME
    parts = ", ".join(evidence.get("parts", ()))
    altered = " (changed by someone else)" if evidence.get("altered") else ""
    views = f", through {describe_names(evidence['views'])}{altered}" if evidence.get("views") else ""
    return f"its definition changed ({parts}{views})"


def _within_interval(evidence: Evidence) -> str:
    age = describe_duration(timedelta(seconds=evidence["age_seconds"]))
    return (
        f"built {age} ago, at most every {evidence['window']}; news from {describe_news(evidence) or 'the time'} waits"
    )


def _within_tolerance(evidence: Evidence) -> str:
    lag = describe_duration(timedelta(seconds=evidence["lag_seconds"]))
    return f"news from {describe_news(evidence)} is {lag} old, {evidence['tolerance']} are tolerated"


def _held_back(it: Situation) -> Evidence:
    held = it.seen.held
    if held.failed:
        return {"inputs": list(held.failed)}
    found: Evidence = {"inputs": list(held.tested)}
    if held.tests:
        found["tests"] = list(held.tests)
    if held.standing:
        found["standing"] = list(held.standing)
    if held.projects:
        found["projects"] = list(held.projects)
    return found


def _upstream_failed(evidence: Evidence) -> str:
    inputs = describe_names(evidence.get("inputs", ()))
    tests, standing = evidence.get("tests", ()), evidence.get("standing", ())
    if not tests and not standing:
        return f"{inputs} failed, or was skipped"
    said = f"{inputs} failed a test: {describe_names([*tests, *standing])}"
    if tests:
        return said
    if projects := evidence.get("projects", ()):
        said = f"{said} (in the project {describe_names(projects)})"
    return (
        f"{said}; what it reads has not changed since, so that stands; mend the data or the test, or go on with --force or "
        f"--no-tests (in Dagster the run tag sao/mode: force or sao/tests: false)"
    )


def _error(evidence: Evidence) -> str:
    """Return the first line of what an error says, with its place."""
    lines = evidence.get("error", "").splitlines()
    return f"{evidence['file']}: {lines[0]}" if lines and evidence.get("file") else lines[0] if lines else "failed"


def _same_elsewhere(evidence: Evidence) -> str:
    at = datetime.fromisoformat(evidence["built_at"])
    same = f"{evidence['environment']} has built the same at {local_time(at)}, in {evidence['relation']}"
    return f"{same}, which is read in its place" if evidence.get("in_place") else same


def _unsettled(evidence: Evidence) -> str:
    if evidence.get("takes") == Unsettled.PART.value:
        return "it takes a part of what is new at a time, and its last build changed it"
    return (
        "how it reads itself is not understood, and its last build changed it; `settled: true` says that one is enough"
    )


ROWS = (
    Row(
        reason=Reason.UPSTREAM_FAILED,
        kind=Kind.STOPPED,
        meaning=(
            "Something it reads failed or was skipped in this run; or an `error` data test that reads only what is above it "
            "failed in this run, or failed before and its verdict stands."
        ),
        holds=lambda it: bool(it.seen.held),
        evidence=_held_back,
        sentence=_upstream_failed,
    ),
    Row(
        reason=Reason.FORCED,
        kind=Kind.RUN,
        meaning="The run was told to build everything it selects.",
        holds=lambda it: it.mode is Mode.FORCE,
        sentence="the run builds all it selects",
        shown_for=_where_it_holds,
    ),
    Row(
        reason=Reason.FULL_REFRESH,
        kind=Kind.RUN,
        meaning="The run was told to build everything from scratch.",
        holds=lambda it: it.mode is Mode.FULL_REFRESH,
        sentence="the run builds all it selects from scratch",
        label="the run builds all from scratch",
        shown_for=_where_it_holds,
    ),
    Row(
        reason=Reason.STATE_UNREACHABLE,
        kind=Kind.RUN,
        meaning="The shared state could not be read, and `on_state_error` is `build`.",
        holds=lambda it: it.mode is Mode.WITHOUT_STATE,
        sentence="the shared state cannot be reached",
        shown_for=_where_it_holds,
    ),
    Row(
        reason=Reason.NEVER_BUILT,
        kind=Kind.MUST,
        meaning="There is no record of a build in this environment.",
        holds=lambda it: it.record is None,
        sentence="never built here before",
        label="never built here",
        elsewhere=True,
    ),
    Row(
        reason=Reason.RELATION_MISSING,
        kind=Kind.MUST,
        meaning="The relation is gone from the warehouse.",
        holds=lambda it: it.seen.exists is Existence.NO,
        evidence=_missing,
        warning=_gone,
        sentence=_why_gone,
        label="its relation is gone",
        elsewhere=True,
    ),
    Row(
        reason=Reason.RELATION_ALTERED,
        kind=Kind.MUST,
        meaning="Someone else changed the relation since it was built.",
        holds=lambda it: bool(it.seen.altered),
        evidence=lambda it: {"relation": it.built.relation},
        warning=_altered,
        sentence=lambda evidence: f"{evidence.get('relation')} was changed by someone else",
        label="its relation was changed by others",
    ),
    Row(
        reason=Reason.CHANGED_ELSEWHERE,
        kind=Kind.MUST,
        meaning="It is a view over a relation of another environment (`reuse_from`), which holds something else now, or nobody knows what.",
        holds=lambda it: it.seen.shows_other,
        evidence=lambda it: {"relation": it.built.shows or ""},
        sentence=lambda evidence: f"it shows {evidence.get('relation')}, which holds something else now",
        label="what it shows elsewhere changed",
        shown_for=_where_it_holds,
        elsewhere=True,
    ),
    Row(
        reason=Reason.CODE_CHANGED,
        kind=Kind.MUST,
        meaning="Its definition, or that of a view it reads through, differs from the one that was built; this beats every interval.",
        holds=lambda it: bool(it.code),
        evidence=lambda it: it.code,
        sentence=_changed_code,
        label="its definition changed",
        elsewhere=True,
    ),
    Row(
        reason=Reason.TEST_FAILED,
        kind=Kind.MUST,
        meaning="Its last data test failed, and `on_test_failure` is `rebuild`.",
        holds=lambda it: it.seen.test_failed and it.policy.configured.on_test_failure is OnTestFailure.REBUILD,
        sentence="its last data test failed",
        shown_for=lambda policy: policy.configured.on_test_failure is OnTestFailure.REBUILD,
    ),
    Row(
        reason=Reason.NO_NEW_DATA,
        kind=Kind.NOTHING,
        meaning="Same definition, same inputs, nothing expired: a build would give the same result.",
        holds=lambda it: not it.new,
        evidence=lambda it: {**it.findings, "built_at": it.built.built_at.isoformat()},
        sentence=lambda evidence: "nothing changed" + (" but the look of its SQL" if evidence.get("cosmetic") else ""),
    ),
    Row(
        reason=Reason.WITHIN_INTERVAL,
        kind=Kind.HELD,
        meaning="There is news, but the last build, by any job, is younger than `build_after`.",
        holds=lambda it: it.held_by_interval is not None,
        evidence=lambda it: {**it.findings, **(it.held_by_interval or {})},
        sentence=_within_interval,
        label="built within its interval",
        opposite="interval elapsed",
        shown_for=lambda policy: policy.build_after is not None,
    ),
    Row(
        reason=Reason.WITHIN_TOLERANCE,
        kind=Kind.HELD,
        meaning="There is news, but the oldest of it is younger than `lag_tolerance`.",
        holds=lambda it: it.tolerated is not None if it.only_inputs_are_new else None,
        evidence=lambda it: {**it.findings, **(it.tolerated or {})},
        sentence=_within_tolerance,
        label=lambda policy, _: (
            f"news younger than {describe_duration(policy.configured.lag_tolerance or timedelta(0))}"
        ),
        opposite="tolerance exceeded",
        shown_for=lambda policy: policy.configured.lag_tolerance is not None,
    ),
    Row(
        reason=Reason.INPUT_UNKNOWN,
        kind=Kind.NEW,
        meaning=(
            "The version of an input could not be read, or not be compared with the recorded one, or nobody can tell whether its own table is as it was "
            "built, where that can be told of others; what is unknown builds."
        ),
        sign=lambda it: it.not_known,
        holds=lambda it: bool(it.unknown),
        evidence=lambda it: it.findings,
        sentence=describe_unknown,
        label=lambda _, evidence: (
            f"unknown: {describe_news(evidence)}" if evidence.get("unknown") else "an input cannot be read"
        ),
        elsewhere=True,
    ),
    Row(
        reason=Reason.WAITING_FOR_INPUTS,
        kind=Kind.HELD,
        meaning="`updates_on` is `all`, and some inputs have no news yet.",
        holds=lambda it: it.is_incomplete if it.only_inputs_are_new else None,
        evidence=lambda it: {**it.findings, "waiting_for": list(it.unchanged)},
        sentence=lambda evidence: (
            f"news from {describe_news(evidence)}; waits for {describe_names(evidence['waiting_for'])}"
        ),
        label="some inputs have no news",
        opposite="all inputs have news",
        shown_for=lambda policy: policy.configured.updates_on is UpdatesOn.ALL,
    ),
    Row(
        reason=Reason.VOLATILE_EXPIRED,
        kind=Kind.NEW,
        meaning="Its SQL depends on the time (or on chance), and the last result has expired.",
        sign=lambda it: it.expired,
        holds=lambda it: it.expired is not None and not it.inputs_suffice,
        evidence=lambda it: it.findings,
        sentence=lambda evidence: (
            f"its SQL depends on the time; the last result expired at {evidence.get('expired_at')}"
        ),
        label="its last result has expired",
        shown_for=lambda policy: policy.expiry is not None,
        elsewhere=True,
    ),
    Row(
        reason=Reason.INTERVAL_ELAPSED,
        kind=Kind.NEW,
        meaning="It reads nothing, and its `build_after` has elapsed.",
        sign=lambda it: it.interval_elapsed,
        holds=lambda it: it.interval_elapsed is not None,
        evidence=lambda it: it.findings,
        sentence=lambda evidence: f"it reads nothing, and {evidence.get('window')} have passed",
        label="it reads nothing, its time has come",
        name="time_has_come",
        shown_for=_where_it_holds,
    ),
    Row(
        reason=Reason.UNSETTLED,
        kind=Kind.NEW,
        meaning="It reads itself, its last build changed it, and its SQL may have left something for another build.",
        sign=lambda it: it.unsettled,
        holds=lambda it: it.unsettled is not None and not it.inputs_suffice,
        evidence=lambda it: it.findings,
        sentence=_unsettled,
        label="its last build may have left something",
        shown_for=_where_it_holds,
    ),
    Row(
        reason=Reason.NEW_DATA,
        kind=Kind.NEW,
        meaning="At least one input differs from what the last build saw.",
        sign=lambda it: it.news,
        holds=lambda it: True,
        evidence=lambda it: it.findings,
        sentence=lambda evidence: f"news from {describe_news(evidence)}",
        label=lambda _, evidence: (
            f"news from {describe_news(evidence)}" if evidence.get("news") else "an input has news"
        ),
        name="input_news",
        elsewhere=True,
    ),
    Row(
        reason=Reason.SAME_ELSEWHERE,
        kind=Kind.ELSEWHERE,
        meaning="It was to be built, and another environment (`reuse_from`) has built the same from the same: its content is taken from there, or read there.",
        holds=lambda it: False,
        sentence=_same_elsewhere,
        shown_for=_where_it_holds,
    ),
    Row(
        reason=Reason.BUILD_ERROR,
        kind=Kind.ERROR,
        meaning="It is broken as it is written, or the warehouse or the template refused the build; the next run tries again.",
        holds=lambda it: False,
        sentence=_error,
    ),
)
"""The rows. `same_elsewhere` is what is made of a decision to build where the same is there already (`core.elsewhere`). `build_error` is what a run makes of a decision to build that it could not carry out, and what is decided of a model that is
broken as it is written, whatever the other rows say."""
TRUTH_TABLE = TruthTable(ROWS)
