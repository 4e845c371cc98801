"""Builds that were taken from another environment: which one that is, the run that built it there, and what a view shows of it."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make room for it; what was recorded before was built where it is."""
    transaction.script("""
        alter table sao_builds add column same_as varchar(255);
        alter table sao_builds add column same_as_run varchar(255);
        alter table sao_builds add column shows text;
        alter table sao_builds add column shown_by text
    """)
