"""The evaluator sensor under Dagster's daemon, beside `AutomationCondition.eager()` and a run that decides only inside.

    python -m tests.benchmarks.evaluator_scale [--models 1000 5000] [--ticks 20] [--runs 4] [--eager-ticks 8]

A project of groups of 20 models, each group below a source of its own, with one data test for each model. The daemon
evaluates all of them; now and then one source changes, so that 20 models have something to do. Prints, for each size:
the time of a tick with nothing to do and of one that requests a run (which includes making the run and its planned
events), what a tick sends over gRPC, how the schedule storage and the event log grow, and the time of a run in which 20
of the models build, when those are requested exactly, and when the run is over all and decides inside.

A tick comes every five seconds, so that takes some five minutes for each size; how far it is stands on standard error. Where it is
ended before, by Ctrl-C or SIGTERM, its daemons end with it.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from typing_extensions import Self

GROUP = 20  # models below one source
PATIENCE = 600  # seconds for one thing that is waited for

EVALUATOR = """
import dagster as dg
from sao_dagster import load_project
from sao_dagster.dagster import build_evaluator_sensor, definitions

defs = definitions(
    load_project({folder!r}),
    parts=[lambda dagster_project: build_evaluator_sensor(
        dagster_project, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)],
)
"""
EAGER = """
import dagster as dg
from sao_dagster import load_project
from sao_dagster.dagster import DagsterProject

dagster_project = DagsterProject(load_project({folder!r}), evaluator=False)
specs = [
    dagster_project.asset_spec(name).replace_attributes(automation_condition=dg.AutomationCondition.eager())
    for name in dagster_project.asset_names
]

@dg.multi_asset(specs=specs, check_specs=dagster_project.check_specs(of_sources=False), can_subset=True)
def big(context):
    for spec in specs:
        if spec.key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=spec.key)
    for key in context.selected_asset_check_keys:
        yield dg.AssetCheckResult(asset_key=key.asset_key, check_name=key.name, passed=True)

defs = dg.Definitions(
    assets=[big, *(dagster_project.asset_spec(each) for each in dagster_project.project.sources)],
    sensors=[dg.AutomationConditionSensorDefinition(
        "eager", target=dg.AssetSelection.all(), minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING)],
    executor=dg.in_process_executor,
)
"""


def generate(folder: Path, models: int) -> Path:
    """Write the project and its sources."""
    folder.mkdir(parents=True)
    groups = models // GROUP
    (folder / "dbt_project.yml").write_text("name: big\nprofile: big\nmodels:\n  +materialized: table\n")
    (folder / "profiles.yml").write_text("big: {target: dev, outputs: {dev: {type: duckdb, path: big.duckdb}}}\n")
    tables = ", ".join(f"{{name: t{group}}}" for group in range(groups))
    tests = "".join(
        f"  - {{name: m{number}, columns: [{{name: id, data_tests: [not_null]}}]}}\n" for number in range(models)
    )
    (folder / "models").mkdir()
    (folder / "models" / "all.yml").write_text(f"sources: [{{name: raw, tables: [{tables}]}}]\nmodels:\n{tests}")
    for number in range(models):
        group, place = divmod(number, GROUP)
        first, second = number - 1, number - place + place // 2
        read = (
            f"{{{{ source('raw', 't{group}') }}}} as a"
            if place == 0
            else f"{{{{ ref('m{first}') }}}} as a join {{{{ ref('m{second}') }}}} as b using (id)"
        )
        (folder / "models" / f"m{number}.sql").write_text(f"select a.id from {read}\n")
    with duckdb.connect(str(folder / "big.duckdb")) as connection:
        connection.execute("create schema raw")
        for group in range(groups):
            connection.execute(f"create table raw.t{group} as select i as id from range(10) t(i)")
    return folder


def change(folder: Path, group: int) -> None:
    """Give one source a new row."""
    for _ in range(200):
        try:
            with duckdb.connect(str(folder / "big.duckdb")) as connection:
                connection.execute(f"insert into raw.t{group} select max(id) + 1 from raw.t{group}")
            return
        except duckdb.Error:  # a tick or a run holds the file
            time.sleep(0.1)
    raise TimeoutError("the warehouse did not become free")


class Daemon:
    """A Dagster home, a code location, and the daemon over it."""

    def __init__(self, home: Path, code: str) -> None:
        self.home = home
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        (home / "location.py").write_text(code)
        self.environment = {**os.environ, "DAGSTER_HOME": str(home)}

    def instance(self) -> Any:
        from dagster import DagsterInstance

        return DagsterInstance.from_config(str(self.home))

    def __enter__(self) -> Self:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a child must not inherit that it is ignored
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-f", str(self.home / "location.py")],
            env=self.environment,
            stdout=(self.home / "daemon.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        with suppress(ProcessLookupError):  # what is left of its group: code servers and runs
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def size(self, part: str) -> float:
        """Return the megabytes of a part of the storage."""
        files = [each for each in (self.home / part).rglob("*") if each.is_file()]
        return sum(each.stat().st_size for each in files) / 1e6


def ticks_of(instance: Any) -> list[Any]:
    found = []
    for state in instance.all_instigator_state():
        found += instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return sorted((each for each in found if each.end_timestamp), key=lambda each: each.timestamp)


def launched_of(ticks: list[Any]) -> list[Any]:
    return [each for each in ticks if each.run_ids]


def idle_of(ticks: list[Any]) -> list[Any]:
    """Return the ticks that had nothing to do; not those that left it at once since a run was going."""
    return [each for each in ticks if not each.run_ids and not (each.skip_reason or "").startswith("the run ")]


def has_ticked(instance: Any, among: Callable[[list[Any]], list[Any]], count: int) -> bool:
    """Return whether there are so many ticks of one kind."""
    return len(among(ticks_of(instance))) >= count


def unfinished(instance: Any) -> bool:
    from dagster import RunsFilter

    from sao_dagster.dagster.evaluator import UNFINISHED

    return bool(instance.get_runs(RunsFilter(statuses=list(UNFINISHED)), limit=1))


def watch(daemon: Daemon, wanted: int, runs: int, touch: Any) -> dict[str, float]:
    """Let the daemon tick with nothing to do, and change a source in between; return what was measured.

    Args:
        daemon: What ticks.
        wanted: How many ticks with nothing to do are waited for.
        runs: How often a source changes; its run ends before the next one does.
        touch: Changes the source of a number.
    """

    def until(what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert daemon.process.poll() is None, (daemon.home / "daemon.log").read_text()[-3000:]
            assert time.monotonic() < deadline, f"{what} takes more than {PATIENCE} s"
            time.sleep(1)

    with daemon, daemon.instance() as instance:
        until("the first four ticks", lambda: len(ticks_of(instance)) >= 4 and not unfinished(instance))
        before = {part: daemon.size(part) for part in ("schedules", "history")}
        first = len(ticks_of(instance))
        for number in range(runs):
            wanted_now = len(idle_of(ticks_of(instance))) + wanted // runs
            until("a tick with nothing to do", partial(has_ticked, instance, idle_of, wanted_now))
            wanted_now = len(launched_of(ticks_of(instance))) + 1
            touch(number)
            until("a tick that requests a run", partial(has_ticked, instance, launched_of, wanted_now))
            until("a run", lambda: not unfinished(instance))
            print(f"{daemon.home.name}: {number + 1} of {runs} runs", file=sys.stderr)
        ticks = ticks_of(instance)[first:]
        failed = [each for each in ticks if each.status.value == "FAILURE"]
        assert not failed, failed[0].error
        requested, idle = launched_of(ticks), idle_of(ticks)
        return {
            "ticks": len(ticks),
            "runs": len(requested),
            "idle tick, s": statistics.median(each.end_timestamp - each.timestamp for each in idle),
            "requesting tick, s": statistics.median(each.end_timestamp - each.timestamp for each in requested),
            "schedule storage, kB per tick": 1000 * (daemon.size("schedules") - before["schedules"]) / len(ticks),
            "event log, kB per run": 1000 * (daemon.size("history") - before["history"]) / len(requested),
        }


def evaluator(place: Path, folder: Path, ticks: int, runs: int) -> dict[str, float]:
    daemon = Daemon(place / "evaluator", EVALUATOR.format(folder=str(folder)))
    os.environ["SAO_STATE_URL"] = f"sqlite:///{folder}/.sao/state.db"
    daemon.environment["SAO_STATE_URL"] = os.environ["SAO_STATE_URL"]
    found = watch(daemon, ticks, runs, lambda number: change(folder, number))
    return found | grpc_sizes(place, folder)


def grpc_sizes(place: Path, folder: Path) -> dict[str, float]:
    """Return what ticks send to the daemon: one that shows as many trees as one may, and one with nothing to do."""
    import dagster as dg
    from dagster._serdes import serialize_value

    from sao_dagster import load_project
    from sao_dagster.dagster import ProjectWarehouse, definitions

    opened = load_project(folder)
    opened.store.keep_shown(opened.environment, "shown by big_evaluator", dict.fromkeys(opened.project.nodes, ""))
    repository = definitions(opened).get_repository_def()
    sizes = []
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2 + len(opened.project.nodes) // 500):
            context = dg.build_sensor_context(
                instance=instance, repository_def=repository, resources={"sao_warehouse": ProjectWarehouse()}
            )
            tick = repository.get_sensor_def("big_evaluator").evaluate_tick(context)
            sizes.append(len(serialize_value(list(tick.automation_condition_evaluations))) / 1000)
    return {"gRPC, kB: 500 trees": sizes[0], "gRPC, kB: nothing new": sizes[-1]}


def eager(place: Path, folder: Path, ticks: int) -> dict[str, float]:
    import dagster as dg

    from sao_dagster import load_project

    daemon = Daemon(place / "eager", EAGER.format(folder=str(folder)))
    project = load_project(folder).project
    with daemon.instance() as instance:  # as if all had been built once
        for name in (
            *(each.replace("source:", "").replace(".", "/") for each in project.sources),
            *project.graph.order,
        ):
            instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(name.split("/"))))

        def touch(number: int) -> None:
            instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["raw", f"t{number}"])))

        return watch(daemon, ticks, max(1, min(2, ticks)), touch)


def inside(place: Path, folder: Path) -> dict[str, float]:
    """Return the time and the events of one run with 20 models to build: requested exactly, and over all."""
    import dagster as dg

    from sao_dagster import load_project
    from sao_dagster.dagster import ProjectWarehouse, definitions

    found: dict[str, float] = {}
    for kind, number in (("exact", 0), ("over all", 1)):
        home = place / f"run {kind}"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        defs = definitions(load_project(folder))
        change(folder, number)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            options: dict[str, Any] = {}
            if kind == "exact":
                context = dg.build_sensor_context(
                    instance=instance,
                    repository_def=defs.get_repository_def(),
                    resources={"sao_warehouse": ProjectWarehouse()},
                )
                (request,) = (
                    defs.get_repository_def().get_sensor_def("big_evaluator").evaluate_tick(context).run_requests
                )
                options = {"asset_selection": list(request.asset_selection)}
            started = time.process_time()
            result = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance, **options)
            assert result.success
            found[f"run {kind}, CPU s"] = time.process_time() - started
            found[f"run {kind}, events"] = len(result.all_events)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--ticks", type=int, default=20)
    parser.add_argument("--eager-ticks", type=int, default=8)
    parser.add_argument("--runs", type=int, default=4)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemons are ended
    console = Console(width=120)
    for models in options.models:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            folder = generate(place / "project", models)
            subprocess.run(
                [sys.executable, "-m", "sao_dagster.cli", "build", "--project-dir", str(folder), "--json"],
                check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "SAO_STATE_URL": f"sqlite:///{folder}/.sao/state.db"},
            )
            ours = evaluator(place, folder, options.ticks, options.runs)
            ours |= inside(place, folder)
            theirs = eager(place, folder, options.eager_ticks) if options.eager_ticks else {}
            table = Table(f"{models} models", "evaluator", "eager()", "eager() over evaluator")
            for row, value in ours.items():
                other = theirs.get(row)
                ratio = f"{other / value:.1f}" if other is not None and value and row not in ("ticks", "runs") else ""
                table.add_row(row, f"{value:.2f}", "" if other is None else f"{other:.2f}", ratio)
            console.print(table)


if __name__ == "__main__":
    main()
