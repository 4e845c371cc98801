"""What is known of dbt's adapters. Of one that is not in the table, the humblest is assumed.

Most of this is read from the adapters' code and the vendors' manuals; `docs/warehouses.md` says what was run.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter of dbt.

    Attributes:
        place: The keys of a profile that say where the database is, by which environments are told apart; `PLACE` if nothing is said.
        files: Whether these are files.
    """

    place: tuple[str, ...] = ()
    files: bool = False


PLACE = ("account", "host", "server", "port", "project", "endpoint", "region_name", "s3_data_dir", "path", "catalog")
"""The keys by which most adapters name a server; where a profile has none of them, it is the adapter's `unique_field`."""

SETTINGS = ("setting", "parameter", "propert", "option", "zone", "sql_mode", "search_path", "role", "init_")
"""Parts of the names of keys that set something in each session, and so may change what a query gives."""

ADAPTERS = {
    "duckdb": Adapter(place=("path", "attach"), files=True),
    "sqlite": Adapter(place=("schemas_and_paths",), files=True),
}
"""By the `type` of profiles."""


def adapter_of(kind: str) -> Adapter:
    """Return what is known of an adapter.

    >>> adapter_of("sqlite").files, adapter_of("brand_new").files
    (True, False)
    """
    return ADAPTERS.get(kind, Adapter())
