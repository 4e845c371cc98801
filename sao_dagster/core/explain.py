"""Decisions as sentences. The data comes first; this only words it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sao_dagster.core.decide import Decision, Reason
from sao_dagster.core.decide_test import TestDecision, TestReason
from sao_dagster.core.nodes import DataTest, Node
from sao_dagster.core.policy import POLICY_KEYS, Period, RefreshPolicy, describe_duration
from sao_dagster.core.project import Project

_SHOWN = 3  # names in a sentence; the evidence has them all


def explain(decision: Decision) -> str:
    """Return one sentence that says what was decided and why.

    >>> from sao_dagster.core.decide import Outcome
    >>> explain(Decision(model="m", outcome=Outcome.BUILT, reason=Reason.CODE_CHANGED, evidence={"parts": ["sql"]}))
    'its definition changed (sql)'
    """
    facts: Mapping[str, Any] = decision.evidence
    return _SENTENCES[decision.reason](facts) + (", foreseen" if facts.get("tentative") else "")


def describe_news(facts: Mapping[str, Any]) -> str:
    """Return the inputs with news in the evidence of a decision, in words; empty if there are none."""
    names = [str(each["input"]) for each in facts.get("news", ())]
    names += [f"{name} (unknown)" for name in facts.get("unknown", ())]
    return _some(names)


def _some(names: Sequence[str]) -> str:
    shown = [name.removeprefix("source:") for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more


def _span(seconds: float) -> str:
    return describe_duration(timedelta(seconds=seconds))


def _same(facts: Mapping[str, Any]) -> str:
    return "nothing changed" + (" but the look of its SQL" if facts.get("cosmetic") else "")


def _code(facts: Mapping[str, Any]) -> str:
    parts = ", ".join(facts.get("parts", ()))
    views = f", through {_some(facts['views'])}" if facts.get("views") else ""
    return f"its definition changed ({parts}{views})"


def _held(facts: Mapping[str, Any]) -> str:
    news = describe_news(facts) or "the time"
    return f"built {_span(facts['age_seconds'])} ago, at most every {facts['window']}; news from {news} waits"


_SENTENCES: Mapping[Reason, Callable[[Mapping[str, Any]], str]] = {
    Reason.UPSTREAM_FAILED: lambda facts: f"{_some(facts.get('inputs', ()))} failed, or failed a test",
    Reason.FORCED: lambda facts: "the run builds all it selects",
    Reason.FULL_REFRESH: lambda facts: "the run builds all it selects from scratch",
    Reason.STATE_UNREACHABLE: lambda facts: "the shared state cannot be reached",
    Reason.NEVER_BUILT: lambda facts: "never built here before",
    Reason.RELATION_MISSING: lambda facts: f"{facts.get('relation')} is gone",
    Reason.RELATION_ALTERED: lambda facts: f"{facts.get('relation')} was changed by someone else",
    Reason.CODE_CHANGED: _code,
    Reason.TEST_FAILED: lambda facts: "its last data test failed",
    Reason.NO_NEW_DATA: _same,
    Reason.WITHIN_INTERVAL: _held,
    Reason.WITHIN_TOLERANCE: lambda facts: (
        f"news from {describe_news(facts)} is {_span(facts['lag_seconds'])} old, {facts['tolerance']} are tolerated"
    ),
    Reason.INPUT_UNKNOWN: lambda facts: f"the version of {_some(facts.get('unknown', ()))} cannot be read",
    Reason.WAITING_FOR_INPUTS: lambda facts: (
        f"news from {describe_news(facts)}; waits for {_some(facts['waiting_for'])}"
    ),
    Reason.VOLATILE_EXPIRED: lambda facts: (
        f"its SQL depends on the time; the last result expired at {facts.get('expired_at')}"
    ),
    Reason.INTERVAL_ELAPSED: lambda facts: f"it reads nothing, and {facts.get('window')} have passed",
    Reason.NEW_DATA: lambda facts: f"news from {describe_news(facts)}",
    Reason.BUILD_ERROR: lambda facts: str(facts.get("error", "")).splitlines()[0] if facts.get("error") else "failed",
}


def _proof(facts: Mapping[str, Any]) -> str:
    """Return what a proof rests on, in words."""
    because = list(dict.fromkeys(str(each["because"]) for each in facts.get("facts", ())))
    return f"proven from the SQL{' and ' + _some(because) if because else ' alone'}"


def describe_refuted(test: DataTest, decision: TestDecision) -> str:
    """Return what to say when a test fails that was proven to pass."""
    evidence: Mapping[str, Any] = decision.evidence
    facts = ", ".join(f"{each['fact']} ({each['because']})" for each in evidence.get("facts", ())) or "no facts"
    return (
        f"A PROOF WAS WRONG: {test.name} of {test.tested} was proven to pass and does not. It rested on {facts}, by the rules "
        f"{', '.join(map(str, evidence.get('rules', ())))}. Set prove_tests: false in sao.yml, and report this with "
        f"the SQL of {test.tested}."
    )


def explain_test(decision: TestDecision) -> str:
    """Return one sentence that says why a data test was run, reused or skipped."""
    facts: Mapping[str, Any] = decision.evidence
    words: Mapping[TestReason, Callable[[], str]] = {
        TestReason.UPSTREAM_FAILED: lambda: f"{_some(facts.get('inputs', ()))} failed",
        TestReason.FORCED: lambda: "the run runs all it selects",
        TestReason.NEVER_RUN: lambda: "never run here before",
        TestReason.TEST_CHANGED: lambda: "the test changed",
        TestReason.FAILED_BEFORE: lambda: "it failed the last time",
        TestReason.INPUT_UNKNOWN: lambda: f"the version of {_some(facts.get('unknown', ()))} cannot be read",
        TestReason.NEW_DATA: lambda: (
            f"news from {_some(facts.get('inputs', ()))}" if facts.get("inputs") else "looked at in every run"
        ),
        TestReason.VOLATILE_EXPIRED: lambda: "its SQL depends on the time; the last verdict expired",
        TestReason.NO_NEW_DATA: lambda: "nothing it reads changed",
        TestReason.PROVEN: lambda: _proof(facts),
        TestReason.PROOF_VERIFIED: lambda: f"{_proof(facts)}; run to verify that",
    }
    return words[decision.reason]() + (", foreseen" if facts.get("tentative") else "")


def describe_policy(policy: RefreshPolicy, now: datetime) -> str:
    """Return a policy in words.

    >>> from datetime import timezone
    >>> describe_policy(RefreshPolicy(), datetime.now(timezone.utc))
    'on any news'
    """
    return ", ".join(words for key in POLICY_KEYS if key.words is not None and (words := key.words(policy, now)))


def describe_node(project: Project, node: Node, now: datetime) -> dict[str, Any]:
    """Return what a person asks first about a model, as plain data in words."""
    inputs = project.graph.inputs(node.name)
    expiry = project.graph.expiry(node.name)
    return {
        "materialized": node.materialized.value,
        "relation": str(node.relation),
        "file": str(node.location) if node.location else None,
        "policy": describe_policy(node.policy, now),
        "inputs": list(inputs.data),
        "looks_through": list(inputs.views),
        "expires": f"each {expiry.value}" if expiry and expiry.value in list(Period) else expiry and "at once",
    }
