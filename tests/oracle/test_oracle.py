"""After any history, what is reused equals a rebuild, and nothing was built without need; `tests.soak` runs more of them."""

from __future__ import annotations

import pytest

from sao_dagster.core.decide_test import TestOutcome
from tests.machines import explore
from tests.oracle.machine import STEPS, History
from tests.oracle.on_postgres import PostgresHistory
from tests.oracle.with_tests import TestedHistory
from tests.postgres import Postgres

HISTORIES = pytest.mark.parametrize("histories", [30, pytest.param(120, marks=pytest.mark.slow)])


@HISTORIES
def test_what_is_reused_equals_a_rebuild(histories: int) -> None:
    explore(History, histories, STEPS)


@HISTORIES
def test_verdicts_that_were_not_run_for_are_what_a_run_gives(histories: int) -> None:
    TestedHistory.outcomes.clear()
    explore(TestedHistory, histories, STEPS)
    assert min(TestedHistory.outcomes[each] for each in (TestOutcome.RAN, TestOutcome.REUSED, TestOutcome.PROVEN)) > 20


@HISTORIES
def test_histories_on_postgres(postgres: Postgres, monkeypatch: pytest.MonkeyPatch, histories: int) -> None:
    """Fewer of them: each is a database of its own."""
    monkeypatch.setattr(PostgresHistory, "server", postgres)
    explore(PostgresHistory, histories // 6, STEPS)
