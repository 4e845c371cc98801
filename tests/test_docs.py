"""The documentation says what the code does: references are made from it, and what can be run is run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from example_project.tour import TUTORIAL, arguments, steps
from sao_dagster import __version__
from sao_dagster.cli import app
from sao_dagster.core.decide_test import TEST_ROWS
from sao_dagster.core.evidence import KEYS
from sao_dagster.core.policy import POLICY_KEYS, PolicyKey
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.truth_table import TRUTH_TABLE, Kind, TruthTable
from sao_dagster.dbt.adapters.meanings import TOLD
from sao_dagster.projects.config import KEYS_BY_USE, NODE_CONFIG, ConfigUse, SourceFreshness, TestConfig
from sao_dagster.projects.policies import BuildAfterConfig
from sao_dagster.projects.sao_file import SaoFile, Settings, variable_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONCEPTS = (ROOT / "docs/concepts.md").read_text()
DAGSTER = (ROOT / "docs/dagster.md").read_text()
SCHEMA = ROOT / "sao_dagster/sao.schema.json"
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()


def reasons_page(table: TruthTable = TRUTH_TABLE) -> str:
    """Return the page that the truth tables and the keys of evidence make."""
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
        *(f"| `{row.reason.value}` | {row.meaning} |" for row in table),
        "",
        "## Data tests",
        "",
        "| reason | meaning |",
        "|---|---|",
        *(f"| `{row.reason.value}` | {row.meaning} |" for row in TEST_ROWS),
        "",
        "## Evidence",
        "",
        "What a decision rests on, in `--json` and in the metadata `sao/evidence`. Times are ISO 8601 in UTC, spans are seconds. What moves with",
        "the clock may differ from one look to the next although there is the same to do.",
        "",
        "| key | meaning | moves with the clock |",
        "|---|---|---|",
        *(f"| `{name}` | {key.meaning} | {'yes' if key.moves_with_the_clock else ''} |" for name, key in KEYS.items()),
        "",
    ]
    return "\n".join(lines)


def policy_keys() -> str:
    """Return the table of policy keys."""

    def values(key: PolicyKey) -> str:
        if issubclass(key.kind, Enum):
            return ", ".join(f"`{each.value}`" for each in key.kind)
        if key.kind is bool:
            return "`true`, `false`"
        return f"such as `{yaml.safe_dump(key.example, default_flow_style=True).splitlines()[0]}`"

    rows = [f"| `{key.path}`{'' if key.from_dbt else ' *'} | {values(key)} | {key.meaning} |" for key in POLICY_KEYS]
    return "\n".join(["| key | values | meaning |", "|---|---|---|", *rows])


def keys_without_effect() -> str:
    """Return what is accepted and does nothing."""

    def names(wanted: ConfigUse) -> str:
        return ", ".join(f"`{key}`" for use, keys in KEYS_BY_USE if use is wanted for key in keys)

    return (
        "Accepted, and without effect here, which a notice says: keys that would change the table elsewhere, and so count as code\n"
        f"({names(ConfigUse.CODE_ELSEWHERE)}),\nand keys that do not ({names(ConfigUse.NO_EFFECT)}). "
        f"Without effect and without a notice:\n{names(ConfigUse.HARMLESS)}."
    )


def settings() -> str:
    """Return the table of settings."""
    words = {
        "boolean": "`true`, `false`",
        "number": "a number",
        "integer": "a whole number",
        "string": "a text",
        "array": "a list",
        "object": "a mapping",
    }

    def values(part: dict[str, Any]) -> str:
        options = ", ".join(f"`{each}`" for each in part.get("enum", ()))
        return options or words[part.get("type") or part["anyOf"][0]["type"]]

    def default(value: Any) -> str:
        return "" if value is None else f"`{str(value).lower()}`"

    rows = [
        f"| `{name}` | {values(part)} | {default(part['default'])} | {part['description']} | `{variable_of(name)}` |"
        for name, part in Settings.model_json_schema()["properties"].items()
    ]
    return "\n".join(
        ["| setting | values | default | meaning | environment variable |", "|---|---|---|---|---|", *rows]
    )


def schema() -> str:
    """Return the schema of `sao.yml` for editors."""
    return (
        json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **SaoFile.model_json_schema()}, indent=2)
        + "\n"
    )


def test_the_schema_of_settings_is_up_to_date() -> None:
    assert SCHEMA.read_text() == schema(), "run: python -m tests.test_docs"


def truth_table(table: TruthTable = TRUTH_TABLE) -> str:
    """Return the truth table of models; what the run itself says is one row in three forms."""
    lines = ["| # | what holds | reason | outcome |", "|---|---|---|---|"]
    number, before = 0, None
    for row in table:
        if row.kind is Kind.ERROR:
            continue
        repeated = row.kind is before is Kind.RUN
        number += not repeated
        shown = " " if repeated else number
        lines.append(f"| {shown} | {row.meaning} | `{row.reason.value}` | `{row.kind.outcome.value}` |")
        before = row.kind
    return "\n".join(lines)


def kinds_table(table: TruthTable = TRUTH_TABLE) -> str:
    """Return the kinds of rows with their reasons."""
    lines = ["| kind of row | outcome | reasons |", "|---|---|---|"]
    for kind in Kind:
        reasons = ", ".join(f"`{row.reason.value}`" for row in table if row.kind is kind)
        lines.append(f"| {kind.words} | `{kind.outcome.value}` | {reasons} |")
    return "\n".join(lines)


def told_of_changes() -> str:
    """Return the table of what adapters tell of changes; those who count first."""
    rows = [
        f"| `{each.adapter}` | {each.tables} | {each.what} | {each.meaning.value} | {'yes' if each.meaning.counts else 'no'} | {each.why} | {each.run} |"
        for each in sorted(TOLD, key=lambda each: not each.meaning.counts)
    ]
    head = ["| adapter | tables | what is told | meaning | a version | why | tried against |"]
    return "\n".join([*head, "|---|---|---|---|---|---|---|", *rows])


MADE = {  # what is made from the code, by page and marker
    ("docs/warehouses.md", "told of changes"): told_of_changes,
    ("docs/concepts.md", "truth table"): truth_table,
    ("docs/concepts.md", "kinds of rows"): kinds_table,
    ("docs/configuration.md", "settings"): settings,
    ("docs/configuration.md", "policy keys"): policy_keys,
    ("docs/configuration.md", "keys without effect"): keys_without_effect,
}


def with_made(text: str, marker: str, made: str) -> str:
    """Return a page in which what stands between two markers is replaced."""
    begin, end = f"<!-- {marker}: made by python -m tests.test_docs -->\n", f"\n<!-- end of {marker} -->"
    return text[: text.index(begin) + len(begin)] + made + text[text.index(end) :]


def write_pages() -> None:
    """Write all that is made from the code."""
    (ROOT / "docs/reasons.md").write_text(reasons_page())
    SCHEMA.write_text(schema())
    for (page, marker), make in MADE.items():
        (ROOT / page).write_text(with_made((ROOT / page).read_text(), marker, make()))


def test_the_page_of_reasons_is_up_to_date() -> None:
    assert (ROOT / "docs/reasons.md").read_text() == reasons_page(), "run: python -m tests.test_docs"


@pytest.mark.parametrize(("page", "marker"), MADE)
def test_tables_in_pages_are_up_to_date(page: str, marker: str) -> None:
    text = (ROOT / page).read_text()
    assert text == with_made(text, marker, MADE[page, marker]()), "run: python -m tests.test_docs"


@pytest.mark.parametrize("name", sorted({*BuildAfterConfig.model_fields, *SourceFreshness.model_fields}))
def test_policy_keys_are_documented(name: str) -> None:
    assert re.search(rf"[.`]{name}`", CONFIGURATION)


@pytest.mark.parametrize("model", [NODE_CONFIG, TestConfig])
def test_config_keys_are_documented(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert re.search(rf"`{field.alias or name}[.`]", CONFIGURATION), name


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
        assert f"`{outcome.value}`" in CONCEPTS


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


def test_links_of_pages_that_are_not_in_the_site_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^):]+)\)", (ROOT / page).read_text()):
            name, _, anchor = link.partition("#")
            assert (ROOT / name).is_file(), link
            headings = re.findall(r"^#+ (.+)$", (ROOT / name).read_text(), flags=re.MULTILINE) if anchor else []
            assert not anchor or anchor in {
                re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings
            }, link


@pytest.mark.slow
def test_the_site_is_built_and_no_link_of_it_is_broken(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "load_project" in (tmp_path / "site/api/index.html").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [
        "docs/install.md",
        "docs/configuration.md",
        "docs/concepts.md",
        "docs/analytics-engineer.md",
    ],
)
def test_yaml_blocks_are_yaml(page: str) -> None:
    for block in blocks((ROOT / page).read_text(), "yaml"):
        assert yaml.safe_load(block)


EXTENDING = (ROOT / "docs/extending.md").read_text()
FROM_DAGSTER_DBT = (ROOT / "docs/from-dagster-dbt.md").read_text()
IN_PYTHON = (ROOT / "docs/python-models.md").read_text()
FOUND = [each for page in (README, IN_PYTHON, DAGSTER, EXTENDING, FROM_DAGSTER_DBT) for each in blocks(page, "python")]
NEEDS_DAGSTER_DBT = [each for each in FOUND if "from dagster_dbt import" in each]  # tests/dbt runs them
PYTHON = [each for each in FOUND if each not in NEEDS_DAGSTER_DBT]


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_blocks_run(number: int, tmp_path: Path) -> None:
    code = PYTHON[number]
    file = tmp_path / "block.py"
    file.write_text(code)
    (tmp_path / "shop").symlink_to(ROOT / "example_project")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_tutorial_shows_what_it_says(tmp_path: Path) -> None:
    """Every command, in its order, on a copy of the example; what is quoted must appear."""
    import shutil

    ignored = shutil.ignore_patterns("*.duckdb*", ".sao", "target", "__pycache__")
    shutil.copytree(ROOT / "example_project", tmp_path / "example_project", ignore=ignored)
    for _, commands in steps(TUTORIAL.read_text()):
        for command, lines in commands:
            done = subprocess.run(arguments(command), capture_output=True, text=True, cwd=tmp_path)
            shown = " ".join((done.stdout + done.stderr).split())
            for line in lines:
                assert " ".join(line.split()) in shown, f"{line!r} is not what {command!r} shows: {shown}"


def test_the_changelog_has_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


if __name__ == "__main__":
    write_pages()
