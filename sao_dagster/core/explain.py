"""Decisions as sentences. The data comes first; this only words it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sao_dagster.core.decide import Decision
from sao_dagster.core.decide_test import TEST_ROWS_BY_REASON, TestDecision
from sao_dagster.core.elsewhere import describe_not_taken
from sao_dagster.core.evidence import Evidence
from sao_dagster.core.nodes import DataTest, Node
from sao_dagster.core.policy import POLICY_KEYS, Expiry, RefreshPolicy
from sao_dagster.core.project import Project
from sao_dagster.core.truth_table import TRUTH_TABLE, TruthTable


def explain(decision: Decision, table: TruthTable = TRUTH_TABLE) -> str:
    """Return one sentence that says what was decided and why.

    >>> from sao_dagster.core.reasons import Outcome, Reason
    >>> explain(Decision(model="m", outcome=Outcome.BUILT, reason=Reason.CODE_CHANGED, evidence={"parts": ["sql"]}))
    'its definition changed (sql)'
    """
    sentence = table.by_reason[decision.reason].sentence_for(decision.evidence)
    not_taken = describe_not_taken(decision.evidence.get("not_taken", ()))
    return sentence + _foreseen(decision.evidence) + (f"; {not_taken}" if not_taken else "")


def explain_test(decision: TestDecision) -> str:
    """Return one sentence that says why a data test was run, reused or skipped.

    >>> from sao_dagster.core.decide_test import TestOutcome, TestReason
    >>> explain_test(TestDecision(test="t", outcome=TestOutcome.RAN, reason=TestReason.NEVER_RUN))
    'never run here before'
    """
    return TEST_ROWS_BY_REASON[decision.reason].sentence(decision.evidence) + _foreseen(decision.evidence)


def _foreseen(evidence: Evidence) -> str:
    return ", foreseen" if evidence.get("tentative") else ""


def describe_refuted(test: DataTest, decision: TestDecision) -> str:
    """Return what to say when a test fails that was proven to pass."""
    evidence = decision.evidence
    facts = ", ".join(f"{each['fact']} ({each['because']})" for each in evidence.get("facts", ())) or "no facts"
    return (
        f"A PROOF WAS WRONG: {test.name} of {test.tested} was proven to pass and does not. It rested on {facts}, by the rules "
        f"{', '.join(evidence.get('rules', ()))}. Set prove_tests: false in sao.yml, and report this with "
        f"the SQL of {test.tested}."
    )


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
        "expires": expiry
        and ("at once" if expiry is Expiry.ALWAYS else f"each {'hour' if expiry is Expiry.HOUR else 'day'}"),
        "unrendered": node.unrendered or None,
    }
