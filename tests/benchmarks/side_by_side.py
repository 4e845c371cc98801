"""Build a real dbt project with dbt, with other tools that run dbt, and with `sao`, through the same changes, in turns.

    python -m tests.benchmarks.side_by_side --dbt PATH_TO_DBT [--dagster-dbt PYTHON] [--orc PATH_TO_ORC] [--executor native|dbt] [--rounds N] PROJECT

Each tool has a copy of the project of its own, with the raw data in it (`tests.project_copies`). In each step all copies are changed in the
same way, and each tool builds its copy: what is shown are seconds of wall and of CPU (with all processes that it started and waited for), their
share of those of `dbt build`, and how many models, seeds and snapshots it built. The median of several rounds is taken of the step in which
nothing has changed; the others happen once.

`sao` builds one copy itself, and lets dbt build another one; a project with something that only dbt does is for `--executor dbt` alone. PYTHON has
dagster and dagster-dbt, which materializes all assets in one process; `orc` is that of dbt-orchestra.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.project_copies import Copy, Edits

STEPS = ("first run", "nothing changed", "one source", "one comment", "one macro")
DAGSTER_DBT = """
import sys
from dagster import AssetExecutionContext, materialize
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets
project = DbtProject(project_dir=".", profiles_dir=".")
dbt = DbtCliResource(project_dir=project, dbt_executable=sys.argv[1], profiles_dir=".")
dbt.cli(["parse", "--quiet"], target_path=project.project_dir / "target").wait()
@dbt_assets(manifest=project.manifest_path)
def built(context: AssetExecutionContext, dbt: DbtCliResource):
    yield from dbt.cli(["build"], context=context, target_path=project.project_dir / "target").stream()
materialize([built], resources={"dbt": dbt}, raise_on_error=False)
"""


@dataclass(frozen=True)
class Measured:
    """One build: seconds of wall and CPU, and how many models, seeds and snapshots were built."""

    wall: float
    cpu: float
    built: int


def measured(copy: Copy, command: tuple[str, ...], built: Callable[[Copy, str], int]) -> Measured:
    """Run a command in a copy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    _, done = copy.run(*command)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    try:
        return Measured(wall, cpu, built(copy, done.stdout))
    except (ValueError, OSError) as error:
        raise SystemExit(f"{command[0]} fails: {(done.stdout + done.stderr)[-2000:]}") from error


def built_by_dbt(copy: Copy, _: str) -> int:
    """Return how many nodes dbt's artifact says were built."""
    file = copy.folder / "target/run_results.json"
    results = json.loads(file.read_text())["results"]
    file.unlink()  # so that it is not taken for that of a later run
    return sum(
        each["unique_id"].split(".")[0] in ("model", "seed", "snapshot") and each["status"] == "success"
        for each in results
    )


def built_by_sao(_: Copy, output: str) -> int:
    """Return how many nodes `sao` says it built."""
    count: int = json.loads(output)["summary"]["built"]
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dbt", required=True)
    parser.add_argument("--dagster-dbt")
    parser.add_argument("--orc")
    parser.add_argument("--executor", action="append", choices=("native", "dbt"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("project", type=Path)
    given = parser.parse_args()
    os.environ.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # what is installed has its byte code; a working copy gets it by its first run
    tools: dict[str, tuple[tuple[str, ...], Callable[[Copy, str], int]]] = {
        "dbt build": ((given.dbt, "build", "--quiet"), built_by_dbt)
    }
    if given.dagster_dbt:
        tools["dagster-dbt"] = ((given.dagster_dbt, "-c", DAGSTER_DBT, given.dbt), built_by_dbt)
    if given.orc:
        settings = ("ORCHESTRA_USE_STATEFUL=true", "ORCHESTRA_STATE_FILE=orchestra.json")
        path = f"PATH={Path(given.orc).parent}{os.pathsep}{os.environ['PATH']}"  # it starts the dbt that is on it
        tools["orc dbt build"] = (("env", path, *settings, given.orc, "dbt", "build"), built_by_dbt)
    for executor in given.executor or ("native", "dbt"):
        sao = (sys.executable, "-m", "sao_dagster.cli", "build", "--json")
        tools[f"sao build, {executor}"] = (("env", f"SAO_EXECUTOR={executor}", *sao), built_by_sao)
    with tempfile.TemporaryDirectory() as place:
        copies = {name: Copy(given.project.resolve(), Path(place, str(i)), given.dbt) for i, name in enumerate(tools)}
        edits = Edits([*copies.values()])
        rows: dict[str, dict[str, Measured]] = {}
        for step in STEPS:
            if not changed(edits, step):
                continue
            rounds = given.rounds if step == "nothing changed" else 1
            all_found: dict[str, list[Measured]] = {name: [] for name in tools}
            for _ in range(rounds):
                for name, (command, built) in tools.items():
                    all_found[name].append(measured(copies[name], command, built))
            rows[step] = {
                name: Measured(median(m.wall for m in ms), median(m.cpu for m in ms), max(m.built for m in ms))
                for name, ms in all_found.items()
            }
            for name, each in rows[step].items():
                print(f"{step}, {name}: {_shown(each, rows[step]['dbt build'])}", file=sys.stderr, flush=True)
    table = Table("step", *tools, title=f"{given.project.name}: wall / CPU seconds (share of dbt build), built")
    for step, found in rows.items():
        table.add_row(step, *(_shown(each, found["dbt build"]) for each in found.values()))
    Console(width=200).print(table)


def changed(edits: Edits, step: str) -> bool:
    """Make the change of a step in all copies; return whether there is something to change."""
    if step == "one source":
        return bool(edits.take_rows())
    if step == "one comment":
        edits.write_comments()
    if step == "one macro":
        return edits.edit_macro() is not None
    return True


def _shown(each: Measured, other: Measured) -> str:
    return f"{each.wall:.1f} / {each.cpu:.1f} ({each.wall / other.wall:.2f}, {each.cpu / other.cpu:.2f}), {each.built}"


if __name__ == "__main__":
    main()
