"""Another process of this machine, as it is named to people who wait for it."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timezone
from pathlib import Path

from sao_dagster.core.messages import local_time

_PROC = Path("/proc")


def describe_process(pid: int) -> str:
    """Return a process in words: its id, its host, and, where the system tells, which program it is and since when it runs.

    Of its command line only the name of the program is shown, and the command of ours that it is; arguments may be secret.

    >>> describe_process(os.getpid()).startswith(f"process {os.getpid()} on {socket.gethostname()}")
    True
    """
    known = [
        *_program(pid),
        *(f"since {local_time(moment)}" for moment in _started(pid)),
    ]
    return f"process {pid} on {socket.gethostname()}" + (f" ({', '.join(known)})" if known else "")


def _program(pid: int) -> list[str]:
    """Return the name of a program, as a list of one; nothing where it is not known."""
    try:
        words = [os.fsdecode(each) for each in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")]
    except OSError:
        return []
    names = [Path(each).name for each in words if each]
    if "sao" in names[:2]:  # by its interpreter
        command = names[names.index("sao") + 1 :][:1]
        return [" ".join(["sao", *(each for each in command if each.isalpha())])]
    return names[:1]


def _started(pid: int) -> list[datetime]:
    """Return when a process was started (UTC), as a list of one; nothing where it is not known."""
    try:
        ticks = int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])  # field 22, see proc(5)
        booted = next(line for line in (_PROC / "stat").read_text().splitlines() if line.startswith("btime "))
        seconds = int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return []
    return [datetime.fromtimestamp(seconds, timezone.utc)]
