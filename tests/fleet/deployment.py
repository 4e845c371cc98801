"""A deployment on one machine as the docs describe it: PostgreSQL, a code server, a webserver, a daemon, a process for each run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fleet.fleet import ROOT
from tests.ui.server import Server, free_port

if TYPE_CHECKING:
    from typing_extensions import Self

DAGSTER_YAML = """
telemetry: {{enabled: false}}
nux: {{enabled: false}}
storage:
  postgres:
    postgres_url: {url}
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config: {{max_concurrent_runs: 4, dequeue_interval_seconds: 1}}
"""
WORKSPACE = """
load_from:
  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: tests.fleet.{module}}}
"""


class Deployment(Server):
    """The processes of a deployment.

    Args:
        place: An empty folder.
        module: Of `tests.fleet`; its `defs` are the code location.
        instance_url: The database of the instance, which holds the shared state too.
        warehouse_url: The database that is built into.
    """

    def __init__(self, place: Path, module: str, instance_url: str, warehouse_url: str) -> None:
        super().__init__(place, f"tests.fleet.{module}")
        self.warehouse_url = warehouse_url
        self.module, self.code_port = module, free_port()
        (self.home / "dagster.yaml").write_text(
            DAGSTER_YAML.format(url=instance_url.replace("postgresql:", "postgresql+psycopg2:"))
        )
        (place / "workspace.yaml").write_text(WORKSPACE.format(port=self.code_port, module=module))

    def __enter__(self) -> Self:
        program = str(Path(sys.executable).parent / "dagster")  # one process makes the tables before all begin
        subprocess.run([program, "instance", "migrate"], env=self.environment(), check=True, capture_output=True)
        return super().__enter__()

    def commands(self) -> list[list[str]]:
        code = [
            "dagster",
            "code-server",
            "start",
            "-m",
            f"tests.fleet.{self.module}",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.code_port),
        ]
        webserver = ["dagster-webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(self.port)]
        return [code, webserver, ["dagster-daemon", "run", "-w", "workspace.yaml"]]

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "PYTHONPATH": str(ROOT),
            "FLEET_URL": self.warehouse_url,
            "HOME": os.environ["HOME"],
        }

    def origins(self) -> dict[str, str]:
        """Return who launched each run: a schedule, a sensor, or nobody."""
        data = self.ask("{runsOrError(limit:100){... on Runs{results{runId status tags{key value}}}}}")
        found = {}
        for run in data["runsOrError"]["results"]:
            tags = {each["key"]: each["value"] for each in run["tags"]}
            found[run["runId"]] = tags.get("dagster/schedule_name") or tags.get("dagster/sensor_name") or "-"
        return found

    def failures(self) -> list[str]:
        """Return the runs that failed, each with who launched it and the errors that it told."""
        data = self.ask("{runsOrError(limit:200){... on Runs{results{runId status}}}}")
        failed = [each["runId"] for each in data["runsOrError"]["results"] if each["status"] == "FAILURE"]
        return [f"{each} of {self.origins().get(each)}: {self.errors(each)}" for each in failed]

    def errors(self, run_id: str) -> list[str]:
        """Return the errors among the events of a run."""
        error = "error{message causes{message}}"
        events = " ".join(
            f"... on {kind}{{{error}}}" for kind in ("ExecutionStepFailureEvent", "RunFailureEvent", "EngineEvent")
        )
        data = self.ask(
            f"query($r:ID!){{logsForRun(runId:$r){{... on EventConnection{{events{{__typename {events}}}}}}}}}",
            r=run_id,
        )
        return [json.dumps(each["error"]) for each in data["logsForRun"]["events"] if each.get("error")]
