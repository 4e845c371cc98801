"""Rule-based machines, run for as many histories as somebody asks for."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def explore(
    machine: type[RuleBasedStateMachine],
    histories: int,
    steps: int,
    *,
    seed: int | None = None,
    phases: Sequence[Phase] = (Phase.generate, Phase.shrink),
) -> None:
    """Run random histories; the first that fails is made as short as it can be, and raised.

    Args:
        machine: What happens in them.
        histories: How many.
        steps: How long each is at most.
        seed: Where chance starts; without it, somewhere else each time.
        phases: What to do besides trying.
    """
    if seed is not None:
        hypothesis.seed(seed)(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=phases,
            print_blob=True,
            database=None,
        ),
    )
