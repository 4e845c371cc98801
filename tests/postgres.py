"""A PostgreSQL server of the tests' own: on loopback, in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict

from sao_dagster import PostgresWarehouse
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from typing_extensions import Self

USER = "tests"
_PATH = "-c search_path=main,public"


def warehouse_at(url: str, threads: int = 2) -> PostgresWarehouse:
    """Return a database as a warehouse with the schema `main`."""
    at = conninfo_to_dict(url)
    return PostgresWarehouse(
        host=str(at["host"]),
        port=int(str(at["port"])),
        user=str(at["user"]),
        dbname=str(at["dbname"]),
        schema="main",
        threads=threads,
    )


def execute(url: str, *statements: str) -> None:
    """Run statements, each by itself; what they have written is counted when this ends, where the server can be told to (it may also be late)."""
    with psycopg.connect(url, autocommit=True, options=_PATH) as connection:
        for statement in statements:
            connection.execute(statement.encode())
        if connection.info.server_version >= 150000:
            connection.execute("select pg_stat_force_next_flush()")


def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with psycopg.connect(url, autocommit=True, options=_PATH) as connection:
        return connection.execute(query.encode()).fetchall()


class Postgres:
    """A server, from entering to leaving the context.

    Its folder is not pytest's, which each session that starts closes to all others; as root, the server is another user's.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sao-postgres-", ignore_cleanup_errors=True)
        self.place = Path(self._folder.name) / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @staticmethod
    def programs() -> Path | None:
        """Return the folder of PostgreSQL's programs, the newest there is, or None."""
        found = shutil.which("initdb")
        if found:
            return Path(found).parent
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name))
        return folders[-1] if folders else None

    def _call(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [str(Path(str(self.programs())) / program), *arguments]
        if os.getuid() == 0:  # the server refuses to run as root
            command = ["setpriv", "--reuid=nobody", "--clear-groups", *command]
        subprocess.run(command, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def __enter__(self) -> Self:
        self.place.mkdir()
        if os.getuid() == 0:
            for folder in (self.place.parent, self.place):
                os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        self._call("initdb", "-D", str(self.place), "-U", USER, "--auth=trust", "-E", "UTF8", "--locale=C", "-N")
        self.start()
        return self

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c max_connections=300"
        self._call(
            "pg_ctl",
            "-D",
            str(self.place),
            "-w",
            "-t",
            f"{PATIENCE:g}",
            "-l",
            str(self.place / "log"),
            "-o",
            options,
            "start",
        )

    def stop(self) -> None:
        """Stop the server, without waiting for anyone who is connected."""
        self._call("pg_ctl", "-D", str(self.place), "-w", "-m", "fast", "stop", check=False)

    def crash(self) -> None:
        """Let the server end as if it had crashed, and start it again."""
        self._call("pg_ctl", "-D", str(self.place), "-w", "-m", "immediate", "stop", check=False)
        self.start()

    def restart(self, after_seconds: float) -> None:
        """Stop the server, and start it again after a while."""
        self.stop()
        time.sleep(after_seconds)
        self.start()

    def __exit__(self, *_: object) -> None:
        self._call("pg_ctl", "-D", str(self.place), "-w", "-m", "immediate", "stop", check=False)
        self._folder.cleanup()

    def database(self) -> str:
        """Make an empty database, and return its URL."""
        name = f"t{uuid4().hex[:12]}"
        execute(self.url("postgres"), f"create database {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"
