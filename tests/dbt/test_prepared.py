"""A project that dbt has read is loaded without dbt wherever dbt would say the same, and nowhere else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import dagster as dg
import pytest

from sao_dagster import load_project, select
from sao_dagster.dagster import SaoProjectComponent
from sao_dagster.dbt import prepare
from sao_dagster.errors import WarehouseError
from sao_dagster.load import restore_project
from sao_dagster.projects.assembly import assembled
from tests.dbt.project import LittleProject, outcomes

pytestmark = pytest.mark.slow


@pytest.fixture
def no_dbt(little: LittleProject, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Put a program that fails in the place of dbt's Python, from now on."""

    def put() -> None:
        def started(*_: object, **__: object) -> None:
            pytest.fail("dbt was started")

        monkeypatch.setattr("sao_dagster.dbt.warehouse.dbt_process", started)
        monkeypatch.setattr("sao_dagster.dbt.prepare.dbt_process", started)

    return put


@pytest.fixture
def saved(little: LittleProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, as it was written when it was deployed; it has read an environment variable."""
    little.replace("models/big.sql", "100000", "{{ env_var('BIG', '100000') }}")
    file = tmp_path_factory.mktemp("state") / "saved"
    little.open().save(file)
    return file


def copied(little: LittleProject) -> None:
    """Give all files of the project other times and places, as a copy into an image does."""
    moved = little.folder.with_name("moved")
    shutil.copytree(little.folder, moved, copy_function=shutil.copyfile)
    shutil.rmtree(little.folder)
    moved.rename(little.folder)


def test_a_saved_project_is_restored_without_dbt_and_built_by_it(
    little: LittleProject, saved: Path, request: pytest.FixtureRequest
) -> None:
    copied(little)
    restored = restore_project(saved, little.folder)
    assert restored is not None
    assert "by dbt" in str(restored.built_by)
    result = restored.runner().run(select(restored.project))
    assert result.succeeded and outcomes(result)["orders"] == "never_built"
    assert little.rows("main.grown") == [(1, 500), (2, 700), (3, 100)]
    request.getfixturevalue("no_dbt")()
    again = restore_project(saved, little.folder)
    assert again is not None
    assert outcomes(again.runner().run(select(again.project))) == {}


def test_what_was_kept_is_good_for_a_copy_of_the_project(little: LittleProject, no_dbt: Callable[[], None]) -> None:
    little.run()
    copied(little)
    no_dbt()
    assert outcomes(little.run()) == {}
    little.open()  # by the state of the files again


def test_a_project_with_a_node_that_dbt_cannot_render_is_kept_too(
    little: LittleProject, no_dbt: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    little.write(
        "models/wrong.sql", "{% if execute %}{{ exceptions.raise_compiler_error('not like this') }}{% endif %}"
    )
    (before,) = little.open().project.broken.values()
    no_dbt()
    monkeypatch.setattr(assembled, "_assembled", lambda *_: pytest.fail("it was assembled again"))
    assert [*little.open().project.broken.values()] == [before]
    assert "not like this" in before.message


@pytest.mark.parametrize(
    "change",
    [
        lambda little: little.replace("models/big.sql", "count(*)", "sum(1)"),
        lambda little: little.replace("macros/all.sql", "* 100", "* 10"),
        lambda little: little.write("models/new.sql", "select 1 as one"),
        lambda little: (little.folder / "tests/no_debts.sql").unlink(),
        lambda little: little.write("seeds/rates.csv", "id,rate\n1,2\n"),
        lambda little: little.replace("profiles.yml", "schema: main", "schema: other"),
        lambda little: little.write("sao.yml", "executor: native\n"),
        lambda little: os.environ.update(BIG="5"),
        lambda little: os.environ.update(SAO_READER="folder"),
    ],
)
def test_what_dbt_might_say_otherwise_now_is_not_restored(
    little: LittleProject, saved: Path, change: Callable[[LittleProject], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BIG", "SAO_READER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert restore_project(saved, little.folder) is not None
    change(little)
    assert restore_project(saved, little.folder) is None


def test_another_dbt_is_asked_again(
    little: LittleProject, saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("environment") / "bin"
    other.mkdir()
    (other / "python").symlink_to(little.python)
    little.write("sao.yml", f"executor: dbt\ndbt: {other / 'python'}\n")
    assert restore_project(saved, little.folder) is None


def test_what_dbt_has_read_for_another_package_version_is_not_restored(
    little: LittleProject, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "MADE_BY", "another version")
    assert restore_project(saved, little.folder) is None


def test_a_file_that_changes_after_the_project_was_restored_builds_nothing(little: LittleProject, saved: Path) -> None:
    restored = restore_project(saved, little.folder)
    assert restored is not None
    little.replace("models/big.sql", "count(*)", "sum(1)")
    with pytest.raises(WarehouseError, match="have changed since it was loaded"):
        restored.runner().run(select(restored.project))


def test_variables_that_were_given_are_given_again(
    little: LittleProject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    little.replace("models/big.sql", "100000", "{{ var('big', 100000) }}")
    file = tmp_path_factory.mktemp("state") / "saved"
    load_project(little.folder, variables={"big": 5}).save(file)
    assert restore_project(file, little.folder) is None


def test_a_component_loads_what_was_prepared(
    little: LittleProject, no_dbt: Callable[[], None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    component = SaoProjectComponent(project=str(little.folder))
    state = tmp_path_factory.mktemp("state") / "state"
    component.write_state_to_path(state)
    copied(little)
    shutil.rmtree(little.folder / ".sao")
    no_dbt()
    defs = component.build_defs_from_state(cast("dg.ComponentLoadContext", None), state)
    assert {"orders", "totals", "people_over_time"} <= {
        each.key.to_user_string() for each in defs.resolve_all_asset_specs()
    }
