"""Pairs of queries from public test suites, where they are at hand: no real edit may be called cosmetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.score_fingerprint import score

CASES = Path(__file__).parents[2] / "shared" / "cases" / "fingerprint_cases.json"


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not part of this project")
def test_no_real_edit_is_called_cosmetic_and_all_looks_are() -> None:
    counts, false_same, _ = score(json.loads(CASES.read_text())["cases"])
    assert not false_same
    assert counts["cosmetic", False] == 0
