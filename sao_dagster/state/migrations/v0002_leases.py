"""Leases on models, and the queues for them."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make the tables."""
    transaction.script(TABLES)


TABLES = """
create table sao_leases (
    environment varchar(255) not null,
    model varchar(255) not null,
    fence integer not null,
    holder varchar(64),
    run_id varchar(255),
    taken_at float,
    expires_at float,
    primary key (environment, model)
);
create table sao_waiters (
    id {serial} not null,
    environment varchar(255) not null,
    model varchar(255) not null,
    holder varchar(64) not null,
    run_id varchar(255) not null,
    asked_at float not null,
    expires_at float not null,
    primary key (id)
);
create index ix_sao_waiters_place on sao_waiters (environment, model, id)
"""
