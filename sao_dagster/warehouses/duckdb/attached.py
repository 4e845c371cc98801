"""Databases beside the one that is opened, as dbt-duckdb's profiles list them: which are files of DuckDB's own, and which are not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sao_dagster.core.relations import quote
from sao_dagster.warehouses.duckdb.header import header_of
from sao_dagster.warehouses.shared.names import literal

_PREFIX = re.compile(r"\w{2,}:")  # of a server, a catalog or another format; one letter is a drive
_OF_FILES = re.compile(r"((?:ducklake:)?(?:sqlite:|duckdb:)?)([^:=]*)")


def is_file(path: str) -> bool:
    """Return whether a path is that of a file, rather than of a server, a catalog or a file of another format.

    >>> [is_file(each) for each in ("shop.duckdb", "/data/shop.db", "ducklake:meta.db", "sqlite:shop.db", "md:shop", "s3://bucket/shop.db")]
    [True, True, False, False, False, False]
    """
    return not _PREFIX.match(path)


def absolute(path: str, root: Path) -> str:
    """Return a path from a folder; what names a server stays as it is, and of what names a catalog in a file the file is meant.

    >>> absolute("ducklake:meta.db", Path("/shop")), absolute("postgres:dbname=shop", Path("/shop")), absolute("a.db", Path("/shop"))
    ('ducklake:/shop/meta.db', 'postgres:dbname=shop', '/shop/a.db')
    """
    if path == ":memory:":
        return path
    if is_file(path):
        return str(root / path)
    in_file = _OF_FILES.fullmatch(path)
    return f"{in_file[1]}{root / in_file[2]}" if in_file and in_file[1] and in_file[2] else path


def is_own_file(path: str, kind: str | None) -> bool:
    """Return whether a database is a file of DuckDB's own, which one process at a time can write, or will be one.

    Args:
        path: As it is attached.
        kind: Its `type`, if it is given; DuckDB looks into the file where it is not.
    """
    if not is_file(path) or (kind or "duckdb").lower() != "duckdb":
        return False
    header = header_of(path)
    return not header.start or header.is_duckdb


def alias_of(database: Mapping[str, Any]) -> str:
    """Return what a database is called in SQL: as it says, or as DuckDB calls it."""
    return str(database.get("alias") or database_name(str(database["path"])))


def database_name(path: str) -> str:
    """Return what DuckDB calls the database in a file: what stands before the first dot; some names are its own.

    >>> database_name("/shop/orders.v2.duckdb"), database_name("main.duckdb"), database_name("sqlite:old.db")
    ('orders', 'main_db', 'old')
    """
    file = Path(path.rpartition(":")[2]).name
    name = next((part for part in file.split(".") if part), file)
    return f"{name}_db" if name.lower() in ("main", "temp", "system") else name


def attach_sql(database: Mapping[str, Any], *, read_only: bool) -> str:
    r"""Return the statement that attaches a database.

    >>> attach_sql({"path": "postgres:dbname=shop", "alias": "crm", "options": {"schema": "public"}}, read_only=True)
    'attach \'postgres:dbname=shop\' as "crm" (schema \'public\', read_only)'
    """
    options = [f"type {database['type']}"] if database.get("type") else []
    options += [f"secret {quote(str(database['secret']))}"] if database.get("secret") else []
    options += [f"{name} {literal(value)}" for name, value in (database.get("options") or {}).items()]
    options += ["read_only"] if database.get("read_only") or read_only else []
    suffix = f" ({', '.join(options)})" if options else ""
    return f"attach {literal(database['path'])} as {quote(alias_of(database))}{suffix}"
