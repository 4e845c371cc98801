from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from sao_dagster.projects.sao_file import Settings, variable_of
from tests.postgres import Postgres
from tests.world import WORLDS, World

SCENARIOS = Path(__file__).parent / "scenarios"
SHARED = ("tests/ui/test_dev.py",)  # modules whose tests share what takes long to start


class Scheduling(LoadScopeScheduling):
    """Each test goes to whoever is free, but those of a shared module to one (xdist's own groups do nothing with pytest 9.2)."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if module in SHARED else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Scenarios run on the warehouses that they, or else their modules, are marked with; those without a mark on DuckDB.

    What runs on DuckDB runs on the others among the slow tests, so that the default ones take minutes.
    """
    marked = metafunc.definition.get_closest_marker("warehouse")
    if "world" in metafunc.fixturenames and marked:
        first, *others = marked.args
        repeated = [pytest.param(each, marks=pytest.mark.slow) for each in others]
        metafunc.parametrize("world", [first, *repeated], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a scenario with parameters, the first are tried by default, and the others among the slow tests."""
    seen = set[str]()
    for item in items:
        parameters = item.callspec.params.keys() if hasattr(item, "callspec") else set()
        if item.path.parent == SCENARIOS and parameters - {"world", "state_url"}:
            function = item.nodeid.partition("[")[0]
            if function in seen:
                item.add_marker(pytest.mark.slow)
            seen.add(function)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """An empty project with a schema `raw`, on the warehouse that the test is marked with."""
    return WORLDS[getattr(request, "param", "duckdb")](tmp_path / "shop", request)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the state, the profiles or the Dagster home of whoever runs it."""
    for name in ("DAGSTER_HOME", "DBT_PROFILES_DIR", "DBT_TARGET", *map(variable_of, Settings.model_fields)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server on loopback, for the session; skips where there is none to start."""
    if not Postgres.programs():
        pytest.skip("needs PostgreSQL's programs (Debian: postgresql)")
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty state, in each kind of database."""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        return server.database()
    return "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'state.db'}"
