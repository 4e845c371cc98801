"""What `sao` shows to people, and on which stream."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.cli.terminal import LISTED, Terminal
from tests.world import World


def sao(world: World, *arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments, "--project-dir", str(world.root)])


def many(world: World, count: int, sql: str = "select {n} as x") -> World:
    for n in range(count):
        world.model(f"m{n:03}", sql.format(n=n))
    return world


def lines_with(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


def test_results_are_on_standard_output_and_progress_on_standard_error(world: World) -> None:
    result = sao(many(world, 3), "build")
    assert "built  m000" in result.stdout
    assert "never built here before" in result.stdout
    assert "3 built, 0 reused" in result.stdout
    assert f"sqlite:///{world.root}/.sao/state.db" in result.stdout
    assert "shop.dev.main." in result.stdout
    assert "read and built by this package: nothing is used that only dbt does" in result.stderr
    assert "m000" not in result.stderr
    assert "never built" not in result.stderr
    assert "3/3" in result.stderr.splitlines()
    assert "\x1b" not in result.output
    assert "\r" not in result.output


def test_an_environment_is_shown_with_its_id_once_it_has_one_that_stays(world: World) -> None:
    many(world, 1).delete("shop.duckdb")
    unbuilt = "shop.dev.main (nothing is built there yet)"
    assert lines_with(sao(world, "plan").stdout, "environment  ") == [f"environment  {unbuilt}"]
    assert unbuilt in sao(world, "state", "show").stderr
    (built,) = lines_with(sao(world, "build").stdout, "environment  ")
    (planned,) = lines_with(sao(world, "plan").stdout, "environment  ")
    assert re.fullmatch(r"environment  shop\.dev\.main\.\w{8}", planned)
    assert built.startswith(f"{planned}  run ")


def test_what_is_reused_is_counted_by_reason_unless_everything_is_asked_for(world: World) -> None:
    many(world, 60)
    first = sao(world, "build").stdout
    assert lines_with(first, "m0") == lines_with(first, "60  "), "more than a screen: the first names, and a count"
    world.model("m000", "select 100 as x")
    again = sao(world, "build").stdout
    assert [line.split() for line in again.splitlines() if line.startswith("reused")] == [
        ["reused", "59", "nothing", "changed"]
    ]
    assert "1 built, 59 reused" in again
    assert len(lines_with(again, "m0")) == 1
    assert len(lines_with(sao(world, "build", "--verbose").stdout, "nothing changed")) == 60


def test_a_plan_tells_what_is_only_foreseen(world: World) -> None:
    many(world, 30).model("below", "select * from {{ ref('m000') }}")
    sao(world, "build")
    world.model("m000", "select 100 as x")
    shown = sao(world, "plan").stdout
    assert lines_with(shown, "below")[0].startswith("built?")
    assert lines_with(shown, "m000")[0].startswith("built ")
    assert "may come out as it was" in shown
    assert "2 to build, 29 to reuse" in shown


def test_a_plan_as_a_tree(world: World) -> None:
    world.model("a", "select 1 as x").model("b", "select 2 as x").model("kept", "select 3 as x")
    world.model("both", "select x from {{ ref('a') }} union all select x from {{ ref('b') }}")
    world.model("end", "select x from {{ ref('both') }}").model("side", "select x from {{ ref('a') }}")
    sao(world, "build")
    world.model("a", "select 10 as x").model("b", "select 20 as x")
    shown = sao(world, "plan", "--tree").stdout.split("\n\n")[0].splitlines()
    assert [line.split("  its")[0].split("  news")[0] for line in shown] == [
        "built a",
        "├─ built? both",
        "│  └─ built? end",
        "└─ built? side",
        "built b",
        "└─ built? both  see above",
        "built?  is foreseen: what is above it is built first, and may come out as it was",
    ]
    assert "reused kept" in sao(world, "plan", "--tree", "--verbose").stdout


def test_what_is_only_foreseen_is_counted_apart(world: World) -> None:
    world.model("top", "select 1 as x")
    many(world, LISTED + 5, "select * from {{{{ ref('top') }}}}")
    sao(world, "build")
    world.model("top", "select 2 as x")
    words = [line.split()[:2] for line in sao(world, "plan").stdout.splitlines() if line.startswith("built")]
    assert words == [["built", "top"], ["built?", str(LISTED + 5)], ["built?", "is"]], "the last one is the legend"


def test_errors_of_one_cause_are_shown_once(world: World) -> None:
    world.source("away")
    many(world, 5, "select {n} as x from {{{{ source('raw', 'away') }}}}").model(
        "below", "select * from {{ ref('m000') }}"
    )
    shown = sao(world, "build").stdout
    assert shown.count("does not exist") == 1
    assert len(lines_with(shown, "the same error as")) == 1
    assert lines_with(shown, "skipped  below")[0].endswith("m000 failed, or was skipped")
    assert sao(world, "build", "--verbose").stdout.count("does not exist") >= 5


def test_errors_that_only_begin_alike_are_all_shown(world: World) -> None:
    for name, what in {"a": "first", "b": "second", "c": "first"}.items():
        world.model(name, f"{{{{ exceptions.raise_compiler_error('it cannot be made\\n  for the {what} reason') }}}}")
    shown = sao(world, "build").stdout
    assert [shown.count(f"for the {each} reason") for each in ("first", "second")] == [1, 1]
    assert lines_with(shown, "the same error as") == ["the same error as a: c"]


def test_a_plan_says_the_cause_of_what_cannot_be_built(world: World) -> None:
    many(
        world, LISTED + 5, "{{{{ exceptions.raise_compiler_error('\\n  it is gone, says shop.' ~ this.identifier) }}}}"
    )
    world.model("other", "{{ nowhere(1) }}")
    same, other = lines_with(sao(world, "plan").stdout, "failed ")
    assert same.split()[:2] == ["failed", str(LISTED + 5)]
    assert re.search(r"  models/m000\.sql:1: it is gone, says shop\.m000: m000, m001, m002 and \d+ more$", same)
    assert re.search(r"^failed +other +models/other\.sql:1: .*nowhere", other)


def test_times_are_those_of_the_clock_on_the_wall(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        world.model("m", "select 1 as x", materialized="table")
        sao(world, "build", "--now", "2026-03-01T20:30:00")
        world.sql("insert into main.m values (2)")
        (warning,) = lines_with(sao(world, "build").stderr, "was changed by someone else")
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d JST;", warning)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_failing_tests_are_named_and_those_beyond_a_screen_are_counted(world: World) -> None:
    many(world, LISTED + 5)
    for n in range(LISTED + 5):
        world.write(f"tests/t{n:03}.sql", f"select * from {{{{ ref('m{n:03}') }}}}")
    result = sao(world, "build")
    assert result.exit_code == 1
    assert len(lines_with(result.stdout, ": 1 failure")) == LISTED
    assert "and 5 more went wrong" in result.stdout
    assert f"{LISTED + 5} fail" in result.stdout


def test_notices_of_one_kind_are_one_line(world: World) -> None:
    for n in range(10):
        world.model(f"m{n}", "select 1 as x", event_time="t")
    said = sao(world, "plan").stderr
    (line,) = lines_with(said, "event_time")
    assert "10 times: models/m0.sql:1, models/m1.sql:1, models/m2.sql:1 and 7 more" in line
    assert len(lines_with(sao(world, "plan", "--verbose").stderr, "event_time")) == 10
    world.write("models/gone.yml", "models: [{name: gone_1}, {name: gone_2}, {name: gone_3}, {name: gone_4}]")
    (described,) = lines_with(sao(world, "plan").stderr, "there is no such file")
    assert "gone_1 is described" in described
    assert "and the like (4 times: models/gone.yml:1" in described


def test_what_is_read_without_being_declared_is_one_line_for_each_way(world: World) -> None:
    world.sql("create table raw.one as select 1 as a", "create table raw.other as select 1 as a")
    for number in range(5):
        world.model(f"m{number}", f"select a from raw.{'other' if number else 'one'} limit {number}")
    world.model("f", "select * from 'there.csv'")
    noted = lines_with(sao(world, "plan").stderr, "note")
    assert len(noted) == 2, noted
    assert any("m0 reads the table raw.one by its name" in line and "and the like (2 times: " in line for line in noted)


def test_quiet_shows_what_went_wrong_and_nothing_else(world: World) -> None:
    world.model("good", "select 1 as x", event_time="t")
    result = sao(world, "build", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    world.model("bad", "select nothing")
    result = sao(world, "build", "--quiet")
    assert result.exit_code == 1
    assert result.stdout.startswith("failed  bad  models/bad.sql\n")
    assert "good" not in result.output


def test_a_quiet_plan_shows_what_is_broken(world: World) -> None:
    world.model("fine", "select 1 as x")
    assert sao(world, "plan", "--quiet").output == ""
    world.model("broken", "select {{ nothing( }} as x")
    result = sao(world, "plan", "--quiet")
    assert result.exit_code == 1
    assert "broken" in result.output
    assert "fine" not in result.output


@pytest.mark.parametrize("wrong", ["nothing", "folder", "selection", "model", "option value"])
def test_json_is_all_that_is_on_standard_output(world: World, wrong: str) -> None:
    """Also where the command fails, and where a model prints."""
    world.model("m", "select 1 as x")
    world.write(
        "sao_project.py",
        "def declare(project):\n    print('declaring')\n",
    )
    arguments = {
        "nothing": ["build", "--json"],
        "folder": ["build", "--json", "--project-dir", str(world.root / "nowhere")],
        "selection": ["build", "--json", "--select", "nothing_like_it"],
        "model": ["build", "--json"],
        "option value": ["build", "--json", "--vars", "[1"],
    }[wrong]
    if wrong == "model":
        world.model("m", "select nothing")
    if wrong != "folder":
        arguments += ["--project-dir", str(world.root)]
    result = CliRunner().invoke(app, arguments)
    shown = json.loads(result.stdout)
    assert isinstance(shown, dict)
    assert ("error" in shown) == (wrong not in ("nothing", "model"))
    assert result.exit_code == {"nothing": 0, "model": 1}.get(wrong, 2)


def test_what_cannot_be_used_is_said_in_a_sentence(world: World, tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, ["plan", "--project-dir", str(tmp_path / "nowhere")])
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert f"the folder {tmp_path / 'nowhere'} does not exist" in missing.stderr
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file" in CliRunner().invoke(app, ["plan", "--project-dir", str(file)]).stderr


def test_a_reader_who_has_seen_enough_ends_nothing(world: World) -> None:
    """`sao plan --verbose | head -1`: no traceback, and no report of an error that nobody foresaw."""
    many(world, 3)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "sao_dagster.cli", "plan", "--json", "--project-dir", str(world.root)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, lines_with(done.stderr, "rror")) == (0, [])


def test_colours_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def shown() -> str:
        file = tmp_path / "shown"
        with file.open("w") as stream:
            Terminal(stdout=stream).table([("[red]failed[/]", "orders")])
        return file.read_text()

    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert shown() == "failed  orders\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31m" in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in shown()
