"""dbt in a process of its own: started in the user's environment of dbt, asked over a pipe, and ended with whoever started it."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from sao_dagster.core.messages import Level, Message
from sao_dagster.dbt.installation import DbtInstallation
from sao_dagster.errors import UnsupportedError, WarehouseError

CHILD = Path(__file__).parent / "child"
_BEGIN = f"""
import importlib.util as util, sys
sys.path = [each for each in sys.path if each]  # no module of the project's folder takes the place of one of dbt's
spec = util.spec_from_file_location("sao_in_dbt", {str(CHILD / "__init__.py")!r}, submodule_search_locations=[{str(CHILD)!r}])
package = util.module_from_spec(spec)
sys.modules["sao_in_dbt"] = package
spec.loader.exec_module(package)
from sao_in_dbt.main import main
main()
"""
START_SECONDS = 120.0  # for the process to say that it is there
BEAT_SECONDS = 10.0  # between signs of life of the process
SILENT_SECONDS = 600.0  # without any, for which a process is given up
STILL_SECONDS = 600.0  # after which it is said what a process that lives is still at, again and again
_LEVELS = {"warn": Level.WARNING, "error": Level.ERROR}
SHOWN_LINES = 15  # of what dbt printed, where it ended without a word


@dataclass(frozen=True)
class Invocation:
    """What dbt is invoked with.

    Attributes:
        root: The project's folder.
        installation: dbt.
        options: Options of `dbt build`, but for the target.
        target: The name of the target; empty for the profile's own.
        is_default_target: Whether that is the profile's own. dbt reads all of a project anew where somebody names the target and somebody else,
            who parsed it last, did not.
        profiles: The text of a `profiles.yml` in place of the one that the options name; None where that says where to build.
    """

    root: Path
    installation: DbtInstallation
    options: tuple[str, ...] = ()
    target: str = ""
    is_default_target: bool = False
    profiles: str | None = None

    @property
    def options_with_target(self) -> tuple[str, ...]:
        """The options, which name the target."""
        return (*self.options, "--target", self.target) if self.target else self.options


@dataclass(frozen=True)
class Request:
    """What the process was asked and has not answered.

    Attributes:
        about: What it is at, in words.
        since: When it was asked, by the monotonic clock.
        answer: Its answer, once there is one.
    """

    about: str
    since: float
    answer: Future[Any]

    @classmethod
    def of(cls, name: str, arguments: Mapping[str, Any]) -> Request:
        """Return a request that is made now.

        >>> Request.of("build", {"node": "model.shop.orders"}).about
        'building model.shop.orders'
        """
        about = f"{_DOING.get(name, name)} {arguments.get('node', '')}".strip()
        return cls(about, time.monotonic(), Future())


_DOING = {"build": "building", "compile": "rendering", "again": "rendering", "begin": "beginning", "finish": "ending"}


class DbtProcess:
    """One `dbt build` that goes on; several threads ask it at once."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        connection: Connection,
        log: Path,
        on_message: Callable[[Message], None],
        target: str = "",
    ) -> None:
        self._process, self._connection, self._log, self._target = process, connection, log, target
        self.on_message = on_message
        self.on_doing: Callable[[str], None] = lambda _: None  # told how far it is with what it does for long, in words
        self._lock = threading.Lock()
        self._asked: dict[int, Request] = {}
        self._still = time.monotonic()
        self._next = 0
        self._ended: Future[Mapping[str, Any]] = Future()
        self._parsed: Future[str] = Future()
        threading.Thread(target=self._listen, daemon=True, name="sao-dbt").start()

    @property
    def has_ended(self) -> bool:
        """Whether it does nothing more."""
        return self._ended.done()

    def wait_until_parsed(self) -> None:
        """Wait until dbt has read the project.

        Raises:
            WarehouseError: It could not, with dbt's words; or it has another target.
        """
        taken = self._parsed.result()
        if self._target not in ("", taken):
            raise WarehouseError(
                f"dbt takes the target {taken!r} of the profile, and not {self._target!r}: name it, with --target"
            )

    def ask(self, name: str, /, **arguments: Any) -> Any:
        """Return the answer to a request.

        Raises:
            WarehouseError: dbt's words; or the process is gone.
        """
        return self.asking(name, **arguments).result()

    def asking(self, name: str, /, **arguments: Any) -> Future[Any]:
        """Return the answer to a request, as soon as there is one."""
        request = Request.of(name, arguments)
        with self._lock:
            self._next += 1
            number = self._next
            if self._ended.done():
                request.answer.set_exception(self._gone())
                return request.answer
            self._asked[number] = request
            with contextlib.suppress(OSError):  # whoever listens finds out that it is gone
                self._connection.send((number, name, arguments))
        return request.answer

    def end(self) -> Mapping[str, Any]:
        """Return how the invocation ended, after waiting for it."""
        return self._ended.result()

    def _listen(self) -> None:
        try:
            while self._connection.poll(SILENT_SECONDS):
                number, kind, value = self._connection.recv()
                if number is not None:
                    with self._lock:
                        answer = self._asked.pop(number).answer
                    if kind is True:
                        answer.set_result(value)
                    else:
                        answer.set_exception(DbtError(value[1], kind=value[0]))
                elif kind == "alive":
                    self._tell_still()
                elif kind == "line":
                    self._tell(value["level"], value["text"])
                elif kind == "doing":
                    self.on_doing(value)
                elif kind == "parsed":
                    self._parsed.set_result(value)
                elif kind == "ended":
                    self._finish(value)
                    return
            self._process.kill()
            doing = ", ".join(each.about for each in self._unanswered()) or "asked for nothing"
            error = f"dbt gave no sign of life for {SILENT_SECONDS:g} s, and was ended; it was {doing}"
            self._finish({"success": False, "error": error})
        except (OSError, EOFError):
            self._finish({"success": False, "error": ""})
        except Exception as error:  # noqa: BLE001 - an answer that cannot be read; nobody may wait for it
            self._finish({"success": False, "error": f"dbt's answer cannot be read: {error}"})

    def _unanswered(self) -> list[Request]:
        """Return what has not been answered, what was asked first before what was asked later."""
        with self._lock:
            return list(self._asked.values())

    def _tell_still(self) -> None:
        """Tell what a process that lives is at for so long that somebody may want to look."""
        now = time.monotonic()
        if now - self._still < STILL_SECONDS:
            return
        self._still = now
        for each in self._unanswered():
            if now - each.since >= STILL_SECONDS:
                minutes = (now - each.since) / 60
                self.on_message(Message(f"dbt is still {each.about}, for {minutes:.0f} min now", Level.WARNING))

    def _tell(self, level: str, text: str) -> None:
        """Tell a line of dbt's log, and what is a warning or an error as such, too."""
        self.on_message(Message(text, Level.LOG))
        if level in _LEVELS:
            self.on_message(Message(f"dbt: {text}", _LEVELS[level]))

    def _finish(self, how: Mapping[str, Any]) -> None:
        with self._lock:
            self._ended.set_result(how)
            waiting, self._asked = [each.answer for each in self._asked.values()], {}
        for each in (*waiting, *(() if self._parsed.done() else (self._parsed,))):
            each.set_exception(self._gone())

    def _gone(self) -> WarehouseError:
        how = self._ended.result()
        if how.get("unexpected"):
            return UnexpectedDbtError("; ".join(how["unexpected"]))
        if how["error"]:
            return DbtError(str(how["error"]))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        text = ""
        with contextlib.suppress(OSError):  # whoever has ended it may have removed the log
            text = self._log.read_text(encoding="utf-8", errors="replace")
        lines = text.strip().splitlines()[-SHOWN_LINES:]
        shown = "\n".join(lines) or "it printed nothing"
        return DbtError(f"dbt ended (exit status {self._process.poll()}): {shown}")

    def close(self) -> None:
        """End the process, whatever it does; what it was asked for has no answer then."""
        with contextlib.suppress(OSError):
            self._connection.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class DbtError(WarehouseError):
    """dbt refused something, in its own words.

    Attributes:
        kind: The class of its error.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class UnexpectedDbtError(UnsupportedError, WarehouseError):
    """This version of dbt is not one whose inner names are known.

    Attributes:
        found: What is other about it, in words.
    """

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(f"this version of dbt is not supported: {found}; install dbt-core 1.8 to 1.12")


@contextmanager
def dbt_process(
    invocation: Invocation, on_message: Callable[[Message], None] = lambda _: None, options: Sequence[str] = ()
) -> Iterator[DbtProcess]:
    """Start `dbt build`, and end it at the end, whatever has become of it.

    Args:
        invocation: Where and with what.
        on_message: Told the lines of dbt's log, and its warnings and errors as such, from any thread.
        options: Options besides those of the invocation.

    Raises:
        WarehouseError: The program cannot be started.
    """
    key = secrets.token_bytes(32)
    # nobody else may look into the folder: a profile may have a password in it
    with tempfile.TemporaryDirectory(prefix="sao-dbt-") as folder, Listener(authkey=key) as listener:
        log = Path(folder) / "output.txt"
        if invocation.profiles is not None:
            (Path(folder) / "profiles.yml").write_text(invocation.profiles, encoding="utf-8")
            options = (*options, "--profiles-dir", folder)  # the last one counts
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - the Python that a setting names, or that is found beside dbt
                    [str(invocation.installation.python), "-c", _BEGIN, str(listener.address)],
                    cwd=invocation.root,
                    env={
                        **os.environ,
                        "SAO_DBT_KEY": key.hex(),
                        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
                        "DBT_USE_COLORS": "false",
                        "PYTHONHASHSEED": "0",  # a template that goes over a set gives the same text in each process
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # whoever interrupts this process does not interrupt dbt beside it
                )
            except OSError as error:
                raise WarehouseError(f"dbt cannot be started: {error}") from error
        try:
            connection = _accepted(listener, process, log)
            named = invocation.options if invocation.is_default_target else invocation.options_with_target
            arguments = ["build", *named, *options]
            connection.send((0, "invoke", {"arguments": arguments, "beat_seconds": BEAT_SECONDS}))
            opened = DbtProcess(process, connection, log, on_message, invocation.target)
        except BaseException:
            process.kill()
            process.wait()
            raise
        try:
            yield opened
        finally:
            opened.close()


def _accepted(listener: Listener, process: subprocess.Popen[bytes], log: Path) -> Connection:
    """Return the connection of a process that was just started, or say why it did not come."""
    came: Future[Connection] = Future()

    def accept() -> None:
        try:
            came.set_result(listener.accept())
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            came.set_exception(error)

    threading.Thread(target=accept, daemon=True).start()
    give_up = time.monotonic() + START_SECONDS
    while not came.done():
        if process.poll() is not None or time.monotonic() > give_up:
            text = log.read_text(encoding="utf-8", errors="replace").strip()
            raise WarehouseError(f"dbt cannot be started: {text or 'it did not answer'}")
        time.sleep(0.01)
    return came.result()
