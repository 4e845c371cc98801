"""What is told of a process of dbt that lives and does not answer; without dbt."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path

import pytest

from sao_dagster.core.messages import Message
from sao_dagster.dbt import process
from sao_dagster.dbt.process import DbtError, DbtProcess
from sao_dagster.errors import WarehouseError
from tests.waiting import until


def test_what_a_process_is_at_for_long_is_told_and_is_in_the_error_when_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STILL_SECONDS", 0.0)
    ours, theirs = Pipe()
    said: list[Message] = []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        asked = DbtProcess(started, ours, tmp_path / "log.txt", said.append)
        answer = asked.asking("build", node="model.shop.orders")
        theirs.recv()
        theirs.send((None, "alive", None))
        until("a message", lambda: bool(said))
        assert said[0].text == "dbt is still building model.shop.orders, for 0 min now"
        monkeypatch.setattr(process, "SILENT_SECONDS", 0.0)
        theirs.send((None, "alive", None))
        with pytest.raises(
            DbtError, match=r"no sign of life for 0 s, and was ended; it was building model\.shop\.orders"
        ):
            answer.result(timeout=60)


def test_a_process_that_takes_another_target_than_was_read_is_refused(tmp_path: Path) -> None:
    ours, theirs = Pipe()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        asked = DbtProcess(started, ours, tmp_path / "log.txt", lambda _: None, "dev")
        theirs.send((None, "parsed", "prod"))
        with pytest.raises(WarehouseError, match="dbt takes the target 'prod' of the profile, and not 'dev'"):
            asked.wait_until_parsed()
