"""What a connection has set that may change the result of a query: part of every code version, as `settings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from sao_dagster.core.hashing import digest


@dataclass(frozen=True)
class ConnectionSettings:
    """The settings under which models are built and data tests run.

    Attributes:
        given: Values by name of what the profile, the role, the database or its server sets. They count for everything.
        process: Values by name of what comes from the process that connects, such as its time zone. They count for what may depend on
            them (`Node.follows_process`), so that a laptop and a server in other zones do not undo each other's builds of the rest.

    >>> berlin, utc = (ConnectionSettings({}, {"timezone": zone}) for zone in ("Europe/Berlin", "UTC"))
    >>> [berlin.part("", follows_process=each) == utc.part("", follows_process=each) for each in (True, False)]
    [False, True]
    """

    given: Mapping[str, str] = field(default_factory=dict)
    process: Mapping[str, str] = field(default_factory=dict)

    def part(self, own: str, *, follows_process: bool) -> str:
        """Return the digest of what counts for one node or data test.

        Args:
            own: The digest of what statements of the project itself set or define for it.
            follows_process: Whether what the process sets counts.
        """
        key = (own, follows_process)
        if key not in self._parts:
            self._parts[key] = digest([own, self._all if follows_process else dict(self.given)])
        return self._parts[key]

    @cached_property
    def _all(self) -> dict[str, str]:
        return {**self.process, **self.given}

    @cached_property
    def _parts(self) -> dict[tuple[str, bool], str]:
        return {}


NO_SETTINGS = ConnectionSettings()
"""Those of a connection of which nothing is known that could differ from another one."""
