"""The state store in SQL, in SQLite or PostgreSQL.

Each method is one short transaction, so that a crash leaves the state as it was before or after it, and so that it can be
tried again when the connection breaks.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.environment import Branch, Environment, EnvironmentUse, KnownEnvironment
from sao_dagster.core.published import Published
from sao_dagster.core.records import BuildRecord, Lease, QueuePosition, TestRecord
from sao_dagster.state import environments, leases
from sao_dagster.state.connection import StateConnection, ridden_out
from sao_dagster.state.convert import (
    RowsRead,
    dump,
    readable,
    to_row,
    understood,
    versions_from_plain,
    versions_to_plain,
)
from sao_dagster.state.migrate import check_version, migrate
from sao_dagster.state.protocol import DecisionRecord, DecisionTotals, RunRecord
from sao_dagster.state.statements import Transaction, chunks

RETENTION = timedelta(days=90)
_BUILD = "select * from sao_builds where environment = :environment and model = :model"
_MOVEMENT = "update sao_builds set movement = :movement where environment = :environment and model = :model and build_id = :build_id"
_PUBLISHED = "select content from sao_published where environment = :environment"
_DECIDED = """select id from sao_decisions where run_id = :run_id and model = :model and outcome = :outcome and reason = :reason
    and decided_at = :decided_at"""
_SUPERSEDED = """seen_at < :oldest and exists (select 1 from sao_versions as newer where newer.environment = sao_versions.environment
    and newer.relation = sao_versions.relation and newer.id > sao_versions.id)"""
"""The condition for versions that were seen before a time and are not the latest of their relation."""


class SqlStateStore:
    """The shared state in a SQL database.

    Args:
        url: See `parse_url`; `sqlite://` alone lives in memory, for tests.
        retention: How long everything that is history is kept at least: runs, decisions, versions that others followed. What is older goes
            when something is older by a tenth of that.
        read_only: Whether it is somebody else's, in which nothing is written: the database refuses it.

    Raises:
        StateError: The database cannot be opened, or was written by a newer version of this package; or it is read only, and there is
            none of this version.
    """

    def __init__(self, url: str, retention: timedelta = RETENTION, *, read_only: bool = False) -> None:
        self._retention = retention
        self._database = StateConnection(url, read_only=read_only)
        self._builds_read = RowsRead(BuildRecord)
        self._tests_read = RowsRead(TestRecord)
        self._prepare(read_only=read_only)

    @ridden_out
    def _prepare(self, *, read_only: bool) -> None:
        if read_only:
            check_version(self._database)
        else:
            migrate(self._database)

    @ridden_out
    def now(self) -> datetime:
        """Return the time of the database, on which all machines agree (UTC)."""
        with self._database.transaction() as transaction:
            return datetime.fromtimestamp(self._database.now(transaction), timezone.utc)

    @ridden_out
    def settle(self, found: Environment, where: Environment, relations: Mapping[str, str]) -> None:
        """Note that an environment was found at a place, and let it take over what is its own."""
        with self._database.transaction() as transaction:
            if environments.is_settled(transaction, found, where):
                return
        with self._database.transaction(write=True) as transaction:
            self._database.take_turns(transaction, "sao environments")
            if not environments.is_settled(transaction, found, where):
                environments.settle(transaction, found, where, relations)

    @ridden_out
    def environment_at(self, where: Environment) -> str:
        """Return the key of the environment that was found at a place the last time."""
        with self._database.transaction() as transaction:
            return environments.at(transaction, where)

    @ridden_out
    def environments(self) -> list[KnownEnvironment]:
        """Return all environments that are known, sorted by key."""
        with self._database.transaction() as transaction:
            return environments.known(transaction)

    @ridden_out
    def uses(self) -> dict[str, EnvironmentUse]:
        """Return how much is known of each environment, by key."""
        with self._database.transaction() as transaction:
            return environments.uses(transaction)

    @ridden_out
    def branches(self) -> list[Branch]:
        """Return the environments that were made for branches, sorted by key."""
        with self._database.transaction() as transaction:
            return environments.branches(transaction)

    @ridden_out
    def branch(self, environment: str) -> Branch | None:
        """Return what was made for the branch whose environment it is; None where it was made for none."""
        with self._database.transaction() as transaction:
            return next(iter(environments.branches(transaction, environment)), None)

    @ridden_out
    def keep_branch(self, branch: Branch) -> None:
        """Note that an environment was made for a branch, or was used; another run may have made schemas for it, too."""
        with self._database.transaction(write=True) as transaction:
            self._database.take_turns(transaction, f"sao branch {branch.environment}")
            known = next(iter(environments.branches(transaction, branch.environment)), branch)
            schemas = tuple(dict.fromkeys((*known.schemas, *branch.schemas)))
            failures = tuple(dict.fromkeys((*known.failures, *branch.failures)))
            transaction.put("sao_branches", [to_row(replace(branch, schemas=schemas, failures=failures))])

    @ridden_out
    def forget_environment(self, environment: str, *, is_gone: bool) -> int:
        """Forget what is known of an environment, but for the history of its runs; return how many builds and verdicts went."""
        with self._database.transaction(write=True) as transaction:
            return environments.forget(transaction, environment, is_gone=is_gone)

    @ridden_out
    def publish(self, environment: str, published: Published) -> None:
        """Let other projects know of an environment; nothing is written where that is what they know."""
        content = dump(published.to_plain())
        at = datetime.now(timezone.utc).isoformat()
        with self._database.transaction() as transaction:
            if transaction.value(_PUBLISHED, {"environment": environment}) == content:
                return
        with self._database.transaction(write=True) as transaction:
            values = {"environment": environment, "content": content, "published_at": at}
            transaction.put("sao_published", [values])

    @ridden_out
    def published(self, environment: str) -> Published | None:
        """Return what was published of an environment last."""
        with self._database.transaction() as transaction:
            found = transaction.value(_PUBLISHED, {"environment": environment})
        what = f"what {environment} has published"
        return None if found is None else understood(what, lambda text: Published.from_plain(json.loads(text)), found)

    @ridden_out
    def builds(self, environment: str) -> dict[str, BuildRecord]:
        """Return the last builds by model."""
        return self.changes(environment, since=0)[0]

    @ridden_out
    def changes(self, environment: str, since: int) -> tuple[dict[str, BuildRecord], int]:
        """Return the builds that were recorded after a sequence, by any run, and the sequence to ask with the next time."""
        query = "select * from sao_builds where environment = :environment and sequence > :since"
        with self._database.transaction() as transaction:
            rows = transaction.rows(query, {"environment": environment, "since": since})
        if since == 0:
            records = self._builds_read.read(environment, rows)
        else:
            records = {record.model: record for record in readable(BuildRecord, rows)}
        return records, max((row.sequence for row in rows if isinstance(row.sequence, int)), default=since)

    @ridden_out
    def tests(self, environment: str) -> dict[str, TestRecord]:
        """Return the last verdicts by test."""
        with self._database.transaction() as transaction:
            rows = transaction.rows("select * from sao_tests where environment = :key", {"key": environment})
        return self._tests_read.read(environment, rows)

    @ridden_out
    def history(
        self, environment: str, relations: Collection[str]
    ) -> dict[str, tuple[tuple[DataVersion, datetime], ...]]:
        """Return by relation the versions that were seen, with the time each was first seen, oldest first."""
        found: dict[str, list[tuple[DataVersion, datetime]]] = {}
        query = "select * from sao_versions where environment = :environment and relation in (:names) order by id"
        with self._database.transaction() as transaction:
            for names in chunks(relations):
                for row in transaction.rows(query, {"environment": environment, "names": names}):
                    version = understood(f"a version of {row.relation!r}", DataVersion.parse, row.version)
                    seen_at = understood(f"a time of {row.relation!r}", datetime.fromisoformat, row.seen_at)
                    if version is not None and seen_at is not None:
                        found.setdefault(row.relation, []).append((version, seen_at))
        return {name: tuple(versions) for name, versions in found.items()}

    @ridden_out
    def sql(self, ids: Collection[str]) -> dict[str, str]:
        """Return kept SQL by id."""
        found = {}
        with self._database.transaction() as transaction:
            for chunk in chunks(ids):
                for row in transaction.rows("select * from sao_sql where id in (:ids)", {"ids": chunk}):
                    found[row.id] = row.text
        return found

    @ridden_out
    def record_build(self, environment: str, record: BuildRecord, sql: str, lease: Lease | None = None) -> None:
        """Replace the record of a model, keep its SQL, and note its data version, in one transaction.

        Under a lease, that is done only while nobody has taken it over, and the lease is given back with it.
        """
        values = {"environment": environment, **to_row(record)}
        latest = "select last from sao_sequences where environment = :environment"
        with self._database.transaction(write=True) as transaction:
            # in the order of their commits, so that whoever reads up to a mark has missed none before it
            self._database.take_turns(transaction, f"sao builds {environment}")
            stored = transaction.row(_BUILD, values)
            if stored is not None and all(getattr(stored, name) == value for name, value in values.items()):
                return  # the answer to a commit was lost, and this is tried again
            if lease is not None:
                self._database.take_turns(transaction, f"sao lease {environment} {record.model}")
                leases.check(transaction, environment, lease)
                leases.release(transaction, environment, lease)
            values["sequence"] = (transaction.value(latest, {"environment": environment}) or 0) + 1
            transaction.put("sao_sequences", [{"environment": environment, "last": values["sequence"]}])
            transaction.put("sao_builds", [values])
            transaction.put("sao_sql", [{"id": record.sql_id, "text": sql}])
            versions = {record.model: record.data_version}
            _note(transaction, environment, versions, record.built_at, self._oldest(record.built_at))

    @ridden_out
    def keep_movements(self, environment: str, records: Collection[BuildRecord]) -> None:
        """Keep what the warehouse shows now of what builds have made, of those that are still the last ones."""
        with self._database.transaction(write=True) as transaction:
            self._database.take_turns(transaction, f"sao builds {environment}")
            for record in records:
                of_build = {"environment": environment, "model": record.model, "build_id": record.build_id}
                transaction.execute(_MOVEMENT, {**of_build, "movement": record.movement})

    @ridden_out
    def record_tests(self, environment: str, records: Sequence[TestRecord]) -> None:
        """Replace the last verdicts of tests, in one transaction."""
        rows = [
            {"environment": environment, **to_row(record)} for record in sorted(records, key=lambda each: each.test)
        ]
        if rows:
            with self._database.transaction(write=True) as transaction:
                transaction.put("sao_tests", rows)

    @ridden_out
    def note_versions(self, environment: str, versions: Mapping[str, DataVersion], seen_at: datetime) -> None:
        """Note when versions were first seen; a version that is the latest already is left alone."""
        with self._database.transaction(write=True) as transaction:
            _note(transaction, environment, versions, seen_at, self._oldest(seen_at))

    @ridden_out
    def contents(self, environment: str, stamp: str) -> dict[str, DataVersion]:
        """Return the content versions that were kept under a stamp of the warehouse; none for another stamp."""
        query = "select contents from sao_contents where environment = :environment and stamp = :stamp"
        with self._database.transaction() as transaction:
            found = transaction.value(query, {"environment": environment, "stamp": stamp})
        if not found:
            return {}
        read = understood("what is kept of contents", lambda text: versions_from_plain(json.loads(text)), found)
        return read or {}

    @ridden_out
    def keep_contents(self, environment: str, stamp: str, contents: Mapping[str, DataVersion]) -> None:
        """Keep content versions under a stamp, in place of those of any other stamp."""
        values = {"environment": environment, "stamp": stamp, "contents": dump(versions_to_plain(contents))}
        with self._database.transaction(write=True) as transaction:
            transaction.put("sao_contents", [values])

    @ridden_out
    def shown(self, environment: str, scope: str) -> dict[str, str]:
        """Return what was last told about each name in a scope, such as the decisions that an evaluator has shown."""
        query = "select name, told from sao_shown where environment = :environment and scope = :scope"
        with self._database.transaction() as transaction:
            return dict(transaction.rows(query, {"environment": environment, "scope": scope}))

    @ridden_out
    def keep_shown(self, environment: str, scope: str, shown: Mapping[str, str]) -> None:
        """Replace what was last told about names in a scope; losing it means only that it is told again."""
        if not shown:
            return
        where = {"environment": environment, "scope": scope, "told_at": datetime.now(timezone.utc).isoformat()}
        rows = [{**where, "name": name, "told": told} for name, told in sorted(shown.items())]
        with self._database.transaction(write=True) as transaction:
            transaction.put("sao_shown", rows)

    @ridden_out
    def record_run(self, run: RunRecord, decisions: Sequence[DecisionRecord]) -> None:
        """Keep a run and its decisions, and forget what is older than the retention.

        What a run tells twice under the same decisions was told once, and the answer was lost.
        """
        values = to_row(run)
        rows = [{"run_id": run.run_id, "environment": run.environment, **to_row(each)} for each in decisions]
        with self._database.transaction(write=True) as transaction:
            self._database.take_turns(transaction, f"sao run {run.run_id}")  # its steps may end at the same moment
            if rows and transaction.row(_DECIDED, rows[0]) is not None:
                return
            before = transaction.row("select * from sao_runs where run_id = :run_id", {"run_id": run.run_id})
            if before is not None:  # a run of several steps, each of which tells what it did
                values["started_at"] = min(before.started_at, values["started_at"])
                summary = understood("the summary of this run", json.loads, before.summary)
                values["summary"] = dump(_added(summary or {}, run.summary))
            transaction.put("sao_runs", [values])
            if rows:
                transaction.insert("sao_decisions", rows)
            oldest = self._oldest(run.finished_at)
            due = (datetime.fromisoformat(oldest) - self._retention / 10).isoformat()
            if _has_history(transaction, run.environment, due):
                _forget(transaction, oldest)

    def _oldest(self, now: datetime) -> str:
        """Return since when history is kept; a time of the future, tried out or of another clock, makes nothing older."""
        return (min(now, datetime.now(timezone.utc)) - self._retention).isoformat()

    @ridden_out
    def runs(self, environment: str, limit: int | None = None, since: datetime | None = None) -> list[RunRecord]:
        """Return runs that began since a time, newest first."""
        values = {"environment": environment, "since": "" if since is None else since.isoformat(), "limit": limit}
        query = (
            "select * from sao_runs where environment = :environment and started_at >= :since order by started_at desc"
        )
        with self._database.transaction() as transaction:
            rows = transaction.rows(query if limit is None else f"{query} limit :limit", values)
        return list(readable(RunRecord, rows))

    @ridden_out
    def decision_totals(self, environment: str, since: datetime) -> list[DecisionTotals]:
        """Return what became of each model and data test since a time, the largest savings first."""
        query = """
            select model, outcome, count(*) as times, sum(seconds) as seconds, coalesce(sum(seconds_saved), 0.0) as seconds_saved
            from sao_decisions where environment = :environment and decided_at >= :since
            group by model, outcome order by 5 desc, model, outcome"""
        with self._database.transaction() as transaction:
            rows = transaction.rows(query, {"environment": environment, "since": since.isoformat()})
        return [DecisionTotals(*row) for row in rows]

    @ridden_out
    def decisions(self, environment: str, model: str, limit: int) -> list[DecisionRecord]:
        """Return the decisions about one model or data test, newest first."""
        query = "select * from sao_decisions where environment = :environment and model = :model order by id desc limit :limit"
        with self._database.transaction() as transaction:
            rows = transaction.rows(query, {"environment": environment, "model": model, "limit": limit})
        return list(readable(DecisionRecord, rows))

    @ridden_out
    def run_decisions(self, run_id: str) -> list[DecisionRecord]:
        """Return the decisions of a run, in the order in which they were kept."""
        query = "select * from sao_decisions where run_id = :run_id order by id"
        with self._database.transaction() as transaction:
            return list(readable(DecisionRecord, transaction.rows(query, {"run_id": run_id})))

    @ridden_out
    def forget_build(self, environment: str, model: str, lease: Lease | None = None) -> None:
        """Forget the build of a model that is about to be built anew, where a crash may leave half of it."""
        with self._database.transaction(write=True) as transaction:
            if lease is not None:
                self._database.take_turns(transaction, f"sao lease {environment} {model}")
                leases.check(transaction, environment, lease)
            mine = {"environment": environment, "model": model}
            transaction.execute("delete from sao_builds where environment = :environment and model = :model", mine)

    @ridden_out
    def clear(self, environment: str, models: Collection[str] | None, tests: Collection[str] | None) -> int:
        """Forget the builds of models and the verdicts of tests (None: all); return how many rows went."""
        gone = 0
        with self._database.transaction(write=True) as transaction:
            for table, column, names in (("sao_builds", "model", models), ("sao_tests", "test", tests)):
                everything, mine = f"delete from {table} where environment = :key", {"key": environment}
                if names is None:
                    gone += transaction.execute(everything, mine)
                    continue
                for chunk in chunks(names):
                    gone += transaction.execute(f"{everything} and {column} in (:names)", {**mine, "names": chunk})
        return gone

    @ridden_out
    def take_lease(
        self, environment: str, model: str, holder: str, run_id: str, seconds: float
    ) -> Lease | QueuePosition:
        """Return the lease on a model, or a place in the queue for it; first come, first served."""
        with self._database.transaction(write=True) as transaction:
            self._database.take_turns(transaction, f"sao lease {environment} {model}")
            return leases.take(
                transaction, self._database.now(transaction), environment, model, holder, run_id, seconds
            )

    @ridden_out
    def renew_leases(self, environment: str, holder: str, seconds: float) -> frozenset[str]:
        """Extend all leases and places of a holder; return the models on which it still has leases."""
        with self._database.transaction(write=True) as transaction:
            return leases.renew(transaction, self._database.now(transaction), environment, holder, seconds)

    @ridden_out
    def release_lease(self, environment: str, lease: Lease) -> None:
        """Give a lease back; one that was taken over is left alone."""
        with self._database.transaction(write=True) as transaction:
            leases.release(transaction, environment, lease)

    @ridden_out
    def leave_queues(self, environment: str, holder: str, model: str | None = None) -> None:
        """Give up all leases and places of a holder, or those on one model."""
        with self._database.transaction(write=True) as transaction:
            leases.leave(transaction, environment, holder, model)

    @ridden_out
    def leases(self, environment: str) -> list[Lease]:
        """Return the leases that are held now."""
        with self._database.transaction() as transaction:
            return leases.held(transaction, self._database.now(transaction), environment)

    def close(self) -> None:
        """Let go of connections."""
        self._database.close()


def _note(
    transaction: Transaction, environment: str, versions: Mapping[str, DataVersion], seen_at: datetime, oldest: str
) -> None:
    """Add versions that are not the latest already, and forget those of the same relations that are too old."""
    latest: dict[str, str] = {}
    mine = "environment = :environment and relation in (:names)"
    for names in chunks(versions):
        query = f"select relation, version from sao_versions where {mine} order by id"
        found = transaction.rows(query, {"environment": environment, "names": names})
        latest.update((row.relation, row.version) for row in found)
    rows = [
        {"environment": environment, "relation": name, "version": text, "seen_at": seen_at.isoformat()}
        for name, text in versions_to_plain(versions).items()
        if latest.get(name) != text
    ]
    if rows:
        transaction.insert("sao_versions", rows)
        for names in chunks(row["relation"] for row in rows):
            values = {"environment": environment, "names": names, "oldest": oldest}
            transaction.execute(f"delete from sao_versions where {mine} and {_SUPERSEDED}", values)


def _has_history(transaction: Transaction, environment: str, time: str) -> bool:
    """Return whether there is history from before a time: what looks through that of all environments is not done with each run."""
    first = transaction.value("select decided_at from sao_decisions order by id limit 1")
    run = transaction.value(
        "select min(finished_at) from sao_runs where environment = :environment", {"environment": environment}
    )
    return any(each is not None and each < time for each in (first, run))


def _forget(transaction: Transaction, oldest: str) -> None:
    """Remove what is older than the retention from all tables that keep history, and SQL that no record speaks of."""
    before = {"oldest": oldest}
    transaction.execute("delete from sao_decisions where decided_at < :oldest", before)
    transaction.execute("delete from sao_runs where finished_at < :oldest", before)
    # in the order in which a build is recorded, so that the two are never in each other's way
    transaction.execute("delete from sao_sql where id not in (select sql_id from sao_builds)")
    transaction.execute(f"delete from sao_versions where {_SUPERSEDED}", before)


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sums of two summaries."""
    return {name: round(one.get(name, 0) + other.get(name, 0), 3) for name in {**one, **other}}
