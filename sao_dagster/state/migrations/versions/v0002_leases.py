"""Leases on models, and the queues for them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "sao_leases",
        sa.Column("environment", sa.String(255), primary_key=True),
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("holder", sa.String(64)),
        sa.Column("run_id", sa.String(255)),
        sa.Column("taken_at", sa.Float),
        sa.Column("expires_at", sa.Float),
    )
    op.create_table(
        "sao_waiters",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("environment", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(255), nullable=False),
        sa.Column("asked_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    op.create_index("ix_sao_waiters_place", "sao_waiters", ["environment", "model", "id"])
