"""Data versions and code versions with a scheme; whether a build changed anything; what was told, by the word for it, and when; sequences that only grow."""

import json
from datetime import datetime, timezone

import sqlalchemy as sa
from alembic import op

from sao_dagster.state.older import OLD_CODE_SCHEME, version_text, version_texts

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Give what is recorded the schemes it was made by; what the warehouse showed is read again."""
    connection = op.get_bind()
    for table in ("sao_builds", "sao_tests"):
        op.add_column(table, sa.Column("code_scheme", sa.Integer, nullable=False, server_default=str(OLD_CODE_SCHEME)))
    op.add_column("sao_builds", sa.Column("changed", sa.Boolean))
    _convert(connection, "sao_builds", ("environment", "model"), "inputs", "data_version")
    _convert(connection, "sao_tests", ("environment", "test"), "inputs")
    _convert(connection, "sao_versions", ("id",), "version")
    connection.execute(sa.text("delete from sao_contents"))
    op.create_table(
        "sao_shown",
        sa.Column("environment", sa.String(255), primary_key=True),
        sa.Column("scope", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("told_at", sa.String(40), nullable=False),
    )
    op.create_table(
        "sao_sequences",
        sa.Column("environment", sa.String(255), primary_key=True),
        sa.Column("last", sa.Integer, nullable=False),
    )
    op.create_table(
        "sao_environments",
        sa.Column("place", sa.String(255), primary_key=True),
        sa.Column("environment", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("schema_name", sa.String(255), nullable=False),
        sa.Column("database_place", sa.Text, nullable=False),
    )
    op.create_index("ix_sao_environments_environment", "sao_environments", ["environment"])
    connection.execute(
        sa.text("insert into sao_sequences select environment, max(sequence) from sao_builds group by environment")
    )
    if sa.inspect(connection).has_table("sao_marks"):
        connection.execute(
            sa.text("insert into sao_shown select environment, scope, name, mark, :now from sao_marks"),
            {"now": datetime.now(timezone.utc).isoformat()},
        )
        op.drop_table("sao_marks")


def _convert(connection: sa.Connection, table: str, keys: tuple[str, ...], *columns: str) -> None:
    """Write the versions in some columns of a table in the form of today."""
    where = " and ".join(f"{key} = :key_{key}" for key in keys)
    values = ", ".join(f"{column} = :{column}" for column in columns)
    rows = connection.execute(sa.text(f"select {', '.join((*keys, *columns))} from {table}")).mappings().all()
    changed = [
        {**{f"key_{key}": row[key] for key in keys}, **{column: _converted(row[column]) for column in columns}}
        for row in rows
    ]
    if changed:
        connection.execute(sa.text(f"update {table} set {values} where {where}"), changed)


def _converted(text: str) -> str:
    """Return one version, or a JSON object of them."""
    if text.startswith("{"):
        return json.dumps(version_texts(json.loads(text)), sort_keys=True, separators=(",", ":"))
    return version_text(text)
