"""A Python that has imported dbt already: each process of it is a fork of one that has, which saves the seconds that this takes.

`Preloaded(python).python` is a program that is called like the Python it stands for. It hands its arguments, folder, environment and
output to the process that has imported dbt, hands on signals, and ends as the fork does; where it is killed, so is the fork. What it cannot
stand for (other options of Python, another `PYTHONPATH`) it leaves to the Python itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

CALLER = """#!{python} -IS
import array, json, os, signal, socket, struct, sys

REAL, PLACE, PATH = {real!r}, {place!r}, {path!r}
arguments = sys.argv[1:]
named = arguments[:1] in (["-c"], ["-m"]) or (arguments and not arguments[0].startswith("-"))
if not named or os.environ.get("PYTHONPATH", "") != PATH:
    os.execv(REAL, [REAL, *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect(PLACE)
asked = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
server.sendmsg([struct.pack("!I", len(asked))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(asked)
for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(each, lambda number, _: server.sendall(bytes([number])))
answer = server.recv(4)
status = struct.unpack("!i", answer)[0] if answer else 1
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""

SERVER = Path(__file__).with_name("preloaded_server.py")
MODULES = ("dbt.cli.main", "dbt.task.build", "dbt.task.retry", "multiprocessing.connection")
ADAPTERS = ("dbt.adapters.duckdb", "dbt.adapters.postgres")  # with a DuckDB that starts no thread when it is imported


class Preloaded:
    """A Python with dbt, for as long as it is open.

    Args:
        real: The Python that has dbt.
        folder: An empty folder.
    """

    def __init__(self, real: Path, folder: Path) -> None:
        self.python = folder / "bin/python"
        self._real = real
        self._folder = folder
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Preloaded:  # noqa: PYI034 - Python 3.10 has no Self
        place = self._folder / "asked"
        path = os.environ.get("PYTHONPATH", "")
        self.python.parent.mkdir()
        self.python.write_text(CALLER.format(python=sys.executable, real=str(self._real), place=str(place), path=path))
        self.python.chmod(0o755)
        (self._folder / "lib").symlink_to(self._real.parent.parent / "lib")
        project = self._project()
        self._server = subprocess.Popen(
            [
                self._real,
                SERVER,
                str(place),
                project,
                *MODULES,
                *(ADAPTERS if project else ()),
            ],
            env={
                **os.environ,
                "PYTHONHASHSEED": "0",
                "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
                "PYTHONWARNINGS": "ignore",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        return self

    def _project(self) -> str:
        """Return the folder of a small project; empty without an adapter that opens nothing, and starts no thread, when dbt reads one."""
        if not any((self._folder / "lib").glob("python*/site-packages/dbt/adapters/postgres")):
            return ""
        folder = self._folder / "project"
        (folder / "models").mkdir(parents=True)
        server = {"host": "none", "port": 1, "user": "u", "password": "p", "dbname": "d"}
        output = {"type": "postgres", **server, "schema": "main", "threads": 1}
        for name, text in {
            "dbt_project.yml": {"name": "small", "profile": "small"},
            "profiles.yml": {"small": {"target": "dev", "outputs": {"dev": output}}},
            "models/a.yml": {"models": [{"name": "a", "columns": [{"name": "id", "data_tests": ["unique"]}]}]},
        }.items():
            (folder / name).write_text(json.dumps(text))
        (folder / "models/a.sql").write_text("select 1 as id")
        return str(folder)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._server is not None
        self._server.communicate()
