"""What a template asks of the warehouse: which statements may be asked again without harm, and of which relation."""

from __future__ import annotations

import re

from sqlglot import exp

from sao_dagster.core.relations import Relation
from sao_dagster.sql.parsing import UnreadableSqlError, parse

_ACTS = re.compile(
    r"nextval|setval|setseed|set_config|query|pg_(?!typeof|size_).*|lo_.*|dblink.*|txid_.*|write_log|sleep_ms"
)
_CHANGES = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Set, exp.Pragma)


def is_plain_query(sql: str, dialect: str) -> bool:
    """Return whether a text is one query that reads and does nothing else.

    >>> is_plain_query("select max(id) from t", "duckdb"), is_plain_query("create table t as select 1", "duckdb")
    (True, False)
    >>> is_plain_query("select nextval('s')", "postgres"), is_plain_query("select 1; drop table t", "duckdb")
    (False, False)
    """
    try:
        statements = parse(sql, dialect)
    except UnreadableSqlError:
        return False
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        return False
    nodes = list(statements[0].walk())
    acts = any(isinstance(node, exp.Anonymous) and _ACTS.fullmatch(node.name.lower()) for node in nodes)
    return not acts and not any(isinstance(node, _CHANGES) and not isinstance(node, exp.Query) for node in nodes)


def names_relation(sql: str, relation: Relation, dialect: str) -> bool:
    """Return whether a query may read a relation; where names are left out, any that is called so.

    >>> names_relation('select 1 from "s"."t"', Relation("d", "s", "t"), "duckdb")
    True
    """
    try:
        tables = [table for statement in parse(sql, dialect) for table in statement.find_all(exp.Table)]
    except UnreadableSqlError:
        return True
    return any(is_named(table, relation) for table in tables)


def is_named(table: exp.Table, relation: Relation) -> bool:
    """Return whether a table in SQL may be a relation, by the parts of its name that are there."""
    written = (table.catalog.lower(), table.db.lower(), table.name.lower())
    key = tuple(each.lower() for each in relation.key)
    return written[2] == key[2] and all(not a or not b or a == b for a, b in zip(written, key, strict=True))
