"""A dbt whose inner names are not those that are known builds by exact selection, or is refused before anything is built where that is not wanted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sao_dagster.errors import UnsupportedError
from tests.dbt.project import LittleProject, outcomes

pytestmark = [pytest.mark.slow, pytest.mark.real_python]

TASK = "from dbt.task.build import BuildTask\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("from dbt.task.runnable import GraphRunnableTask as task\ndel task.call_runner", "call_runner is not there"),
        (TASK + "BuildTask.before_run = lambda self, nodes: None", r"before_run takes \('self', 'nodes'\)"),
        ("from dbt.adapters.base import BaseAdapter\ndel BaseAdapter.connection_named", "connection_named is not there"),
        ("import sys\nsys.modules['dbt.task'] = None", r"supported: .*dbt\.task.*; install dbt-core 1\.8 to 1\.12"),
    ],
)  # fmt: skip
def test_another_inner_name_is_noticed_before_anything_is_built(
    little: LittleProject, tmp_path: Path, change: str, said: str
) -> None:
    """What Python does at its start (`sitecustomize`) stands in for a version of dbt that nobody has tried."""
    python = changed_python(little, tmp_path, change)
    little.write("sao.yml", f"executor: dbt\ndbt: {python}\ndbt_execution: inside\n")
    with pytest.raises(UnsupportedError, match=said):
        little.run()


def test_another_inner_name_is_no_matter_where_dbt_is_given_what_is_to_be_built(
    little: LittleProject, tmp_path: Path
) -> None:
    change = "from dbt.context.providers import RuntimeVar as var\nvar.has_var = lambda self, name, of=var.has_var: of(self, name)"
    python = changed_python(little, tmp_path, change)
    little.write("sao.yml", f"executor: dbt\ndbt: {python}\n")
    opened = little.open()
    assert opened.built_by is not None
    assert re.search(r"given exactly what is to be built.*RuntimeVar\.has_var takes", opened.built_by)
    assert outcomes(little.run("rates")) == {"rates": "never_built"}


def changed_python(little: LittleProject, folder: Path, change: str) -> Path:
    """Return a Python that has another dbt."""
    changed = folder / "changed"
    changed.mkdir()
    (changed / "sitecustomize.py").write_text(change + "\n")
    python = changed / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{changed}" exec "{little.python}" "$@"\n')
    python.chmod(0o755)
    return python
