"""A decision as a tree of conditions with their results: the rows of the truth table, as far as they were asked.

The root holds where the model builds. Below it stand what builds whatever the data, and the news with all that
may hold it back. A condition that no row asked, because one above it had decided, has no result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from sao_dagster.core.decide import Decision, Outcome, Reason, ResolvedPolicy
from sao_dagster.core.explain import describe_news, explain
from sao_dagster.core.policy import OnTestFailure, UpdatesOn, describe_duration

Operator = Literal["and", "or", "not", "identity"]


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes:
        name: The same for the same condition of every model.
        label: What it says, for people; short, since Dagster cuts labels off. The sentence is in `because`.
        holds: Its result; None where it was not asked.
        operator: How it follows from its children.
    """

    name: str
    label: str
    holds: bool | None
    operator: Operator = "identity"
    children: tuple[Condition, ...] = ()

    def walk(self) -> Iterator[Condition]:
        """Yield this condition and all below it, from the top.

        >>> [each.name for each in Condition("a", "a", True, "not", (Condition("b", "b", False),)).walk()]
        ['a', 'b']
        """
        yield self
        for child in self.children:
            yield from child.walk()


_WHATEVER_THE_DATA = {  # in the order of the truth table
    Reason.FORCED: "the run builds all it selects",
    Reason.FULL_REFRESH: "the run builds all from scratch",
    Reason.STATE_UNREACHABLE: "the shared state cannot be reached",
    Reason.NEVER_BUILT: "never built here",
    Reason.RELATION_MISSING: "its relation is gone",
    Reason.RELATION_ALTERED: "its relation was changed by others",
    Reason.CODE_CHANGED: "its definition changed",
    Reason.TEST_FAILED: "its last data test failed",
}
_BY_TIME = (Reason.VOLATILE_EXPIRED, Reason.INTERVAL_ELAPSED)
_BY_MODE = (Reason.FORCED, Reason.FULL_REFRESH, Reason.STATE_UNREACHABLE)  # shown only where they decide


def conditions_of(decision: Decision, policy: ResolvedPolicy, built_by: str | None = None) -> Condition:
    """Return the conditions of a model's decision, with their results.

    Args:
        decision: What was decided.
        policy: What holds for the model; conditions that it does not set are left out.
        built_by: The run that has the lease on the model and builds it just now.

    >>> built = Decision(model="m", outcome=Outcome.BUILT, reason=Reason.NEVER_BUILT)
    >>> tree = conditions_of(built, ResolvedPolicy())
    >>> tree.label, tree.holds
    ('built: never built', True)
    >>> [(each.name, each.label, each.holds) for each in tree.children]
    [('because', 'never built here before', True), ('whatever_the_data', 'whatever the data', True), ('new_data_due', 'news that nothing holds back', None)]
    """
    builds = decision.outcome is Outcome.BUILT
    because = Condition("because", explain(decision), builds)
    label = f"{decision.outcome.value}: {decision.reason.value.replace('_', ' ')}"
    if decision.outcome in (Outcome.SKIPPED, Outcome.FAILED):
        return Condition("state_aware", label, False, "or", (because,))
    children = (because, _whatever_the_data(decision, policy), _due(decision, policy))
    tree = Condition("state_aware", label, builds, "or", children)
    if built_by is None or not builds:
        return tree
    inner = Condition("leased", f"run {built_by} is building it", True)
    free = Condition("not_leased", "no other run is building it", False, "not", (inner,))
    return Condition("state_aware", "waits: another run is building it", False, "and", (tree, free))


def _whatever_the_data(decision: Decision, policy: ResolvedPolicy) -> Condition:
    asked = True
    found = []
    for reason, words in _WHATEVER_THE_DATA.items():
        decides = decision.reason is reason
        rebuilds = policy.configured.on_test_failure is OnTestFailure.REBUILD
        if decides or (reason not in _BY_MODE and (reason is not Reason.TEST_FAILED or rebuilds)):
            found.append(Condition(reason.value, words, decides if asked else None))
        asked = asked and not decides
    holds = any(each.holds for each in found)
    return Condition("whatever_the_data", "whatever the data", holds, "or", tuple(found))


def _due(decision: Decision, policy: ResolvedPolicy) -> Condition:
    """Return whether there is something new, and nothing holds it back."""
    news, held = _news(decision, policy), _held(decision, policy)
    due = Condition(
        "new_data_due",
        "news that nothing holds back",
        decision.outcome is Outcome.BUILT,
        "and",
        (news, *held),
    )
    if decision.reason in _WHATEVER_THE_DATA:  # decided before the data was looked at
        return _unasked(due)
    if decision.reason is Reason.NO_NEW_DATA:
        return replace(due, children=(news, *(_unasked(each) for each in held)))
    return due


def _news(decision: Decision, policy: ResolvedPolicy) -> Condition:
    facts: Mapping[str, Any] = decision.evidence
    changed, unknown = bool(facts.get("news")), bool(facts.get("unknown"))
    words = describe_news(facts)
    children = [
        Condition("input_news", f"news from {words}" if changed else "an input has news", changed),
        Condition("input_unknown", f"unknown: {words}" if unknown else "an input cannot be read", unknown),
    ]
    if policy.expiry is not None or decision.reason in _BY_TIME:
        expired = decision.reason in _BY_TIME or "expired_at" in facts
        children.append(Condition(Reason.VOLATILE_EXPIRED.value, "its last result has expired", expired))
    return Condition("new_data", "something is new", any(each.holds for each in children), "or", tuple(children))


def _held(decision: Decision, policy: ResolvedPolicy) -> tuple[Condition, ...]:
    """Return what may hold news back, in the order in which it is asked, up to the first that does."""
    configured, build_after = policy.configured, policy.build_after
    asks: list[tuple[Reason, str, str]] = []
    if build_after is not None:
        asks.append((Reason.WITHIN_INTERVAL, "interval_elapsed", "built within its interval"))
    if configured.lag_tolerance is not None:
        label = f"news younger than {describe_duration(configured.lag_tolerance)}"
        asks.append((Reason.WITHIN_TOLERANCE, "tolerance_exceeded", label))
    if configured.updates_on is UpdatesOn.ALL:
        asks.append((Reason.WAITING_FOR_INPUTS, "all_inputs_have_news", "some inputs have no news"))
    found = []
    asked = True
    for reason, name, label in asks:
        holds: bool | None = decision.reason is reason
        if not asked or (reason is not Reason.WITHIN_INTERVAL and decision.reason in (*_BY_TIME, Reason.INPUT_UNKNOWN)):
            holds = None  # neither is asked of an unknown input, or of a result that has expired
        inner = Condition(reason.value, label, holds)
        found.append(Condition(name, name.replace("_", " "), None if holds is None else not holds, "not", (inner,)))
        asked = asked and not holds
    return tuple(found)


def _unasked(condition: Condition) -> Condition:
    return replace(condition, holds=None, children=tuple(_unasked(each) for each in condition.children))
