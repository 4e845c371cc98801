"""Numbers of rows beyond two billion, of which a table has had that many over the years; in SQLite an integer takes any."""

from __future__ import annotations

from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make room for them, in the columns and in the sequences that number them."""
    if not transaction.is_sqlite:
        for table in ("sao_decisions", "sao_versions", "sao_waiters"):
            sequence = transaction.value("select pg_get_serial_sequence(:table, 'id')", {"table": table})
            transaction.script(f"alter table {table} alter column id type bigint")
            if sequence is not None:
                transaction.script(f"alter sequence {sequence} as bigint")
