"""What one Dagster instance was told before, so that it is not told again.

Each instance has a log of its own, so this is kept by instance, beside the state. Losing it costs a look into the instance's log, and
nothing is told twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg

from sao_dagster.core.records import Lease
from sao_dagster.dagster.project_view import UNFINISHED, scope_of
from sao_dagster.state.protocol import StateStore

ASKED_AT_ONCE = 500  # runs that Dagster is asked for in one statement
LEASED = 60.0  # seconds that one process has for telling


@dataclass
class ToldBefore:
    """What a Dagster instance was told of one kind of thing in one environment, by name; what is kept is read when this is made.

    Attributes:
        store: The shared state, which keeps it.
        instance: The instance.
        environment: The environment.
        what: Of which kind, such as `dagster_builds`.
        noted: What it was told since this was made, and is not kept yet.
    """

    store: StateStore
    instance: dg.DagsterInstance
    environment: str
    what: str
    noted: dict[str, str] = field(default_factory=dict)
    _known: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Read what is kept."""
        self._scope = scope_of(self.instance, self.what)
        self.read()

    def read(self) -> None:
        """Read what is kept: another process may have told something meanwhile."""
        self._known = self.store.shown(self.environment, self._scope)

    def __contains__(self, name: str) -> bool:
        """Return whether something was kept of a name."""
        return name in self._known

    def token(self, name: str) -> str:
        """Return what was told last about a name; empty for nothing."""
        return self.noted.get(name) or self._known.get(name, "")

    def knows(self, name: str, token: str) -> bool:
        """Return whether that was told last."""
        return self.noted.get(name, self._known.get(name)) == token

    def note(self, name: str, token: str) -> None:
        """Note what is told."""
        self.noted[name] = token

    def keep(self) -> None:
        """Keep what was noted, for later runs and ticks."""
        if self.noted:
            self.store.keep_shown(self.environment, self._scope, self.noted)
            self._known = {**self._known, **self.noted}
            self.noted = {}

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Have the right to tell, with what was told until now, unless another process tells just now."""
        holder = str(uuid.uuid4())
        lease = self.store.take_lease(self.environment, self._scope, holder, holder, LEASED)
        try:
            if isinstance(lease, Lease):
                self.read()
            yield isinstance(lease, Lease)
        finally:
            self.store.leave_queues(self.environment, holder)


def unfinished(instance: dg.DagsterInstance, run_ids: Collection[str]) -> frozenset[str]:
    """Return the runs among these that are not over; those of other programs are no runs of the instance."""
    ids, statuses = sorted(run_ids), list(UNFINISHED)
    parts = [ids[start : start + ASKED_AT_ONCE] for start in range(0, len(ids), ASKED_AT_ONCE)]
    found = (instance.get_runs(dg.RunsFilter(run_ids=part, statuses=statuses)) for part in parts)
    return frozenset(run.run_id for runs in found for run in runs)
