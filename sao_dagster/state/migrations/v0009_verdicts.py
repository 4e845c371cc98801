"""Verdicts that were taken from another environment: which one that is, and the run that gave it there."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make room for it; what was recorded before was given where it is."""
    transaction.script("""
        alter table sao_tests add column same_as varchar(255);
        alter table sao_tests add column same_as_run varchar(255)
    """)
