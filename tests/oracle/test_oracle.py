"""After any history, what is reused equals a rebuild, and nothing was built without need; `tests.soak` runs more of them."""

from __future__ import annotations

import pytest
from hypothesis.stateful import RuleBasedStateMachine

from sao_dagster.core.decide_test import TestOutcome
from tests.machines import explore
from tests.oracle.machine import STEPS
from tests.oracle.machines import MACHINES
from tests.oracle.on_postgres import OnServer
from tests.oracle.with_tests import TestedHistory
from tests.postgres import Postgres

SHARE = pytest.mark.parametrize("share", [0.025, pytest.param(0.05, marks=pytest.mark.slow)])  # of a round of the soak


@SHARE
@pytest.mark.parametrize("machine", [each for each in MACHINES if not issubclass(each, OnServer)])
def test_what_is_reused_equals_a_rebuild(machine: type[RuleBasedStateMachine], share: float) -> None:
    TestedHistory.outcomes.clear()
    explore(machine, _histories(machine, share), STEPS)
    if machine is TestedHistory:
        seen = [TestedHistory.outcomes[each] for each in (TestOutcome.RAN, TestOutcome.REUSED, TestOutcome.PROVEN)]
        assert min(seen) >= 100 * share


@pytest.mark.slow
@pytest.mark.parametrize("machine", [each for each in MACHINES if issubclass(each, OnServer)])
def test_histories_on_postgres(postgres: Postgres, monkeypatch: pytest.MonkeyPatch, machine: type[OnServer]) -> None:
    """Fewer of them: each is a database of its own."""
    monkeypatch.setattr(machine, "server", postgres)
    explore(machine, _histories(machine, 0.05), STEPS)


def _histories(machine: type[RuleBasedStateMachine], share: float) -> int:
    return max(1, int(MACHINES[machine] * share))
