"""`dagster dev` on a copy of the example, in a home of its own, and what it answers over GraphQL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

EXAMPLE = Path(__file__).parents[2] / "example_project"
LOCATION = "example_project.definitions"
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
SENSOR = {**REPOSITORY, "sensorName": "shop_evaluator"}


class DevServer:
    """`dagster dev`, from entering to leaving the context.

    Args:
        place: An empty folder for the copy of the example and for Dagster's home.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        ignored = shutil.ignore_patterns("*.duckdb*", ".sao", "__pycache__")
        shutil.copytree(EXAMPLE, place / "example_project", ignore=ignored)
        self.home = place / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
        self.shop("create")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def shop(self, *arguments: str) -> None:
        """Change the raw data of the shop; waits while a run or a tick holds the file."""
        script = self.place / "example_project" / "shop_data.py"
        for _ in range(60):
            done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True)
            if done.returncode == 0:
                return
            time.sleep(0.5)
        raise AssertionError(done.stderr)

    def __enter__(self) -> Self:
        environment = {**os.environ, "DAGSTER_HOME": str(self.home), "PYTHONPATH": str(self.place)}
        environment.pop("SAO_STATE_URL", None)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a child must not inherit that it is ignored
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "dagster"), "dev", "-m", LOCATION, "-p", str(self.port)],
            cwd=self.place,
            env=environment,
            stdout=(self.place / "dev.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self.until("the webserver", self.answers)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)

    def answers(self) -> bool:
        try:
            return bool(self.ask("{repositoriesOrError{__typename ... on RepositoryConnection{nodes{name}}}}"))
        except OSError:
            return False

    def until(self, what: str, holds: Callable[[], Any], seconds: float = 180) -> Any:
        """Wait until something holds, and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log()
            found = holds()
            if found:
                return found
            time.sleep(0.5)
        raise AssertionError(f"waited {seconds} s for {what}:\n{self.log()}")

    def log(self) -> str:
        return (self.place / "dev.log").read_text()[-4000:]

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the data that GraphQL answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", data=body, headers={"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    # ------------------------------------------------------------------ what the tests ask for

    def launch(self, job: str = "__ASSET_JOB", assets: list[str] | None = None, **tags: str) -> str:
        """Launch a run as a click does, wait for its end, and return its id."""
        selector: dict[str, Any] = {**REPOSITORY, "jobName": job}
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
        self.until(f"run {run_id}", lambda: self.run(run_id)["status"] in ("SUCCESS", "FAILURE", "CANCELED"))
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
        self.until(f"run {new}", lambda: self.run(new)["status"] in ("SUCCESS", "FAILURE", "CANCELED"))
        return new

    def going(self) -> bool:
        """Return whether any run has not ended."""
        data = self.ask("{runsOrError(limit:20){... on Runs{results{status}}}}")
        return any(each["status"] not in ("SUCCESS", "FAILURE", "CANCELED") for each in data["runsOrError"]["results"])

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
        self.ask("mutation($s:SensorSelector!){startSensor(sensorSelector:$s){__typename}}", s=SENSOR)

    def stop_sensor(self) -> None:
        state = self.ask(
            "query($s:SensorSelector!){sensorOrError(sensorSelector:$s){... on Sensor{sensorState{id}}}}", s=SENSOR
        )
        self.ask("mutation($id:String){stopSensor(id:$id){__typename}}", id=state["sensorOrError"]["sensorState"]["id"])

    def ticks(self) -> list[Any]:
        """Return the ticks of the evaluator that have ended, newest first."""
        data = self.ask(
            "query($s:SensorSelector!){sensorOrError(sensorSelector:$s){... on Sensor{sensorType sensorState{"
            "ticks{tickId status skipReason runIds endTimestamp error{message}}}}}}",
            s=SENSOR,
        )["sensorOrError"]
        assert data["sensorType"] == "AUTOMATION"
        found = data["sensorState"]["ticks"]
        assert not [each for each in found if each["error"]], found
        return [each for each in found if each["endTimestamp"]]

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
