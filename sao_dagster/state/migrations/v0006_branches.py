"""Which environments were made for branches, and with which schemas."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make the table; what was made before is nobody's to drop."""
    transaction.script("""
        create table sao_branches (
            environment varchar(255) not null,
            against varchar(255) not null,
            schemas text not null,
            made_at varchar(40) not null,
            used_at varchar(40) not null,
            primary key (environment)
        )
    """)
