"""The first tables. Those of development versions, made without migrations, are taken over as they are."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make the tables that are not there."""
    transaction.script(TABLES)


TABLES = """
create table if not exists sao_builds (
    environment varchar(255) not null,
    model varchar(255) not null,
    relation text not null,
    code_version varchar(64) not null,
    code_parts text not null,
    definition varchar(64) not null,
    sql_id varchar(64) not null,
    inputs text not null,
    definitions text not null,
    data_version text not null,
    columns text not null,
    row_count integer,
    observed_at varchar(40) not null,
    built_at varchar(40) not null,
    seconds float not null,
    run_id varchar(255) not null,
    sequence integer not null,
    primary key (environment, model)
);
create index if not exists ix_sao_builds_sequence on sao_builds (sequence);
create table if not exists sao_contents (
    environment varchar(255) not null,
    stamp varchar(64) not null,
    contents text not null,
    primary key (environment)
);
create table if not exists sao_tests (
    environment varchar(255) not null,
    test varchar(255) not null,
    version varchar(64) not null,
    inputs text not null,
    verdict varchar(16) not null,
    failures integer not null,
    run_at varchar(40) not null,
    seconds float not null,
    run_id varchar(255) not null,
    primary key (environment, test)
);
create table if not exists sao_versions (
    id {serial} not null,
    environment varchar(255) not null,
    relation varchar(255) not null,
    version text not null,
    seen_at varchar(40) not null,
    primary key (id)
);
create index if not exists ix_sao_versions_environment on sao_versions (environment);
create index if not exists ix_sao_versions_relation on sao_versions (relation);
create table if not exists sao_sql (
    id varchar(64) not null,
    text text not null,
    primary key (id)
);
create table if not exists sao_marks (
    environment varchar(255) not null,
    scope varchar(255) not null,
    name varchar(255) not null,
    mark varchar(255) not null,
    primary key (environment, scope, name)
);
create table if not exists sao_runs (
    run_id varchar(255) not null,
    environment varchar(255) not null,
    mode varchar(32) not null,
    started_at varchar(40) not null,
    finished_at varchar(40) not null,
    summary text not null,
    primary key (run_id)
);
create index if not exists ix_sao_runs_environment on sao_runs (environment);
create table if not exists sao_decisions (
    id {serial} not null,
    run_id varchar(255) not null,
    environment varchar(255) not null,
    model varchar(255) not null,
    outcome varchar(16) not null,
    reason varchar(32) not null,
    evidence text not null,
    decided_at varchar(40) not null,
    seconds float not null,
    seconds_saved float not null,
    primary key (id)
);
create index if not exists ix_sao_decisions_run_id on sao_decisions (run_id);
create index if not exists ix_sao_decisions_model on sao_decisions (model)
"""
