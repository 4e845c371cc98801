"""Which build made each relation, kept in the warehouse itself, in one table beside the models.

A build writes its name in the transaction that makes its relation, and locks the names of what it reads until it ends. So what
was read is known exactly, even if another process builds it at that moment, and a relation that was made by somebody who had
lost the right to is recognised whoever looks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from psycopg import Connection

from sao_dagster.core.relations import Relation, quote
from sao_dagster.warehouses.postgres.view_rules import OF_VIEW, READ_NOW

NAME = "sao_build_ids"
# a table that somebody makes anew is another one; a view that somebody changes has another rule, or one that reads something else now
_IDENTITY = f"concat_ws(':', c.oid, (select concat_ws(':', w.xmin, {READ_NOW}) from pg_rewrite w where {OF_VIEW}))"
_NAMED = "(schema_name, relation_name) in (select * from unnest(%s::text[], %s::text[]))"


def ensure_schemas(connection: Connection[Any], wanted: Collection[str]) -> None:
    """Create schemas that are not there; to name one that is takes no right to create any."""
    found = connection.execute("select nspname from pg_namespace where nspname = any(%s)", [sorted(wanted)])
    missing = sorted(set(wanted) - {row[0] for row in found})
    if missing:
        one_at_a_time(connection, "schemas")
    for schema in missing:
        connection.execute(f"create schema if not exists {quote(schema)}".encode())


def one_at_a_time(connection: Connection[Any], what: str) -> None:
    """Let transactions that do the same thing follow each other."""
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"sao {what}"])


class BuildIds:
    """The table of build ids.

    Args:
        schema: Where it is: the default schema of models.
    """

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.table = f"{quote(schema)}.{NAME}"
        self._table = self.table.replace("%", "%%")  # in statements with parameters
        self._is_there = False

    @staticmethod
    def beside(connection: Connection[Any]) -> list[BuildIds]:
        """Return all such tables of the database that may be written to, those of other environments and projects, too; by schema."""
        may = "has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')"
        rows = connection.execute(
            f"select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relname = '{NAME}' and c.relkind = 'r' "
            f"and {may} and has_table_privilege(c.oid, 'update') order by n.nspname".encode()
        )
        return [BuildIds(schema) for (schema,) in rows]

    @property
    def is_there(self) -> bool:
        """Whether the table is known to be there."""
        return self._is_there

    def ensure(self, connection: Connection[Any]) -> None:
        """Make the table, if it is not there."""
        if self._exists(connection):
            return
        one_at_a_time(connection, "build ids")
        if not self._exists(connection):
            ensure_schemas(connection, [self.schema])
            connection.execute(
                f"create table if not exists {self.table} (schema_name text, relation_name text, relation_id text not null, "
                f"build_id text not null, built_at timestamptz not null default now(), primary key (schema_name, relation_name))".encode()
            )

    def _exists(self, connection: Connection[Any]) -> bool:
        if not self._is_there:
            row = connection.execute("select to_regclass(%s)", [self.table]).fetchone()
            self._is_there = row is not None and row[0] is not None
        return self._is_there

    def everything(self, connection: Connection[Any]) -> dict[tuple[str, str], str]:
        """Return the builds of all relations that are as they were built, by schema and name."""
        if not self._exists(connection):
            return {}
        rows = connection.execute(
            f"select b.schema_name, b.relation_name, b.build_id from {self.table} b join pg_namespace n on n.nspname = b.schema_name "
            f"join pg_class c on c.relnamespace = n.oid and c.relname = b.relation_name where b.relation_id = {_IDENTITY}".encode()
        )
        return {(schema, name): build_id for schema, name, build_id in rows}

    def of(
        self, connection: Connection[Any], relations: Collection[Relation], lock: str = ""
    ) -> dict[Relation, str | None]:
        """Return which build made each relation; None for what somebody else replaced, or what was never built."""
        if not relations or not self._exists(connection):
            return dict.fromkeys(relations)
        kept = {
            (schema, name): (relation_id, build_id)
            for schema, name, relation_id, build_id in connection.execute(
                f"select schema_name, relation_name, relation_id, build_id from {self._table} where {_NAMED} "
                f"order by schema_name, relation_name {lock}".encode(),
                _names(relations),
            )
        }
        there = dict(  # asked when the locks are held: a relation that was waited for is another one now
            connection.execute(
                f"select name, {_IDENTITY} from unnest(%s::text[]) as name join pg_class c on c.oid = to_regclass(name)".encode(),
                [[str(each) for each in relations]],
            ).fetchall()
        )
        found: dict[Relation, str | None] = {}
        for each in relations:
            relation_id, build_id = kept.get((each.schema, each.identifier), (None, None))
            found[each] = build_id if relation_id is not None and relation_id == there.get(str(each)) else None
        return found

    def hold(self, connection: Connection[Any], relations: Collection[Relation]) -> dict[Relation, str | None]:
        """Return the same, and let nobody build these relations until the transaction ends."""
        return self.of(connection, relations, lock="for share")

    def hold_for_change(
        self, connection: Connection[Any], relations: Collection[Relation]
    ) -> dict[Relation, str | None]:
        """Return the same, after the builds that read these relations have ended; locked in the order in which readers do it."""
        return self.of(connection, relations, lock="for update")

    def keep(self, connection: Connection[Any], relation: Relation, build_id: str) -> None:
        """Note which build made a relation."""
        connection.execute(
            f"insert into {self._table} (schema_name, relation_name, relation_id, build_id) "
            f"select %s, %s, {_IDENTITY}, %s from pg_class c where c.oid = %s::regclass on conflict (schema_name, relation_name) do update "
            f"set relation_id = excluded.relation_id, build_id = excluded.build_id, built_at = now()".encode(),
            [relation.schema, relation.identifier, build_id, str(relation)],
        )


def _names(relations: Collection[Relation]) -> list[list[str]]:
    return [[each.schema for each in relations], [each.identifier for each in relations]]
