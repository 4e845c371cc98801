"""Which build made each relation, kept in the warehouse itself, in one table beside the models.

A build writes its name in the transaction that makes its relation, and locks the names of what it reads until it ends. So what
was read is known exactly, even if another process builds it at that moment, and a relation that was made by somebody who had
lost the right to is recognised whoever looks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from psycopg import Connection

from sao_dagster.core.models import Relation
from sao_dagster.warehouses.names import quote

NAME = "sao_build_ids"


class Attempted(Protocol):
    """Runs something in a transaction."""

    def __call__(self, work: Callable[[Connection[Any]], None], /) -> None:
        """Run it."""


def ensure_schemas(connection: Connection[Any], wanted: Collection[str]) -> None:
    """Create schemas that are not there; to name one that is takes no right to create any."""
    found = connection.execute("select nspname from pg_namespace where nspname = any(%s)", [sorted(wanted)])
    for schema in sorted(set(wanted) - {row[0] for row in found}):
        connection.execute(f"create schema if not exists {quote(schema)}".encode())


class BuildIds:
    """The table of build ids.

    Args:
        schema: Where it is: the default schema of models.
    """

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.table = f"{quote(schema)}.{NAME}"
        self._is_there = False

    def ensure(self, attempted: Attempted) -> None:
        """Make the table, if it is not there."""
        if self._is_there:
            return

        def create(connection: Connection[Any]) -> None:
            if not self.exists(connection):
                ensure_schemas(connection, [self.schema])
                connection.execute(
                    f"create table if not exists {self.table} (schema_name text, relation_name text, relation_oid oid not null, "
                    f"build_id text not null, built_at timestamptz not null default now(), primary key (schema_name, relation_name))".encode()
                )

        attempted(create)
        self._is_there = True

    def exists(self, connection: Connection[Any]) -> bool:
        """Return whether the table is there."""
        row = connection.execute("select to_regclass(%s)", [self.table]).fetchone()
        return row is not None and row[0] is not None

    def of(
        self, connection: Connection[Any], relations: Collection[Relation], lock: str = ""
    ) -> dict[Relation, str | None]:
        """Return which build made each relation; None for what was replaced by somebody else, or never built."""
        if not relations or not self.exists(connection):
            return dict.fromkeys(relations)
        rows = connection.execute(
            f"select schema_name, relation_name, relation_oid, build_id from {self.table} "
            f"where (schema_name, relation_name) in (select * from unnest(%s::text[], %s::text[])) "
            f"order by schema_name, relation_name {lock}".encode(),
            [[each.schema for each in relations], [each.identifier for each in relations]],
        ).fetchall()
        there = dict(
            connection.execute(
                "select name, to_regclass(name)::oid from unnest(%s::text[]) as name",
                [[str(each) for each in relations]],
            ).fetchall()
        )
        kept = {(schema, name): (oid, build_id) for schema, name, oid, build_id in rows}
        found: dict[Relation, str | None] = {}
        for each in relations:
            oid, build_id = kept.get((each.schema, each.identifier), (None, None))
            found[each] = build_id if oid is not None and oid == there[str(each)] else None
        return found

    def hold(self, connection: Connection[Any], relations: Collection[Relation]) -> dict[Relation, str | None]:
        """Return the same, and let nobody build these relations until the transaction ends."""
        return self.of(connection, relations, lock="for share")

    def hold_for_change(self, connection: Connection[Any], oids: Collection[int]) -> None:
        """Wait for the builds that read these relations; in the order in which readers lock them."""
        if self.exists(connection):
            connection.execute(
                f"select 1 from {self.table} where relation_oid = any(%s) order by schema_name, relation_name for update".encode(),
                [list(oids)],
            )

    def keep(self, connection: Connection[Any], relation: Relation, build_id: str) -> None:
        """Note which build made a relation."""
        connection.execute(
            f"insert into {self.table} (schema_name, relation_name, relation_oid, build_id) "
            f"values (%s, %s, to_regclass(%s)::oid, %s) on conflict (schema_name, relation_name) do update "
            f"set relation_oid = excluded.relation_oid, build_id = excluded.build_id, built_at = now()".encode(),
            [relation.schema, relation.identifier, str(relation), build_id],
        )

    def moved(self, connection: Connection[Any], before: int, name: str) -> None:
        """Note that a relation was made anew just as it was."""
        connection.execute(
            f"update {self.table} set relation_oid = to_regclass(%s)::oid where relation_oid = %s".encode(),
            [name, before],
        )

    def ours(self, connection: Connection[Any], oids: Collection[int]) -> set[int]:
        """Return those that were built here."""
        if not self.exists(connection):
            return set()
        rows = connection.execute(
            f"select relation_oid from {self.table} where relation_oid = any(%s)".encode(), [list(oids)]
        )
        return {row[0] for row in rows}
