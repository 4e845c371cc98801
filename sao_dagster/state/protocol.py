"""What a state store does, and what a run leaves in it.

Five ports, one for each thing that is kept: `EnvironmentStore` (which places there are, and what others may know of them), `RecordStore` (what decisions are taken from), `LeaseStore` (who may build), `HistoryStore` (what
was seen and decided), `ShownStore` (what others were told). `StateStore` is all of them. Losing the last two costs no build.

All methods raise `sao_dagster.errors.StateError` where the state cannot be reached or read. All times are UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.environment import Branch, Environment, EnvironmentUse, KnownEnvironment
from sao_dagster.core.hashing import JSON
from sao_dagster.core.published import Published
from sao_dagster.core.records import BuildRecord, Lease, QueuePosition, TestRecord


@dataclass(frozen=True, kw_only=True)
class DecisionRecord:
    """One decision of a run, as it was taken.

    Attributes:
        model: The name of the model, seed or data test.
        outcome: What became of it: a value of `Outcome` or `TestOutcome`.
        reason: Why: a value of `Reason` or `TestReason`.
        evidence: The facts behind it.
        decided_at: When (UTC).
        seconds: How long the build took; 0 for a reuse.
        seconds_saved: For a reuse, how long the last build took: an estimate of what was saved.
    """

    model: str
    outcome: str
    reason: str
    evidence: Mapping[str, JSON] = field(default_factory=dict)
    decided_at: datetime
    seconds: float = 0.0
    seconds_saved: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.

    Attributes:
        run_id: The run.
        environment: Where.
        mode: How it decided: a value of `Mode`.
        started_at: When it began (UTC).
        finished_at: When it ended (UTC).
        summary: Its numbers, as the command line prints them.
        job: On whose behalf; empty where nobody said.
    """

    run_id: str
    environment: str
    mode: str
    started_at: datetime
    finished_at: datetime
    summary: Mapping[str, JSON]
    job: str = ""


@dataclass(frozen=True)
class DecisionTotals:
    """What became of one model or data test over some time, by outcome.

    Attributes:
        name: The model, seed or data test.
        outcome: A value of `Outcome` or `TestOutcome`.
        count: How often.
        seconds: How long its builds took together.
        seconds_saved: What its reuses saved together, by the times of its own last builds.
    """

    name: str
    outcome: str
    count: int
    seconds: float
    seconds_saved: float


class EnvironmentStore(Protocol):
    """Which environments there are, and where."""

    def settle(self, found: Environment, where: Environment, relations: Mapping[str, str]) -> None:
        """Note that an environment was found at a place.

        The first time, it takes over what is kept of that place, as long as no more was known of it; else what an older version of this
        package has kept of the project and the target alone, if that speaks of the same relations.

        Args:
            found: The environment.
            where: The same, were nothing known but the place.
            relations: Where the project's models and seeds are, by name.
        """

    def environment_at(self, where: Environment) -> str:
        """Return the key of the environment that was found at a place the last time."""

    def environments(self) -> list[KnownEnvironment]:
        """Return all that are known, sorted by key; what is built in them is not looked at."""

    def uses(self) -> dict[str, EnvironmentUse]:
        """Return how much is known of each environment in which something is built, by key."""

    def branches(self) -> list[Branch]:
        """Return those that were made for branches, sorted by key."""

    def branch(self, environment: str) -> Branch | None:
        """Return what was made for the branch whose environment it is; None where it was made for none."""

    def keep_branch(self, branch: Branch) -> None:
        """Note that an environment was made for a branch, or was used."""

    def forget_environment(self, environment: str, *, is_gone: bool) -> int:
        """Forget what is known of an environment, but for the history of its runs; return how many builds and verdicts went.

        Args:
            environment: Its key.
            is_gone: Whether it is no more; else it is kept where it is, what was built in it, and which schemas were made for it, without
                which nobody could tell what of it may be dropped.
        """

    def publish(self, environment: str, published: Published) -> None:
        """Let other projects know of an environment, in place of what was published of it before."""

    def published(self, environment: str) -> Published | None:
        """Return what was published of an environment last; None for nothing."""


class RecordStore(Protocol):
    """The last builds, the last verdicts, and what else decisions are taken from."""

    def builds(self, environment: str) -> dict[str, BuildRecord]:
        """Return the last builds by model."""

    def changes(self, environment: str, since: int) -> tuple[dict[str, BuildRecord], int]:
        """Return the builds that were recorded after a sequence, by any run, and the sequence to ask with the next time."""

    def tests(self, environment: str) -> dict[str, TestRecord]:
        """Return the last verdicts by test."""

    def sql(self, ids: Collection[str]) -> dict[str, str]:
        """Return kept SQL by id."""

    def record_build(self, environment: str, record: BuildRecord, sql: str, lease: Lease | None = None) -> None:
        """Replace the record of a model, keep its SQL, and note its data version, in one transaction.

        Under a lease, that is done only while nobody has taken it over, and the lease is given back with it.

        Raises:
            LeaseLostError: Somebody has; nothing was recorded.
        """

    def keep_movements(self, environment: str, records: Collection[BuildRecord]) -> None:
        """Keep what the warehouse shows now of what builds have made (`BuildRecord.movement`), of those that are still the last ones."""

    def forget_build(self, environment: str, model: str, lease: Lease | None = None) -> None:
        """Forget the build of a model that is about to be built anew, where a crash may leave half of it.

        Raises:
            LeaseLostError: Somebody has taken the lease over; nothing was forgotten.
        """

    def record_tests(self, environment: str, records: Sequence[TestRecord]) -> None:
        """Replace the last verdicts of tests, in one transaction."""

    def contents(self, environment: str, stamp: str) -> dict[str, DataVersion]:
        """Return the content versions that were kept under a stamp of the warehouse; none for another stamp."""

    def keep_contents(self, environment: str, stamp: str, contents: Mapping[str, DataVersion]) -> None:
        """Keep content versions under a stamp, in place of those of any other stamp."""

    def clear(self, environment: str, models: Collection[str] | None, tests: Collection[str] | None) -> int:
        """Forget the builds of models and the verdicts of tests (None: all); return how many rows went."""


class LeaseStore(Protocol):
    """The rights to build, and the queues for them, by the clock on which all machines agree."""

    def now(self) -> datetime:
        """Return the time of the store, on which all machines agree (UTC)."""

    def take_lease(
        self, environment: str, model: str, holder: str, run_id: str, seconds: float
    ) -> Lease | QueuePosition:
        """Return the lease on a model, or a place in the queue for it; first come, first served.

        A lease that has expired is taken over. A place is kept for as long as its holder asks again, or renews, in time.

        Args:
            environment: Where.
            model: What is to be built.
            holder: Who asks: one process of one run.
            run_id: The run, as others are told.
            seconds: How long the lease, or the place, lasts without being renewed.
        """

    def renew_leases(self, environment: str, holder: str, seconds: float) -> frozenset[str]:
        """Extend all leases and places of a holder; return the models on which it still has leases."""

    def release_lease(self, environment: str, lease: Lease) -> None:
        """Give a lease back; one that was taken over is left alone."""

    def leave_queues(self, environment: str, holder: str, model: str | None = None) -> None:
        """Give up all leases and places of a holder, or those on one model."""

    def leases(self, environment: str) -> list[Lease]:
        """Return the leases that are held now."""


class HistoryStore(Protocol):
    """What was seen and what was decided, for as long as the retention says."""

    def history(
        self, environment: str, relations: Collection[str]
    ) -> dict[str, tuple[tuple[DataVersion, datetime], ...]]:
        """Return by relation the versions that were seen, with the time each was first seen, oldest first."""

    def note_versions(self, environment: str, versions: Mapping[str, DataVersion], seen_at: datetime) -> None:
        """Note when versions were first seen; a version that is the latest already is left alone."""

    def record_run(self, run: RunRecord, decisions: Sequence[DecisionRecord]) -> None:
        """Keep a run and its decisions, and forget everything that is older than the retention."""

    def runs(self, environment: str, limit: int | None = None, since: datetime | None = None) -> list[RunRecord]:
        """Return runs that began since a time, newest first."""

    def decision_totals(self, environment: str, since: datetime) -> list[DecisionTotals]:
        """Return what became of each model and data test since a time, the largest savings first."""

    def run_decisions(self, run_id: str) -> list[DecisionRecord]:
        """Return the decisions of a run, in the order in which they were kept."""

    def decisions(self, environment: str, model: str, limit: int) -> list[DecisionRecord]:
        """Return the decisions about one model or data test, newest first."""


class ShownStore(Protocol):
    """What others were told last, so that it is not told again; losing it means only that it is."""

    def shown(self, environment: str, scope: str) -> dict[str, str]:
        """Return what was last told about each name in a scope, such as the decisions that an evaluator has shown."""

    def keep_shown(self, environment: str, scope: str, shown: Mapping[str, str]) -> None:
        """Replace what was last told about names in a scope."""


class StateStore(EnvironmentStore, RecordStore, LeaseStore, HistoryStore, ShownStore, Protocol):
    """The shared state of all environments of a deployment."""

    def close(self) -> None:
        """Let go of connections."""
