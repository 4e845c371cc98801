"""Which environments were made for branches, and with which schemas."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table; what was made before is nobody's to drop."""
    op.create_table(
        "sao_branches",
        sa.Column("environment", sa.String(255), primary_key=True),
        sa.Column("against", sa.String(255), nullable=False),
        sa.Column("schemas", sa.Text, nullable=False),
        sa.Column("made_at", sa.String(40), nullable=False),
        sa.Column("used_at", sa.String(40), nullable=False),
    )
