"""Where failing rows of the data tests of a branch are kept."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make room for it; each run of a branch says it."""
    transaction.script("alter table sao_branches add column failures text not null default '[]'")
