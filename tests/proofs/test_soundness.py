"""Proofs against real engines, with chance; `tests.soak` runs more of it, and breaks every rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sao_dagster.sql.inference import expressions
from sao_dagster.sql.inference.rules import RULES
from tests.benchmarks.score_inference import score
from tests.postgres import Postgres as Server
from tests.proofs import by_name
from tests.proofs.fuzz import DuckDB, Engine, Postgres, fuzz
from tests.proofs.mutations import noticed

CASES = Path(__file__).parents[3] / "shared" / "cases" / "inference_cases.json"
PAIRS = 9000
RARE = {
    "select_without_from",
    "row_of_values",
    "cross_join",
    "outer_column",
    "exists",
    "condition",
    "always_null",
    "window_shift",
    "rank",
}


def _check(engine: Engine, pairs: int, seed: int) -> set[str]:
    report = fuzz(engine, seed, pairs)
    assert report.unsound == []
    assert report.failed < report.pairs / 5
    assert report.not_understood < report.queries / 10
    assert min(report.claims[kind] for kind in ("not_null", "unique", "key", "domain")) > pairs / 10
    return {rule for rule, count in report.rules.items() if count}


@pytest.mark.parametrize("pairs", [PAIRS // 6, pytest.param(PAIRS, marks=pytest.mark.slow)])
def test_nothing_that_is_proven_is_wrong_on_duckdb(pairs: int) -> None:
    used = _check(DuckDB(), pairs, 7)
    if pairs == PAIRS:
        assert RULES.keys() - used <= RARE


@pytest.mark.parametrize("pairs", [PAIRS // 12, pytest.param(PAIRS // 4, marks=pytest.mark.slow)])
def test_nothing_that_is_proven_is_wrong_on_postgres(postgres: Server, pairs: int) -> None:
    _check(Postgres(postgres.database()), pairs, 8)


def test_functions_by_name() -> None:
    assert by_name.check(DuckDB(), r"\b(lag|ntile|avg|concat_ws)\(|try_cast.* tinyint").unsound == []


def test_functions_by_name_on_postgres(postgres: Server) -> None:
    assert by_name.check(Postgres(postgres.database()), r"\b(substring|ntile)\(|cast.* time\)").unsound == []


@pytest.mark.slow
def test_every_ninth_function_by_name(postgres: Server) -> None:
    for engine in (DuckDB(), Postgres(postgres.database())):
        report = by_name.check(engine, parts=9)  # the others are for `tests.soak`
        assert report.unsound == []
        assert report.claimed > 333


def test_a_function_that_gives_null_is_noticed_by_name(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "_has_value", lambda block, node, columns: True)
    assert any("substring" in each for each in by_name.check(Postgres(postgres.database()), r"substring\(").unsound)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lax keys count as strict", "each row meets at most one", "rollup is group by", "ranks are row numbers"]
)
def test_a_broken_rule_is_noticed(name: str) -> None:
    assert noticed(name, DuckDB(), 20_000) is not None


@pytest.mark.skipif(not CASES.exists(), reason="the cases of other projects are not here")
def test_what_other_projects_prove_is_proven_and_nothing_that_data_refute() -> None:
    total = score(json.loads(CASES.read_text())["cases"])
    assert total.unsound == []
    assert total.share("not_null") >= 0.9
    assert total.share("unique") >= 0.9
    assert total.share("keys") >= 0.8
