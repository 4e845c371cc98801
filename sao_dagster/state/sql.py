"""The state store on SQLAlchemy Core, in SQLite.

Each method is one short transaction, so that a crash leaves the state as it was before or after it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Insert,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Update,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from sao_dagster.core.records import BuildRecord, TestRecord, Verdict
from sao_dagster.errors import StateError
from sao_dagster.state.base import DecisionRecord, RunRecord

SCHEMA_VERSION = 1
RETENTION = timedelta(days=90)
_CHUNK = 500  # bound parameters by statement stay below SQLite's limit

_metadata = MetaData()
_meta = Table(
    "sao_meta",
    _metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
_builds = Table(
    "sao_builds",
    _metadata,
    Column("environment", String(255), primary_key=True),
    Column("model", String(255), primary_key=True),
    Column("relation", Text, nullable=False),
    Column("code_version", String(64), nullable=False),
    Column("code_parts", Text, nullable=False),
    Column("definition", String(64), nullable=False),
    Column("sql_id", String(64), nullable=False),
    Column("inputs", Text, nullable=False),
    Column("definitions", Text, nullable=False),
    Column("data_version", Text, nullable=False),
    Column("columns", Text, nullable=False),
    Column("row_count", Integer),
    Column("observed_at", String(40), nullable=False),
    Column("built_at", String(40), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("run_id", String(255), nullable=False),
    Column("sequence", Integer, nullable=False, index=True),
)
_contents = Table(
    "sao_contents",
    _metadata,
    Column("environment", String(255), primary_key=True),
    Column("stamp", String(64), nullable=False),
    Column("contents", Text, nullable=False),
)
_tests = Table(
    "sao_tests",
    _metadata,
    Column("environment", String(255), primary_key=True),
    Column("test", String(255), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("inputs", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("run_at", String(40), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("run_id", String(255), nullable=False),
)
_versions = Table(
    "sao_versions",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("environment", String(255), nullable=False, index=True),
    Column("relation", String(255), nullable=False, index=True),
    Column("version", Text, nullable=False),
    Column("seen_at", String(40), nullable=False),
)
_sql = Table(
    "sao_sql",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("text", Text, nullable=False),
)
_marks = Table(
    "sao_marks",
    _metadata,
    Column("environment", String(255), primary_key=True),
    Column("scope", String(255), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("mark", String(255), nullable=False),
)
_runs = Table(
    "sao_runs",
    _metadata,
    Column("run_id", String(255), primary_key=True),
    Column("environment", String(255), nullable=False, index=True),
    Column("mode", String(32), nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("finished_at", String(40), nullable=False),
    Column("summary", Text, nullable=False),
)
_decisions = Table(
    "sao_decisions",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String(255), nullable=False, index=True),
    Column("environment", String(255), nullable=False),
    Column("model", String(255), nullable=False, index=True),
    Column("outcome", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("decided_at", String(40), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("seconds_saved", Float, nullable=False),
)


class SqlStateStore:
    """The shared state in a SQL database.

    Args:
        url: An SQLAlchemy URL; `sqlite://` alone lives in memory, for tests.
        retention: How long runs and their decisions are kept.

    Raises:
        StateError: The database cannot be opened, or was written by a newer version of this package.
    """

    def __init__(self, url: str, retention: timedelta = RETENTION) -> None:
        self._retention = retention
        try:
            self._engine = _open(url)
            self._writer = self._engine.execution_options(sao_write=True)
        except (SQLAlchemyError, OSError, ValueError) as error:
            raise StateError(f"the state cannot be opened: {_reason(error)}") from error
        with self._transaction(write=True) as connection:
            _metadata.create_all(connection)
            found = connection.execute(select(_meta.c.value).where(_meta.c.key == "schema_version")).scalar()
            if found is None:
                connection.execute(insert(_meta).values(key="schema_version", value=str(SCHEMA_VERSION)))
            elif int(found) > SCHEMA_VERSION:
                raise StateError(
                    f"the state was written by a newer sao_dagster (schema {found}, this one knows {SCHEMA_VERSION}); "
                    f"upgrade this installation"
                )

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[Connection]:
        try:
            with (self._writer if write else self._engine).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StateError(f"the state cannot be read or written: {_reason(error)}") from error

    def builds(self, environment: str) -> dict[str, BuildRecord]:
        """Return the last builds by model."""
        return self.changes(environment, since=0)[0]

    def changes(self, environment: str, since: int) -> tuple[dict[str, BuildRecord], int]:
        """Return the builds that were recorded after a mark, by any run, and the mark to ask with the next time."""
        query = select(_builds).where(_builds.c.environment == environment, _builds.c.sequence > since)
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return {row.model: _to_build(row) for row in rows}, max((row.sequence for row in rows), default=since)

    def tests(self, environment: str) -> dict[str, TestRecord]:
        """Return the last verdicts by test."""
        with self._transaction() as connection:
            rows = connection.execute(select(_tests).where(_tests.c.environment == environment))
            return {row.test: _to_test(row) for row in rows}

    def history(self, environment: str, relations: Collection[str]) -> dict[str, tuple[tuple[str, datetime], ...]]:
        """Return by relation the versions that were seen, with the time each was first seen, oldest first."""
        found: dict[str, list[tuple[str, datetime]]] = {}
        with self._transaction() as connection:
            for names in _chunks(relations):
                query = (
                    select(_versions)
                    .where(_versions.c.environment == environment, _versions.c.relation.in_(names))
                    .order_by(_versions.c.id)
                )
                for row in connection.execute(query):
                    found.setdefault(row.relation, []).append((row.version, _time(row.seen_at)))
        return {name: tuple(versions) for name, versions in found.items()}

    def sql(self, ids: Collection[str]) -> dict[str, str]:
        """Return kept SQL by id."""
        found = {}
        with self._transaction() as connection:
            for chunk in _chunks(ids):
                for row in connection.execute(select(_sql).where(_sql.c.id.in_(chunk))):
                    found[row.id] = row.text
        return found

    def record_build(self, environment: str, record: BuildRecord, sql: str) -> None:
        """Replace the record of a model, keep its SQL, and note its data version, in one transaction."""
        values: dict[str, object] = {
            "relation": record.relation,
            "code_version": record.code_version,
            "code_parts": _dump(record.code_parts),
            "definition": record.definition,
            "sql_id": record.sql_id,
            "inputs": _dump(record.inputs),
            "definitions": _dump(record.definitions),
            "data_version": record.data_version,
            "columns": _dump(record.columns),
            "row_count": record.rows,
            "observed_at": record.observed_at.isoformat(),
            "built_at": record.built_at.isoformat(),
            "seconds": record.seconds,
            "run_id": record.run_id,
        }
        latest = select(func.coalesce(func.max(_builds.c.sequence), 0)).where(_builds.c.environment == environment)
        with self._transaction(write=True) as connection:
            values["sequence"] = connection.execute(latest).scalar_one() + 1
            _put(connection, _builds, {"environment": environment, "model": record.model}, values)
            known = connection.execute(select(_sql.c.id).where(_sql.c.id == record.sql_id)).one_or_none()
            if known is None:
                connection.execute(insert(_sql).values(id=record.sql_id, text=sql))
            _note(connection, environment, {record.model: record.data_version}, record.built_at)

    def record_tests(self, environment: str, records: Sequence[TestRecord]) -> None:
        """Replace the last verdicts of tests, in one transaction."""
        with self._transaction(write=True) as connection:
            for record in records:
                values = {
                    "version": record.version,
                    "inputs": _dump(record.inputs),
                    "verdict": record.verdict.value,
                    "failures": record.failures,
                    "run_at": record.run_at.isoformat(),
                    "seconds": record.seconds,
                    "run_id": record.run_id,
                }
                _put(connection, _tests, {"environment": environment, "test": record.test}, values)

    def note_versions(self, environment: str, versions: Mapping[str, str], seen_at: datetime) -> None:
        """Note when versions were first seen; a version that is the latest already is left alone."""
        with self._transaction(write=True) as connection:
            _note(connection, environment, versions, seen_at)

    def contents(self, environment: str, stamp: str) -> dict[str, str]:
        """Return the content versions that were kept under a stamp of the warehouse; none for another stamp."""
        query = select(_contents.c.contents).where(_contents.c.environment == environment, _contents.c.stamp == stamp)
        with self._transaction() as connection:
            found = connection.execute(query).scalar_one_or_none()
        kept: dict[str, str] = json.loads(found) if found else {}
        return kept

    def keep_contents(self, environment: str, stamp: str, contents: Mapping[str, str]) -> None:
        """Keep content versions under a stamp, in place of those of any other stamp."""
        values = {"stamp": stamp, "contents": _dump(contents)}
        with self._transaction(write=True) as connection:
            _put(connection, _contents, {"environment": environment}, values)

    def marks(self, environment: str, scope: str) -> dict[str, str]:
        """Return what was last told about each name in a scope, such as the decisions that an evaluator has shown."""
        query = select(_marks).where(_marks.c.environment == environment, _marks.c.scope == scope)
        with self._transaction() as connection:
            return {row.name: row.mark for row in connection.execute(query)}

    def keep_marks(self, environment: str, scope: str, marks: Mapping[str, str]) -> None:
        """Replace what was last told about names in a scope; losing it means only that it is told again."""
        if not marks:
            return
        same = (_marks.c.environment == environment, _marks.c.scope == scope)
        rows = [{"environment": environment, "scope": scope, "name": name, "mark": marks[name]} for name in marks]
        with self._transaction(write=True) as connection:
            for names in _chunks(marks):
                connection.execute(delete(_marks).where(*same, _marks.c.name.in_(names)))
            connection.execute(insert(_marks), rows)

    def record_run(self, run: RunRecord, decisions: Sequence[DecisionRecord]) -> None:
        """Keep a run and its decisions, and forget what is older than the retention."""
        values = {
            "environment": run.environment,
            "mode": run.mode,
            "started_at": run.started_at.isoformat(),
            "finished_at": run.finished_at.isoformat(),
            "summary": _dump(run.summary),
        }
        rows = [
            {
                "run_id": run.run_id,
                "environment": run.environment,
                "model": each.model,
                "outcome": each.outcome,
                "reason": each.reason,
                "evidence": _dump(each.evidence),
                "decided_at": each.decided_at.isoformat(),
                "seconds": each.seconds,
                "seconds_saved": each.seconds_saved,
            }
            for each in decisions
        ]
        oldest = (run.finished_at - self._retention).isoformat()
        with self._transaction(write=True) as connection:
            before = connection.execute(select(_runs).where(_runs.c.run_id == run.run_id)).one_or_none()
            if before is not None:  # a run of several steps, each of which tells what it did
                values["started_at"] = min(before.started_at, values["started_at"])
                values["summary"] = _dump(_added(json.loads(before.summary), run.summary))
            _put(connection, _runs, {"run_id": run.run_id}, values)
            if rows:
                connection.execute(insert(_decisions), rows)
            connection.execute(delete(_decisions).where(_decisions.c.decided_at < oldest))
            connection.execute(delete(_runs).where(_runs.c.finished_at < oldest))

    def runs(self, environment: str, limit: int | None = None) -> list[RunRecord]:
        """Return runs, newest first."""
        query = select(_runs).where(_runs.c.environment == environment).order_by(_runs.c.started_at.desc())
        with self._transaction() as connection:
            return [
                RunRecord(
                    run_id=row.run_id,
                    environment=row.environment,
                    mode=row.mode,
                    started_at=_time(row.started_at),
                    finished_at=_time(row.finished_at),
                    summary=json.loads(row.summary),
                )
                for row in connection.execute(query.limit(limit))
            ]

    def decisions(self, environment: str, model: str, limit: int) -> list[DecisionRecord]:
        """Return the decisions about one model or data test, newest first."""
        query = (
            select(_decisions)
            .where(_decisions.c.environment == environment, _decisions.c.model == model)
            .order_by(_decisions.c.id.desc())
            .limit(limit)
        )
        with self._transaction() as connection:
            return [
                DecisionRecord(
                    model=row.model,
                    outcome=row.outcome,
                    reason=row.reason,
                    evidence=json.loads(row.evidence),
                    decided_at=_time(row.decided_at),
                    seconds=row.seconds,
                    seconds_saved=row.seconds_saved,
                )
                for row in connection.execute(query)
            ]

    def clear(self, environment: str, models: Collection[str] | None, tests: Collection[str] | None) -> int:
        """Forget the builds of models and the verdicts of tests (None: all); return how many rows went."""
        gone = 0
        with self._transaction(write=True) as connection:
            for table, column, names in ((_builds, _builds.c.model, models), (_tests, _tests.c.test, tests)):
                everything = delete(table).where(table.c.environment == environment)
                if names is None:
                    gone += connection.execute(everything).rowcount
                    continue
                for chunk in _chunks(names):
                    gone += connection.execute(everything.where(column.in_(chunk))).rowcount
        return gone

    def close(self) -> None:
        """Let go of connections."""
        self._engine.dispose()


def _open(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database in (None, "", ":memory:"):
        # one connection, which is the database; threads take turns
        engine = create_engine(
            parsed, poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False}
        )
    else:
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # this module says when transactions begin, not the driver
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a writer takes its place in the queue at once; a reader that turned writer could only fail
        write = connection.get_execution_options().get("sao_write")
        connection.exec_driver_sql("begin immediate" if write else "begin")

    return engine


def _reason(error: Exception) -> str:
    """Return what the driver said, without the statement and its values."""
    original = getattr(error, "orig", None)
    return str(original or error).splitlines()[0] if str(original or error) else type(error).__name__


def _statements(table: Table) -> tuple[Update, Insert]:
    """Return the statements that replace a row by its key, made once, since making them is what takes the time."""
    matches = [column == bindparam(f"key_{column.name}") for column in table.primary_key]
    return update(table).where(*matches), insert(table)


_PUTS = {table.name: _statements(table) for table in (_builds, _tests, _contents, _runs)}


def _put(connection: Connection, table: Table, key: Mapping[str, str], values: Mapping[str, object]) -> None:
    change, add = _PUTS[table.name]
    named = {f"key_{name}": value for name, value in key.items()}
    if connection.execute(change, {**values, **named}).rowcount == 0:
        connection.execute(add, {**key, **values})


def _note(connection: Connection, environment: str, versions: Mapping[str, str], seen_at: datetime) -> None:
    latest: dict[str, str] = {}
    for names in _chunks(versions):
        query = (
            select(_versions.c.relation, _versions.c.version)
            .where(_versions.c.environment == environment, _versions.c.relation.in_(names))
            .order_by(_versions.c.id)
        )
        latest.update((row.relation, row.version) for row in connection.execute(query))
    rows = [
        {"environment": environment, "relation": name, "version": version, "seen_at": seen_at.isoformat()}
        for name, version in versions.items()
        if latest.get(name) != version
    ]
    if rows:
        connection.execute(insert(_versions), rows)
        oldest = (seen_at - RETENTION).isoformat()
        names = [row["relation"] for row in rows]
        for chunk in _chunks(names):  # only what has a newer version: the latest one is never forgotten
            connection.execute(
                delete(_versions).where(
                    _versions.c.environment == environment,
                    _versions.c.relation.in_(chunk),
                    _versions.c.seen_at < oldest,
                )
            )


def _to_build(row: Any) -> BuildRecord:
    return BuildRecord(
        model=row.model,
        relation=row.relation,
        code_version=row.code_version,
        code_parts=json.loads(row.code_parts),
        definition=row.definition,
        sql_id=row.sql_id,
        inputs=json.loads(row.inputs),
        definitions=json.loads(row.definitions),
        data_version=row.data_version,
        columns=tuple((name, kind) for name, kind in json.loads(row.columns)),
        rows=row.row_count,
        observed_at=_time(row.observed_at),
        built_at=_time(row.built_at),
        seconds=row.seconds,
        run_id=row.run_id,
    )


def _to_test(row: Any) -> TestRecord:
    return TestRecord(
        test=row.test,
        version=row.version,
        inputs=json.loads(row.inputs),
        verdict=Verdict(row.verdict),
        failures=row.failures,
        run_at=_time(row.run_at),
        seconds=row.seconds,
        run_id=row.run_id,
    )


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sums of two summaries."""
    return {name: round(one.get(name, 0) + other.get(name, 0), 3) for name in {**one, **other}}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(timezone.utc)


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(set(names))
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]
