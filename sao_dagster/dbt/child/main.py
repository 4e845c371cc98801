"""Where the process begins: it connects to whoever started it, hears what to invoke, and says how that ended."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from multiprocessing.connection import Client

from .garbage import collect_rarely
from .wire import Wire

STOPPING_SECONDS = 10.0  # for which statements may take to stop where nobody waits for them any more


def main() -> None:
    """Serve one invocation of dbt."""
    collect_rarely()
    address, key = sys.argv[1], bytes.fromhex(os.environ.pop("SAO_DBT_KEY"))
    wire = Wire(Client(address, authkey=key))
    _, _, request = wire.receive()
    threading.Thread(target=_beat, args=(wire, request["beat_seconds"]), daemon=True).start()
    try:
        wire.tell("ended", _invoked(wire, request["arguments"]))
    except BaseException as error:
        wire.tell("ended", {"success": False, "error": f"{type(error).__name__}: {error}"})
        raise


def _beat(wire: Wire, seconds: float) -> None:
    """Give a sign of life again and again; where the other side is gone, stop what is going on, before somebody else builds the same."""
    with contextlib.suppress(OSError):
        while True:
            wire.tell("alive", None)
            time.sleep(seconds)
    stopping = threading.Thread(target=_stop_statements, daemon=True)
    stopping.start()
    stopping.join(STOPPING_SECONDS)
    os._exit(1)  # whatever the other threads do


def _stop_statements() -> None:
    from dbt.adapters.factory import FACTORY

    for adapter in FACTORY.adapters.values():
        with contextlib.suppress(Exception):  # as far as it can be done
            adapter.cancel_open_connections()


def _invoked(wire: Wire, arguments: list[str]) -> dict[str, object]:
    """Invoke dbt; return whether that went well, and else why not."""
    try:
        import dbt.task.build as build_module
        from dbt.cli.main import dbtRunner

        from . import guard, run_values
        from .batches import Batches
        from .ephemerals import inject_once
        from .quiet import let_be_quiet
        from .serving import serving_task
        from .tables import keep_small_tables
        from .templates import compile_once

        found = guard.unexpected()
    except ImportError as error:  # dbt 2.x has none of it
        found = [str(error)]
    if found:
        return {"success": False, "error": "", "unexpected": found}

    _forget_options()
    compile_once()
    inject_once()
    keep_small_tables()
    let_be_quiet()
    run_values.install()

    def heard(event: object) -> None:
        info = getattr(event, "info", None)
        if info is not None and info.level in ("info", "warn", "error"):
            wire.tell("line", {"level": str(info.level), "text": str(info.msg)})

    base, batches = build_module.BuildTask, Batches()
    build_module.BuildTask = serving_task(wire, batches)
    try:
        result = dbtRunner(callbacks=[heard, batches.hear]).invoke(arguments)
    finally:
        build_module.BuildTask = base
    return {"success": result.success, "error": "" if result.exception is None else str(result.exception)}


KEPT = (
    "DBT_LOG",
    "DBT_USE_COLORS",
    "DBT_SEND_ANONYMOUS",
    "DBT_PARTIAL_PARSE",
    "DBT_TARGET_PATH",
    "DBT_WARN_ERROR",
    "DBT_VERSION_CHECK",
)


def _forget_options() -> None:
    """Leave out the environment variables that are options of dbt and change what is built, or which of it: what is built is decided elsewhere."""
    from dbt.cli.main import cli

    parameters = [*cli.params, *cli.commands["build"].params]
    for each in parameters:
        for name in [each.envvar] if isinstance(each.envvar, str) else each.envvar or ():
            if not name.startswith(KEPT):
                os.environ.pop(name, None)
