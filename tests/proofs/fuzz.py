"""Random queries over random tables: whatever is proven of a query must hold for its result, on a real engine.

    python -m tests.proofs.fuzz [--pairs 100000] [--engine duckdb|postgres] [--seed 1] [--url URL]

Prints how many pairs of query and data were run, how many claims were checked, how often each rule was part of a proof, and
each unsound claim with what is needed to see it again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Protocol

import duckdb
import psycopg
from psycopg.types.string import TextLoader

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.inference.infer import Properties, TableFacts, understand
from sao_dagster.sql.inference.names import NotUnderstoodError
from sao_dagster.sql.inference.rules import RULES
from tests.proofs.data import RandomTable, plain, random_tables
from tests.proofs.grammar import Grammar

DATASETS = 6
QUERIES = 40
SPELLED = 0.15
"""The share of queries of `spellings.py`."""


class Engine(Protocol):
    """Where queries run."""

    dialect: str

    def load(self, tables: list[RandomTable], random_: random.Random) -> None:
        """Make the data sets of some tables."""

    def rows(self, dataset: int, sql: str) -> list[tuple[Any, ...]] | None:
        """Return the result of a query on one data set; None where it fails."""

    def plain_rows(self, dataset: int, sql: str) -> list[tuple[Any, ...]] | None:
        """Return the result as it is without the engine's optimizer, which has mistakes of its own at times."""


class DuckDB:
    """DuckDB in memory, with a schema for each data set."""

    dialect = "duckdb"

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("set threads = 1")
        for dataset in range(DATASETS):
            self.connection.execute(f"create schema d{dataset}")

    def load(self, tables: list[RandomTable], random_: random.Random) -> None:
        """Make the data sets of some tables."""
        for dataset in range(DATASETS):
            _fill(self.connection.execute, self.dialect, tables, f"d{dataset}", random_)

    def rows(self, dataset: int, sql: str) -> list[tuple[Any, ...]] | None:
        """Return the result of a query on one data set; None where it fails."""
        self.connection.execute(f"use d{dataset}")
        try:
            return self.connection.execute(sql).fetchall()
        except duckdb.Error:
            return None

    def plain_rows(self, dataset: int, sql: str) -> list[tuple[Any, ...]] | None:
        """Return the result as it is without the engine's optimizer, which has mistakes of its own at times."""
        self.connection.execute("pragma disable_optimizer")
        try:
            return self.rows(dataset, sql)
        finally:
            self.connection.execute("pragma enable_optimizer")


class Postgres:
    """A PostgreSQL database, with a schema for each data set."""

    dialect = "postgres"

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        for kind in ("date", "timestamp", "timestamptz", "time", "interval"):  # Python has no infinite ones
            self.connection.adapters.register_loader(kind, TextLoader)
        self._execute(
            "set statement_timeout = '5s'; set client_min_messages = error; set synchronous_commit = off; set jit = off"
        )
        for dataset in range(DATASETS):
            self._execute(f"drop schema if exists d{dataset} cascade; create schema d{dataset}")

    def _execute(self, sql: str) -> None:
        self.connection.execute(sql.encode())

    def load(self, tables: list[RandomTable], random_: random.Random) -> None:
        """Make the data sets of some tables."""
        for dataset in range(DATASETS):
            _fill(self._execute, self.dialect, tables, f"d{dataset}", random_)

    def rows(self, dataset: int, sql: str) -> list[tuple[Any, ...]] | None:
        """Return the result of a query on one data set; None where it fails."""
        self._execute(f"set search_path = d{dataset}")
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(sql.encode())
                return cursor.fetchall()
        except psycopg.Error:
            return None

    def plain_rows(self, dataset: int, sql: str) -> list[tuple[Any, ...]] | None:
        """Return the result once more; the planner cannot be switched off."""
        return self.rows(dataset, sql)


def _fill(
    execute: Callable[[str], Any], dialect: str, tables: list[RandomTable], schema: str, random_: random.Random
) -> None:
    for table in tables:
        execute(f"drop table if exists {schema}.{table.name}")
        execute(table.ddl(schema, dialect))
        rows = ", ".join(f"({', '.join(row)})" for row in table.rows(random_))
        if rows:
            execute(f"insert into {schema}.{table.name} values {rows}")


@dataclass
class Report:
    """What a fuzz run found.

    Attributes:
        pairs: How many queries ran on how many data sets.
        failed: How many did not run.
        claims: How many claims were checked, on results with rows or without.
        not_understood: How many queries the proofs gave up on.
        rules: How often each rule was part of a proof.
        unsound: Claims that a result refuted.
        engine: Results that refuted a claim, and are others without the engine's optimizer: mistakes of the engine.
    """

    pairs: int = 0
    failed: int = 0
    queries: int = 0
    claims: Counter[str] = field(default_factory=Counter)
    not_understood: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    unsound: list[str] = field(default_factory=list)
    engine: list[str] = field(default_factory=list)


def fuzz(engine: Engine, seed: int, pairs: int, *, first: bool = False) -> Report:
    """Run random queries until enough pairs of query and data have run.

    Args:
        engine: Where.
        seed: Where chance starts.
        pairs: How many pairs of query and data.
        first: Whether to stop at the first unsound claim.
    """
    report = Report()
    round_ = 0
    while report.pairs < pairs and not (first and report.unsound):
        random_ = random.Random(f"{seed}-{round_}")
        tables = random_tables(random_)
        known = {("", "main", table.name): table.known(engine.dialect) for table in tables}
        engine.load(tables, random_)
        grammar = Grammar(random_, engine.dialect, tables)
        for number in range(QUERIES):
            grammar.number = 0
            sql = grammar.spelled() if grammar.chance(SPELLED) else grammar.query(random_.choice([0, 1, 2, 3, 4])).sql
            _try(engine, report, sql, known, f"seed {seed}, round {round_}, query {number}")
            if first and report.unsound:
                break
        round_ += 1
    return report


def _try(engine: Engine, report: Report, sql: str, known: dict[tuple[str, str, str], TableFacts], where: str) -> None:
    report.queries += 1
    found: Properties | None
    try:
        found = understand(sql, engine.dialect, known)
    except NotUnderstoodError:
        found = None
    claims = list(claimed(found)) if found is not None else []
    report.not_understood += found is None
    for _, _, proof in claims:
        report.rules.update(set(proof.rules))
    for dataset in range(DATASETS):
        rows = engine.rows(dataset, sql)
        if rows is None:
            report.failed += 1
            if dataset == 0 and report.failed > 10 * DATASETS and not report.pairs:
                raise RuntimeError(f"hardly a query runs: {sql}")
            continue
        report.pairs += 1
        values = [tuple(map(plain, row)) for row in rows]
        for kind, places, _proof in claims:
            report.claims[kind] += 1
            if _holds(found, kind, places, values):
                continue
            facts = "; ".join(f"{key[2]}: {table}" for key, table in known.items())
            text = f"{kind} {places} ({where}, data {dataset}): {sql}\n    {values}\n    {facts}"
            again = engine.plain_rows(dataset, sql)
            own = again is not None and _holds(found, kind, places, [tuple(map(plain, row)) for row in again])
            (report.engine if own else report.unsound).append(text)
            return


Claim = tuple[str, tuple[int, ...], Proof]


def claimed(found: Properties) -> Iterator[Claim]:
    """Yield all that is claimed of single columns, of pairs of them, and of the rows."""
    places = range(len(found.output.ids))
    for place in places:
        if (proof := found.not_null(place)) is not None:
            yield "not_null", (place,), proof
        if (proof := found.unique([place])) is not None:
            yield "unique", (place,), proof
        if (domain := found.domain(place)) is not None:
            yield "domain", (place,), domain.proof
    for size in (0, 1, 2):
        for key in combinations(places, size):
            if (proof := found.key(key)) is not None:
                yield "key", key, proof
            if size == 2 and (proof := found.unique(key)) is not None:
                yield "unique", key, proof
    if len(places) > 2 and (proof := found.key(places)) is not None:
        yield "key", tuple(places), proof


def _holds(found: Properties | None, kind: str, places: tuple[int, ...], rows: list[tuple[Any, ...]]) -> bool:
    assert found is not None
    parts = [tuple(row[place] for place in places) for row in rows]
    if kind == "not_null":
        return all(part[0] is not None for part in parts)
    if kind == "domain":
        domain = found.domain(places[0])
        assert domain is not None
        words = {True: "true", False: "false"}
        seen = {words[part[0]] if isinstance(part[0], bool) else part[0] for part in parts if part[0] is not None}
        return seen <= domain.values
    if kind == "unique":
        parts = [part for part in parts if None not in part]
    return len(set(parts)) == len(parts)


def main() -> int:
    """Fuzz, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--engine", choices=["duckdb", "postgres"], default="duckdb")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", help="of a PostgreSQL database; without it a server is started")
    arguments = parser.parse_args()
    started = time.perf_counter()
    if arguments.engine == "duckdb":
        report = fuzz(DuckDB(), arguments.seed, arguments.pairs)
    elif arguments.url:
        report = fuzz(Postgres(arguments.url), arguments.seed, arguments.pairs)
    else:
        from tests.postgres import Postgres as Server

        with Server() as server:
            report = fuzz(Postgres(server.database()), arguments.seed, arguments.pairs)
    for claim in report.unsound:
        print(f"UNSOUND {claim}")
    for claim in report.engine:
        print(f"the engine contradicts itself: {claim}")
    print(
        f"{report.pairs} pairs of query and data ({report.queries} queries; {report.failed} pairs failed to run), seed {arguments.seed}"
    )
    print(
        f"{report.not_understood} queries were not understood; claims checked: "
        + ", ".join(f"{count} {kind}" for kind, count in report.claims.most_common())
    )
    for rule, meaning in RULES.items():
        print(f"{report.rules[rule]:8} {rule:20} {meaning}")
    print(f"mistakes of the engine: {len(report.engine)}")
    print(f"unsound claims: {len(report.unsound)}; {time.perf_counter() - started:.0f} s")
    return 1 if report.unsound else 0


if __name__ == "__main__":
    sys.exit(main())
