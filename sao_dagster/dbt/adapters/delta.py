"""Exact versions of Delta tables, on Databricks and on Spark: https://docs.databricks.com/en/delta/history.html.

Each commit to a table has the next number in its log; a table that takes the place of another one goes on counting or starts again, with another id.
So the version is the number and the time of the last commit that may have changed rows, columns or properties, and the id. Read, and not run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import QueryResult

SCHEME = "delta/1"
_LIMIT = "set spark.databricks.delta.stalenessLimit"
_NO_LIMIT = re.compile(r"<undefined>|0(?:ms|s|m|h|d)?")
_NO_SUCH_SETTING = "CONFIG_NOT_AVAILABLE"  # the answer of an SQL warehouse of Databricks, where nobody can set it
_UPKEEP = ("OPTIMIZE", "VACUUM START", "VACUUM END")  # commits that leave all rows as they were
_LOOKED_BACK = 20  # commits

Rows = Sequence[tuple[str | None, ...]]


class AsksForRows(Protocol):
    """Asks many statements."""

    def __call__(self, statements: Sequence[str], columns: Sequence[str]) -> Sequence[Rows | None]:
        """Return some columns of the rows of each, as text; None for what was refused."""


@dataclass(frozen=True)
class DeltaTables:
    """Delta tables, as they are at one time. A commit does not say which build made it, so models count by their builds.

    Attributes:
        versions: By relation; none for what is no Delta table.
    """

    versions: Mapping[RelationKey, DataVersion | None]


def delta_tables(
    query: Callable[[str], QueryResult], rows: AsksForRows, relations: Collection[Relation]
) -> DeltaTables:
    """Return the versions of those of some relations that are Delta tables: two statements for each.

    There are none where tables may be read as they were some time ago: https://docs.databricks.com/en/delta/table-properties.html.

    Args:
        query: Asks a query.
        rows: Asks many.
        relations: Tables and views.

    Raises:
        WarehouseError: Nobody says whether tables may be read as they were.
    """
    if not relations or _may_be_stale(query):
        return DeltaTables({})
    named = sorted(relations, key=str)
    histories = rows(
        [f"describe history {each} limit {_LOOKED_BACK}" for each in named], ("version", "timestamp", "operation")
    )
    last = {each: commit for each, history in zip(named, histories, strict=True) if (commit := _last_change(history))}
    details = rows([f"describe detail {each}" for each in last], ("format", "id"))
    found: dict[RelationKey, DataVersion | None] = {}
    for (relation, commit), detail in zip(last.items(), details, strict=True):
        if detail and len(detail) == 1 and detail[0][0] == "delta" and detail[0][1]:
            found[relation.key] = DataVersion(SCHEME, f"{detail[0][1]} {commit}")
    return DeltaTables(found)


def _may_be_stale(query: Callable[[str], QueryResult]) -> bool:
    try:
        [row] = query(_LIMIT).rows
    except WarehouseError as error:
        if _NO_SUCH_SETTING in error.message:
            return False
        raise
    return _NO_LIMIT.fullmatch(str(row[1])) is None


def _last_change(history: Rows | None) -> str | None:
    """Return number and time of the newest commit that is no upkeep, or the newest of all where there is none; None without commits.

    >>> _last_change([("7", "t7", "VACUUM END"), ("6", "t6", "VACUUM START"), ("5", "t5", "WRITE")])
    '5 t5'
    >>> _last_change([("7", "t7", "OPTIMIZE")]), _last_change([("7", None, "WRITE")])
    ('7 t7', None)
    """
    commits = [(int(version), time, operation) for version, time, operation in history or () if version and time]
    commits.sort(reverse=True)
    changes = [each for each in commits if each[2] not in _UPKEEP] or commits
    return f"{changes[0][0]} {changes[0][1]}" if changes else None
