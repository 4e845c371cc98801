"""Settings that belong to no node: in `sao.yml`, in environment variables, as arguments."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sao_dagster import DuckDBWarehouse, SqlProject, load_project
from sao_dagster.cli import app
from sao_dagster.core.proofs import ProofSettings
from sao_dagster.errors import ProjectError
from sao_dagster.load import restore_project
from sao_dagster.projects.sao_file import Settings, read_settings, variable_of
from tests.world import World

OTHERS: Mapping[str, tuple[Any, Any, Any]] = {  # values other than the default
    "state_url": ("sqlite:////one.db", "sqlite:////two.db", "sqlite:////three.db"),
    "on_state_error": ("build", "fail", "build"),
    "retention_days": (7.5, 8.0, 9.0),
    "branch_days": (7.5, 8.0, 9.0),
    "prove_tests": (False, True, False),
    "verify_proofs": (20, 30, 40),
    "hashes_are_unique": (True, False, True),
    "executor": ("native", "auto", "native"),
    "reader": ("folder", "auto", "folder"),
    "dbt": ("one", "two", "three"),
    "dbt_execution": ("selection", "inside", "selection"),
    "defer": ("one", "two", "three"),
    "favor_state": (True, False, True),
    "reuse_from": (["one"], ["two"], "three"),
    "clone": ("copy", "view", "copy"),
    "projects": ({"core": "one"}, {"core": "two"}, {"core": "three"}),
}
OF_LOADING = {
    "executor",
    "reader",
    "dbt",
    "dbt_execution",
}  # a project that is there has been read, and is no longer asked


def test_every_setting_is_tried() -> None:
    assert set(OTHERS) == set(Settings.model_fields)
    assert set(Settings.model_fields) - OF_LOADING <= set(signature(SqlProject).parameters)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_more_specific_place_wins(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def found(target: str = "dev", **given: Any) -> Any:
        return getattr(SqlProject(folder=world.root, target=target, **given).settings, name)

    one, two, three = OTHERS[name]
    assert found() == Settings.model_fields[name].default
    world.write("sao.yml", f"{name}: {one}")
    assert (found(), found("other")) == (one, one)
    world.write("sao.yml", f"{name}: {one}\ntargets:\n  other:\n    {name}: {two}\n")
    assert (found(), found("other")) == (one, two)
    monkeypatch.setenv(variable_of(name), str(three))
    assert (found(), found("other")) == (three, three)
    if name not in OF_LOADING:
        assert found(**{name: two}) == two
    monkeypatch.setenv(variable_of(name), "")
    assert found() == one, "an empty variable says nothing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("retention_days: 7\nprove_test: false", r"sao\.yml:2: unknown key 'prove_test'; did you mean 'prove_tests'\?"),
        ("targets:\n  prod:\n    stat_url: x", r"sao\.yml:3: unknown key 'targets.prod.stat_url'; did you mean 'state_url'\?"),
        ("sao_prove_tests: false", r"sao\.yml:1: unknown key 'sao_prove_tests'; did you mean 'prove_tests'\?"),
        ("prove_tests: 'no'", r"sao\.yml:1: prove_tests: Input should be a valid boolean, got 'no'"),
        ("verify_proofs: 0", r"sao\.yml:1: verify_proofs: Input should be greater than or equal to 1, got 0"),
        ("verify_proofs: true", r"sao\.yml:1: verify_proofs: Input should be a valid integer, got True"),
        ("\nretention_days: .nan", r"sao\.yml:2: retention_days: Input should be a finite number"),
        ("on_state_error: ignore", r"sao\.yml:1: on_state_error: Input should be 'fail' or 'build', got 'ignore'"),
        ("state_url: \"{{ env_var('URL') }}\"", r"sao\.yml:1: state_url: it is not rendered.*SAO_STATE_URL"),
        ("- state_url", r"sao\.yml:1: it is a mapping"),
        ("a: b: c", r"sao\.yml:1: this is not YAML"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_and_line(world: World, text: str, message: str) -> None:
    world.model("a", "select 1 as x").write("sao.yml", text)
    with pytest.raises(ProjectError, match=message):
        load_project(world.root)
    result = CliRunner().invoke(app, ["plan", "--project-dir", str(world.root)])
    assert result.exit_code == 2
    assert "sao.yml" in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAO_RETENTION_DAYS", "a week"),
        ("SAO_RETENTION_DAYS", "-1"),
        ("SAO_RETENTION_DAYS", "nan"),
        ("SAO_ON_STATE_ERROR", "ignore"),
        ("SAO_PROVE_TESTS", "perhaps"),
    ],
)
def test_mistakes_in_the_environment_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ProjectError, match=f"{name} is '{value}'; "):
        read_settings(tmp_path, "dev")


def test_how_long_it_remembers_and_what_happens_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(tmp_path, "dev")
    assert (settings.retention, settings.on_state_error) == (timedelta(days=90), "fail")
    monkeypatch.setenv("SAO_RETENTION_DAYS", "7.5")
    monkeypatch.setenv("SAO_ON_STATE_ERROR", "build")
    settings = read_settings(tmp_path, "dev")
    assert (settings.retention, settings.on_state_error) == (timedelta(days=7.5), "build")
    runner = SqlProject("shop", warehouse=DuckDBWarehouse(path=":memory:")).runner()
    assert runner.build_without_state


def test_where_the_state_is(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def found(**given: Any) -> str:
        return SqlProject(folder=world.root, **given).state_url

    assert found() == f"sqlite:///{world.root / '.sao' / 'state.db'}"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert found() == f"sqlite:///{tmp_path / 'sao_state.db'}"
    world.write("sao.yml", "state_url: sqlite:///kept/state.db")
    assert found() == f"sqlite:///{world.root}/kept/state.db"
    world.write("sao.yml", "state_url: postgresql://u@h/db")
    assert found() == "postgresql://u@h/db"
    monkeypatch.setenv("SAO_STATE_URL", "sqlite:////elsewhere.db")
    assert found() == "sqlite:////elsewhere.db"
    assert found(state_url="sqlite://") == "sqlite://"


def test_settings_are_no_part_of_what_is_assembled(world: World) -> None:
    world.model("a", "select 1 as x")
    before = load_project(world.root)
    world.write("sao.yml", "prove_tests: false\nverify_proofs: 20\nhashes_are_unique: true")
    after = load_project(world.root)
    assert after.assembled.key == before.assembled.key
    assert (before.project.proofs, after.project.proofs) == (ProofSettings(), ProofSettings(False, 20, True))
    after.save(world.root / "saved")
    world.write("sao.yml", "verify_proofs: 30")
    restored = restore_project(world.root / "saved", world.root)
    assert restored is not None
    assert restored.project.proofs == ProofSettings(verify_every=30)


def test_a_project_in_python_has_them_as_arguments(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(path=":memory:")
    shop = SqlProject("shop", warehouse=warehouse, prove_tests=False, verify_proofs=5, hashes_are_unique=True)
    assert shop.project.proofs == ProofSettings(False, 5, True)
    with pytest.raises(ProjectError, match="verify_proofs: Input should be greater than or equal to 1"):
        SqlProject("shop", warehouse=warehouse, verify_proofs=0)


def test_variables_that_are_settings_are_pointed_out(world: World) -> None:
    world.write("dbt_project.yml", "name: shop\nprofile: shop\nvars: {sao_prove_tests: false, sao_region: eu}\n")
    world.model("a", "select '{{ var('sao_region') }}' as x")
    project = load_project(world.root, variables={"sao_verify_proofs": 2}).project
    assert project.proofs == ProofSettings()
    assert [each.message for each in project.notices] == [
        "the variable sao_prove_tests has no effect; write prove_tests in sao.yml",
        "the variable sao_verify_proofs has no effect; write verify_proofs in sao.yml",
    ]
