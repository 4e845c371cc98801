"""Holds what is called cosmetic against the engines: rows in their order, names and types of columns, and rows as JSON."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import duckdb
import psycopg

from sao_dagster.sql.fingerprint import equivalent
from tests.cosmetic import pairs
from tests.postgres import Postgres

TABLES = {
    "t": "select i % 4 as a, (i * 3) % 5 as b, chr(97 + i % 3) as s, date '2020-01-01' + i as d",
    "u": "select (i * 2) % 5 as a, i % 3 as b, chr(98 + i % 2) as s, date '2021-01-01' + i as d",
}
JSON = """'{"x.y": 1, "x": {"y": 2}, "X": 3}'::json as j"""
Answer: TypeAlias = tuple[object, ...]
Ask: TypeAlias = Callable[[str], Answer | None]
"""Returns all that a result shows; None for what is no query here."""


@contextmanager
def on_duckdb() -> Iterator[Ask]:
    with duckdb.connect(config={"threads": 1}) as connection:
        for name, query in TABLES.items():
            connection.execute(f"create table {name} as {query}, {JSON} from (select i::int as i from range(7) r(i))")

        def ask(sql: str) -> Answer | None:
            try:
                result = connection.execute(sql)
                shape = [(column[0], str(column[1])) for column in result.description or ()]
                rows = [*map(repr, result.fetchall())]
                return (
                    shape,
                    rows,
                    connection.execute(f"select to_json(whole)::varchar from ({sql}\n) whole").fetchall(),
                )
            except (duckdb.Error, ValueError):
                return None

        yield ask


@contextmanager
def on_postgres(url: str) -> Iterator[Ask]:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        for name, query in TABLES.items():
            connection.execute(f"create table {name} as {query}, {JSON} from generate_series(0, 6) r(i)".encode())

        def ask(sql: str) -> Answer | None:
            try:
                result = connection.execute(sql.encode())
                shape = [(column.name, column.type_code, column.internal_size) for column in result.description or ()]
                rows = [*map(repr, result.fetchall())]
                return (
                    shape,
                    rows,
                    connection.execute(f"select row_to_json(whole)::text from ({sql}\n) whole".encode()).fetchall(),
                )
            except psycopg.Error:
                return None

        yield ask


@contextmanager
def on_engine(dialect: str, server: Postgres) -> Iterator[Ask]:
    """Ask an engine by sqlglot's name of its dialect."""
    with on_duckdb() if dialect == "duckdb" else on_postgres(server.database()) as ask:
        yield ask


@dataclass
class Report:
    """What was found: pairs whose first query is valid, those called the same, and of a sample those that are, and are called so."""

    pairs: int = 0
    called_same: int = 0
    sampled_same: int = 0
    sampled_seen: int = 0

    @property
    def seen(self) -> float:
        """The share of edits that change nothing that were seen to."""
        return self.sampled_seen / max(1, self.sampled_same)


def check(dialect: str, ask: Ask, count: int, seed: object, sample: float = 0.1) -> Report:
    """Make pairs; those that are called the same must be, as far as the first one is valid.

    Args:
        dialect: sqlglot's name of the engine.
        ask: The engine.
        count: How many pairs with a valid first query.
        seed: Of chance.
        sample: Of which share of the pairs that are called different it is asked whether they are.

    Raises:
        AssertionError: With the first pair that is wrongly called the same.
    """
    chance = random.Random(f"{dialect} {seed}")
    report = Report()
    while report.pairs < count:
        one = pairs.query(chance, dialect)
        before = ask(one)
        if before is None:
            continue
        for _ in range(4):
            other = pairs.edited(one, chance)
            report.pairs += 1
            said = equivalent(one, other, dialect)
            sampled = chance.random() < sample
            if said or sampled:
                after = ask(other)
                assert not said or after == before, f"{dialect}, seed {seed}: {one}\n ||| {other}\n{before}\n{after}"
                report.called_same += said
                report.sampled_same += sampled and after == before
                report.sampled_seen += sampled and said
    return report
