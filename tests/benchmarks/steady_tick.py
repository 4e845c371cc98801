"""A tick of the evaluator with nothing to do and nothing to tell, in a process that has made some before, as a code location does day and night.

    python -m tests.benchmarks.steady_tick [--models 10000] [--tests] [--ticks 9] [--before FOLDER]

Prints the median and the least of the ticks, in seconds of CPU and by the clock. With `--before`, another working copy of this package
makes as many, in turns with this one and on a project and a state of its own, and the first is printed as a share of the second, too.
The relations and the state are made as `plan_scale` makes them; with `--tests`, each model has a data test.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()


@contextmanager
def ticking(project: Any) -> Iterator[Callable[[], None]]:
    """Give what makes one tick of the evaluator over a project, all of which is as it was built."""
    import dagster as dg

    from sao_dagster.dagster import ProjectWarehouse, definitions

    repository = definitions(project).get_repository_def()
    sensor = repository.get_sensor_def("big_evaluator")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance=instance, repository_def=repository, resources={"sao_warehouse": ProjectWarehouse()}
        )

        def tick() -> None:
            found = sensor.evaluate_tick(context)
            assert "models are reused" in str(found.skip_message), found

        yield tick


def worker(folder: Path, models: int, *, tests: bool) -> None:
    """Make a project, and a tick for each line of standard input; answer with its seconds of CPU and by the clock.

    The first ones, in which Dagster is told of all models and data tests, are made before; nothing of that is written to its log, which a
    tick with nothing new does not read.
    """
    import dagster as dg

    import sao_dagster
    from sao_dagster.dagster import told
    from sao_dagster.dagster.evaluator import TREES_A_TICK
    from tests.benchmarks.generate import generate
    from tests.benchmarks.plan_scale import prepare_state

    told.SECONDS = 600.0
    dg.DagsterInstance.report_runless_asset_event = lambda *_: None  # type: ignore[assignment]
    prepare_state(generate(folder, models, tests=tests))
    with ticking(sao_dagster.load_project(folder)) as tick:
        for _ in range(models // TREES_A_TICK + 2):
            tick()
        print("ready", flush=True)
        for _ in sys.stdin:
            cpu, wall = time.process_time(), time.perf_counter()
            tick()
            print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10000)
    parser.add_argument("--tests", action="store_true", help="with a data test of each model")
    parser.add_argument("--ticks", type=int, default=9)
    parser.add_argument("--before", type=Path, help="another working copy of this package")
    given = parser.parse_args()
    copies = {"now": HERE.parents[2]} | ({} if given.before is None else {"before": given.before.resolve()})
    ticks: dict[str, list[list[float]]] = {name: [] for name in copies}
    with tempfile.TemporaryDirectory() as place:
        processes = {}
        for name, package in copies.items():  # one after the other, since each takes its time to be made
            command = [
                sys.executable,
                str(HERE),
                "--worker",
                str(Path(place, name)),
                str(given.models),
                str(given.tests),
            ]
            environment = {**os.environ, "PYTHONPATH": str(package)}
            pipe = subprocess.PIPE
            processes[name] = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
            _answer(processes[name])
        for _ in range(given.ticks):
            for name, process in processes.items():
                assert process.stdin is not None
                process.stdin.write("tick\n")
                process.stdin.flush()
                ticks[name].append(json.loads(_answer(process)))
        for process in processes.values():
            process.communicate()
    for kind, place_of in (("CPU", 0), ("clock", 1)):
        seconds = {name: [each[place_of] for each in found] for name, found in ticks.items()}
        for measure in (statistics.median, min):
            shown = {name: measure(each) for name, each in seconds.items()}
            share = f", {shown['now'] / shown['before']:.2f} of before" if "before" in shown else ""
            print(
                f"{kind}, {measure.__name__}: "
                + ", ".join(f"{each:.2f} s {name}" for name, each in shown.items())
                + share
            )


def _answer(process: subprocess.Popen[str]) -> str:
    """Return the next line that a worker says, which is no line of a log.

    Raises:
        RuntimeError: It has ended.
    """
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(("[", "ready")):
            return line
    raise RuntimeError(f"a worker ended with status {process.wait()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), int(sys.argv[3]), tests=sys.argv[4] == "True")
    else:
        main()
