"""Runs a program, ends it where whoever started this is gone, and watches whether others have files of DuckDB meanwhile.

This file is a program of its own, and imports nothing of this package. It is given a file of JSON: the `command`, the `files` to watch, each
with its marks (`marks_of`) as they were when they were let go, and the `report`, a file in which the last line is what came of it. Where its
standard input ends, it ends the program.

DuckDB locks a file as POSIX has it (`fcntl`), so that the system says who has it. That nobody else has had the files is known where they
still were as they were left when the program was first seen to have them, were never seen in other hands, and did not change while nobody
had them. They are looked at every 10 ms: another process would have to open a file, write to it and close it between two looks. Where
there is more than a second between these, nobody knows.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

try:
    import fcntl

    LOCKS_ARE_SEEN = True
except ImportError:  # Windows: nobody knows who has a file
    LOCKS_ARE_SEEN = False

LOOK_SECONDS = 0.01
LATE_SECONDS = 1.0  # after the last look; where one comes later, as after a suspension, anybody may have had a file
STOPPING_SECONDS = 10.0  # for which the program may take to stop where nobody waits for it any more
FLOCK = (
    "qqihh" if sys.platform == "darwin" else "hhqqi4x"
)  # `struct flock`: start, length, pid, type, whence; or type, whence, start, length, pid


def marks_of(file: str) -> list[list[int]]:
    """Return size, times and number of a file and of its log of writes; nothing for one that is not there."""
    found: list[list[int]] = []
    for each in (file, f"{file}.wal"):
        try:
            stat = os.stat(each)  # noqa: PTH116 - every 10 ms
        except OSError:
            found.append([])
        else:
            found.append([stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    return found


class Watched:
    """A file while the program runs.

    Args:
        file: The file.
        left: Its marks when it was let go.
    """

    def __init__(self, file: str, left: list[list[int]]) -> None:
        self.file, self.marks = file, left
        self.is_alone = LOCKS_ARE_SEEN
        self._was_held = False
        self._looked_at = time.monotonic()

    def look(self, session: int) -> None:
        """Look who has it.

        Args:
            session: The session of the program's processes.
        """
        holder, marks = holder_of(self.file), marks_of(self.file)
        now, last = time.monotonic(), self._looked_at
        self._looked_at = now
        if holder is None:
            # somebody else has had it in between, or may have since the program let it go
            if now - last > LATE_SECONDS if self._was_held else marks != self.marks:
                self.is_alone = False
            self.marks, self._was_held = marks, False
        elif _session_of(holder) != session:
            self.is_alone = False
        else:
            if not self._was_held and marks[0] != self.marks[0]:
                self.is_alone = False
            self._was_held = True


def holder_of(file: str) -> int | None:
    """Return the process that has locked a file; None where none has."""
    if not LOCKS_ARE_SEEN:
        return None
    try:
        opened = os.open(file, os.O_RDONLY)
    except OSError:
        return None
    try:
        asked = (0, 0, 0, fcntl.F_WRLCK, 0) if sys.platform == "darwin" else (fcntl.F_WRLCK, 0, 0, 0, 0)
        said = struct.unpack(FLOCK, fcntl.fcntl(opened, fcntl.F_GETLK, struct.pack(FLOCK, *asked)))
    except OSError:
        return -1
    finally:
        os.close(opened)
    kind, pid = (said[3], said[2]) if sys.platform == "darwin" else (said[0], said[4])
    return None if kind == fcntl.F_UNLCK else int(pid)


def _session_of(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:
        return None


def _end(program: subprocess.Popen[bytes]) -> None:
    """Let the program stop what it does, and end it."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(program.pid, number)
            program.wait(timeout=STOPPING_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            continue
        return


def main() -> None:
    """Run the program that is said."""
    said = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    watched = [Watched(file, marks) for file, marks in said["files"]]
    report = Path(said["report"])
    program = subprocess.Popen(said["command"], stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - dbt
    report.write_text(json.dumps({"process": program.pid}) + "\n", encoding="utf-8")

    def attend() -> None:
        while os.read(0, 1):  # and not by `sys.stdin`, which Python closes at its end
            pass
        _end(program)

    threading.Thread(target=attend, daemon=True).start()
    while program.poll() is None:
        for each in watched:
            each.look(program.pid)
        time.sleep(LOOK_SECONDS if watched else 5 * LOOK_SECONDS)
    for each in watched:
        each.look(program.pid)
    found = {
        "status": program.returncode,
        "is_alone": all(each.is_alone for each in watched),
        "files": [[each.file, each.marks] for each in watched],
    }
    with report.open("a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
