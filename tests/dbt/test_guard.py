"""A dbt whose inner names are not those that are known is refused, with what is other about it, before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from sao_dagster.errors import UnsupportedError
from tests.dbt.project import LittleProject

pytestmark = pytest.mark.slow

TASK = "from dbt.task.build import BuildTask\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("from dbt.task.runnable import GraphRunnableTask as task\ndel task.call_runner", "call_runner is not there"),
        (TASK + "BuildTask.before_run = lambda self, nodes: None", r"before_run takes \('self', 'nodes'\)"),
        ("from dbt.adapters.base import BaseAdapter\ndel BaseAdapter.connection_named", "connection_named is not there"),
        ("import sys\nsys.modules['dbt.task'] = None", r"supported: .*dbt\.task.*; install dbt-core 1\.8 to 1\.11"),
    ],
)  # fmt: skip
def test_another_inner_name_is_noticed_before_anything_is_built(
    little: LittleProject, tmp_path: Path, change: str, said: str
) -> None:
    """What Python does at its start (`sitecustomize`) stands in for a version of dbt that nobody has tried."""
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "sitecustomize.py").write_text(change + "\n")
    python = changed / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{changed}" exec "{little.python}" "$@"\n')
    python.chmod(0o755)
    little.write("sao.yml", f"executor: dbt\ndbt: {python}\n")
    with pytest.raises(UnsupportedError, match=said):
        little.run()
    little.write("sao.yml", f"executor: dbt\ndbt: {little.python}\n")
    assert len(little.run("orders").models) == 1
