"""Times of change of tables in BigQuery: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table.

`lastModifiedTime` is promised to be the time at which a table was last modified, rows or definition. What it is not promised for has no version: rows
that come by a stream, which are in a buffer first; partitions that expire; kinds of tables that show what is elsewhere; replicas. An emulator
was seen to leave the time as it was when rows came, so it counts from Google alone. Read, and not run against BigQuery.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation, RelationKey

SCHEME = "bigquery/1"
YOUNG = timedelta(seconds=10)  # a time is in milliseconds of another clock
_GOOGLE = ".googleapis.com"
_OWN = ("DEFAULT", "PUBLIC")  # kinds of datasets that hold their tables themselves
_OTHERWISE = (
    "streamingBuffer",
    "maxStaleness",
    "tableReplicationInfo",
    "biglakeConfiguration",
    "externalDataConfiguration",
    "externalCatalogTableOptions",
)
"""What a table has that shows rows for other reasons than that it was modified."""
_TOKEN = ("creationTime", "lastModifiedTime", "numRows", "numBytes")


@dataclass(frozen=True)
class Resources:
    """What BigQuery's API says of tables.

    Attributes:
        endpoint: The address that was asked.
        location: Where the profile lets statements run; None for where the tables are.
        found: Dataset and table of each that was asked for; None for what was refused or is not there.
    """

    endpoint: str = ""
    location: str | None = None
    found: Sequence[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]] = field(default_factory=tuple)


@dataclass(frozen=True)
class BigQueryTables:
    """Tables of BigQuery, as they are at one time. A time does not say whose change it was, so models count by their builds.

    Attributes:
        versions: By relation; none for what has no time that counts.
    """

    versions: Mapping[RelationKey, DataVersion | None]


def bigquery_tables(
    ask: Callable[[Sequence[Relation]], Resources], relations: Collection[Relation], now: Callable[[], datetime]
) -> BigQueryTables:
    """Return the versions of some tables, one request for each.

    Args:
        ask: Asks for tables.
        relations: Tables and views.
        now: Tells the time (UTC).
    """
    named, asked_at = sorted(relations, key=str), now()
    said = ask(named)
    address = urlsplit(said.endpoint)
    if address.scheme != "https" or not (address.hostname or "").endswith(_GOOGLE):
        return BigQueryTables({})
    versions: dict[RelationKey, DataVersion | None] = {}
    for relation, (dataset, table) in zip(named, said.found, strict=True):
        if dataset and table and _is_where_it_is_read(dataset, said.location) and _is_plain(table):
            modified = datetime.fromtimestamp(int(table["lastModifiedTime"]) / 1000, timezone.utc)
            if modified < asked_at - YOUNG:
                token = " ".join(str(table.get(key, "")) for key in _TOKEN)
                versions[relation.key] = DataVersion(SCHEME, token)
    return BigQueryTables(versions)


def _is_where_it_is_read(dataset: Mapping[str, Any], location: str | None) -> bool:
    """Return whether a dataset holds its tables itself, and statements read these, and no replica.

    >>> _is_where_it_is_read({"type": "DEFAULT", "location": "EU"}, "eu"), _is_where_it_is_read({"type": "LINKED", "location": "EU"}, None)
    (True, False)
    """
    is_there = location is None or str(dataset.get("location", "")).lower() == location.lower()
    return is_there and dataset.get("type") in _OWN


def _is_plain(table: Mapping[str, Any]) -> bool:
    """Return whether rows of a table come and go by statements and loads alone."""
    expires = any((table.get(key) or {}).get("expirationMs") for key in ("timePartitioning", "rangePartitioning"))
    is_known = str(table.get("lastModifiedTime") or "0") != "0"
    return is_known and not expires and table.get("type") == "TABLE" and not any(table.get(key) for key in _OTHERWISE)
