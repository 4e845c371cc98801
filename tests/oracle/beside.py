"""Runs beside others: at its turn a model has waited, so that what it reads is looked at again."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from unittest import mock

from sao_dagster.run.watch import Watch


def beside_others(*, waits: bool) -> AbstractContextManager[object]:
    """Let each model that is to be built look again at what it reads, as after another run has had its lease; nothing may come of that."""
    return mock.patch.object(Watch, "has_moved", return_value=True) if waits else nullcontext()
