"""Counts of rows beyond two billion; in SQLite an integer takes any."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make room for them."""
    if not transaction.is_sqlite:
        transaction.script("""
            alter table sao_builds alter column row_count type bigint;
            alter table sao_tests alter column failures type bigint
        """)
