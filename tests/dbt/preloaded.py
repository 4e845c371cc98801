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

SERVER = '''
import array, atexit, contextlib, importlib, io, json, os, runpy, selectors, signal, socket, struct, sys, threading, time, traceback

place, project, *modules = sys.argv[1:]
for each in modules:
    with contextlib.suppress(ImportError):
        importlib.import_module(each)


def parse():
    """Let dbt make what it makes of its own classes when they are first used."""
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner
    from dbt_common.events.event_manager_client import cleanup_event_logger

    folder = os.getcwd()
    for _ in range(2):  # the second one reads what the first one has written
        with contextlib.redirect_stdout(io.StringIO()):
            ended = dbtRunner().invoke(["--quiet", "--no-static-parser", "parse", "--project-dir", project, "--profiles-dir", project])
        assert ended.success, ended.exception
    reset_adapters()
    cleanup_event_logger()
    os.chdir(folder)


if project:
    parse()
assert len(os.listdir("/proc/self/task")) == 1  # so that a fork has all of it
listener = socket.socket(socket.AF_UNIX)
listener.bind(place)
listener.listen(64)
selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ, "caller")
selector.register(0, selectors.EVENT_READ, "end")
callers = {}  # the connection of each fork, by its pidfd


def received(caller):
    head, rights, _, _ = caller.recvmsg(4, socket.CMSG_SPACE(12))
    files = array.array("i", rights[0][2])
    wanted, got = struct.unpack("!I", head)[0], b""
    while len(got) < wanted:
        got += caller.recv(wanted - len(got))
    return json.loads(got), files


def become(arguments, folder, environment, files):
    """Be the process that was asked for; never return."""
    status = 1
    try:
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        first, *rest = arguments
        sys.path[0] = "" if first in ("-c", "-m") else os.path.dirname(os.path.abspath(first))
        sys.argv = ["-c", *rest[1:]] if first == "-c" else rest if first == "-m" else arguments
        main = sys.modules["__main__"].__dict__
        if first == "-c":
            exec(compile(rest[0], "<string>", "exec"), main)
        elif first == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(first, run_name="__main__")
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status & 255)


def begin(caller):
    asked, files = received(caller)
    process = os.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for key in list(selector.get_map().values()):
            if key.fileobj != 0:
                os.close(key.fd)
        become(*asked, files)
    for file in files:
        os.close(file)
    watch = os.pidfd_open(process)
    callers[watch] = caller
    selector.register(watch, selectors.EVENT_READ, ("ended", process))
    selector.register(caller, selectors.EVENT_READ, ("told", process))


signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        what, process = key.data if isinstance(key.data, tuple) else (key.data, None)
        if what == "end":
            sys.exit()
        if what == "caller":
            begin(listener.accept()[0])
        elif what == "told":
            said = b""
            with contextlib.suppress(OSError):
                said = key.fileobj.recv(1)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, said[0] if said else signal.SIGKILL)
            if not said:
                selector.unregister(key.fileobj)
        else:
            _, state = os.waitpid(process, 0)
            caller = callers.pop(key.fd)
            selector.unregister(key.fd)
            os.close(key.fd)
            with contextlib.suppress(KeyError):
                selector.unregister(caller)
            with contextlib.suppress(OSError):
                caller.sendall(struct.pack("!i", os.waitstatus_to_exitcode(state)))
            caller.close()
'''

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
                "-c",
                "import sys; exec(sys.argv.pop(1), {'__name__': 'server'})",
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
