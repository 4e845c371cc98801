"""Versions of Delta tables, from answers as the manuals of Databricks and of Delta Lake describe them; neither was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation
from sao_dagster.dbt.adapters.delta import DeltaTables, Rows, delta_tables
from sao_dagster.dbt.adapters.iceberg import IcebergTables
from sao_dagster.dbt.adapters.spark import SparkTables, spark_tables
from sao_dagster.errors import WarehouseError
from sao_dagster.sql.reads import undeclared_reads
from sao_dagster.warehouses.protocol import QueryResult
from sao_dagster.warehouses.shared.files import version_of_files

LOAVES = Relation("lake", "bakery", "loaves", quotes="`")
SALES = replace(LOAVES, identifier="sales")
CREATED = ("0", "2026-11-01 10:00:00", "CREATE TABLE AS SELECT")
WRITTEN = ("1", "2026-11-02 10:00:00", "WRITE")


@dataclass
class Databricks:
    """Answers as Databricks does.

    Attributes:
        history: Number, time and operation of the commits to `loaves`, newest first.
        id: Its id.
        format: Its format.
        limit: How old a table may be as it is read; None where nobody can say that.
        asked: What it was asked.
    """

    history: list[tuple[str | None, ...]] = field(default_factory=lambda: [WRITTEN, CREATED])
    id: str = "c1"
    format: str = "delta"
    limit: str | None = "<undefined>"
    asked: list[str] = field(default_factory=list)

    def query(self, sql: str) -> QueryResult:
        if self.limit is None:
            raise WarehouseError(
                "[CONFIG_NOT_AVAILABLE] Configuration spark.databricks.delta.stalenessLimit is not available."
            )
        if sql.startswith("show table extended"):
            shown = "Database: bakery\nTable: {}\nProvider: {}\nTable Properties: []\n"
            formats = {"loaves": self.format, "sales": "parquet"}
            return QueryResult(
                (), [("bakery", name, False, shown.format(name, each)) for name, each in formats.items()]
            )
        assert sql == "set spark.databricks.delta.stalenessLimit"
        return QueryResult((), [("spark.databricks.delta.stalenessLimit", self.limit)])

    def rows(self, statements: Sequence[str], columns: Sequence[str]) -> list[Rows | None]:
        self.asked += statements
        answers: dict[str, Rows] = {
            f"describe history {LOAVES} limit 20": self.history,
            f"describe detail {LOAVES}": [(self.format, self.id)],
        }
        return [answers.get(each) for each in statements]

    def version(self) -> DataVersion | None:
        return delta_tables(self.query, self.rows, [LOAVES, SALES]).versions.get(LOAVES.key)


def test_a_version_is_the_last_commit_that_may_have_changed_something_and_the_table() -> None:
    databricks = Databricks()
    first = databricks.version()
    assert first == DataVersion("delta/1", "c1 1 2026-11-02 10:00:00")
    assert databricks.asked == [
        f"describe history {LOAVES} limit 20",
        f"describe history {SALES} limit 20",
        f"describe detail {LOAVES}",
    ], "what is no Delta table is not asked further"
    upkeep = ("OPTIMIZE", "VACUUM START", "VACUUM END")
    databricks.history = [(str(2 + n), f"2026-11-0{3 + n}", upkeep[n]) for n in (2, 1, 0)] + databricks.history
    assert databricks.version() == first, "upkeep is no news"
    databricks.history.insert(0, ("5", "2026-11-06 10:00:00", "RESTORE"))
    restored = databricks.version()
    databricks.id = "c2"
    replaced = databricks.version()
    databricks.history = [("1", "2026-11-07 10:00:00", "WRITE"), ("0", "2026-11-07 09:00:00", "CREATE TABLE")]
    assert len({first, restored, replaced, databricks.version()}) == 4


@pytest.mark.parametrize(
    "databricks",
    [
        Databricks(limit="1h"),
        Databricks(limit="3600000"),
        Databricks(format="iceberg"),
        Databricks(history=[]),
        Databricks(history=[("1", None, "WRITE")]),
        Databricks(id=""),
    ],
)
def test_what_may_be_read_as_it_was_or_is_no_delta_table_has_none(databricks: Databricks) -> None:
    assert databricks.version() is None


@pytest.mark.parametrize("limit", ["0", "0ms", None])
def test_where_tables_are_read_as_they_are_there_are_versions(limit: str | None) -> None:
    assert Databricks(limit=limit).version() is not None


def test_whether_tables_may_be_stale_has_to_be_known() -> None:
    def refused(sql: str) -> QueryResult:
        raise WarehouseError("the warehouse is stopped")

    with pytest.raises(WarehouseError, match="stopped"):
        delta_tables(refused, Databricks().rows, [LOAVES])


def test_on_spark_only_tables_of_delta_are_asked_and_models_count_by_their_builds() -> None:
    databricks = Databricks()
    found = spark_tables(databricks.query, databricks.rows, [LOAVES, SALES])
    assert set(found.versions) == {LOAVES.key}
    assert f"describe history {SALES} limit 20" not in databricks.asked
    before = SparkTables(IcebergTables({}), DeltaTables({}))
    assert found.built_since(before, LOAVES, "ours", databricks.query) is None


def test_on_duckdb_a_delta_table_counts_by_the_commits_in_its_log(tmp_path: Path) -> None:
    [read] = undeclared_reads("select * from delta_scan('lake/loaves')", "duckdb")
    log = tmp_path / "lake/loaves/_delta_log"

    def version() -> DataVersion | None:
        return version_of_files([str(tmp_path / read.name)], str(tmp_path))

    assert version() is None, "there is no such table"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text('{"add": {"path": "a.parquet"}}')
    first = version()
    (log / "00000000000000000000.checkpoint.parquet").write_text("all of it")
    (log.parent / "b.parquet").write_text("rows of a commit that is not there yet")
    assert version() == first is not None
    (log / "00000000000000000001.json").write_text('{"add": {"path": "b.parquet"}}')
    assert version() != first
    [elsewhere] = undeclared_reads("select * from delta_scan('s3://lake/loaves')", "duckdb")
    assert version_of_files([elsewhere.name], str(tmp_path)) is None
