"""Times of BigQuery's tables, from resources as its manual describes them; no BigQuery was asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation
from sao_dagster.dbt.adapters.bigquery import Resources, bigquery_tables

LOAVES = Relation("shop", "bakery", "loaves", quotes="`")
NOW = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)
GOOGLE = "https://bigquery.googleapis.com"
DATASET = {"type": "DEFAULT", "location": "EU"}
TABLE = {
    "type": "TABLE",
    "creationTime": "1793000000000",
    "lastModifiedTime": "1793000000500",
    "numRows": "4",
    "numBytes": "80",
}


def version(
    table: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = DATASET,
    endpoint: str = GOOGLE,
    location: str | None = None,
) -> DataVersion | None:
    def ask(relations: Sequence[Relation]) -> Resources:
        return Resources(endpoint, location, [(dataset, None if table is None else {**TABLE, **table})])

    return bigquery_tables(ask, [LOAVES], lambda: NOW).versions.get(LOAVES.key)


def test_a_version_moves_with_the_time_and_with_what_else_tells_of_rows() -> None:
    changed = [{}, {"lastModifiedTime": "1793000000501"}, {"numRows": "3"}, {"numBytes": "90"}, {"creationTime": "9"}]
    versions = [version(each) for each in changed]
    assert None not in versions and len({*versions}) == len(changed)
    assert version({}) == versions[0]
    assert version({}, location="eu") == versions[0]
    assert version({}, endpoint="https://bigquery.europe-west3.rep.googleapis.com") == versions[0]


def test_a_young_time_is_not_known() -> None:
    def modified(ago: timedelta) -> dict[str, str]:
        return {"lastModifiedTime": str(int((NOW - ago).timestamp() * 1000))}

    assert version(modified(timedelta(seconds=9))) is None
    assert version(modified(timedelta(seconds=-9))) is None
    assert version(modified(timedelta(seconds=11))) is not None


@pytest.mark.parametrize(
    "table",
    [
        None,
        {"type": "VIEW"},
        {"type": "EXTERNAL"},
        {"streamingBuffer": {"estimatedRows": "1"}},
        {"timePartitioning": {"type": "DAY", "expirationMs": "86400000"}},
        {"maxStaleness": "0-0 0 0:15:0"},
        {"biglakeConfiguration": {"tableFormat": "ICEBERG"}},
        {"tableReplicationInfo": {"sourceTable": {}}},
        {"lastModifiedTime": None},
        {"lastModifiedTime": "0"},
    ],
)
def test_what_may_change_without_being_modified_is_not_known(table: dict[str, Any] | None) -> None:
    assert version(table) is None


@pytest.mark.parametrize("dataset", [None, {"type": "LINKED", "location": "EU"}, {"location": "EU"}])
def test_what_is_elsewhere_is_not_known(dataset: dict[str, Any] | None) -> None:
    assert version({}, dataset) is None


def test_where_statements_run_elsewhere_they_may_read_a_replica() -> None:
    assert version({}, location="US") is None


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9050", "http://bigquery.googleapis.com", "https://googleapis.com.shop", ""]
)
def test_an_emulator_is_not_believed(endpoint: str) -> None:
    assert version({}, endpoint=endpoint) is None
