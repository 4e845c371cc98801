"""Where the state is by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from sao_dagster.errors import StateError
from sao_dagster.state.location import default_state_url

EACH_BY_ITSELF = """
run_storage:
  module: dagster_postgres.run_storage
  class: PostgresRunStorage
  config:
    postgres_db: {username: u, password: p, hostname: h, db_name: db, params: {sslmode: require}}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


def test_beside_the_project_without_dagster(tmp_path: Path) -> None:
    assert default_state_url(tmp_path) == f"sqlite:///{tmp_path}/.sao/state.db"


def test_beside_the_instance(home: Path) -> None:
    assert default_state_url(Path("/p")) == f"sqlite:///{home}/sao_state.db"
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert default_state_url(Path("/p")) == f"sqlite:///{home}/sao_state.db"


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("storage: {postgres: {postgres_url: 'postgresql://u@h/db'}}", "postgresql://u@h/db"),
        (
            "storage: {postgres: {postgres_db: {username: u, password: {env: PG_PASSWORD}, hostname: h, db_name: db, port: 5433}}}",
            "postgresql://u:p%40ss@h:5433/db",
        ),
        (
            EACH_BY_ITSELF,
            "postgresql://u:p@h:5432/db?sslmode=require",
        ),
    ],
)
def test_in_the_database_of_the_instance(home: Path, monkeypatch: pytest.MonkeyPatch, written: str, url: str) -> None:
    monkeypatch.setenv("PG_PASSWORD", "p@ss")
    (home / "dagster.yaml").write_text(written)
    assert default_state_url(Path("/p")) == url


def test_other_storages_are_left_alone(home: Path) -> None:
    (home / "dagster.yaml").write_text("storage: {mysql: {mysql_url: 'mysql://u@h/db'}}")
    assert default_state_url(Path("/p")).startswith("sqlite:///")


def test_what_is_missing_is_named(home: Path) -> None:
    (home / "dagster.yaml").write_text("storage: {postgres: {postgres_url: {env: NOT_SET}}}")
    with pytest.raises(StateError, match="NOT_SET"):
        default_state_url(Path("/p"))
    (home / "dagster.yaml").write_text("storage: {postgres: [")
    with pytest.raises(StateError, match=r"dagster\.yaml cannot be read"):
        default_state_url(Path("/p"))
