"""Score the comparison of SQL on pairs with a known answer.

    python -m tests.benchmarks.score_fingerprint FILE [--misses]

FILE is JSON: {"cases": [{"id", "dialect", "sql_a", "sql_b", "expect"}]}, where `expect` is `cosmetic` or `same`
(the comparison may say so), or `non_breaking` or `breaking` (it must not). Prints agreement by kind and each
miss; exits with 1 if a result-changing edit is called the same.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from sao_dagster.sql.fingerprint import equivalent

SAME = ("cosmetic", "same")


def score(
    cases: list[dict[str, str]],
) -> tuple[Counter[tuple[str, bool]], list[dict[str, str]], list[dict[str, str]]]:
    """Return counts by (kind, agreed), the false sames, and the sames that were not seen."""
    counts: Counter[tuple[str, bool]] = Counter()
    false_same = []
    missed = []
    for case in cases:
        dialect = case["dialect"].split(",")[0]
        said_same = equivalent(case["sql_a"], case["sql_b"], dialect)
        agreed = said_same == (case["expect"] in SAME)
        counts[case["expect"], agreed] += 1
        if not agreed:
            (false_same if said_same else missed).append(case)
    return counts, false_same, missed


def main(arguments: list[str]) -> int:
    cases = json.loads(Path(arguments[0]).read_text())["cases"]
    counts, false_same, missed = score(cases)
    for kind in sorted({kind for kind, _ in counts}):
        right, wrong = counts[kind, True], counts[kind, False]
        print(f"{kind:13s} {right:4d} / {right + wrong:4d}  {100 * right / (right + wrong):5.1f} %")
    for case in false_same:
        print(f"FALSE SAME {case['id']} ({case['dialect']}): {case['sql_a']!r} ||| {case['sql_b']!r}")
    for case in missed:
        print(f"not seen as same {case['id']} ({case['dialect']}): {case['sql_a']!r} ||| {case['sql_b']!r}")
    print(f"{len(cases)} pairs, {len(false_same)} result-changing edits called the same")
    return 1 if false_same else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
