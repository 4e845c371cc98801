"""Dagster's `dg`: scaffold a component, check it, list what it defines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DG = Path(sys.executable).parent / "dg"
ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DG.exists(), reason="needs dagster-dg-cli")]

PYPROJECT = """
[project]
name = "location"
version = "0.1"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "location"
"""
DEFINITIONS = """
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


@pytest.fixture
def location(tmp_path: Path) -> Path:
    (tmp_path / "location" / "defs").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "location" / "__init__.py").touch()
    (tmp_path / "location" / "defs" / "__init__.py").touch()
    (tmp_path / "location" / "definitions.py").write_text(DEFINITIONS)
    return tmp_path


def dg(location: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{location}{os.pathsep}{ROOT}",
        "DAGSTER_HOME": str(location),
        "VIRTUAL_ENV": str(DG.parents[1]),
        "PATH": f"{DG.parent}{os.pathsep}{os.environ['PATH']}",
        "DG_CLI_CONFIG": str(location / "none.toml"),
    }
    (location / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return subprocess.run([str(DG), *arguments], cwd=location, env=environment, capture_output=True, text=True)


def listed(location: Path) -> dict[str, Any]:
    done = dg(location, "list", "defs", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def test_a_scaffolded_component_is_green(location: Path) -> None:
    done = dg(location, "scaffold", "defs", "sao_dagster.dagster.SaoProjectComponent", "shop", "--init", "numbers")
    assert done.returncode == 0, done.stdout + done.stderr
    done = dg(location, "check", "defs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "customers" in json.dumps(listed(location)["assets"])
    states = list((location / "location" / "defs").rglob("state"))
    assert states, "the project was read once, and kept"


def test_the_example_as_a_component(location: Path) -> None:
    ignored = shutil.ignore_patterns("*.duckdb*", ".sao", "__pycache__")
    shutil.copytree(ROOT / "example_project", location / "shop", ignore=ignored)
    done = dg(location, "scaffold", "defs", "sao_dagster.dagster.SaoProjectComponent", "shop", "--project-path", "shop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert dg(location, "check", "defs").returncode == 0
    found = listed(location)
    assert len(found["assets"]) == 18 + 5 + 1, "models and seeds, sources, savings"
    assert len(found["asset_checks"]) == 17
