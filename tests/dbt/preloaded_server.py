"""What `Preloaded` runs in dbt's own Python: it imports dbt, and then becomes, in a fork for each, what it is asked to be. Knows nothing of this package."""

from __future__ import annotations

import array
import atexit
import contextlib
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import types
from pathlib import Path
from typing import Any, NoReturn


def main() -> None:
    """Serve until standard input ends: the place of the socket, the folder of a project to be parsed (or nothing), and modules are the arguments."""
    place, project, *modules = sys.argv[1:]
    for each in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(each)
    if project:
        parse(project)
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork would have one thread of several"
    Server(place).serve()


def parse(project: str) -> None:
    """Let dbt make what it makes of its own classes when they are first used."""
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner
    from dbt_common.events.event_manager_client import cleanup_event_logger

    folder = Path.cwd()
    options = ["--quiet", "--no-static-parser"]  # that parser starts threads
    for _ in range(2):  # the second one reads what the first one has written
        with contextlib.redirect_stdout(io.StringIO()):
            ended = dbtRunner().invoke([*options, "parse", "--project-dir", project, "--profiles-dir", project])
        assert ended.success, ended.exception
    reset_adapters()
    cleanup_event_logger()
    os.chdir(folder)


class Server:
    """Forks for whoever calls, tells the forks of signals, and the callers how these have ended."""

    def __init__(self, place: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(place)
        self.listener.listen(64)
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.selector.register(self.listener, selectors.EVENT_READ, self.begin)
        self.selector.register(sys.stdin, selectors.EVENT_READ, sys.exit)
        print("ready", flush=True)
        while True:
            for key, _ in self.selector.select():
                key.data()

    def begin(self) -> None:
        caller, _ = self.listener.accept()
        asked, files = received(caller)
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for key in self.selector.get_map().values():
                if key.fileobj is not sys.stdin:
                    os.close(key.fd)
            become(*asked, files)
        for file in files:
            os.close(file)
        watch = os.pidfd_open(process)
        self.selector.register(watch, selectors.EVENT_READ, lambda: self.end(process, watch, caller))
        self.selector.register(caller, selectors.EVENT_READ, lambda: self.tell(process, caller))

    def tell(self, process: int, caller: socket.socket) -> None:
        """Send a signal on; a caller that is gone was killed, and so is its fork."""
        said = b""
        with contextlib.suppress(OSError):
            said = caller.recv(1)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, said[0] if said else signal.SIGKILL)
        if not said:
            self.selector.unregister(caller)

    def end(self, process: int, watch: int, caller: socket.socket) -> None:
        """Say how a fork has ended."""
        _, state = os.waitpid(process, 0)
        self.selector.unregister(watch)
        os.close(watch)
        with contextlib.suppress(KeyError):  # the caller is gone
            self.selector.unregister(caller)
        with contextlib.suppress(OSError):
            caller.sendall(struct.pack("!i", os.waitstatus_to_exitcode(state)))
        caller.close()


def received(caller: socket.socket) -> tuple[Any, array.array[int]]:
    """Return what is asked for (arguments, folder and environment), and the files that are to be standard input, output and error."""
    head, rights, _, _ = caller.recvmsg(4, socket.CMSG_SPACE(12))
    files = array.array("i", rights[0][2])
    wanted, got = struct.unpack("!I", head)[0], b""
    while len(got) < wanted:
        got += caller.recv(wanted - len(got))
    return json.loads(got), files


def become(arguments: list[str], folder: str, environment: dict[str, str], files: array.array[int]) -> NoReturn:
    """Be the process that was asked for."""
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
        run(arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as the interpreter says it
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status & 255)


def run(arguments: list[str]) -> None:
    """Run what the interpreter runs that is given some arguments."""
    first, *rest = arguments
    sys.path[0] = "" if first in ("-c", "-m") else str(Path(first).resolve().parent)
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), module.__dict__)
    elif first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main()
