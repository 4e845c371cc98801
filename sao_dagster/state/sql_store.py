"""The state store on SQLAlchemy Core, in SQLite or PostgreSQL.

Each method is one short transaction, so that a crash leaves the state as it was before or after it, and so that it can be
tried again when the connection breaks.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.environment import Branch, Environment, KnownEnvironment
from sao_dagster.core.records import BuildRecord, Lease, QueuePosition, TestRecord
from sao_dagster.state import environments, leases, tables
from sao_dagster.state.connection import StateConnection, ridden_out
from sao_dagster.state.convert import dump, readable, to_row, understood, versions_from_plain, versions_to_plain
from sao_dagster.state.migrate import check_version, migrate
from sao_dagster.state.protocol import DecisionRecord, DecisionTotals, RunRecord

RETENTION = timedelta(days=90)
_CHUNK = 500  # bound parameters by statement stay below SQLite's limit


class SqlStateStore:
    """The shared state in a SQL database.

    Args:
        url: An SQLAlchemy URL; `sqlite://` alone lives in memory, for tests.
        retention: How long everything that is history is kept: runs, decisions, versions that others followed, what was told.
        read_only: Whether it is somebody else's, in which nothing is written: the database refuses it.

    Raises:
        StateError: The database cannot be opened, or was written by a newer version of this package; or it is read only, and there is
            none of this version.
    """

    def __init__(self, url: str, retention: timedelta = RETENTION, *, read_only: bool = False) -> None:
        self._retention = retention
        self._database = StateConnection(url, read_only=read_only)
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
        with self._database.transaction() as connection:
            return datetime.fromtimestamp(self._database.now(connection), timezone.utc)

    @ridden_out
    def settle(self, found: Environment, where: Environment, relations: Mapping[str, str]) -> None:
        """Note that an environment was found at a place, and let it take over what is its own."""
        with self._database.transaction() as connection:
            if environments.is_settled(connection, found, where):
                return
        with self._database.transaction(write=True) as connection:
            self._database.take_turns(connection, "sao environments")
            if not environments.is_settled(connection, found, where):
                environments.settle(connection, found, where, relations)

    @ridden_out
    def environment_at(self, where: Environment) -> str:
        """Return the key of the environment that was found at a place the last time."""
        with self._database.transaction() as connection:
            return environments.at(connection, where)

    @ridden_out
    def environments(self) -> list[KnownEnvironment]:
        """Return all environments that are known, sorted by key."""
        with self._database.transaction() as connection:
            return environments.known(connection)

    @ridden_out
    def branches(self) -> list[Branch]:
        """Return the environments that were made for branches, sorted by key."""
        with self._database.transaction() as connection:
            return environments.branches(connection)

    @ridden_out
    def branch(self, environment: str) -> Branch | None:
        """Return what was made for the branch whose environment it is; None where it was made for none."""
        with self._database.transaction() as connection:
            return next(iter(environments.branches(connection, environment)), None)

    @ridden_out
    def keep_branch(self, branch: Branch) -> None:
        """Note that an environment was made for a branch, or was used."""
        with self._database.transaction(write=True) as connection:
            _put(connection, tables.branches, to_row(branch))

    @ridden_out
    def forget_environment(self, environment: str) -> int:
        """Forget an environment that is gone, but for the history of its runs; return how many builds and verdicts went."""
        with self._database.transaction(write=True) as connection:
            return environments.forget(connection, environment)

    @ridden_out
    def builds(self, environment: str) -> dict[str, BuildRecord]:
        """Return the last builds by model."""
        return self.changes(environment, since=0)[0]

    @ridden_out
    def changes(self, environment: str, since: int) -> tuple[dict[str, BuildRecord], int]:
        """Return the builds that were recorded after a sequence, by any run, and the sequence to ask with the next time."""
        query = select(tables.builds).where(
            tables.builds.c.environment == environment, tables.builds.c.sequence > since
        )
        with self._database.transaction() as connection:
            rows = connection.execute(query).all()
        records = {record.model: record for record in readable(BuildRecord, rows)}
        return records, max((row.sequence for row in rows if isinstance(row.sequence, int)), default=since)

    @ridden_out
    def tests(self, environment: str) -> dict[str, TestRecord]:
        """Return the last verdicts by test."""
        with self._database.transaction() as connection:
            rows = connection.execute(select(tables.tests).where(tables.tests.c.environment == environment))
            return {record.test: record for record in readable(TestRecord, rows)}

    @ridden_out
    def history(
        self, environment: str, relations: Collection[str]
    ) -> dict[str, tuple[tuple[DataVersion, datetime], ...]]:
        """Return by relation the versions that were seen, with the time each was first seen, oldest first."""
        found: dict[str, list[tuple[DataVersion, datetime]]] = {}
        with self._database.transaction() as connection:
            for names in _chunks(relations):
                query = (
                    select(tables.versions)
                    .where(tables.versions.c.environment == environment, tables.versions.c.relation.in_(names))
                    .order_by(tables.versions.c.id)
                )
                for row in connection.execute(query):
                    version = understood(f"a version of {row.relation!r}", DataVersion.parse, row.version)
                    seen_at = understood(f"a time of {row.relation!r}", datetime.fromisoformat, row.seen_at)
                    if version is not None and seen_at is not None:
                        found.setdefault(row.relation, []).append((version, seen_at))
        return {name: tuple(versions) for name, versions in found.items()}

    @ridden_out
    def sql(self, ids: Collection[str]) -> dict[str, str]:
        """Return kept SQL by id."""
        found = {}
        with self._database.transaction() as connection:
            for chunk in _chunks(ids):
                for row in connection.execute(select(tables.sql).where(tables.sql.c.id.in_(chunk))):
                    found[row.id] = row.text
        return found

    @ridden_out
    def record_build(self, environment: str, record: BuildRecord, sql: str, lease: Lease | None = None) -> None:
        """Replace the record of a model, keep its SQL, and note its data version, in one transaction.

        Under a lease, that is done only while nobody has taken it over, and the lease is given back with it.
        """
        values = {"environment": environment, **to_row(record)}
        latest = select(tables.sequences.c.last).where(tables.sequences.c.environment == environment)
        with self._database.transaction(write=True) as connection:
            # in the order of their commits, so that whoever reads up to a mark has missed none before it
            self._database.take_turns(connection, f"sao builds {environment}")
            if lease is not None:
                self._database.take_turns(connection, f"sao lease {environment} {record.model}")
                leases.check(connection, environment, lease)
                leases.release(connection, environment, lease)
            values["sequence"] = (connection.execute(latest).scalar_one_or_none() or 0) + 1
            _put(connection, tables.sequences, {"environment": environment, "last": values["sequence"]})
            _put(connection, tables.builds, values)
            _put(connection, tables.sql, {"id": record.sql_id, "text": sql})
            versions = {record.model: record.data_version}
            _note(connection, environment, versions, record.built_at, self._oldest(record.built_at))

    @ridden_out
    def record_tests(self, environment: str, records: Sequence[TestRecord]) -> None:
        """Replace the last verdicts of tests, in one transaction."""
        rows = [
            {"environment": environment, **to_row(record)} for record in sorted(records, key=lambda each: each.test)
        ]
        if rows:
            with self._database.transaction(write=True) as connection:
                _put(connection, tables.tests, rows)

    @ridden_out
    def note_versions(self, environment: str, versions: Mapping[str, DataVersion], seen_at: datetime) -> None:
        """Note when versions were first seen; a version that is the latest already is left alone."""
        with self._database.transaction(write=True) as connection:
            _note(connection, environment, versions, seen_at, self._oldest(seen_at))

    @ridden_out
    def contents(self, environment: str, stamp: str) -> dict[str, DataVersion]:
        """Return the content versions that were kept under a stamp of the warehouse; none for another stamp."""
        query = select(tables.contents.c.contents).where(
            tables.contents.c.environment == environment, tables.contents.c.stamp == stamp
        )
        with self._database.transaction() as connection:
            found = connection.execute(query).scalar_one_or_none()
        if not found:
            return {}
        read = understood("what is kept of contents", lambda text: versions_from_plain(json.loads(text)), found)
        return read or {}

    @ridden_out
    def keep_contents(self, environment: str, stamp: str, contents: Mapping[str, DataVersion]) -> None:
        """Keep content versions under a stamp, in place of those of any other stamp."""
        values = {"environment": environment, "stamp": stamp, "contents": dump(versions_to_plain(contents))}
        with self._database.transaction(write=True) as connection:
            _put(connection, tables.contents, values)

    @ridden_out
    def shown(self, environment: str, scope: str) -> dict[str, str]:
        """Return what was last told about each name in a scope, such as the decisions that an evaluator has shown."""
        query = select(tables.shown).where(tables.shown.c.environment == environment, tables.shown.c.scope == scope)
        with self._database.transaction() as connection:
            return {row.name: row.told for row in connection.execute(query)}

    @ridden_out
    def keep_shown(self, environment: str, scope: str, shown: Mapping[str, str]) -> None:
        """Replace what was last told about names in a scope; losing it means only that it is told again."""
        if not shown:
            return
        where = {"environment": environment, "scope": scope, "told_at": datetime.now(timezone.utc).isoformat()}
        rows = [{**where, "name": name, "told": told} for name, told in sorted(shown.items())]
        with self._database.transaction(write=True) as connection:
            _put(connection, tables.shown, rows)

    @ridden_out
    def record_run(self, run: RunRecord, decisions: Sequence[DecisionRecord]) -> None:
        """Keep a run and its decisions, and forget what is older than the retention."""
        values = to_row(run)
        rows = [{"run_id": run.run_id, "environment": run.environment, **to_row(each)} for each in decisions]
        with self._database.transaction(write=True) as connection:
            self._database.take_turns(connection, f"sao run {run.run_id}")  # its steps may end at the same moment
            before = connection.execute(select(tables.runs).where(tables.runs.c.run_id == run.run_id)).one_or_none()
            if before is not None:  # a run of several steps, each of which tells what it did
                values["started_at"] = min(before.started_at, values["started_at"])
                summary = understood("the summary of this run", json.loads, before.summary)
                values["summary"] = dump(_added(summary or {}, run.summary))
            _put(connection, tables.runs, values)
            if rows:
                connection.execute(insert(tables.decisions), rows)
            self._forget(connection, self._oldest(run.finished_at))

    def _oldest(self, now: datetime) -> str:
        """Return since when history is kept; a time of the future, tried out or of another clock, makes nothing older."""
        return (min(now, datetime.now(timezone.utc)) - self._retention).isoformat()

    @staticmethod
    def _forget(connection: Connection, oldest: str) -> None:
        """Remove what is older than the retention from all tables that keep history, and SQL that no record speaks of."""
        connection.execute(delete(tables.decisions).where(tables.decisions.c.decided_at < oldest))
        connection.execute(delete(tables.runs).where(tables.runs.c.finished_at < oldest))
        # in the order in which a build is recorded, so that the two are never in each other's way
        connection.execute(delete(tables.sql).where(tables.sql.c.id.not_in(select(tables.builds.c.sql_id))))
        connection.execute(delete(tables.versions).where(*_superseded(oldest)))

    @ridden_out
    def runs(self, environment: str, limit: int | None = None, since: datetime | None = None) -> list[RunRecord]:
        """Return runs that began since a time, newest first."""
        query = (
            select(tables.runs)
            .where(tables.runs.c.environment == environment)
            .order_by(tables.runs.c.started_at.desc())
        )
        if since is not None:
            query = query.where(tables.runs.c.started_at >= since.isoformat())
        with self._database.transaction() as connection:
            return list(readable(RunRecord, connection.execute(query.limit(limit))))

    @ridden_out
    def decision_totals(self, environment: str, since: datetime) -> list[DecisionTotals]:
        """Return what became of each model and data test since a time, the largest savings first."""
        kept = tables.decisions.c
        saved = func.coalesce(func.sum(kept.seconds_saved), 0.0).label("seconds_saved")
        query = (
            select(
                kept.model, kept.outcome, func.count().label("times"), func.sum(kept.seconds).label("seconds"), saved
            )
            .where(kept.environment == environment, kept.decided_at >= since.isoformat())
            .group_by(kept.model, kept.outcome)
            .order_by(saved.desc(), kept.model, kept.outcome)
        )
        with self._database.transaction() as connection:
            return [DecisionTotals(*row) for row in connection.execute(query)]

    @ridden_out
    def decisions(self, environment: str, model: str, limit: int) -> list[DecisionRecord]:
        """Return the decisions about one model or data test, newest first."""
        query = (
            select(tables.decisions)
            .where(tables.decisions.c.environment == environment, tables.decisions.c.model == model)
            .order_by(tables.decisions.c.id.desc())
            .limit(limit)
        )
        with self._database.transaction() as connection:
            return list(readable(DecisionRecord, connection.execute(query)))

    @ridden_out
    def forget_build(self, environment: str, model: str, lease: Lease | None = None) -> None:
        """Forget the build of a model that is about to be built anew, where a crash may leave half of it."""
        with self._database.transaction(write=True) as connection:
            if lease is not None:
                self._database.take_turns(connection, f"sao lease {environment} {model}")
                leases.check(connection, environment, lease)
            mine = (tables.builds.c.environment == environment, tables.builds.c.model == model)
            connection.execute(delete(tables.builds).where(*mine))

    @ridden_out
    def clear(self, environment: str, models: Collection[str] | None, tests: Collection[str] | None) -> int:
        """Forget the builds of models and the verdicts of tests (None: all); return how many rows went."""
        gone = 0
        with self._database.transaction(write=True) as connection:
            for table, column, names in (
                (tables.builds, tables.builds.c.model, models),
                (tables.tests, tables.tests.c.test, tests),
            ):
                everything = delete(table).where(table.c.environment == environment)
                if names is None:
                    gone += connection.execute(everything).rowcount
                    continue
                for chunk in _chunks(names):
                    gone += connection.execute(everything.where(column.in_(chunk))).rowcount
        return gone

    @ridden_out
    def take_lease(
        self, environment: str, model: str, holder: str, run_id: str, seconds: float
    ) -> Lease | QueuePosition:
        """Return the lease on a model, or a place in the queue for it; first come, first served."""
        with self._database.transaction(write=True) as connection:
            self._database.take_turns(connection, f"sao lease {environment} {model}")
            return leases.take(connection, self._database.now(connection), environment, model, holder, run_id, seconds)

    @ridden_out
    def renew_leases(self, environment: str, holder: str, seconds: float) -> frozenset[str]:
        """Extend all leases and places of a holder; return the models on which it still has leases."""
        with self._database.transaction(write=True) as connection:
            return leases.renew(connection, self._database.now(connection), environment, holder, seconds)

    @ridden_out
    def release_lease(self, environment: str, lease: Lease) -> None:
        """Give a lease back; one that was taken over is left alone."""
        with self._database.transaction(write=True) as connection:
            leases.release(connection, environment, lease)

    @ridden_out
    def leave_queues(self, environment: str, holder: str, model: str | None = None) -> None:
        """Give up all leases and places of a holder, or those on one model."""
        with self._database.transaction(write=True) as connection:
            leases.leave(connection, environment, holder, model)

    @ridden_out
    def leases(self, environment: str) -> list[Lease]:
        """Return the leases that are held now."""
        with self._database.transaction() as connection:
            return leases.held(connection, self._database.now(connection), environment)

    def close(self) -> None:
        """Let go of connections."""
        self._database.close()


def _put(connection: Connection, table: Table, rows: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    """Write rows in place of those with their keys, in one statement, so that two writers cannot be in each other's way."""
    connection.execute(_puts(connection.dialect.name)[table.name], rows)


@cache
def _puts(dialect: str) -> dict[str, Any]:
    """Return the statements of one kind of database, made once, since making them is what takes the time."""
    inserting = import_module(f"sqlalchemy.dialects.{dialect}").insert  # the other one is not loaded
    found = {}
    for table in (
        tables.builds,
        tables.tests,
        tables.contents,
        tables.runs,
        tables.sql,
        tables.shown,
        tables.sequences,
        tables.branches,
    ):
        statement = inserting(table)
        keys = [column.name for column in table.primary_key]
        others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
        found[table.name] = statement.on_conflict_do_update(index_elements=keys, set_=others)
    return found


def _note(
    connection: Connection, environment: str, versions: Mapping[str, DataVersion], seen_at: datetime, oldest: str
) -> None:
    """Add versions that are not the latest already, and forget those of the same relations that are too old."""
    latest: dict[str, str] = {}
    for names in _chunks(versions):
        query = (
            select(tables.versions.c.relation, tables.versions.c.version)
            .where(tables.versions.c.environment == environment, tables.versions.c.relation.in_(names))
            .order_by(tables.versions.c.id)
        )
        latest.update((row.relation, row.version) for row in connection.execute(query))
    rows = [
        {"environment": environment, "relation": name, "version": text, "seen_at": seen_at.isoformat()}
        for name, text in versions_to_plain(versions).items()
        if latest.get(name) != text
    ]
    if rows:
        connection.execute(insert(tables.versions), rows)
        for names in _chunks(row["relation"] for row in rows):
            mine = (tables.versions.c.environment == environment, tables.versions.c.relation.in_(names))
            connection.execute(delete(tables.versions).where(*mine, *_superseded(oldest)))


def _superseded(oldest: str) -> tuple[Any, ...]:
    """Return the conditions for versions that were seen before a time and are not the latest of their relation."""
    newer = tables.versions.alias()
    there = select(newer.c.id).where(
        newer.c.environment == tables.versions.c.environment,
        newer.c.relation == tables.versions.c.relation,
        newer.c.id > tables.versions.c.id,
    )
    return tables.versions.c.seen_at < oldest, there.exists()


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sums of two summaries."""
    return {name: round(one.get(name, 0) + other.get(name, 0), 3) for name in {**one, **other}}


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(set(names))
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]
