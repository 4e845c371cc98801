"""The tables of the engines' own functions agree with the engines, and with what counts as volatile."""

from __future__ import annotations

import re

import pytest
from sqlglot import exp

from sao_dagster.sql import volatile_functions
from sao_dagster.sql.builtin_functions import Reach, builtin_functions, reach_of
from sao_dagster.sql.parsing import UnreadableSqlError, parse_one
from tests.builtin_functions import of_duckdb, of_postgres
from tests.postgres import Postgres

NO_VALUES = re.compile(
    r"error|vector_type|amvalidate|bernoulli|system|ts_rewrite|currtid2|loread|lowrite|unique_key_recheck|suppress_redundant_updates_trigger"
    r"|(binary_upgrade|brin|gin|dsnowball|plpgsql|ri_fkey|tsvector_update)_\w+|\w+handler"
)
"""What an engine calls volatile since it fails, writes, or is a part of the engine; `ts_rewrite` is so in one of its forms, which reads a query."""
ALWAYS_THE_SAME = {"reservoir_quantile"}
"""Of these the catalog says that they never change, and they do."""


def changed(text: str, dialect: str) -> dict[str, tuple[str, str]]:
    """Return the functions of which an engine says something else than its table; one that is not in it is unknown, which is safe."""
    known = builtin_functions(dialect)
    assert known is not None
    found = dict(line.split(" ") for line in text.splitlines())
    assert len(found.keys() & known.keys()) > len(known) / 2
    return {name: (known[name], level) for name, level in found.items() if known.get(name, level) != level}


def test_the_table_of_duckdb_is_that_of_the_engine() -> None:
    assert changed(of_duckdb(), "duckdb") == {}


@pytest.mark.slow
def test_the_table_of_postgres_is_that_of_the_engine(postgres: Postgres) -> None:
    assert changed(of_postgres(postgres.database()), "postgres") == {}


def is_volatile(name: str, dialect: str) -> bool:
    """Return whether a call of a function counts as volatile, with any number of arguments."""
    for arguments in ("", "x", "x, y"):
        try:
            tree = parse_one(f"select {name}({arguments})", dialect)
        except UnreadableSqlError:
            continue
        calls = [each for each in tree.walk() if isinstance(each, exp.Func)]
        if any(volatile_functions.expiry_of(each) is not None for each in calls):
            return True
    return False


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_what_an_engine_calls_volatile_is_so_or_unknown(dialect: str) -> None:
    known = builtin_functions(dialect) or {}
    missed = {
        name
        for name, level in known.items()
        if level.startswith("v")
        and NO_VALUES.fullmatch(name) is None
        and reach_of(name, dialect, makes_rows=False) is not Reach.CATALOG
        and not is_volatile(name, dialect)
    }
    assert missed == set()


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_clocks_and_chance_are_no_constants_of_an_engine(dialect: str) -> None:
    named = volatile_functions._DAY | volatile_functions._TIME | volatile_functions._CHANCE
    known = builtin_functions(dialect) or {}
    assert {name for name in named if known.get(name, "v").startswith("c")} - ALWAYS_THE_SAME == set()
