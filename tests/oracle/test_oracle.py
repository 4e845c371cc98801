"""After any history, what is reused equals a rebuild, and nothing was built without need; `tests.soak` runs more of them."""

from __future__ import annotations

import pytest

from sao_dagster.core.decide_test import TestOutcome
from tests.machines import explore
from tests.oracle.machine import STEPS, History
from tests.oracle.on_postgres import PostgresHistory
from tests.oracle.with_tests import TestedHistory
from tests.postgres import Postgres


def test_what_is_reused_equals_a_rebuild() -> None:
    explore(History, 200, STEPS)


def test_verdicts_that_were_not_run_for_are_what_a_run_gives() -> None:
    TestedHistory.outcomes.clear()
    explore(TestedHistory, 200, STEPS)
    assert min(TestedHistory.outcomes[each] for each in (TestOutcome.RAN, TestOutcome.REUSED, TestOutcome.PROVEN)) > 20


def test_histories_on_postgres(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer of them: each is a database of its own."""
    monkeypatch.setattr(PostgresHistory, "server", postgres)
    explore(PostgresHistory, 20, STEPS)
