"""What is known of a command of dbt: how it ended, and whether nobody else has had a DuckDB file meanwhile; programs of Python stand in for dbt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from sao_dagster.core.messages import Message
from sao_dagster.dbt.commands import DbtCommands, Finished
from sao_dagster.dbt.gate import Gate
from sao_dagster.dbt.installation import DbtInstallation
from sao_dagster.dbt.process import Invocation
from sao_dagster.dbt.supervised import marks_of
from sao_dagster.errors import WarehouseError
from tests.waiting import until

BUILD = """
import duckdb
with duckdb.connect(FILE) as connection:
    connection.execute("create table t as select 1 as x")
    import time; time.sleep(0.5)
artifact(status="success")
"""
OTHER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import duckdb; duckdb.connect(sys.argv[1]).execute('create table o as select 1 as x')"
    .replace("import duckdb", "import sys, duckdb"), FILE], check=True)
"""


def commands(folder: Path, program: str, tell: list[Message] | None = None) -> DbtCommands:
    """Return commands of a program that stands in for dbt: it has the `FILE` of DuckDB, and writes its `artifact`."""
    script = folder / "dbt"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        f"FILE = {str(folder / 'w.duckdb')!r}\n"
        "target = sys.argv[sys.argv.index('--target-path') + 1]\n"
        "def artifact(status):\n"
        "    result = {'unique_id': 'model.p.t', 'status': status}\n"
        "    open(target + '/run_results.json', 'w').write(json.dumps({'results': [result]}))\n" + program
    )
    script.chmod(0o755)
    invocation = Invocation(folder, DbtInstallation(program=script))
    return DbtCommands(invocation, folder / "kept", (lambda _: None) if tell is None else tell.append)


def built(folder: Path, program: str) -> Finished:
    """Return what comes of a command that is given a DuckDB file."""
    file = str(folder / "w.duckdb")
    duckdb.connect(file).close()
    given = commands(folder, program)
    try:
        return given.run("build", files=[(file, marks_of(file))])
    finally:
        given.close()


def test_what_has_the_file_alone_is_known_to_and_leaves_its_marks(tmp_path: Path) -> None:
    finished = built(tmp_path, BUILD)
    assert (finished.status, finished.is_alone) == (0, True)
    assert finished.results["model.p.t"]["status"] == "success"
    assert finished.files == ((str(tmp_path / "w.duckdb"), marks_of(str(tmp_path / "w.duckdb"))),)


@pytest.mark.parametrize("program", [OTHER + BUILD, BUILD + OTHER, BUILD + OTHER + BUILD.replace(" t ", " u ")])
def test_whoever_writes_before_or_after_is_noticed(tmp_path: Path, program: str) -> None:
    """A process of another session that has changed the file between those that let it go and dbt."""
    other = program.replace("check=True", "check=True, start_new_session=True")
    assert not built(tmp_path, other).is_alone


def test_what_changed_before_the_program_was_there_is_noticed(tmp_path: Path) -> None:
    file = str(tmp_path / "w.duckdb")
    duckdb.connect(file).close()
    left = marks_of(file)
    with duckdb.connect(file) as other:
        other.execute("create table o as select 1 as x")
    assert not commands(tmp_path, BUILD).run("build", files=[(file, left)]).is_alone


def test_a_file_that_somebody_else_has_is_in_other_hands(tmp_path: Path) -> None:
    file = str(tmp_path / "w.duckdb")
    program = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        assert held.stdout is not None
        held.stdout.readline()
        finished = commands(tmp_path, "import time; time.sleep(0.3)").run("build", files=[(file, marks_of(file))])
        assert not finished.is_alone
        held.communicate(b"\n")


@pytest.mark.parametrize("which", ["dbt", "supervisor"])
def test_of_a_command_that_is_killed_nothing_is_believed(tmp_path: Path, which: str) -> None:
    """What it wrote before is none of its results; a supervisor that is killed leaves no dbt behind."""
    said: list[Message] = []
    given = commands(
        tmp_path, "artifact('success'); import os, time; print(os.getpid(), flush=True); time.sleep(600)", said
    )
    found: list[Finished] = []
    running = threading.Thread(target=lambda: found.append(given.run("build")))
    running.start()
    until("dbt", lambda: bool(said))
    dbt = int(said[0].text)
    assert given._going is not None
    os.kill(dbt if which == "dbt" else given._going.pid, signal.SIGKILL)
    running.join()
    assert found[0].status == (-9 if which == "dbt" else None)
    assert which == "dbt" or found[0].results == {}
    until("the end of dbt", lambda: not alive(dbt))


def test_a_command_ends_with_whoever_gave_it(tmp_path: Path) -> None:
    said: list[Message] = []
    given = commands(tmp_path, "import os, time; print(os.getpid(), flush=True); time.sleep(600)", said)
    running = threading.Thread(target=lambda: given.run("build"))
    running.start()
    until("dbt", lambda: bool(said))
    given.interrupt()
    running.join()
    until("the end of dbt", lambda: not alive(int(said[0].text)))
    with pytest.raises(WarehouseError, match="is stopping"):
        given.run("build")


def alive(process: int) -> bool:
    """Return whether a process is there, and no zombie."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_whoever_is_alone_waits_for_those_who_are_in_and_keeps_out_others() -> None:
    gate, order, inside = Gate(2), list[str](), threading.Event()

    def use(name: str) -> None:
        with gate.use(), gate.use():  # once more takes no place
            order.append(name)
            inside.set()
            if name == "first":
                until("somebody who waits to be alone", lambda: gate._waiting == 1)

    def alone() -> None:
        with gate.alone(), gate.use():
            order.append("alone")

    first = threading.Thread(target=use, args=("first",))
    first.start()
    inside.wait()
    others = [threading.Thread(target=alone), threading.Thread(target=use, args=("second",))]
    others[0].start()
    first.join()
    others[1].start()
    for each in others:
        each.join()
    assert order[:1] == ["first"] and sorted(order[1:]) == ["alone", "second"]
