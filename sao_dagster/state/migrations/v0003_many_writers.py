"""Under which name the warehouse keeps a build, where it does; and how long leases and places last."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Add the columns; what is there already has no name, and lasts until it expires."""
    transaction.script("""
        alter table sao_builds add column build_id varchar(64);
        alter table sao_leases add column seconds float;
        alter table sao_waiters add column seconds float
    """)
