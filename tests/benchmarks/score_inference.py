"""Scores the proofs on a file of cases: what other projects prove of a query's output, and what data have refuted.

    python -m tests.benchmarks.score_inference FILE [--misses N]

Prints by source and kind how much of what is expected is proven, what is missed and why, and every unsound claim: something
proven here that the data of the file refute. There must be none: then it exits 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sao_dagster.core.proofs import Fact, FactKind
from sao_dagster.sql.inference.infer import Properties, TableFacts, understand
from sao_dagster.sql.inference.names import NotUnderstoodError

KINDS = ("not_null", "unique", "keys", "domains")


@dataclass
class Score:
    """What was counted, by source and kind.

    Attributes:
        proven: How many expectations are met.
        expected: How many there are.
        extra: Claims that are neither expected nor refuted.
        misses: What is not proven, with the reason.
        unsound: What is proven and refuted.
    """

    proven: Counter[tuple[str, str]] = field(default_factory=Counter)
    expected: Counter[tuple[str, str]] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)
    misses: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unsound: list[str] = field(default_factory=list)

    def share(self, kind: str) -> float:
        """Return the share of what is expected of a kind that is proven."""
        proven = sum(count for (_, each), count in self.proven.items() if each == kind)
        expected = sum(count for (_, each), count in self.expected.items() if each == kind)
        return proven / expected if expected else 1.0


def tables_of(case: dict[str, Any]) -> dict[tuple[str, str, str], TableFacts]:
    """Return the tables of a case, with what is said of them as facts."""
    found = {}
    for name, table in case["tables"].items():
        facts = [Fact(FactKind.NOT_NULL, name, (column,), "declared") for column in table["not_null"]]
        facts += [Fact(FactKind.UNIQUE, name, tuple(key), "declared") for key in table["unique_keys"]]
        schema, _, identifier = name.rpartition(".")
        key = ("", schema.lower() or "main", identifier.lower())
        found[key] = TableFacts(tuple((column, kind) for column, kind in table["columns"]), tuple(facts))
    return found


def score(cases: list[dict[str, Any]]) -> Score:
    """Return the score on cases."""
    total = Score()
    for case in cases:
        source = case["id"].split("-")[0]
        found: Properties | None
        try:
            found, reason = understand(case["sql"], "duckdb", tables_of(case)), "not proven"
        except NotUnderstoodError as error:
            found, reason = None, f"not understood: {error}"
        _columns(total, case, source, found, reason)
        _keys(total, case, source, found, reason)
        _domains(total, case, source, found, reason)
    return total


def _note(total: Score, source: str, kind: str, case: dict[str, Any], what: object, met: bool, reason: str) -> None:
    total.expected[source, kind] += 1
    total.proven[source, kind] += met
    if not met:
        sql = " ".join(case["sql"].split())
        total.misses[kind].append(f"{case['id']} {what}: {reason}: {sql}")


def _columns(total: Score, case: dict[str, Any], source: str, found: Properties | None, reason: str) -> None:
    places = range(len(found.output.ids)) if found is not None else ()
    proven = {
        "not_null": {place for place in places if found is not None and found.not_null(place) is not None},
        "unique": {place for place in places if found is not None and found.unique([place]) is not None},
    }
    fields = {
        "not_null": ("not_null", "nullable"),
        "unique": ("dbt_unique_columns", "not_unique_ignoring_nulls"),
    }
    for kind, (expected, refuted) in fields.items():
        wanted = set(case["expect"].get(expected) or ())
        for place in sorted(wanted):
            _note(total, source, kind, case, place, place in proven[kind], reason)
        wrong = proven[kind] & set(case["refuted"][refuted])
        total.unsound += [f"{case['id']} {kind} {place}: {' '.join(case['sql'].split())}" for place in sorted(wrong)]
        total.extra[kind] += len(proven[kind] - wanted - wrong)


def _keys(total: Score, case: dict[str, Any], source: str, found: Properties | None, reason: str) -> None:
    for key in case["expect"].get("unique_keys") or ():
        met = found is not None and found.key(key) is not None
        _note(total, source, "keys", case, key, met, reason)
    if found is None:
        return
    refuted = case["refuted"]
    wrong: list[object] = [place for place in refuted["not_unique_strict"] if found.key([place]) is not None]
    wrong += [pair for pair in refuted["pairs_not_unique_strict"] if found.key(pair) is not None]
    if refuted["more_than_one_row"] and found.key([]) is not None:
        wrong.append("at most one row")
    if refuted.get("duplicate_rows_possible") and found.key(range(len(found.output.ids))) is not None:
        wrong.append("rows")
    total.unsound += [f"{case['id']} key {each}: {' '.join(case['sql'].split())}" for each in wrong]


def _domains(total: Score, case: dict[str, Any], source: str, found: Properties | None, reason: str) -> None:
    for place, values in (case["expect"].get("value_domains") or {}).items():
        domain = found.domain(int(place)) if found is not None else None
        met = domain is not None and {str(value) for value in domain.values} <= set(map(str, values))
        _note(total, source, "domains", case, place, met, reason)


def main() -> int:
    """Score a file, print it, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--misses", type=int, default=1000, help="how many misses of each kind to print")
    arguments = parser.parse_args()
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    cases = json.loads(arguments.file.read_text())["cases"]
    total = score(cases)
    for kind in KINDS:
        for miss in total.misses[kind][: arguments.misses]:
            print(f"missed {kind:9} {miss[:400]}")
    for claim in total.unsound:
        print(f"UNSOUND {claim[:400]}")
    print(f"\n{len(cases)} cases")
    print(f"{'source':10} " + " ".join(f"{kind:>16}" for kind in KINDS))
    for source in sorted({each for each, _ in total.expected}):
        cells = (f"{total.proven[source, kind]} / {total.expected[source, kind]}" for kind in KINDS)
        print(f"{source:10} " + " ".join(f"{cell:>16}" for cell in cells))
    print(f"{'all':10} " + " ".join(f"{total.share(kind):>15.0%} " for kind in KINDS))
    print(
        f"claims that are neither expected nor refuted: {total.extra['not_null']} not null, {total.extra['unique']} unique"
    )
    print(f"unsound claims: {len(total.unsound)}")
    return 1 if total.unsound else 0


if __name__ == "__main__":
    sys.exit(main())
