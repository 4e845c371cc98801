"""After any history, what is reused equals a rebuild, and nothing was built without need.

`SAO_HISTORIES=5000 python -m pytest tests/oracle` runs more of them.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.oracle.machine import History

TestHistories = History.TestCase
TestHistories.settings = settings(
    max_examples=int(os.environ.get("SAO_HISTORIES", "200")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
