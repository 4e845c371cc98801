"""Data versions and code versions with a scheme; whether a build changed anything; what was told, by the word for it, and when; sequences that only grow."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from sao_dagster.state.older import OLD_CODE_SCHEME, version_text, version_texts
from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Give what is recorded the schemes it was made by; what the warehouse showed is read again."""
    for table in ("sao_builds", "sao_tests"):
        transaction.script(f"alter table {table} add column code_scheme integer not null default {OLD_CODE_SCHEME}")
    transaction.script("alter table sao_builds add column changed boolean")
    _convert(transaction, "sao_builds", ("environment", "model"), "inputs", "data_version")
    _convert(transaction, "sao_tests", ("environment", "test"), "inputs")
    _convert(transaction, "sao_versions", ("id",), "version")
    transaction.script(TABLES)
    if transaction.has_table("sao_marks"):
        told = "insert into sao_shown select environment, scope, name, mark, :now from sao_marks"
        transaction.execute(told, {"now": datetime.now(timezone.utc).isoformat()})
        transaction.script("drop table sao_marks")


TABLES = """
delete from sao_contents;
create table sao_shown (
    environment varchar(255) not null,
    scope varchar(255) not null,
    name varchar(255) not null,
    told text not null,
    told_at varchar(40) not null,
    primary key (environment, scope, name)
);
create table sao_sequences (
    environment varchar(255) not null,
    last integer not null,
    primary key (environment)
);
create table sao_environments (
    place varchar(255) not null,
    environment varchar(255) not null,
    name varchar(255) not null,
    schema_name varchar(255) not null,
    database_place text not null,
    primary key (place)
);
create index ix_sao_environments_environment on sao_environments (environment);
insert into sao_sequences select environment, max(sequence) from sao_builds group by environment
"""


def _convert(transaction: Transaction, table: str, keys: tuple[str, ...], *columns: str) -> None:
    """Write the versions in some columns of a table in the form of today."""
    where = " and ".join(f"{key} = :{key}" for key in keys)
    values = ", ".join(f"{column} = :{column}" for column in columns)
    names = (*keys, *columns)
    rows = [dict(zip(names, row, strict=True)) for row in transaction.rows(f"select {', '.join(names)} from {table}")]
    for row in rows:
        row.update((column, _converted(row[column])) for column in columns)
        transaction.execute(f"update {table} set {values} where {where}", row)


def _converted(text: str) -> str:
    """Return one version, or a JSON object of them."""
    if text.startswith("{"):
        return json.dumps(version_texts(json.loads(text)), sort_keys=True, separators=(",", ":"))
    return version_text(text)
