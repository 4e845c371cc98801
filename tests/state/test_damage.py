"""A damaged state: what cannot be read counts as none, so that it is built or run anew; never a wrong reuse, never a crash."""

from __future__ import annotations

import logging
import sqlite3

import pytest

from tests.world import World

KEYS = {"environment", "model", "test", "id", "run_id", "relation", "stamp", "scope", "name"}
TABLES = (
    "sao_builds",
    "sao_tests",
    "sao_contents",
    "sao_versions",
    "sao_sql",
    "sao_runs",
    "sao_decisions",
    "sao_leases",
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


def columns_of(state: sqlite3.Connection, table: str) -> list[str]:
    return [name for _, name, *_ in state.execute(f"pragma table_info({table})") if name not in KEYS]


@pytest.mark.parametrize(
    "kind", ["a word", *(pytest.param(kind, marks=pytest.mark.slow) for kind in DAMAGE if kind != "a word")]
)
def test_whatever_is_damaged_the_result_is_right(built: World, kind: str) -> None:
    """A column of each table at a time."""
    state = sqlite3.connect(built.root / "state.db")
    columns = {table: columns_of(state, table) for table in TABLES}
    for number in range(max(map(len, columns.values()))):
        built.sql(f"update raw.t set id = {number}").model(
            "a", f"select id, {number} as k from {{{{ source('raw', 't') }}}}"
        )
        damaged = {table: names[number % len(names)] for table, names in columns.items()}
        for table, name in damaged.items():
            state.execute(f"update {table} set {name} = {DAMAGE[kind].format(name)} where {name} is not null")
        state.commit()
        run = built.run()
        assert run.result.succeeded, damaged
        assert built.rows("select id from b") == [(number,)], damaged


def test_the_log_says_what_was_damaged(built: World, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite3.connect(built.root / "state.db") as state:
        state.execute("update sao_builds set inputs = substr(inputs, 1, 5) where model = 'a'")
    with caplog.at_level(logging.WARNING, logger="sao_dagster.state"):
        assert built.run().outcomes == {
            "a": "built: never_built",
            "b": "reused: no_new_data",
            "c": "reused: no_new_data",
        }
    assert "the record of 'a' (BuildRecord) in the shared state is damaged and counts as none" in caplog.text
