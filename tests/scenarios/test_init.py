"""`sao init`: what it finds, and that it writes nothing that nobody has agreed to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.cli.ui import served_command, served_environment
from tests.world import World


def init(root: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["init", "--project-dir", str(root), *arguments])


def found(world: World) -> dict[str, Any]:
    result = init(world.root, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.fixture
def shop(world: World) -> World:
    world.source("orders").sql("create table raw.orders as select 1 as id")
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    world.model("seen", "select * from {{ ref('orders') }}", materialized="view")
    return world


def test_it_says_what_there_is(shop: World) -> None:
    answer = found(shop)
    assert answer["project"] == "shop: 2 models (1 table, 1 view), 1 source, 0 data tests"
    assert answer["executor"] == "read and built by this package: nothing is used that only dbt does"
    assert answer["sources"] == "1 by content: what comes out as before builds nothing below"
    assert (answer["always"], answer["present"]) == ({}, [])
    shop.run()
    assert found(shop)["present"] == ["orders"]


def test_it_says_what_would_be_built_always_and_why(shop: World) -> None:
    shop.model("random", "select 1 as x where random() < 2", volatile="always")
    shop.model("today", "select 1 as id where current_date > date '2020-01-01'")
    shop.model("lost", "select * from {{ source('raw', 'away') }}").source("orders", "away")
    shop.model("asking", '{{ config(post_hook="{{ fill() }}") }} select 1 as id')
    shop.write(
        "macros/fill.sql",
        "{% macro fill() %}insert into {{ this }} select {{ run_query('select 1')[0][0] }}{% endmacro %}",
    )
    answer = found(shop)
    assert answer["missing"] == ["source:raw.away"]
    assert answer["volatile"] == "1 model again each day"
    assert answer["always"] == {
        "random": "its SQL gives something else each time; `volatile: ignore`, or daily, says that this is no news",
        "asking": "what the hook {{ fill() }} does is not known before",
    }


def test_it_says_what_cannot_be_built_and_that_packages_are_not_installed(shop: World) -> None:
    shop.write("packages.yml", "packages: [{local: ../house}]")
    shop.model("daily", "select * from {{ ref('calendar') }}")
    answer = found(shop)
    assert "not installed" in answer["packages"]
    assert "dbt deps" in answer["packages"]
    assert list(answer["broken"]) == ["daily"]
    assert "ref('calendar')" in answer["broken"]["daily"]
    assert answer["always"] == {}
    output = init(shop.root).output
    assert "1 cannot be built:" in output
    assert "nothing is built in each run" in output


def test_it_writes_a_file_of_settings_only_when_told(shop: World) -> None:
    file = shop.root / "sao.yml"
    assert "--yes writes it" in init(shop.root).output
    assert not file.exists()
    assert "sao.yml is written" in init(shop.root, "--yes").output
    assert shop.run().built == {"orders", "seen"}  # with these settings
    file.write_text("executor: native\n")
    assert "stays as it is" in init(shop.root, "--yes").output
    assert file.read_text() == "executor: native\n"


def test_in_an_empty_folder_it_makes_a_project_that_builds(tmp_path: Path) -> None:
    folder = tmp_path / "my-shop"
    made = init(folder)
    assert made.exit_code == 0, made.output
    assert "models/customers.sql" in made.stdout
    built = CliRunner().invoke(app, ["build", "--project-dir", str(folder), "--json"])
    assert json.loads(built.stdout)["summary"]["built"] == 2, built.output
    with (folder / "raw/orders.csv").open("a") as file:
        file.write("4,ada,1\n")
    planned = CliRunner().invoke(app, ["plan", "--project-dir", str(folder), "--json"])
    assert [each["reason"] for each in json.loads(planned.stdout)["models"]] == ["new_data", "new_data"]
    assert "2 models" in init(folder).output, "then it says what is found"


def test_it_makes_a_project_beside_other_things_only_when_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = init(tmp_path)
    assert refused.exit_code == 2
    assert "other things are (notes.txt); --yes makes a project beside them" in refused.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "models").mkdir()
    (tmp_path / "models/orders.sql").write_text("select 1")
    taken = init(tmp_path, "--yes")
    assert "has models/orders.sql already" in taken.stderr
    assert (tmp_path / "models/orders.sql").read_text() == "select 1"
    (tmp_path / "models/orders.sql").unlink()
    assert init(tmp_path, "--yes").exit_code == 0


def test_what_is_made_loads_in_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy

    folder = tmp_path / "shop"
    init(folder)
    by_file = runpy.run_path(str(folder / "definitions.py"))["defs"]
    monkeypatch.setenv("SAO_PROJECT_DIR", str(folder))
    alone = runpy.run_module("sao_dagster.dagster.served")["defs"]
    for defs in (by_file, alone):
        keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
        assert {"customers", "orders"} <= {key.rpartition("/")[2] for key in keys}


def test_the_ui_shows_own_definitions_first_and_uses_the_state_of_the_command_line(tmp_path: Path) -> None:
    assert served_command(tmp_path)[1:] == ["-m", "dagster", "dev", "-m", "sao_dagster.dagster.served"]
    (tmp_path / "definitions.py").write_text("")
    assert served_command(tmp_path, 3001, "0.0.0.0")[3:] == [
        "dev", "-f", "definitions.py", "--port", "3001", "--host", "0.0.0.0",
    ]  # fmt: skip
    (tmp_path / "workspace.yaml").write_text("")
    assert served_command(tmp_path)[4:] == ["-w", "workspace.yaml"]
    alone = served_environment(tmp_path, "sqlite:///here", {})
    assert (alone["SAO_STATE_URL"], alone["DAGSTER_HOME"]) == ("sqlite:///here", str(tmp_path / ".sao" / "dagster"))
    assert served_environment(tmp_path, "sqlite:///here", {"DAGSTER_HOME": "/home/d"})["DAGSTER_HOME"] == "/home/d"
    chosen = served_environment(tmp_path, "sqlite:///here", {"DBT_TARGET": "dev"}, "prod", tmp_path / "profiles")
    assert (chosen["DBT_TARGET"], chosen["DBT_PROFILES_DIR"]) == ("prod", str(tmp_path / "profiles"))


def test_a_shell_completes_commands_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shop"
    init(folder)
    monkeypatch.chdir(folder)

    def completed(words: str) -> list[str]:
        env = {"_SAO_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return CliRunner().invoke(app, [], prog_name="sao", env=env).output.split()

    assert completed("sao exp") == ["explain"]
    assert completed("sao build --select +cu") == ["+customers"]
    assert completed("sao explain ord") == ["orders"]
