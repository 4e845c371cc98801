"""Exact versions of Iceberg's tables in Spark's own catalog: https://iceberg.apache.org/spec/#table-metadata.

Each commit to a table, of rows, columns or properties, writes a metadata file of a name of its own, and all engines read what the catalog's
`metadata_location` names: that is the version. The catalog's `current-snapshot-id` is none, since engines that do not know it leave it as it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.warehouses.protocol import QueryResult

SCHEME = "iceberg/1"
_CACHES = "set `spark.sql.catalog.spark_catalog.cache-enabled`"
_FILE = r"/(\d+-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:\.gz)?\.metadata\.json)"
_LOCATION = re.compile(rf"[\[ ]metadata_location=[^\n,]*?{_FILE}[,\]]")
_IS_ICEBERG = re.compile(r"[\[ ]table_type=ICEBERG[,\]]", re.IGNORECASE)
_MAY_READ_A_BRANCH = "write.wap.enabled=true"
_COMMITS = "select file, cast(latest_snapshot_id as string) from {table}.metadata_log_entries"
_AUTHORS = "select cast(snapshot_id as string), summary['spark.app.id'] from {table}.snapshots"


@dataclass(frozen=True)
class IcebergTables:
    """Tables of Iceberg, as they are at one time.

    Attributes:
        files: The name of the current metadata file of each; of those of which Spark shows it.
    """

    files: Mapping[RelationKey, str]

    @property
    def versions(self) -> Mapping[RelationKey, DataVersion | None]:
        """Versions by relation."""
        return {key: DataVersion(SCHEME, file) for key, file in self.files.items()}

    def built_since(
        self, before: object, relation: Relation, signature: str, query: Callable[[str], QueryResult]
    ) -> DataVersion | None:
        """Return the version of a table that was built since; see `Snapshots.built_since`.

        Of a commit that made no snapshot, as of a comment, nobody knows whose it was.
        """
        now = self.files.get(relation.key)
        if now is None or not isinstance(before, IcebergTables):
            return None
        commits = [
            (str(file).rpartition("/")[2], snapshot) for file, snapshot in query(_COMMITS.format(table=relation)).rows
        ]
        authors = dict(query(_AUTHORS.format(table=relation)).rows)
        files = [file for file, _ in commits]
        if now not in files:
            return None
        then = before.files.get(relation.key)
        first = files.index(then) + 1 if then in files else 0
        snapshots = [snapshot for _, snapshot in commits[first : files.index(now) + 1]]
        if not first and snapshots[0] is None:  # it was made without rows
            del snapshots[0]
        known = [commits[first - 1][1] if first else None, *snapshots]
        if any(one == other or other not in authors for one, other in pairwise(known)):
            return None
        by_build = {authors[each] == signature for each in snapshots}
        if False not in by_build:
            return DataVersion(SCHEME, now)
        return DataVersion(SCHEME, f"also written by others {now}") if True in by_build else None


def iceberg_tables(query: Callable[[str], QueryResult], shown: Mapping[RelationKey, str]) -> IcebergTables:
    """Return which of some relations are tables of Iceberg.

    There are none as long as Spark may read a table as it was some time ago:
    https://iceberg.apache.org/docs/latest/spark-configuration/#catalog-configuration.

    Args:
        query: Asks a query.
        shown: What `show table extended` tells of relations.
    """
    files = {key: file for key, text in shown.items() if (file := _file(text)) is not None}
    return IcebergTables(files if files and str(query(_CACHES).rows[0][1]).lower() == "false" else {})


def _file(shown: str) -> str | None:
    """Return the name of the metadata file of a table, as Spark describes it; None where it does not say.

    >>> name = "00001-207cc254-42a3-4929-ba1a-e0d2ed5aad9e.metadata.json"
    >>> _file(f"Table Properties: [metadata_location=s3://lake/t/metadata/{name}, table_type=ICEBERG]") == name
    True
    >>> _file("Table Properties: [metadata_location=*********(redacted), table_type=ICEBERG]")
    """
    found = _LOCATION.findall(shown)
    if len(found) != 1 or _IS_ICEBERG.search(shown) is None or _MAY_READ_A_BRANCH in shown:
        return None
    return str(found[0])
