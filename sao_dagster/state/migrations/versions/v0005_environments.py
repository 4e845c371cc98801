"""What a data test is by itself, so that environments can be compared; whether a build was adopted; on whose behalf a run was."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make room for all of it; of the tests that were recorded before it is not known."""
    op.add_column("sao_tests", sa.Column("definition", sa.String(64)))
    op.add_column("sao_builds", sa.Column("adopted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("sao_runs", sa.Column("job", sa.String(255), nullable=False, server_default=""))
