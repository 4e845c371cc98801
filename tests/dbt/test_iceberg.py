"""Versions of Iceberg's tables, from what Spark 3.5.9 with Iceberg 1.10.2 was seen to answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation
from sao_dagster.dbt.adapters.iceberg import SCHEME, IcebergTables
from sao_dagster.dbt.adapters.spark import SparkTables, spark_tables
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import QueryResult

LOAVES = Relation(None, "bakery", "loaves", quotes="`")
FILES = [f"{number:05}-207cc254-42a3-4929-ba1a-e0d2ed5aad9{number}.metadata.json" for number in range(4)]
PROPERTIES = (
    "current-snapshot-id=2928080065479704206, metadata_location=file:/lake/loaves/metadata/{now}, owner=me, "
    "previous_metadata_location=file:/lake/loaves/metadata/{before}, table_type={kind}, uuid=f8c53e35"
)


@dataclass
class Spark:
    """Answers as Spark does.

    Attributes:
        tables: What it shows of tables, by name; None where the schema is not there.
        commits: Metadata files and snapshots, oldest first.
        authors: Applications by snapshot.
        caches: Whether it may read a table as it was some time ago.
        asked: What it was asked.
    """

    tables: dict[str, str] | None = field(default_factory=dict)
    commits: list[tuple[str, str | None]] = field(default_factory=list)
    authors: dict[str, str] = field(default_factory=dict)
    caches: str = "false"
    asked: list[str] = field(default_factory=list)

    def query(self, sql: str) -> QueryResult:
        self.asked.append(sql)
        rows: list[tuple[object, ...]]
        if sql.startswith("set `"):
            rows = [(sql[5:-1], self.caches)]
        elif "metadata_log_entries" in sql:
            rows = [(f"file:/lake/loaves/metadata/{file}", snapshot) for file, snapshot in self.commits]
        elif ".snapshots" in sql:
            rows = list(self.authors.items())
        elif self.tables is None:
            raise WarehouseError("[SCHEMA_NOT_FOUND]")
        else:
            rows = [
                ("bakery", name, False, f"Type: EXTERNAL\nTable Properties: [{shown}]\n")
                for name, shown in self.tables.items()
            ]
        return QueryResult((), rows)


def tables_of(spark: Spark, *relations: Relation) -> SparkTables:
    return spark_tables(spark.query, lambda *_: pytest.fail("there is no Delta table"), relations or [LOAVES])


def shown(now: str = FILES[1], before: str = FILES[0], kind: str = "ICEBERG") -> str:
    return PROPERTIES.format(now=now, before=before, kind=kind)


def test_the_version_is_the_metadata_file_and_one_statement_asks_for_all_tables_of_a_schema() -> None:
    spark = Spark({"loaves": shown(), "sales": "owner=me, transient_lastDdlTime=1795764901"})
    found = tables_of(spark, LOAVES, Relation(None, "bakery", "sales"), Relation(None, "bakery", "none"))
    assert found.versions == {LOAVES.key: DataVersion(SCHEME, FILES[1])}
    assert spark.asked[:-1] == ["show table extended in `bakery` like 'loaves|none|sales'"]


@pytest.mark.parametrize(
    "said",
    [
        shown(kind="ICEBERG-VIEW"),
        shown() + ", write.wap.enabled=true",  # a session may read another branch
        shown().replace(f"file:/lake/loaves/metadata/{FILES[1]}", "*********(redacted)"),
        shown(now="v2.metadata.json"),  # a table that takes the place of this one may have the same
        shown() + f"]\nComment: [metadata_location=file:/lake/{FILES[2]}",
    ],
)
def test_what_spark_does_not_show_beyond_doubt_is_not_known(said: str) -> None:
    assert not tables_of(Spark({"loaves": said})).versions


@pytest.mark.parametrize("caches", ["true", "<undefined>"])
def test_nothing_is_known_where_tables_may_be_read_as_they_were(caches: str) -> None:
    assert not tables_of(Spark({"loaves": shown()}, caches=caches)).versions


def test_a_schema_that_is_not_there_is_an_error_only_if_all_are_not() -> None:
    with pytest.raises(WarehouseError):
        tables_of(Spark(None))


ALSO_BY_OTHERS = DataVersion(SCHEME, f"also written by others {FILES[2]}")


@pytest.mark.parametrize(
    ("then", "commits", "authors", "version"),
    [
        pytest.param(1, [(0, "1"), (1, "2"), (2, "3")], {"3": "ours"}, FILES[2], id="an increment"),
        pytest.param(2, [(0, "1"), (2, "2")], {}, FILES[2], id="nothing written"),
        pytest.param(None, [(2, "1")], {"1": "ours"}, FILES[2], id="a table"),
        pytest.param(1, [(2, "1")], {"1": "ours"}, FILES[2], id="a table that was dropped first"),
        pytest.param(None, [(0, None), (2, "1")], {"1": "ours"}, FILES[2], id="a seed: made, then filled"),
        pytest.param(0, [(0, "1"), (1, "2"), (2, "3")], {"2": "theirs", "3": "ours"}, ALSO_BY_OTHERS, id="somebody before"),
        pytest.param(0, [(0, "1"), (1, "2"), (2, "3")], {"2": "ours", "3": "theirs"}, ALSO_BY_OTHERS, id="somebody after"),
        pytest.param(1, [(0, "1"), (1, "2"), (2, "3")], {"3": "theirs"}, None, id="somebody, and nothing by the build"),
        pytest.param(1, [(2, "1")], {"1": "theirs"}, None, id="the table of somebody else"),
        pytest.param(0, [(0, "1"), (1, "2"), (2, "2")], {"2": "ours"}, None, id="columns or properties changed afterwards"),
        pytest.param(0, [(0, "1"), (1, "2"), (2, "3")], {"3": "ours"}, None, id="a snapshot is no longer kept"),
        pytest.param(0, [(0, "1"), (1, "2")], {"2": "ours"}, None, id="the file is not in the log"),
    ],
)  # fmt: skip
def test_a_build_has_the_version_that_it_made(
    then: int | None, commits: list[tuple[int, str | None]], authors: dict[str, str], version: str | DataVersion | None
) -> None:
    spark = Spark(commits=[(FILES[file], snapshot) for file, snapshot in commits], authors={"1": "earlier", **authors})
    before = IcebergTables({} if then is None else {LOAVES.key: FILES[then]})
    found = IcebergTables({LOAVES.key: FILES[2]}).built_since(before, LOAVES, "ours", spark.query)
    assert found == (DataVersion(SCHEME, version) if isinstance(version, str) else version)
