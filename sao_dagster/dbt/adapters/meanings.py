"""What adapters and table formats tell of changes, and what that means: the one place where that is said.

Whether a token or time may stay as it is although rows have changed decides. What nobody promises is unknown, and unknown things build.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from sao_dagster.warehouses.protocol import VersionsBy


class Meaning(Enum):
    """What it means that something is told to be as it was."""

    EXACT = "exact"
    DATA_OR_DDL = "data or DDL"
    DDL = "DDL or creation"
    UNKNOWN = "unknown"

    @property
    def counts(self) -> bool:
        """Whether it is taken for a version."""
        return self in (Meaning.EXACT, Meaning.DATA_OR_DDL)


@dataclass(frozen=True)
class Told:
    """What an adapter can be asked for.

    Attributes:
        adapter: The `type` of profiles.
        tables: Of which tables it is told.
        what: The token or time.
        meaning: What it means that it is as it was.
        why: Why it counts, or not; and what is left out.
        run: Against what it was tried; empty where it does not count.
    """

    adapter: str
    tables: str
    what: str
    meaning: Meaning
    why: str
    run: str = ""


_ANSWERS = "answers as the manual describes them"
_SINCE = "moves when the definition changes, and not with rows"

TOLD = (
    Told("duckdb", "DuckLake", "snapshot", Meaning.EXACT, "the last snapshot that wrote rows, with the columns", "live"),
    Told("spark", "Iceberg", "metadata file", Meaning.EXACT, "each commit writes a file of another name", "live"),
    Told(
        "spark", "Delta", "commit and table id", Meaning.EXACT, "commits are numbered; `OPTIMIZE` and `VACUUM` are left out", _ANSWERS
    ),
    Told(
        "databricks", "Delta", "commit and table id", Meaning.EXACT, "commits are numbered; `OPTIMIZE` and `VACUUM` are left out", _ANSWERS
    ),
    Told(
        "databricks", "others", "`last_altered`", Meaning.DDL, "promised to move when the definition of a table is altered, and for nothing else"
    ),
    Told(
        "snowflake", "plain tables", "commit token", Meaning.EXACT, "`SYSTEM$LAST_CHANGE_COMMIT_TIME`, with the times of DDL", _ANSWERS
    ),
    Told(
        "snowflake", "others", "`last_altered`", Meaning.UNKNOWN, "rows of external, dynamic, hybrid and Iceberg tables come without a statement that writes to them"
    ),
    Told(
        "bigquery",
        "plain tables",
        "`lastModifiedTime`",
        Meaning.DATA_OR_DDL,
        "promised to be the time of the last modification; not of what streams, expires by partitions, or is elsewhere",
        f"{_ANSWERS}, and an emulator, which is not believed",
    ),
    Told("bigquery", "all", "`TABLE_STORAGE`", Meaning.UNKNOWN, "is some seconds to minutes late"),
    Told("redshift", "all", "`sys_query_detail`", Meaning.UNKNOWN, "a log of inserts: it misses deletes, and what is older than some days or of other users"),
    Told("redshift", "all", "`SHOW TABLES`", Meaning.UNKNOWN, "nobody promises what moves its time"),
    Told("fabric", "all", "`modify_date`", Meaning.DDL, _SINCE),
    Told("sqlserver", "all", "`modify_date`", Meaning.DDL, _SINCE),
    Told("teradata", "all", "`LastAlterTimeStamp`", Meaning.DDL, _SINCE),
    Told("singlestore", "all", "`alter_time`", Meaning.UNKNOWN, "nobody promises that it moves with rows"),
    Told("vertica", "all", "`create_time`", Meaning.DDL, "is when the table was made"),
    Told("exasol", "all", "`last_commit`", Meaning.UNKNOWN, "the adapter cannot read it"),
    Told("dremio", "Iceberg", "`committed_at`", Meaning.UNKNOWN, "the newest of all snapshots, so that it stays when a table is rolled back"),
    Told("clickhouse", "all", "`modification_time`", Meaning.UNKNOWN, "of the parts that are there: it stays when one is dropped"),
)  # fmt: skip


def versions_by(adapter: str, told: Iterable[Told] = TOLD) -> VersionsBy:
    """Return how the versions of tables are read where an adapter is the only door.

    >>> versions_by("snowflake").value, versions_by("bigquery").value, versions_by("fabric").value, versions_by("sqlite").value
    ('snapshot', 'metadata', 'none', 'none')
    """
    meanings = {each.meaning for each in told if each.adapter == adapter}
    if Meaning.EXACT in meanings:
        return VersionsBy.SNAPSHOT
    return VersionsBy.METADATA if Meaning.DATA_OR_DDL in meanings else VersionsBy.NONE
