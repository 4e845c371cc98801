"""Versions of Snowflake's tables, from answers as its manual describes them; no Snowflake was asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation
from sao_dagster.dbt.adapters.snowflake import snowflake_tables
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import QueryResult


def table(name: str, schema: str = "bakery", database: str = "raw") -> Relation:
    return Relation(database, schema, name, written=f"{database}.{schema}.{name}")


LOAVES = table("loaves")


@dataclass
class Snowflake:
    """Answers as Snowflake does.

    Attributes:
        tokens: By the name of a table, as SQL writes it; what is not there may not be read.
        made: Rows of the catalog: schema, name, and when the table was made and altered; None for other kinds of tables.
        asked: What it was asked.
    """

    tokens: dict[str, str | None] = field(default_factory=lambda: {str(LOAVES): "at 1661920053987000000"})
    made: list[tuple[str, str, str | None]] = field(default_factory=lambda: [("BAKERY", "LOAVES", "at 1 2")])
    asked: list[str] = field(default_factory=list)

    def query(self, sql: str) -> QueryResult:
        self.asked.append(sql)
        if "information_schema.tables" in sql:
            schemas = sql.rpartition(" in (")[2]
            return QueryResult((), [row for row in self.made if f"'{row[0].lower()}'" in schemas])
        names = re.findall(r"system\$last_change_commit_time\('([^']+)'\)", sql)
        if refused := [name for name in names if name not in self.tokens]:
            raise WarehouseError(f"Object '{refused[0]}' does not exist or not authorized.")
        return QueryResult((), [tuple(self.tokens[name] for name in names)])

    def version(self, relation: Relation = LOAVES) -> DataVersion | None:
        return snowflake_tables(self.query, [relation]).versions.get(relation.key)


def test_a_version_moves_with_the_rows_and_with_the_definition() -> None:
    snowflake = Snowflake()
    first = snowflake.version()
    assert first is not None and snowflake.version() == first
    snowflake.tokens[str(LOAVES)] = "at 1661920118648000000"
    second = snowflake.version()
    snowflake.made = [("BAKERY", "LOAVES", "at 1 3")]
    assert len({first, second, snowflake.version()}) == 3


@pytest.mark.parametrize("token", [None, "at 0", "at -1"])
def test_without_a_token_there_is_no_version(token: str | None) -> None:
    assert Snowflake(tokens={str(LOAVES): token}).version() is None


def test_other_kinds_of_tables_and_names_that_differ_in_case_alone_have_none() -> None:
    assert Snowflake(made=[("BAKERY", "LOAVES", None)]).version() is None
    assert Snowflake(made=[]).version() is None
    assert Snowflake(made=[("BAKERY", "LOAVES", "at 1 2"), ("BAKERY", "loaves", None)]).version() is None
    assert Snowflake(made=[("BAKERY", "LOAVES", "at 1 2"), ("bakery", "LOAVES", "at 4 5")]).version() is None


def test_many_tables_are_asked_for_at_once_and_each_database_by_itself() -> None:
    many = [*(table(f"t{number}") for number in range(150)), table("t0", database="other")]
    snowflake = Snowflake({str(each): "at 7" for each in many}, [("BAKERY", f"T{n}", "at 1 2") for n in range(150)])
    found = snowflake_tables(snowflake.query, many).versions
    assert len(found) == 151 and None not in found.values() and len(snowflake.asked) == 4


def test_what_may_not_be_read_leaves_the_others_of_another_statement() -> None:
    many = [table(f"t{number}") for number in range(150)]
    made: list[tuple[str, str, str | None]] = [("BAKERY", f"T{number}", "at 1 2") for number in range(150)]
    found = snowflake_tables(Snowflake({str(each): "at 7" for each in many[1:]}, made).query, many).versions
    assert set(found) == {each.key for each in many[100:]}
    with pytest.raises(WarehouseError, match="not authorized"):
        snowflake_tables(Snowflake({}, made).query, many)
