"""`sao init`: what it finds, and that it writes nothing that nobody has agreed to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sao_dagster.cli import app
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
    assert answer["project"] == "shop: 2 models (1 table, 1 view), 1 sources, 0 data tests"
    assert answer["executor"].startswith("native")
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
    assert answer["volatile"] == "1 models again each day"
    assert answer["always"] == {
        "random": "its SQL gives something else each time; `volatile: ignore`, or daily, says that this is no news",
        "lost": "source:raw.away is not in the warehouse",
        "asking": "what the hook {{ fill() }} does is not known before",
    }


def test_it_writes_a_file_of_settings_only_when_told(shop: World) -> None:
    file = shop.root / "sao.yml"
    assert "--yes writes it" in init(shop.root).output
    assert not file.exists()
    assert "sao.yml is written" in init(shop.root, "--yes").output
    assert shop.run().built == {"orders", "seen"}  # with these settings
    file.write_text("executor: native\n")
    assert "stays as it is" in init(shop.root, "--yes").output
    assert file.read_text() == "executor: native\n"


def test_without_a_project_it_says_what_one_needs(tmp_path: Path) -> None:
    result = init(tmp_path)
    assert result.exit_code == 2
    assert "there is no dbt_project.yml" in result.output
    assert list(tmp_path.iterdir()) == []
