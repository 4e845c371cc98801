"""Descriptions, indexes and rights of a relation that was just made on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import Connection

from sao_dagster.core.nodes import Node
from sao_dagster.core.relations import quote
from sao_dagster.warehouses.postgres.catalog import columns_of
from sao_dagster.warehouses.shared.attachments import attach_statements

_GRANTED = """
    select lower(acl.privilege_type), coalesce(pg_get_userbyid(nullif(acl.grantee, 0)), 'public')
    from pg_class c, aclexplode(c.relacl) acl where c.oid = to_regclass(%s) and acl.grantee <> c.relowner
"""


def attach(connection: Connection[Any], node: Node) -> Iterator[str]:
    """Yield the statements that describe a relation, and give rights on it to those who are named, and to nobody else but its owner.

    Where no rights are configured, those that are there are left alone, as in dbt.
    """
    columns = columns_of(connection, str(node.relation)) if node.attached.column_comments else ()
    yield from attach_statements(node, [name for name, _ in columns])
    if node.attached.grants is None:
        return
    rows = connection.execute(_GRANTED, [str(node.relation)]).fetchall()
    there = {(str(right), str(who)) for right, who in rows}
    wanted = {(right.lower(), _named(who)): who for right, names in node.attached.grants for who in names}
    for right, who in sorted(there - wanted.keys()):
        yield f"revoke {right} on {node.relation} from {who if who == 'public' else quote(who)}"
    for right, who in sorted(wanted.keys() - there):
        yield f"grant {right} on {node.relation} to {wanted[right, who]}"


def _named(role: str) -> str:
    """Return which role is meant by a name that is written as in SQL.

    >>> _named("Reporter"), _named('"Reporter"')
    ('reporter', 'Reporter')
    """
    return role[1:-1].replace('""', '"') if role.startswith('"') else role.lower()
