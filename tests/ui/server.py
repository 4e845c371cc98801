"""`dagster dev` on a copy of the example, in a home of its own, and what it answers over GraphQL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "example_project"
LOCATION = "example_project.definitions"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def free_port() -> int:
    """Return a port on loopback that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Server:
    """Processes of Dagster, from entering to leaving the context, and what they answer over GraphQL.

    Args:
        place: An empty folder for Dagster's home.
        location: The code location that launches are about.
    """

    def __init__(self, place: Path, location: str) -> None:
        self.place = place
        self.repository = {"repositoryName": "__repository__", "repositoryLocationName": location}
        self.port = free_port()
        self.home = place / "home"
        self.home.mkdir()
        self.processes: list[subprocess.Popen[bytes]] = []

    def commands(self) -> list[list[str]]:
        """Return what to start."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DAGSTER_HOME": str(self.home), "PYTHONPATH": f"{self.place}{os.pathsep}{ROOT}"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        environment = self.environment()
        environment.pop("SAO_STATE_URL", None)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a child must not inherit that it is ignored
        for program, *arguments in self.commands():
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / program), *arguments],
                cwd=self.place,
                env=environment,
                stdout=(self.place / "dev.log").open("a"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.processes.append(process)
        try:
            self.until("the webserver with its code location", self.answers)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

    def answers(self) -> bool:
        try:
            found = self.ask("{repositoriesOrError{__typename ... on RepositoryConnection{nodes{name}}}}")
        except OSError:
            return False
        return bool(found["repositoriesOrError"].get("nodes"))

    def until(self, what: str, holds: Callable[[], Any]) -> Any:
        """Wait until something holds, and return it."""

        def asked() -> Any:
            assert all(each.poll() is None for each in self.processes), "a process has ended"
            return holds()

        try:
            return until(what, asked, pause=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from error

    def log(self) -> str:
        return (self.place / "dev.log").read_text()[-4000:]

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the data that GraphQL answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", data=body, headers={"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    # ------------------------------------------------------------------ what the tests ask for

    def launch(self, job: str = "__ASSET_JOB", assets: list[str] | None = None, **tags: str) -> str:
        """Launch a run as a click does, wait for its end, and return its id."""
        run_id = self.start(job, assets, **tags)
        self.until(f"run {run_id}", lambda: self.run(run_id)["status"] in ENDED)
        return run_id

    def start(self, job: str = "__ASSET_JOB", assets: list[str] | None = None, **tags: str) -> str:
        """Launch a run as a click does, and return its id."""
        selector: dict[str, Any] = {**self.repository, "jobName": job}
        if assets is not None:
            selector |= {"assetSelection": [{"path": each.split("/")} for each in assets], "assetCheckSelection": []}
        data = self.ask(
            "mutation($e:ExecutionParams!){launchRun(executionParams:$e){__typename ... on LaunchRunSuccess{run{runId}} "
            "... on PythonError{message}}}",
            e={
                "selector": selector,
                "runConfigData": {},
                "mode": "default",
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            },
        )
        assert "run" in data["launchRun"], data
        run_id: str = data["launchRun"]["run"]["runId"]
        return run_id

    def reexecute(self, run_id: str) -> str:
        """Execute a failed run again from where it failed, wait for its end, and return the new run's id."""
        data = self.ask(
            "mutation($p:ReexecutionParams!){launchRunReexecution(reexecutionParams:$p){__typename "
            "... on LaunchRunSuccess{run{runId}} ... on PythonError{message}}}",
            p={"parentRunId": run_id, "strategy": "FROM_FAILURE"},
        )
        assert "run" in data["launchRunReexecution"], data
        new: str = data["launchRunReexecution"]["run"]["runId"]
        self.until(f"run {new}", lambda: self.run(new)["status"] in ENDED)
        return new

    def terminate(self, run_id: str) -> None:
        """Terminate a run, and wait for its end."""
        self.ask("mutation($r:String!){terminateRun(runId:$r){__typename}}", r=run_id)
        self.until(f"the end of {run_id}", lambda: self.run(run_id)["status"] in ENDED)

    def going(self) -> bool:
        """Return whether any run has not ended."""
        data = self.ask("{runsOrError(limit:20){... on Runs{results{status}}}}")
        return any(each["status"] not in ENDED for each in data["runsOrError"]["results"])

    def run(self, run_id: str) -> Any:
        found = self.ask("query($r:ID!){runOrError(runId:$r){... on Run{status tags{key value}}}}", r=run_id)[
            "runOrError"
        ]
        return {**found, "tags": {each["key"]: each["value"] for each in found["tags"]}}

    def events(self, run_id: str) -> dict[str, list[str]]:
        """Return the assets by type of event of a run."""
        found: dict[str, list[str]] = {}
        data = self.ask(
            "query($r:ID!){logsForRun(runId:$r){... on EventConnection{events{__typename "
            "... on MaterializationEvent{assetKey{path}} ... on ObservationEvent{assetKey{path}}}}}}",
            r=run_id,
        )
        for event in data["logsForRun"]["events"]:
            key = "/".join(event.get("assetKey", {}).get("path", ())) if event.get("assetKey") else ""
            found.setdefault(event["__typename"], []).append(key)
        return found

    def evaluations(self, asset: str) -> list[Any]:
        """Return the evaluations of an asset, newest first."""
        data = self.ask(
            "query($k:AssetKeyInput!){assetConditionEvaluationRecordsOrError(assetKey:$k,limit:20){"
            "... on AssetConditionEvaluationRecords{records{evaluationId runIds numRequested rootUniqueId evaluationNodes{"
            "uniqueId userLabel expandedLabel numTrue numCandidates operatorType childUniqueIds}}}}}",
            k={"path": asset.split("/")},
        )
        records: list[Any] = data["assetConditionEvaluationRecordsOrError"]["records"]
        return records

    def asset(self, key: str, fields: str) -> Any:
        """Return fields of an asset."""
        data = self.ask(
            f"query($k:AssetKeyInput!){{assetNodeOrError(assetKey:$k){{... on AssetNode{{{fields}}}}}}}",
            k={"path": key.split("/")},
        )
        return data["assetNodeOrError"]


class DevServer(Server):
    """`dagster dev` on a copy of the example.

    Args:
        place: An empty folder for the copy of the example and for Dagster's home.
    """

    def __init__(self, place: Path) -> None:
        super().__init__(place, LOCATION)
        ignored = shutil.ignore_patterns("*.duckdb*", ".sao", "__pycache__")
        shutil.copytree(EXAMPLE, place / "example_project", ignore=ignored)
        (self.home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
        self.shop("create")
        self.sensor = {**self.repository, "sensorName": "shop_evaluator"}

    def commands(self) -> list[list[str]]:
        return [["dagster", "dev", "-m", LOCATION, "-p", str(self.port)]]

    def shop(self, *arguments: str) -> None:
        """Change the raw data of the shop; waits while a run or a tick holds the file."""
        script = self.place / "example_project" / "shop_data.py"
        until(
            f"shop_data.py {' '.join(arguments)}",
            lambda: subprocess.run([sys.executable, str(script), *arguments], capture_output=True).returncode == 0,
            pause=0.5,
        )

    def rest(self) -> None:
        """Wait for the next tick of the evaluator that finds nothing to do and nothing new to show."""
        before = max((int(each["tickId"]) for each in self.ticks()), default=0)

        def quiet() -> bool:
            newest = self.ticks()[0] if self.ticks() else None
            return (
                newest is not None and int(newest["tickId"]) > before and "are reused" in (newest["skipReason"] or "")
            )

        self.until("a tick with nothing to do", quiet)

    def start_sensor(self) -> None:
        self.ask("mutation($s:SensorSelector!){startSensor(sensorSelector:$s){__typename}}", s=self.sensor)

    def stop_sensor(self) -> None:
        state = self.ask(
            "query($s:SensorSelector!){sensorOrError(sensorSelector:$s){... on Sensor{sensorState{id}}}}", s=self.sensor
        )
        self.ask("mutation($id:String){stopSensor(id:$id){__typename}}", id=state["sensorOrError"]["sensorState"]["id"])

    def ticks(self) -> list[Any]:
        """Return the ticks of the evaluator that have ended, newest first."""
        data = self.ask(
            "query($s:SensorSelector!){sensorOrError(sensorSelector:$s){... on Sensor{sensorType sensorState{"
            "ticks{tickId status skipReason runIds endTimestamp error{message}}}}}}",
            s=self.sensor,
        )["sensorOrError"]
        assert data["sensorType"] == "AUTOMATION"
        found = data["sensorState"]["ticks"]
        assert not [each for each in found if each["error"]], found
        return [each for each in found if each["endTimestamp"]]
