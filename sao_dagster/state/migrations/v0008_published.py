"""What a project lets other projects know of it."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make the table; each environment says it with its next run."""
    transaction.script("""
        create table sao_published (
            environment varchar(255) not null,
            content text not null,
            published_at varchar(40) not null,
            primary key (environment)
        )
    """)
