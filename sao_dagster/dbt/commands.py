"""Commands of dbt as anybody gives them: one process for each, and what it leaves in its artifacts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sao_dagster.core.messages import Level, Message
from sao_dagster.dbt import process
from sao_dagster.dbt.batches import PrintedErrors
from sao_dagster.dbt.process import SHOWN_LINES, DbtError, Invocation
from sao_dagster.errors import WarehouseError

SUPERVISOR = Path(__file__).parent / "supervised.py"
PARSED = "partial_parse.msgpack"  # what dbt 1.x has read of a project
NOT_HANDED_ON = frozenset(
    f"DBT_{name}"
    for name in (
        "CACHE_SELECTED_ONLY", "DEFER", "DEFER_STATE", "EMPTY", "EVENT_TIME_END", "EVENT_TIME_START", "EXCLUDE", "EXCLUDE_RESOURCE_TYPE",
        "EXCLUDE_RESOURCE_TYPES", "FAIL_FAST", "FAVOR_STATE", "FULL_REFRESH", "INDIRECT_SELECTION", "INTROSPECT", "MANAGE_STATE", "PROFILE",
        "PROFILES_DIR", "PROJECT_DIR", "RESOURCE_TYPE", "RESOURCE_TYPES", "SAMPLE", "SELECT", "SELECTOR", "STATE", "TARGET", "TARGET_PATH",
        "VARS", "WRITE_JSON",
    )
)  # fmt: skip
"""The environment variables that are options of dbt and change what is built, or where it says so: that is decided here."""

Files = Sequence["tuple[str, list[list[int]]]"]
"""Files of DuckDB, each with its marks; see `sao_dagster.dbt.supervised`."""


@dataclass(frozen=True)
class Finished:
    """What came of a command.

    Attributes:
        status: Its exit status; None where nobody knows it.
        output: The last lines that it printed.
        results: By unique id, what it says of a node in `run_results.json`; empty where it has written none.
        is_alone: Whether nobody else has had the files that were watched.
        files: These files, as they were when the command had ended.
        errors: Why batches of microbatch models failed, as far as it printed that.
    """

    status: int | None
    output: str
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    is_alone: bool = False
    files: tuple[tuple[str, list[list[int]]], ...] = ()
    errors: PrintedErrors = field(default_factory=PrintedErrors, compare=False)


class DbtCommands:
    """Commands of one project, one after the other; they have a folder for their artifacts, so that no other invocation writes to it.

    Args:
        invocation: Where, and with what options.
        keeps: The folder in which what dbt 1.x has read of the project stays.
        tell: Told the lines that dbt prints, from any thread.
    """

    def __init__(self, invocation: Invocation, keeps: Path, tell: Callable[[Message], None] = lambda _: None) -> None:
        self._invocation, self._keeps, self._tell = invocation, keeps, tell
        self._folder = tempfile.TemporaryDirectory(prefix="sao-dbt-", ignore_cleanup_errors=True)
        self.artifacts = Path(self._folder.name) / "target"
        self.artifacts.mkdir()
        self._going: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        with suppress(OSError):
            shutil.copy2(keeps / PARSED, self.artifacts / PARSED)

    def close(self) -> None:
        """Forget the artifacts."""
        self._folder.cleanup()

    def interrupt(self) -> None:
        """End what is going on, and begin nothing more."""
        self._stopping.set()
        self._leave()

    def _leave(self) -> None:
        """Leave what is going on, which ends then."""
        if self._going is not None and self._going.stdin is not None:
            with suppress(OSError):
                self._going.stdin.close()

    def manifest(self) -> Mapping[str, Any]:
        """Return dbt's manifest of the project as it is now.

        Raises:
            DbtError: dbt does not read the project; its words.
        """
        finished = self.run("parse")
        try:
            if finished.status == 0:
                with suppress(OSError):
                    self._keeps.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(self.artifacts / PARSED, self._keeps / PARSED)
                manifest: Mapping[str, Any] = json.loads((self.artifacts / "manifest.json").read_text(encoding="utf-8"))
                return manifest
        except (OSError, ValueError) as error:
            raise DbtError(f"dbt parse has left no manifest.json that can be read: {error}") from error
        raise DbtError(f"dbt parse ended (exit status {finished.status}): {finished.output}")

    def run(self, command: str, *arguments: str, files: Files = ()) -> Finished:
        """Run a command to its end.

        Args:
            command: Its name.
            arguments: More than the options of the invocation.
            files: Files that nobody else is to have meanwhile.

        Raises:
            WarehouseError: It cannot be started, or is not to be.
        """
        if self._stopping.is_set():
            raise WarehouseError("the run is stopping, so that dbt is not started")
        report, results = Path(self._folder.name) / "report.json", self.artifacts / "run_results.json"
        for each in (report, results):
            each.unlink(missing_ok=True)
        place = ("--target-path", str(self.artifacts))
        asked = {
            "command": [
                *self._invocation.installation.command,
                command,
                *self._invocation.options_with_target,
                *place,
                *arguments,
            ],
            "files": files,
            "report": str(report),
        }
        given = Path(self._folder.name) / "asked.json"  # which may be longer than a command line
        given.write_text(json.dumps(asked), encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if name not in NOT_HANDED_ON}
        quiet = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_USE_COLORS": "false"}
        try:
            going = subprocess.Popen(  # noqa: S603 - our own program, which runs the dbt that a setting names
                [sys.executable, "-I", str(SUPERVISOR), str(given)],
                cwd=self._invocation.root,
                env={**environment, **quiet},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # whoever interrupts this process does not interrupt dbt beside it
            )
        except OSError as error:
            raise WarehouseError(f"dbt cannot be started: {error}") from error
        self._going = going
        if self._stopping.is_set():  # which was said meanwhile
            self._leave()
        lines: deque[str] = deque(maxlen=SHOWN_LINES)
        errors = PrintedErrors()
        reading = threading.Thread(target=self._hear, args=(going, lines, errors), daemon=True)
        reading.start()
        self._wait(going, command)
        said = _last_line(report)
        if "status" not in said and "process" in said:  # nobody looks after it any more
            with suppress(OSError):
                os.killpg(said["process"], signal.SIGKILL)
        reading.join(timeout=5)  # what somebody else still holds open is not waited for
        self._leave()
        return Finished(
            status=said.get("status"),
            output="\n".join(lines) or "it printed nothing",
            results=_results(results) if "status" in said else {},
            is_alone=said.get("is_alone", False),
            files=tuple((file, marks) for file, marks in said.get("files", ())),
            errors=errors,
        )

    def _hear(self, going: subprocess.Popen[bytes], lines: deque[str], errors: PrintedErrors) -> None:
        """Tell what a command prints until its end, and keep it."""
        assert going.stdout is not None  # noqa: S101 - it is a pipe
        for line in going.stdout:
            text = line.decode(errors="replace").rstrip()
            if text:
                lines.append(text)
                errors.hear(text)
                self._tell(Message(text, Level.LOG))

    def _wait(self, going: subprocess.Popen[bytes], command: str) -> None:
        """Wait for a command; tell now and then that it still goes on."""
        started = time.monotonic()
        while going.poll() is None:
            try:
                going.wait(timeout=process.STILL_SECONDS)
            except subprocess.TimeoutExpired:
                minutes = (time.monotonic() - started) / 60
                self._tell(Message(f"dbt {command} is still going on, for {minutes:.0f} min now", Level.WARNING))


def _last_line(report: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8").splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return found


def _results(file: Path) -> dict[str, Mapping[str, Any]]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        return {each["unique_id"]: each for each in said["results"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
