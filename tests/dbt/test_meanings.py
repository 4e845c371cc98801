"""What adapters tell of changes is said in one table, and taken for versions where the table says so."""

from __future__ import annotations

from sao_dagster.dbt.adapters.meanings import TOLD, versions_by
from sao_dagster.dbt.adapters.table import ADAPTERS
from sao_dagster.warehouses.protocol import VersionsBy


def test_versions_are_read_of_those_adapters_whose_tokens_or_times_count() -> None:
    assert {each.adapter for each in TOLD if each.meaning.counts} == {
        name for name, adapter in ADAPTERS.items() if adapter.snapshots is not None
    }
    assert versions_by("brand_new") is VersionsBy.NONE


def test_the_table_says_what_was_tried_where_it_counts() -> None:
    assert all(bool(each.run) == each.meaning.counts for each in TOLD)
