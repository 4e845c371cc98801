"""Selections that have a name, of the last run, and of what differs from dbt's manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sao_dagster import load_project
from sao_dagster.cli import app
from sao_dagster.core.selection import Selection, select
from sao_dagster.errors import ProjectError, SelectionError
from sao_dagster.projects.manifest_changes import manifest_changes
from tests.world import World

CORNERS = Path(__file__).parents[1] / "manifest_reader"


@pytest.fixture
def shop(world: World) -> World:
    """Four models in a row with a test on two of them."""
    world.model("a", "select 1 as id", tags=["nightly"]).model("b", "select id from {{ ref('a') }}")
    world.model("c", "select id from {{ ref('b') }}", tags=["nightly"]).model("d", "select id from {{ ref('c') }}")
    names = [f"{{name: {name}, columns: [{{name: id, data_tests: [not_null]}}]}}" for name in "ac"]
    return world.write("models/tests.yml", f"models: [{', '.join(names)}]")


def selected(world: World, definition: str, include: str = "selector:it") -> Selection:
    lines = "".join(f"      {line}\n" for line in definition.splitlines())
    world.write("selectors.yml", f"selectors:\n  - name: it\n    definition:\n{lines}")
    return select(world.opened().project, include)


@pytest.mark.parametrize(
    ("definition", "nodes", "tests"),
    [
        ("'tag:nightly'", "ac", 2),
        ("'tag:nightly,b+ d'", "cd", 1),
        ("tag: nightly", "ac", 2),
        ("{method: fqn, value: b, children: true, children_depth: 1}", "bc", 1),
        ("{method: fqn, value: b, parents: true}", "ab", 1),
        ("{method: fqn, value: b, childrens_parents: true}", "abcd", 2),
        ("{method: fqn, value: '*', exclude: [{tag: nightly}]}", "bd", 0),
        ("union: [{fqn: a}, {method: fqn, value: c, children: true}]", "acd", 2),
        ("union: [{fqn: a}, c, {exclude: [{fqn: a}]}]", "c", 1),
        ("intersection: [{tag: nightly}, {union: [a, b]}]", "a", 1),
        ("intersection: [{tag: nightly}, {exclude: ['a']}]", "c", 1),
        ("{method: test_name, value: not_null, exclude: [{method: fqn, value: not_null_a_id}]}", "", 1),
    ],
)
def test_a_selector_selects_as_dbt_says(shop: World, definition: str, nodes: str, tests: int) -> None:
    found = selected(shop, definition)
    assert ("".join(found.nodes), len(found.tests)) == (nodes, tests)


def test_selectors_may_use_one_another_and_stand_in_a_selection(shop: World) -> None:
    shop.write(
        "selectors.yml",
        "selectors:\n- {name: base, definition: {tag: nightly}}\n"
        "- {name: more, definition: {union: [{method: selector, value: base}, b]}}\n"
        "- {name: round, definition: {method: selector, value: round}}\n",
    )
    project = shop.opened().project
    assert select(project, "selector:more").nodes == ("a", "b", "c")
    assert select(project, "selector:base+1 d").nodes == ("a", "b", "c", "d")
    assert select(project, exclude="selector:base").nodes == ("b", "d")
    with pytest.raises(SelectionError, match=r"selectors\.yml:4: the selector 'round' selects itself"):
        select(project, "selector:round")
    with pytest.raises(SelectionError, match=r"no selector 'mine' in selectors\.yml; there are: base, more, round"):
        select(project, "selector:mine")


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("{union: [a], method: tag}", "beside union stands nothing else; got method"),
        ("{method: tag}", "value is missing"),
        ("{method: tag, value: a, depth: 1}", "unknown: depth"),
        (
            "{method: tag, value: a, indirect_selection: shy}",
            "shy is unknown; there are: eager, cautious, buildable, empty",
        ),
        ("{method: exposure, value: a}", "no selection method"),
        ("union: a", "are lists; got 'a'"),
        ("union: [{exclude: [a]}]", "something beside exclude"),
        ("{tag: a, fqn: b}", "or one method with its value; got tag, fqn"),
        ("- a", "a definition is a text"),
    ],
)
def test_a_selector_that_is_wrong_is_said_where_it_is_used(shop: World, definition: str, message: str) -> None:
    with pytest.raises(SelectionError, match=rf"selectors\.yml:2: .*{message}"):
        selected(shop, definition)
    assert selected(shop, definition, "a").nodes == ("a",)


def test_a_file_that_is_wrong_is_said_at_once(shop: World) -> None:
    shop.write("selectors.yml", "selectors:\n- {name: a, definition: b}\n- {name: a, definition: c}\n")
    with pytest.raises(ProjectError, match=r"selectors\.yml:3: there are two selectors called 'a'"):
        shop.opened()


def sao(world: World, *arguments: str) -> Result:
    state = {"SAO_STATE_URL": f"sqlite:///{world.root / 'state.db'}"}
    return CliRunner().invoke(app, [*arguments, "--project-dir", str(world.root), "--json"], env=state)


def named(found: Result) -> str:
    assert found.exit_code in (0, 1), found.output
    return "".join(each["name"] for each in json.loads(found.stdout)["models"])


def test_commands_that_are_told_nothing_use_the_default(shop: World) -> None:
    text = "selectors: [{name: n, default: DEFAULT, definition: 'tag:nightly'}]"
    shop.write("selectors.yml", text.replace("DEFAULT", "true"))
    assert (named(sao(shop, "plan")), named(sao(shop, "plan", "--exclude", "a"))) == ("ac", "bcd")
    shop.write("selectors.yml", text.replace("DEFAULT", "\"{{ target.name == 'other' }}\""))
    assert (named(sao(shop, "plan")), named(sao(shop, "plan", "--target", "other"))) == ("abcd", "ac")


def test_what_came_of_the_last_run_is_selected(shop: World) -> None:
    assert "the state knows none" in sao(shop, "plan", "--select", "result:error").stderr
    shop.model("b", "select id from nowhere")
    assert sao(shop, "build").exit_code == 1
    assert named(sao(shop, "plan", "--select", "result:error+")) == "bcd"
    assert named(sao(shop, "plan", "--select", "result:skipped")) == "cd"
    assert named(sao(shop, "plan", "--select", "result:success")) == "a"
    shop.model("b", "select id from {{ ref('a') }} where id < 0 union all select null")
    assert sao(shop, "build", "--select", "result:error+").exit_code == 1
    assert "result:odd is unknown; there are: error, fail" in sao(shop, "plan", "--select", "result:odd").stderr
    found = json.loads(sao(shop, "plan", "--select", "result:fail").stdout)
    assert [each["name"] for each in found["tests"]] == ["not_null_c_id"]
    assert sao(shop, "build", "--target", "other").exit_code == 1
    assert named(sao(shop, "plan", "--select", "result:success", "--state", "other")) == "abc"


def test_what_differs_from_a_manifest_of_dbt(tmp_path: Path) -> None:
    folder = tmp_path / "corners"
    shutil.copytree(CORNERS / "corners", folder)
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(CORNERS / "corners.json", state / "manifest.json")

    def changed(path: str, old: str, new: str) -> dict[str, set[str]]:
        file = folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        found = manifest_changes(load_project(folder).project, state)
        file.write_text(text)
        return {name: set(each) for name, each in found.items()}

    assert manifest_changes(load_project(folder).project, state) == {}
    assert changed("models/base.sql", "select", "select  ") == {"base": {"body"}}
    assert changed("seeds/names.csv", "1,a", "7,a") == {"names": {"body"}}
    assert changed("macros/noting.sql", "'rows: '", "'lines: '") == {"noted": {"macros"}}
    assert changed("tests/single.sql", "where id <", "where id <=") == {"single": {"body"}}
    assert changed("models/noted.sql", "alias='noted_here'", "alias='there'") == {"noted": {"body", "relation"}}
    assert changed("models/properties.yml", "limit: 5", "limit: 6") == {"odd_reads_both_id___var_least_": {"configs"}}
    assert changed("models/properties.yml", "max_age: 1d", "max_age: 2d") == {}, "it says when, and not what"
    assert changed("models/properties.yml", "meta: {colour: red}", "meta: {colour: blue}") == {
        "reads_both": {"configs"}
    }
    views = changed("dbt_project.yml", "+materialized: table", "+materialized: view")
    assert views["latest"] == {"configs"}
    assert "noted" not in views
    opened = load_project(folder)
    assert opened.environments.changes(opened.project, str(state)) == {}
    (state / "manifest.json").write_text("{}")
    with pytest.raises(SelectionError, match="is no manifest of dbt"):
        opened.environments.changes(opened.project, str(state))
