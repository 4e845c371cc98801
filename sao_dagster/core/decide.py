"""One model: facts in, decision out.

The rows of the truth table (`docs/concepts.md`) are read from the top; the first that holds decides. There is
one way to `reused`: all that speaks for a build has been asked and said no, and `_reused` is called. Whatever
is unknown builds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from sao_dagster.core.facts import Existence, Observed
from sao_dagster.core.hashing import JSON
from sao_dagster.core.policy import BuildAfter, Expiry, RefreshPolicy, UpdatesOn, describe_duration
from sao_dagster.core.records import BuildRecord


class Outcome(str, Enum):
    """What becomes of a model in a run."""

    BUILT = "built"
    REUSED = "reused"
    SKIPPED = "skipped"
    FAILED = "failed"


class Mode(str, Enum):
    """How a run decides: by the shared state, or by building all it selects.

    `without-state` is what a run falls back to when the state cannot be reached and `on_state_error` is `build`.
    """

    STATE_AWARE = "state-aware"
    FORCE = "force"
    FULL_REFRESH = "full-refresh"
    WITHOUT_STATE = "without-state"


class Reason(str, Enum):
    """Why a model was built, reused, skipped or failed. The values are stored; they are never renamed."""

    UPSTREAM_FAILED = "upstream_failed"
    FORCED = "forced"
    FULL_REFRESH = "full_refresh"
    STATE_UNREACHABLE = "state_unreachable"
    NEVER_BUILT = "never_built"
    RELATION_MISSING = "relation_missing"
    RELATION_ALTERED = "relation_altered"
    CODE_CHANGED = "code_changed"
    TEST_FAILED = "test_failed"
    NO_NEW_DATA = "no_new_data"
    WITHIN_INTERVAL = "within_interval"
    WITHIN_TOLERANCE = "within_tolerance"
    INPUT_UNKNOWN = "input_unknown"
    WAITING_FOR_INPUTS = "waiting_for_inputs"
    VOLATILE_EXPIRED = "volatile_expired"
    INTERVAL_ELAPSED = "interval_elapsed"
    NEW_DATA = "new_data"
    BUILD_ERROR = "build_error"

    @property
    def meaning(self) -> str:
        """One sentence for people; the reference in `docs/reasons.md` is made from it."""
        return _MEANINGS[self]


_MEANINGS = {
    Reason.UPSTREAM_FAILED: "Something it reads failed, was skipped, or failed an `error` data test in this run.",
    Reason.FORCED: "The run was told to build everything it selects.",
    Reason.FULL_REFRESH: "The run was told to build everything from scratch.",
    Reason.STATE_UNREACHABLE: "The shared state could not be read, and `on_state_error` is `build`.",
    Reason.NEVER_BUILT: "There is no record of a build in this environment.",
    Reason.RELATION_MISSING: "The relation is gone from the warehouse.",
    Reason.RELATION_ALTERED: "Someone else changed the relation since it was built.",
    Reason.CODE_CHANGED: "The definition differs from the one that was built; this beats every interval.",
    Reason.TEST_FAILED: "Its last data test failed, and `on_test_failure` is `rebuild`.",
    Reason.NO_NEW_DATA: "Same definition, same inputs, nothing expired: a build would give the same result.",
    Reason.WITHIN_INTERVAL: "There is news, but the last build is younger than `build_after`.",
    Reason.WITHIN_TOLERANCE: "There is news, but the oldest of it is younger than `lag_tolerance`.",
    Reason.INPUT_UNKNOWN: "The version of an input could not be read; what is unknown builds.",
    Reason.WAITING_FOR_INPUTS: "`updates_on` is `all`, and some inputs have no news yet.",
    Reason.VOLATILE_EXPIRED: "Its SQL depends on the time (or on chance), and the last result has expired.",
    Reason.INTERVAL_ELAPSED: "It reads nothing, and its `build_after` has elapsed.",
    Reason.NEW_DATA: "At least one input differs from what the last build saw.",
    Reason.BUILD_ERROR: "The warehouse or the template refused the build; the next run tries again.",
}


_BY_MODE = {
    Mode.FORCE: Reason.FORCED,
    Mode.FULL_REFRESH: Reason.FULL_REFRESH,
    Mode.WITHOUT_STATE: Reason.STATE_UNREACHABLE,
}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about one model, with the reason and what it rests on.

    Attributes:
        model: The name.
        outcome: `built` and `reused` as foreseen or done, `skipped` below a failure, `failed` after an error.
        reason: Why.
        evidence: The facts behind it, as plain data; times are ISO 8601 in UTC, durations are seconds.
        warnings: What should be looked at although the outcome is good.
    """

    model: str
    outcome: Outcome
    reason: Reason
    evidence: Mapping[str, JSON] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResolvedPolicy:
    """What holds for one model at the time of the decision: its policy, resolved.

    Attributes:
        configured: The policy as configured.
        build_after: Its interval, own or inherited.
        expiry: When its result stops being true by itself.
    """

    configured: RefreshPolicy = field(default_factory=RefreshPolicy)
    build_after: BuildAfter | None = None
    expiry: Expiry | None = None


def decide(
    model: str,
    *,
    now: datetime,
    policy: ResolvedPolicy,
    record: BuildRecord | None,
    seen: Observed,
    mode: Mode = Mode.STATE_AWARE,
) -> Decision:
    """Return what to do with one model, and why.

    Args:
        model: Its name.
        now: The time of the decision (UTC).
        policy: Its resolved policy.
        record: Its last successful build in this environment.
        seen: What is there now.
        mode: Whether the run goes by the state at all.

    >>> from datetime import timezone
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    >>> decide("orders", now=noon, policy=ResolvedPolicy(), record=None, seen=Observed(code={})).reason
    <Reason.NEVER_BUILT: 'never_built'>
    """
    if seen.blocked_by:
        return Decision(
            model=model,
            outcome=Outcome.SKIPPED,
            reason=Reason.UPSTREAM_FAILED,
            evidence={"inputs": list(seen.blocked_by)},
        )
    must = _must_build(model, record, seen, policy, mode)
    if must is not None:
        return must
    if record is None:  # `_must_build` has answered; this is for the type checker
        raise AssertionError(model)

    news = _News.of(record, seen)
    age = max(timedelta(0), now - record.built_at)
    expired = _expired(policy, record, now, has_inputs=bool(seen.inputs or seen.definitions))
    facts: dict[str, JSON] = {"cosmetic": True} if seen.equivalent else {}

    if not news.changed and not news.unknown and expired is None:
        return _reused(model, Reason.NO_NEW_DATA, {**facts, "built_at": record.built_at.isoformat()})
    facts |= news.evidence(seen) | (expired[1] if expired else {})
    if policy.build_after is not None and age < (window := policy.build_after.interval(now)):
        held: dict[str, JSON] = {
            "age_seconds": age.total_seconds(),
            "window_seconds": window.total_seconds(),
            "window": policy.build_after.describe(now),
            "next_build_at": (record.built_at + window).isoformat(),
        }
        return _reused(model, Reason.WITHIN_INTERVAL, {**facts, **held})
    tolerated = _tolerated(policy, news, seen, now)
    if tolerated is not None and expired is None:
        return _reused(model, Reason.WITHIN_TOLERANCE, {**facts, **tolerated})
    if news.unknown:
        return _built(model, Reason.INPUT_UNKNOWN, facts)
    waiting = policy.configured.updates_on is UpdatesOn.ALL and bool(news.unchanged)
    if expired is not None and (waiting or not news.changed):
        return _built(model, expired[0], facts)
    if waiting:
        return _reused(model, Reason.WAITING_FOR_INPUTS, {**facts, "waiting_for": list(news.unchanged)})
    return _built(model, Reason.NEW_DATA, facts)


def _must_build(
    model: str, record: BuildRecord | None, seen: Observed, policy: ResolvedPolicy, mode: Mode
) -> Decision | None:
    """Return the decision where something beats every interval, or None."""
    if mode is not Mode.STATE_AWARE:
        return _built(model, _BY_MODE[mode], {})
    if record is None:
        return _built(model, Reason.NEVER_BUILT, {})
    if seen.exists is Existence.NO:
        warning = f"{record.relation} is gone from the warehouse; it is built again"
        return _built(model, Reason.RELATION_MISSING, {"relation": record.relation}, warning)
    if seen.altered:
        warning = (
            f"{record.relation} was changed by someone else since {record.built_at.isoformat()}; it is built again"
        )
        return _built(model, Reason.RELATION_ALTERED, {"relation": record.relation}, warning)
    parts = _changed_code(record, seen)
    if parts:
        return _built(model, Reason.CODE_CHANGED, parts)
    if seen.test_failed and policy.configured.on_test_failure.value == "rebuild":
        return _built(model, Reason.TEST_FAILED, {})
    return None


def _changed_code(record: BuildRecord, seen: Observed) -> dict[str, JSON]:
    """Return which parts of the definition changed, empty if none did.

    The definition of a view that is looked through is part of the query that reads it.
    """
    names = {*seen.code, *record.code_parts}
    parts = {name for name in names if seen.code.get(name) != record.code_parts.get(name)}
    if seen.equivalent:
        parts -= {"sql"}
    views = sorted(view for view, version in seen.definitions.items() if version != record.definitions.get(view))
    pending = [view for view in views if view in seen.pending]
    found: dict[str, JSON] = {}
    if parts or views:
        found["parts"] = [*sorted(parts), *(["views"] if views else [])]
    if views:
        found["views"] = views
    if pending and not parts and pending == views:
        found["tentative"] = True
    return found


@dataclass(frozen=True)
class _News:
    """Inputs by what is known of them, compared with what the last build saw."""

    changed: Mapping[str, tuple[str | None, str]]
    unknown: tuple[str, ...]
    unchanged: tuple[str, ...]

    @classmethod
    def of(cls, record: BuildRecord, seen: Observed) -> _News:
        changed = {}
        unknown = []
        unchanged = []
        for name, version in seen.inputs.items():
            if name in seen.pending:
                changed[name] = (record.inputs.get(name), "pending")
            elif version is None:
                unknown.append(name)
            elif version != record.inputs.get(name):
                changed[name] = (record.inputs.get(name), version)
            else:
                unchanged.append(name)
        return cls(changed, tuple(unknown), tuple(unchanged))

    def evidence(self, seen: Observed) -> dict[str, JSON]:
        facts: dict[str, JSON] = {}
        if self.changed:
            facts["news"] = [
                {"input": name, "old": old, "new": new}
                | ({"since": since.isoformat()} if (since := seen.changed_since.get(name)) else {})
                for name, (old, new) in self.changed.items()
            ]
            if all(name in seen.pending for name in self.changed):
                facts["tentative"] = True
        if self.unknown:
            facts["unknown"] = list(self.unknown)
        return facts


def _expired(
    policy: ResolvedPolicy, record: BuildRecord, now: datetime, *, has_inputs: bool
) -> tuple[Reason, dict[str, JSON]] | None:
    """Return why the last result is no longer true by itself, or None if it still is."""
    if policy.expiry is not None and policy.expiry.after(record.built_at) <= now:
        at = policy.expiry.after(record.built_at)
        return Reason.VOLATILE_EXPIRED, {"expiry": policy.expiry.value, "expired_at": at.isoformat()}
    if policy.build_after is not None and not has_inputs:
        at = record.built_at + policy.build_after.interval(now)
        if at <= now:
            return Reason.INTERVAL_ELAPSED, {"window": policy.build_after.describe(now)}
    return None


def _tolerated(policy: ResolvedPolicy, news: _News, seen: Observed, now: datetime) -> dict[str, JSON] | None:
    """Return the evidence that all news is younger than `lag_tolerance`, or None.

    News that is only foreseen counts as appearing now. News of which nobody knows when it appeared is not
    tolerated, nor is an input that cannot be read: what is unknown builds.
    """
    tolerance = policy.configured.lag_tolerance
    if tolerance is None or news.unknown or not news.changed:
        return None
    appeared = [now if name in seen.pending else seen.changed_since.get(name) for name in news.changed]
    known = [when for when in appeared if when is not None]
    if len(known) < len(appeared):
        return None
    oldest = min(known)
    lag = max(timedelta(0), now - oldest)
    if lag >= tolerance:
        return None
    return {
        "lag_seconds": lag.total_seconds(),
        "tolerance_seconds": tolerance.total_seconds(),
        "tolerance": describe_duration(tolerance),
        "builds_at": (oldest + tolerance).isoformat(),
    }


def _built(model: str, reason: Reason, evidence: Mapping[str, JSON], *warnings: str) -> Decision:
    return Decision(model=model, outcome=Outcome.BUILT, reason=reason, evidence=evidence, warnings=tuple(warnings))


def _reused(model: str, reason: Reason, evidence: Mapping[str, JSON]) -> Decision:
    """Return the decision to reuse. Nothing else in this package makes one."""
    return Decision(model=model, outcome=Outcome.REUSED, reason=reason, evidence=evidence)
