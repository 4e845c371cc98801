"""The URL of a shared state: which database it is in, and what its driver is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

_URL = re.compile(
    r"(?P<kind>\w+)(\+\w+)?://"
    r"((?P<user>[^:/]*)(:(?P<password>[^@]*))?@)?"
    r"(\[(?P<address>[^\]]*)\]|(?P<host>[^:/?]*))(:(?P<port>\d*))?"
    r"(/(?P<database>[^?]*))?"
    r"(\?(?P<parameters>.*))?"
)
_PASSWORD = re.compile(r"(?<=://)([^:/]*):[^@]*@")


@dataclass(frozen=True)
class StateUrl:
    """A URL that was understood.

    Attributes:
        is_sqlite: Whether it is a file of SQLite, or its memory; else it is PostgreSQL.
        file: The path of the file; empty for a database in memory.
        parameters: For PostgreSQL, what libpq is told, by its own names.
    """

    is_sqlite: bool
    file: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_url(url: str) -> StateUrl:
    """Return what the URL of a state says: `sqlite:///FILE`, `sqlite://` (in memory) or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE`.

    A driver that it names (`postgresql+psycopg2://`) makes no difference. What would be read as punctuation is written as in URLs (`%40` for `@`).

    >>> parse_url("sqlite:////var/state.db").file, parse_url("sqlite:///state.db").file, parse_url("sqlite://").file
    ('/var/state.db', 'state.db', '')
    >>> dict(parse_url("postgresql+psycopg2://me:p%40ss@db:5433/shop?sslmode=require").parameters)
    {'user': 'me', 'password': 'p@ss', 'host': 'db', 'port': '5433', 'dbname': 'shop', 'sslmode': 'require'}
    >>> dict(parse_url("postgresql://me@server:secret@db/shop").parameters)
    {'user': 'me@server', 'password': 'secret', 'host': 'db', 'dbname': 'shop'}

    Raises:
        ValueError: It is no such URL; the message does not repeat it, since it may hold a password.
    """
    found = _URL.fullmatch(url)
    kind = found["kind"] if found else None
    if found is None or kind not in ("sqlite", "postgresql", "postgres"):
        message = f"there is no state in {kind}" if kind else "it is no URL"
        raise ValueError(f"{message}; write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE")
    if kind == "sqlite":
        if found["host"] or found["parameters"]:
            raise ValueError(
                "the URL of a file is sqlite:///FILE, with one more / before an absolute path, and nothing after it"
            )
        file = found["database"] or ""
        return StateUrl(is_sqlite=True, file="" if file == ":memory:" else file)
    parts = {
        "user": found["user"],
        "password": found["password"],
        "host": found["address"] or found["host"],
        "port": found["port"],
        "dbname": found["database"],
    }
    said = {name: unquote(value) for name, value in parts.items() if value}
    return StateUrl(is_sqlite=False, parameters={**said, **_parameters(found["parameters"] or "")})


def _parameters(text: str) -> dict[str, str]:
    """Return the parameters of a URL; several hosts, each with its port, are written as libpq takes them.

    >>> _parameters("host=a:5432&host=b:5433&sslmode=require")
    {'sslmode': 'require', 'host': 'a,b', 'port': '5432,5433'}
    """
    pairs = parse_qsl(text)
    hosts = [value.partition(":") for name, value in pairs if name == "host"]
    found = {name: value for name, value in pairs if name != "host"}
    if hosts:
        found["host"] = ",".join(host for host, _, _ in hosts)
    if any(port for _, _, port in hosts):
        found["port"] = ",".join(port for _, _, port in hosts)
    return found


def without_password(url: str) -> str:
    """Return the URL of a state as it may be shown.

    >>> without_password("postgresql://me:secret@db/shop"), without_password("sqlite:////var/state.db")
    ('postgresql://me:***@db/shop', 'sqlite:////var/state.db')
    """
    return _PASSWORD.sub(r"\1:***@", url, count=1)
