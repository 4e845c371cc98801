"""What a data test is by itself, so that environments can be compared; whether a build was adopted; on whose behalf a run was."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make room for all of it; of the tests that were recorded before it is not known."""
    transaction.script("""
        alter table sao_tests add column definition varchar(64);
        alter table sao_builds add column adopted boolean not null default false;
        alter table sao_runs add column job varchar(255) not null default ''
    """)
