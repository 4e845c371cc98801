"""dbt is in an environment of its own; CONTRIBUTING says how it is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dbt.project import LittleProject
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def dbt_python() -> Path:
    """The Python that has dbt-core, dbt-duckdb and dbt-postgres."""
    place = os.environ.get("SAO_TEST_DBT")
    if not place:
        pytest.skip("SAO_TEST_DBT names no Python that has dbt")
    return Path(place)


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
