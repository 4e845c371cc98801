"""The documentation says what the code does: references are made from it, and what can be run is run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sao_dagster import __version__
from sao_dagster.cli import app
from sao_dagster.core.decide_test import TestReason
from sao_dagster.core.reasons import Mode, Outcome, Reason
from sao_dagster.projects.config import BuildAfterConfig, NodeConfig, SourceFreshness, StateConfig, TestConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DAGSTER = (ROOT / "docs/dagster.md").read_text()
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()


def reasons_page() -> str:
    """Return the page that the enums make; `python -m tests.test_docs` writes it."""
    lines = [
        "# Reasons",
        "",
        "Every decision has one of these. They are stored, shown by `sao explain` and in Dagster's metadata, and never",
        "renamed. This page is made from the code.",
        "",
        "## Models and seeds",
        "",
        "| reason | meaning |",
        "|---|---|",
        *(f"| `{reason.value}` | {reason.meaning} |" for reason in Reason),
        "",
        "## Data tests",
        "",
        "| reason | meaning |",
        "|---|---|",
        *(f"| `{reason.value}` | {reason.meaning} |" for reason in TestReason),
        "",
    ]
    return "\n".join(lines)


def test_the_page_of_reasons_is_up_to_date() -> None:
    assert (ROOT / "docs/reasons.md").read_text() == reasons_page(), "run: python -m tests.test_docs"


def test_the_truth_table_of_the_readme_has_every_reason_in_order() -> None:
    table = README[README.index("| # |") : README.index("## Configuration")]
    shown = [Reason(name) for name in re.findall(r"\| `(\w+)` \| `(?:built|reused|skipped)` \|", table)]
    expected = [reason for reason in Reason if reason not in (Reason.BUILD_ERROR, Reason.STATE_UNREACHABLE)]
    assert shown == expected


@pytest.mark.parametrize(
    "name", sorted({*BuildAfterConfig.model_fields, *StateConfig.model_fields, *SourceFreshness.model_fields})
)
def test_policy_keys_are_documented(name: str) -> None:
    assert f"`{name}`" in CONFIGURATION


@pytest.mark.parametrize("model", [NodeConfig, TestConfig])
def test_config_keys_are_documented(model: type[NodeConfig]) -> None:
    for name, field in model.model_fields.items():
        assert f"`{field.alias or name}`" in CONFIGURATION, name


def test_commands_and_modes_are_documented() -> None:
    operations = (ROOT / "docs/operations.md").read_text()
    for command in (
        "plan",
        "build",
        "test",
        "explain",
        "savings",
        "state show",
        "state clear",
        "state export",
        "state import",
    ):
        assert f"sao {command}" in operations
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0
    for mode in (Mode.STATE_AWARE, Mode.FORCE, Mode.FULL_REFRESH):
        assert f"`{mode.value}`" in operations
    for outcome in Outcome:
        assert f"`{outcome.value}`" in README


def test_what_can_be_set_in_dagster_is_documented() -> None:
    from dataclasses import fields
    from inspect import signature

    from sao_dagster.dagster import SaoProjectComponent, build_evaluator_sensor, definitions

    pages = DAGSTER + (ROOT / "docs/platform-engineer.md").read_text()
    names = {each.name for each in fields(SaoProjectComponent)} - {"defs_state"}
    names |= {*signature(definitions).parameters} - {"project", "parts", "warehouse", "translator", "executor"}
    names |= {"minimum_interval_seconds", "max_attempts", "tick_seconds"} & {
        *signature(build_evaluator_sensor).parameters
    }
    assert not {name for name in names if name not in pages}


def test_pictures_are_there() -> None:
    for page in (README, DAGSTER):
        for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page):
            assert (ROOT / "docs" / name.removeprefix("docs/")).is_file(), name


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/configuration.md",
        "docs/concepts.md",
        "docs/analytics-engineer.md",
    ],
)
def test_yaml_blocks_are_yaml(page: str) -> None:
    for block in blocks((ROOT / page).read_text(), "yaml"):
        assert yaml.safe_load(block)


PYTHON = [*blocks(README, "python"), *blocks(DAGSTER, "python")]


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_blocks_run(number: int, tmp_path: Path) -> None:
    code = PYTHON[number]
    file = tmp_path / "block.py"
    file.write_text(code)
    (tmp_path / "shop").symlink_to(ROOT / "example_project")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_tour_of_the_readme_shows_what_it_says(tmp_path: Path) -> None:
    """Every command of the tour, in its order, on a copy of the example; what is quoted must appear."""
    import shutil

    ignored = shutil.ignore_patterns("*.duckdb*", ".sao", "target", "__pycache__")
    shutil.copytree(ROOT / "example_project", tmp_path / "example_project", ignore=ignored)
    tour = README[README.index("## A tour") : README.index("## How it decides")]
    shown = ""
    for block in blocks(tour, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                command = line[2:].split("#")[0].split()
                program = {"sao": [sys.executable, "-m", "sao_dagster.cli"], "python": [sys.executable]}[command[0]]
                done = subprocess.run([*program, *command[1:]], capture_output=True, text=True, cwd=tmp_path)
                shown = " ".join((done.stdout + done.stderr).split())
            elif line.strip() and line.strip() != "...":
                assert " ".join(line.split()) in shown, f"{line!r} is not what it shows: {shown}"


def test_the_changelog_has_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


if __name__ == "__main__":
    (ROOT / "docs/reasons.md").write_text(reasons_page())
