"""The tables of the shared state, as they are now. `migrations` says how they came to be so."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

from sao_dagster.core.records import HOLDER_LENGTH, LONGEST_NAME

metadata = MetaData()
builds = Table(
    "sao_builds",
    metadata,
    Column("environment", String(LONGEST_NAME), primary_key=True),
    Column("model", String(LONGEST_NAME), primary_key=True),
    Column("relation", Text, nullable=False),
    Column("code_version", String(64), nullable=False),
    Column("code_scheme", Integer, nullable=False),
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
    Column("run_id", String(LONGEST_NAME), nullable=False),
    Column("build_id", String(64)),
    Column("changed", Boolean),
    Column("adopted", Boolean, nullable=False, default=False),
    Column("sequence", Integer, nullable=False, index=True),
)
contents = Table(
    "sao_contents",
    metadata,
    Column("environment", String(LONGEST_NAME), primary_key=True),
    Column("stamp", String(64), nullable=False),
    Column("contents", Text, nullable=False),
)
tests = Table(
    "sao_tests",
    metadata,
    Column("environment", String(LONGEST_NAME), primary_key=True),
    Column("test", String(LONGEST_NAME), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("code_scheme", Integer, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("run_at", String(40), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("run_id", String(LONGEST_NAME), nullable=False),
    Column("definition", String(64)),
)
versions = Table(
    "sao_versions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("environment", String(LONGEST_NAME), nullable=False, index=True),
    Column("relation", String(LONGEST_NAME), nullable=False, index=True),
    Column("version", Text, nullable=False),
    Column("seen_at", String(40), nullable=False),
)
sql = Table(
    "sao_sql",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("text", Text, nullable=False),
)
shown = Table(
    "sao_shown",
    metadata,
    Column("environment", String(LONGEST_NAME), primary_key=True),
    Column("scope", String(LONGEST_NAME), primary_key=True),
    Column("name", String(LONGEST_NAME), primary_key=True),
    Column("told", Text, nullable=False),
    Column("told_at", String(40), nullable=False),
)
runs = Table(
    "sao_runs",
    metadata,
    Column("run_id", String(LONGEST_NAME), primary_key=True),
    Column("environment", String(LONGEST_NAME), nullable=False, index=True),
    Column("mode", String(32), nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("finished_at", String(40), nullable=False),
    Column("summary", Text, nullable=False),
    Column("job", String(LONGEST_NAME), nullable=False, server_default=""),
)
decisions = Table(
    "sao_decisions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String(LONGEST_NAME), nullable=False, index=True),
    Column("environment", String(LONGEST_NAME), nullable=False),
    Column("model", String(LONGEST_NAME), nullable=False, index=True),
    Column("outcome", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("decided_at", String(40), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("seconds_saved", Float, nullable=False),
)
leases = Table(
    "sao_leases",
    metadata,
    Column("environment", String(LONGEST_NAME), primary_key=True),
    Column("model", String(LONGEST_NAME), primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("holder", String(HOLDER_LENGTH)),
    Column("run_id", String(LONGEST_NAME)),
    Column("taken_at", Float),
    Column("expires_at", Float),
    Column("seconds", Float),
)
waiters = Table(
    "sao_waiters",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("environment", String(LONGEST_NAME), nullable=False),
    Column("model", String(LONGEST_NAME), nullable=False),
    Column("holder", String(HOLDER_LENGTH), nullable=False),
    Column("run_id", String(LONGEST_NAME), nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("seconds", Float),
    Index("ix_sao_waiters_place", "environment", "model", "id"),
)
environments = Table(
    "sao_environments",
    metadata,
    Column(
        "place", String(LONGEST_NAME), primary_key=True
    ),  # the key that the environment would have, were nothing known but where it is
    Column("environment", String(LONGEST_NAME), nullable=False, index=True),
    Column("name", String(LONGEST_NAME), nullable=False),
    Column("schema_name", String(LONGEST_NAME), nullable=False),
    Column("database_place", Text, nullable=False),
)
branches = Table(
    "sao_branches",
    metadata,
    Column("environment", String(LONGEST_NAME), primary_key=True),
    Column("against", String(LONGEST_NAME), nullable=False),
    Column("schemas", Text, nullable=False),
    Column("made_at", String(40), nullable=False),
    Column("used_at", String(40), nullable=False),
)
sequences = Table(
    "sao_sequences",
    metadata,
    Column("environment", String(LONGEST_NAME), primary_key=True),
    Column("last", Integer, nullable=False),
)
