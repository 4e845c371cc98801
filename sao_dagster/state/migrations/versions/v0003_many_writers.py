"""Under which name the warehouse keeps a build, where it does; and how long leases and places last."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; what is there already has no name, and lasts until it expires."""
    op.add_column("sao_builds", sa.Column("build_id", sa.String(64)))
    op.add_column("sao_leases", sa.Column("seconds", sa.Float))
    op.add_column("sao_waiters", sa.Column("seconds", sa.Float))
