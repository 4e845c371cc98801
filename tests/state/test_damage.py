"""A damaged state: what cannot be read counts as none, so that it is built or run anew; never a wrong reuse, never a crash."""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa

from sao_dagster.state import tables
from tests.world import World

KEYS = {"environment", "model", "test", "id", "run_id", "relation", "stamp", "scope", "name"}
TABLES = (
    tables.builds,
    tables.tests,
    tables.contents,
    tables.versions,
    tables.sql,
    tables.runs,
    tables.decisions,
    tables.leases,
)
DAMAGE = {"cut off": "substr({0}, 1, 5)", "a word": "'x'", "JSON of another kind": "'[1]'"}  # fmt: skip


@pytest.fixture
def built(world: World) -> World:
    world.source("t").sql("create table raw.t as select 1 as id").model("a", "select id from {{ source('raw', 't') }}")
    world.model("b", "select id, 1 as one from {{ ref('a') }}").model(
        "c", "select id from {{ ref('a') }}", state={"lag_tolerance": "1h"}
    )
    world.write("models/t.yml", "models: [{name: b, columns: [{name: id, data_tests: [unique]}]}]")
    world.run()
    return world


def columns_of(table: sa.Table) -> list[str]:
    return [each.name for each in table.columns if each.name not in KEYS and not each.primary_key]


@pytest.mark.parametrize(
    "kind", ["a word", *(pytest.param(kind, marks=pytest.mark.slow) for kind in DAMAGE if kind != "a word")]
)
def test_whatever_is_damaged_the_result_is_right(built: World, kind: str) -> None:
    """A column of each table at a time."""
    engine = sa.create_engine(f"sqlite:///{built.root / 'state.db'}")
    for number in range(max(len(columns_of(table)) for table in TABLES)):
        built.sql(f"update raw.t set id = {number}").model(
            "a", f"select id, {number} as k from {{{{ source('raw', 't') }}}}"
        )
        damaged = {table: names[number % len(names)] for table in TABLES if (names := columns_of(table))}
        with engine.begin() as connection:
            for table, name in damaged.items():
                connection.execute(
                    sa.text(f"update {table.name} set {name} = {DAMAGE[kind].format(name)} where {name} is not null")
                )
        run = built.run()
        assert run.result.succeeded, damaged
        assert built.rows("select id from b") == [(number,)], damaged


def test_the_log_says_what_was_damaged(built: World, caplog: pytest.LogCaptureFixture) -> None:
    with sa.create_engine(f"sqlite:///{built.root / 'state.db'}").begin() as connection:
        connection.execute(sa.text("update sao_builds set inputs = substr(inputs, 1, 5) where model = 'a'"))
    with caplog.at_level(logging.WARNING, logger="sao_dagster.state"):
        assert built.run().outcomes == {
            "a": "built: never_built",
            "b": "reused: no_new_data",
            "c": "reused: no_new_data",
        }
    assert "the record of 'a' (BuildRecord) in the shared state is damaged and counts as none" in caplog.text
