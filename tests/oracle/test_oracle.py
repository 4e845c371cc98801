"""After any history, what is reused equals a rebuild, and nothing was built without need.

`SAO_HISTORIES=5000 python -m pytest tests/oracle` runs more of them.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from sao_dagster.core.decide_test import TestOutcome
from tests.oracle.machine import History
from tests.oracle.on_postgres import PostgresHistory
from tests.oracle.with_tests import TestedHistory
from tests.postgres import Postgres

TestHistories = History.TestCase
TestHistories.settings = settings(
    max_examples=int(os.environ.get("SAO_HISTORIES", "200")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def test_verdicts_that_were_not_run_for_are_what_a_run_gives() -> None:
    TestedHistory.outcomes.clear()
    run_state_machine_as_test(TestedHistory, settings=TestHistories.settings)
    assert min(TestedHistory.outcomes[each] for each in (TestOutcome.RAN, TestOutcome.REUSED, TestOutcome.PROVEN)) > 20


def test_histories_on_postgres(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer of them by default: each is a database of its own."""
    monkeypatch.setattr(PostgresHistory, "server", postgres)
    run_state_machine_as_test(
        PostgresHistory,
        settings=settings(
            TestHistories.settings, max_examples=int(os.environ.get("SAO_HISTORIES", "200")) // 10, database=None
        ),
    )
