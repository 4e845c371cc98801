"""A process that runs what it is told to on standard input, one JSON object by line, and answers in the same way."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sao_dagster import select
from sao_dagster.core.messages import Message
from sao_dagster.core.reasons import Mode
from sao_dagster.run.events import Event
from sao_dagster.run.report import RunResult
from sao_dagster.warehouses.postgres import session as postgres_session
from tests.fleet import faults
from tests.fleet.project import fleet_project


def main() -> None:
    faulthandler.register(signal.SIGUSR1)  # a worker that hangs says where
    settings = json.loads(sys.stdin.readline())
    threads, strict = settings.get("threads", 4), settings.get("strict", True)
    opened = fleet_project(settings["url"], settings["state_url"], settings["models"], threads, strict=strict)
    runner = replace(opened.runner(), lease_seconds=settings.get("lease_seconds", 60.0))
    if "abandoned_seconds" in settings:
        postgres_session._ABANDONED = f"{settings['abandoned_seconds']}s"
    if "clock" in settings:
        faults.move_clock(Path(settings["clock"]))
    _answer({"ready": os.getpid()})
    for line in sys.stdin:
        order = json.loads(line)
        with faults.at(order.get("fault"), _hit):
            try:
                selection = select(runner.project, order.get("select"))
                said: list[str] = []
                mode = Mode(order.get("mode", "state-aware"))
                result = runner.run(selection, mode, run_id=order["run_id"], on_event=partial(_note, said))
            except Exception as error:  # noqa: BLE001 - told to whoever gave the order
                _answer({"run_id": order["run_id"], "error": f"{type(error).__name__}: {error}"})
                continue
        _answer({**_described(result), "messages": said})


def _note(said: list[str], event: Event) -> None:
    if isinstance(event, Message):
        said.append(event.text)


def _described(result: RunResult) -> dict[str, Any]:
    return {
        "run_id": result.run_id,
        "models": {
            each.name: {
                "outcome": each.decision.outcome.value,
                "reason": each.decision.reason.value,
                "evidence": json.loads(json.dumps(each.decision.evidence, default=str)),
                "inputs": {name: str(version) for name, version in each.record.inputs.items()} if each.record else None,
                "built_at": each.record.built_at.isoformat() if each.record else None,
            }
            for each in result.models
        },
        "tests": {each.test.name: each.verdict.value if each.verdict else None for each in result.tests},
        "seconds": result.seconds,
    }


def _hit(signal_name: str) -> None:
    """Tell that a fault is reached, and let it come over this process."""
    _answer({"fault": signal_name})
    os.kill(os.getpid(), getattr(signal, signal_name))


def _answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
