"""Suites of chance, for as long as you like.

    python -m tests.soak [SUITE ...] [--minutes 10 | --count ROUNDS] [--seed 1]

Goes from suite to suite in rounds of a few minutes, each with the next seed, and says what it did. The first thing that is
wrong ends it. Suites: `oracle` (histories of projects), `concurrency` (processes at once), `soundness` (proofs on random
queries), `contents` (values that differ have versions that differ), `cosmetic` (queries that are called the same), `lease` (interleavings of the lease protocol), and, where it is
named, `mutations` (every rule of the proofs broken once; about an hour).
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from tests.cosmetic.check import check as check_pairs
from tests.cosmetic.check import on_engine
from tests.fleet.fleet import Fleet
from tests.fleet.test_concurrency import MODELS, run_at_once
from tests.machines import explore
from tests.oracle.machine import STEPS
from tests.oracle.machines import MACHINES
from tests.oracle.on_postgres import OnServer
from tests.postgres import Postgres
from tests.proofs import by_name, fuzz
from tests.proofs.mutations import MUTATIONS, noticed
from tests.state import test_lease_protocol
from tests.test_equivalent import GRAMMARS, answers_of_duckdb, answers_of_postgres, check
from tests.warehouses.test_content_types import check_duckdb, check_postgres
from tests.warehouses.test_duckdb_content import EXCHANGES, exchanges
from tests.warehouses.test_type_meanings import check_collations, check_made_types

Suite = Callable[[Postgres, int], Iterator[str]]
SUITES: dict[str, Suite] = {}
ASKED_FOR = {"mutations"}  # those that are left out unless they are named


def suite(function: Suite) -> Suite:
    """Register a round of a suite: it takes a server and a seed, and yields what it has done, as often as it could stop."""
    SUITES[function.__name__] = function
    return function


@suite
def oracle(server: Postgres, seed: int) -> Iterator[str]:
    """After any history, what is reused equals a rebuild."""
    OnServer.server = server
    for kind, histories in MACHINES.items():
        explore(kind, histories, STEPS, seed=seed)
        yield f"{histories} histories ({kind.__name__})"


@suite
def concurrency(server: Postgres, seed: int) -> Iterator[str]:
    """Processes at once build the least, and build it right."""
    with tempfile.TemporaryDirectory() as place:
        for kind, state_url in (("SQLite", f"sqlite:///{place}/state.db"), ("PostgreSQL", server.database())):
            with Fleet(server.database(), state_url, MODELS) as fleet:
                run_at_once(fleet, random.Random(seed), rounds=4, processes=8)
            yield f"4 rounds of up to 8 processes, state in {kind}"


@suite
def soundness(server: Postgres, seed: int) -> Iterator[str]:
    """Nothing that is proven is wrong."""
    for pairs, engine in ((10_000, fuzz.DuckDB()), (2_500, fuzz.Postgres(server.database()))):
        report = fuzz.fuzz(engine, seed, pairs)
        assert report.unsound == []
        yield f"{report.pairs} pairs of query and data on {engine.dialect}, {sum(report.claims.values())} claims"
    for engine in (fuzz.DuckDB(), fuzz.Postgres(server.database())):
        named = by_name.check(engine, part=seed % 3, parts=3)
        assert named.unsound == []
        yield f"a third of all functions by name on {engine.dialect}, {named.claimed} claims"


@suite
def contents(server: Postgres, seed: int) -> Iterator[str]:
    """Rows that some query tells apart have versions that differ."""
    yield f"{check_duckdb(seed, 1000)} rows of 1000 tables on duckdb"
    yield f"{check_postgres(server.database(), seed, 1000)} rows of 1000 tables on postgres"
    check_collations(seed, 500)
    check_made_types(server.database(), seed, 500)
    yield "500 tables on each whose types mean another thing"
    yield f"{exchanges(seed, EXCHANGES)} exchanges between rows on duckdb"


@suite
def cosmetic(server: Postgres, seed: int) -> Iterator[str]:
    """Queries that are called the same give the same."""
    for dialect in ("duckdb", "postgres"):
        with on_engine(dialect, server) as ask:
            report = check_pairs(dialect, ask, 10_000, seed, sample=0.02)
        yield f"{report.pairs} pairs on {dialect}, {report.called_same} called the same, and {report.seen:.0%} of those that are"
    with answers_of_duckdb() as on_duckdb, answers_of_postgres(server.database()) as on_postgres:
        for dialect, queries, rows in (("duckdb", 4000, on_duckdb), ("postgres", 1000, on_postgres)):
            for grammar in GRAMMARS:
                check(dialect, grammar, queries, rows, seed)
            yield f"up to {queries} queries of each of {len(GRAMMARS)} grammars on {dialect}"


@suite
def lease(_: Postgres, seed: int) -> Iterator[str]:
    """The lease protocol holds in any interleaving."""
    explore(test_lease_protocol.Protocol, 300, test_lease_protocol.STEPS, seed=seed)
    yield "300 interleavings"


@suite
def mutations(_: Postgres, seed: int) -> Iterator[str]:
    """Each rule of the proofs, broken on purpose, is noticed."""
    for name in MUTATIONS:
        pairs = noticed(name, fuzz.DuckDB(), 60_000, seed)
        assert pairs is not None, f"not noticed: {name}"
        yield f"{name}: noticed after {pairs} pairs"


def main() -> int:
    """Soak, and return 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10.0, help="how long at least (default: 10)")
    length.add_argument("--count", type=int, help="how many rounds of each suite, however long they take")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first round; each later one has the next (default: 1)"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.suites) - SUITES.keys():
        parser.error(f"no suite is called {', '.join(map(repr, sorted(unknown)))}")
    names = arguments.suites or [name for name in SUITES if name not in ASKED_FOR]
    rounds = f"{arguments.count} rounds" if arguments.count else f"{arguments.minutes:g} minutes"
    print(f"{', '.join(names)}: {rounds}, seed {arguments.seed}", flush=True)
    started = time.monotonic()
    with Postgres() as server:
        for number in range(arguments.count) if arguments.count else itertools.count():
            for name in names:
                seed = arguments.seed + number
                try:
                    for done in SUITES[name](server, seed):
                        minutes = (time.monotonic() - started) / 60
                        print(f"{minutes:7.1f} min  {name}, seed {seed}: {done}", flush=True)
                        if not arguments.count and minutes >= arguments.minutes:
                            return 0
                except BaseException:
                    print(f"ended in: python -m tests.soak {name} --count 1 --seed {seed}", file=sys.stderr)
                    raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
