"""Runs beside others: at its turn a model has waited, so that what it reads is looked at again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from sao_dagster.run.watch import Watch


@contextmanager
def beside_others(*, waits: bool = True) -> Iterator[None]:
    """Let each model that is to be built look again at what it reads, as after another run has had its lease; nothing may come of that."""
    if not waits:
        yield
        return
    with mock.patch.object(Watch, "has_moved", return_value=True):
        yield
