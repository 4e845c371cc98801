"""The first tables. Those of development versions, made without migrations, are taken over as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables that are not there."""
    there = set(sa.inspect(op.get_bind()).get_table_names())

    def create(name: str, *columns: sa.Column) -> None:  # type: ignore[type-arg]
        if name not in there:
            op.create_table(name, *columns)

    create(
        "sao_builds",
        sa.Column("environment", sa.String(255), primary_key=True),
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("relation", sa.Text, nullable=False),
        sa.Column("code_version", sa.String(64), nullable=False),
        sa.Column("code_parts", sa.Text, nullable=False),
        sa.Column("definition", sa.String(64), nullable=False),
        sa.Column("sql_id", sa.String(64), nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("definitions", sa.Text, nullable=False),
        sa.Column("data_version", sa.Text, nullable=False),
        sa.Column("columns", sa.Text, nullable=False),
        sa.Column("row_count", sa.Integer),
        sa.Column("observed_at", sa.String(40), nullable=False),
        sa.Column("built_at", sa.String(40), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("run_id", sa.String(255), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False, index=True),
    )
    create(
        "sao_contents",
        sa.Column("environment", sa.String(255), primary_key=True),
        sa.Column("stamp", sa.String(64), nullable=False),
        sa.Column("contents", sa.Text, nullable=False),
    )
    create(
        "sao_tests",
        sa.Column("environment", sa.String(255), primary_key=True),
        sa.Column("test", sa.String(255), primary_key=True),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("run_at", sa.String(40), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("run_id", sa.String(255), nullable=False),
    )
    create(
        "sao_versions",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("environment", sa.String(255), nullable=False, index=True),
        sa.Column("relation", sa.String(255), nullable=False, index=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("seen_at", sa.String(40), nullable=False),
    )
    create("sao_sql", sa.Column("id", sa.String(64), primary_key=True), sa.Column("text", sa.Text, nullable=False))
    create(
        "sao_marks",
        sa.Column("environment", sa.String(255), primary_key=True),
        sa.Column("scope", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("mark", sa.String(255), nullable=False),
    )
    create(
        "sao_runs",
        sa.Column("run_id", sa.String(255), primary_key=True),
        sa.Column("environment", sa.String(255), nullable=False, index=True),
        sa.Column("mode", sa.String(32), nullable=False),
        sa.Column("started_at", sa.String(40), nullable=False),
        sa.Column("finished_at", sa.String(40), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
    )
    create(
        "sao_decisions",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String(255), nullable=False, index=True),
        sa.Column("environment", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False, index=True),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("decided_at", sa.String(40), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("seconds_saved", sa.Float, nullable=False),
    )
