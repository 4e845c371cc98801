"""What is known of dbt's adapters. Of one that is not in the table, the humblest is assumed.

Most of this is read from the adapters' code and the vendors' manuals; `docs/warehouses.md` says what was run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import RelationKey
from sao_dagster.dbt.adapters.ducklake import lakes
from sao_dagster.warehouses.protocol import QueryResult


class Snapshots(Protocol):
    """Exact versions of tables, as they are at one time."""

    @property
    def versions(self) -> Mapping[RelationKey, DataVersion | None]:
        """Versions by relation; none for what has no exact version."""

    def built_since(self, before: Snapshots, key: RelationKey) -> DataVersion | None:
        """Return the version of a table that was built since; None where somebody else may have written it, too."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter of dbt.

    Attributes:
        place: The keys of a profile that say where the database is, by which environments are told apart; `PLACE` if nothing is said.
        files: Whether these are files.
        snapshots: Reads the exact versions of all tables, given what asks a query; None where there are none that are known of.
    """

    place: tuple[str, ...] = ()
    files: bool = False
    snapshots: Callable[[Callable[[str], QueryResult]], Snapshots] | None = None


PLACE = ("account", "host", "server", "port", "project", "endpoint", "region_name", "s3_data_dir", "path", "catalog")
"""The keys by which most adapters name a server; where a profile has none of them, it is the adapter's `unique_field`."""

ADAPTERS = {
    "duckdb": Adapter(place=("path", "attach"), files=True, snapshots=lakes),
    "sqlite": Adapter(place=("schemas_and_paths",), files=True),
}
"""By the `type` of profiles."""


def adapter_of(kind: str) -> Adapter:
    """Return what is known of an adapter.

    >>> adapter_of("sqlite").files, adapter_of("brand_new").files
    (True, False)
    """
    return ADAPTERS.get(kind, Adapter())
