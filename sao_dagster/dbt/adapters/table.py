"""What is known of dbt's adapters. Of one that is not in the table, the humblest is assumed.

Most of this is read from the adapters' code and the vendors' manuals; `docs/warehouses.md` says what was run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.dbt.adapters.bigquery import Resources, bigquery_tables
from sao_dagster.dbt.adapters.delta import Rows, delta_tables
from sao_dagster.dbt.adapters.ducklake import lakes
from sao_dagster.dbt.adapters.snowflake import snowflake_tables
from sao_dagster.dbt.adapters.spark import spark_tables
from sao_dagster.run.settings import utc_now
from sao_dagster.warehouses.protocol import QueryResult

Query: TypeAlias = Callable[[str], QueryResult]


class Asks(Protocol):
    """What versions are asked through."""

    def query(self, sql: str) -> QueryResult:
        """Return all rows of a query."""

    def rows(self, statements: Sequence[str], columns: Sequence[str]) -> Sequence[Rows | None]:
        """Return some columns of the rows of each of many statements, as text; None for what was refused, which is not asked again."""

    def resources(self, relations: Sequence[Relation]) -> Resources:
        """Return what BigQuery says of tables."""


class Snapshots(Protocol):
    """Exact versions of tables, as they are at one time."""

    @property
    def versions(self) -> Mapping[RelationKey, DataVersion | None]:
        """Versions by relation; none for what has no exact version."""


@runtime_checkable
class SignedSnapshots(Snapshots, Protocol):
    """Exact versions that say who wrote them."""

    def built_since(self, before: Snapshots, relation: Relation, signature: str, query: Query) -> DataVersion | None:
        """Return the version of a table that was built since; None where nobody knows who has written it.

        Where somebody else has written it beside the build, it is one that the table will never have, so that it is built again.

        Args:
            before: What there was before the build.
            relation: The table.
            signature: What the warehouse keeps with all that this build wrote, and with nothing that others write.
            query: Asks a query.
        """


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter of dbt.

    Attributes:
        place: The keys of a profile that say where the database is, by which environments are told apart; `PLACE` if nothing is said.
        files: Whether these are files.
        snapshots: Reads the exact versions of some tables; None where there are none that are known of.
        signed: Whether these are `SignedSnapshots`; else a model counts by its build.
        across: Whether a statement may read several databases of a server, each by its name, where `place` and `PLACE` name the server alone.
    """

    place: tuple[str, ...] = ()
    files: bool = False
    across: bool = False
    snapshots: Callable[[Asks, Collection[Relation]], Snapshots] | None = None
    signed: bool = False


PLACE = ("account", "host", "server", "port", "project", "endpoint", "region_name", "s3_data_dir", "path", "catalog")
"""The keys by which most adapters name a server; where a profile has none of them, it is the adapter's `unique_field`."""

ADAPTERS = {
    "bigquery": Adapter(snapshots=lambda asks, relations: bigquery_tables(asks.resources, relations, utc_now)),
    "databricks": Adapter(snapshots=lambda asks, relations: delta_tables(asks.query, asks.rows, relations)),
    "duckdb": Adapter(
        place=("path", "attach"),
        files=True,
        snapshots=lambda asks, relations: lakes(asks.query, relations),
        signed=True,
    ),
    "snowflake": Adapter(across=True, snapshots=lambda asks, relations: snowflake_tables(asks.query, relations)),
    "spark": Adapter(
        snapshots=lambda asks, relations: spark_tables(asks.query, asks.rows, relations),
        signed=True,
    ),
    "sqlite": Adapter(place=("schemas_and_paths",), files=True),
}
"""By the `type` of profiles."""


def adapter_of(kind: str) -> Adapter:
    """Return what is known of an adapter.

    >>> adapter_of("sqlite").files, adapter_of("brand_new").files
    (True, False)
    """
    return ADAPTERS.get(kind, Adapter())
