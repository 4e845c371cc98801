"""Which files belong to a project, and where one without a folder leaves its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sao_dagster import DuckDBWarehouse, SqlProject, load_project, select
from sao_dagster.errors import ProjectError
from tests.world import PROJECT, World


def models(world: World) -> set[str]:
    return set(load_project(world.root).project.nodes)


def test_folders_that_are_links_are_read(world: World, tmp_path: Path) -> None:
    world.model("own", "select 1 as x").write("../elsewhere/models/deep/linked.sql", "select 1 as x")
    world.write("../elsewhere/macros/m.sql", "{% macro one() %}1{% endmacro %}")
    (world.root / "models/sub").symlink_to(tmp_path / "elsewhere/models")
    (world.root / "macros").symlink_to(tmp_path / "elsewhere/macros")
    world.model("calls", "select {{ one() }} as x")
    assert models(world) == {"own", "linked", "calls"}
    assert load_project(world.root).project.nodes["linked"].fqn == ("shop", "sub", "deep", "linked")


def test_a_link_to_a_folder_that_it_is_in_ends(world: World) -> None:
    world.write("models/a/one.sql", "select 1 as x").write("models/b/two.sql", "select 1 as x")
    (world.root / "models/a/again").symlink_to(world.root / "models/a")
    (world.root / "models/b/up").symlink_to(world.root)
    assert models(world) == {"one", "two"}


def test_a_link_to_nothing_is_named(world: World) -> None:
    world.model("a", "select 1 as x")
    (world.root / "models/gone.sql").symlink_to(world.root / "not_there.sql")
    with pytest.raises(ProjectError, match=r"models/gone\.sql: it is a link"):
        models(world)


def test_what_editors_leave_behind_is_no_model(world: World) -> None:
    for name in (".#orders.sql", "~orders.sql", "#orders.sql", ".hidden.sql", ".seen/inside.sql", "LOUD.SQL"):
        world.write(f"models/{name}", "select 1 as x")
    world.write("models/.notes.yml", "not: [a properties file").write("seeds/.s.csv", "id\n1\n").write(
        "tests/.t.sql", "{{"
    )
    world.write("macros/.m.sql", "{% macro")
    assert models(world) == {"inside", "LOUD"}


def test_dbtignore_leaves_out_what_it_names(world: World) -> None:
    for path in (
        "models/kept.sql",
        "models/wip/draft.sql",
        "models/wip/deep/draft.sql",
        "models/old/a.sql",
        "models/old/b.sql",
    ):
        world.write(path, "select 1 as x" if path.endswith(("kept.sql", "b.sql")) else "select {{ not_there() }}")
    world.write("models/wip/all.yml", "not: [a properties file").write("seeds/large.csv", "").write(
        "macros/broken.sql", "{% macro"
    )
    world.write("tests/half.sql", "{{").write("docs_draft.md", "")
    world.write(
        ".dbtignore", "# drafts\nmodels/wip/\n*/old/*\n!models/old/b.sql\nlarge.csv\nmacros/broken.sql\ntests/*.sql\n"
    )
    assert models(world) == {"kept", "b"}


@pytest.mark.parametrize("name", ["../../outside", "a/b", "with space", "1st", "a.b", ""])
def test_the_name_of_a_project_is_a_word(world: World, name: str) -> None:
    world.write("dbt_project.yml", PROJECT.replace("name: shop", f"name: '{name}'"))
    with pytest.raises(ProjectError, match=r"dbt_project\.yml:2: .*letters, digits and underscores"):
        models(world)


def test_the_name_of_a_target_does_not_lead_out_of_the_folder(world: World, tmp_path: Path) -> None:
    world.model("a", "select 1 as x")
    world.write("profiles.yml", (world.root / "profiles.yml").read_text().replace("    dev:", "    ../../../dev:"))
    before = {*tmp_path.iterdir(), *world.root.iterdir()}
    assert set(load_project(world.root, target="../../../dev").project.nodes) == {"a"}
    assert {*tmp_path.iterdir(), *world.root.iterdir()} - before == {world.root / ".sao"}


def test_a_project_without_a_folder_leaves_nothing_beside_the_file_that_declares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, place = tmp_path / "code", tmp_path / "place"
    code.mkdir()
    place.mkdir()
    (code / "declares.py").write_text(
        "from sao_dagster import SqlProject\n"
        "def make(warehouse, state_url):\n"
        "    shop = SqlProject('shop', warehouse=warehouse, state_url=state_url)\n"
        "    @shop.model(materialized='table')\n"
        "    def orders(): return 'select {{ 1 }} as x'\n"
        "    return shop\n"
    )
    monkeypatch.syspath_prepend(code)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    from declares import make  # type: ignore[import-not-found]

    shop: SqlProject = make(DuckDBWarehouse(path=str(place / "shop.duckdb")), f"sqlite:///{place / 'state.db'}")
    assert [each.name for each in shop.runner().run(select(shop.project)).models] == ["orders"]
    assert [each.name for each in code.iterdir()] == ["declares.py"]
    assert (place / "state.db").is_file()
