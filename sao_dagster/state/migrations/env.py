"""What Alembic runs: the changes, in the transaction that `migrate` has begun."""

from alembic import context

from sao_dagster.state.migrate import VERSION_TABLE
from sao_dagster.state.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=False,  # the transaction is the caller's
)
context.run_migrations()
