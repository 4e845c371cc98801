"""dbt is in an environment of its own; CONTRIBUTING says how it is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests.dbt.preloaded import Preloaded
from tests.dbt.project import LittleProject
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Path]]:
    """Gives a Python that has imported dbt already, in place of one that has not."""
    if not hasattr(os, "pidfd_open"):  # on another system than Linux
        yield lambda python: python
        return
    with ExitStack() as opened:
        yield cache(lambda python: opened.enter_context(Preloaded(python, tmp_path_factory.mktemp("preloaded"))).python)


@pytest.fixture
def dbt_python(request: pytest.FixtureRequest, preloaded: Callable[[Path], Path]) -> Path:
    """The Python that has dbt-core, dbt-duckdb and dbt-postgres; tests that look after its processes are marked with `real_python`."""
    place = os.environ.get("SAO_TEST_DBT")
    if not place:
        pytest.skip("SAO_TEST_DBT names no Python that has dbt")
    is_real = request.node.get_closest_marker("real_python") is not None
    return Path(place) if is_real else preloaded(Path(place))


@pytest.fixture
def little(tmp_path: Path, dbt_python: Path) -> LittleProject:
    """The project on DuckDB."""
    return LittleProject(tmp_path, dbt_python).create()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with Postgres() as started:
        yield started


@pytest.fixture(params=["duckdb", "postgres"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, dbt_python: Path) -> LittleProject:
    """The project on each warehouse."""
    url = request.getfixturevalue("server").database() if request.param == "postgres" else None
    return LittleProject(tmp_path, dbt_python, url).create()
