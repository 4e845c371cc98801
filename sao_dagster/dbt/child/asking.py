"""Asks the warehouse through the user's adapter, for the other side, which has no door of its own to it."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

RELATIONAL = ("model", "seed", "snapshot")

Place = tuple[Any, str]
"""Database and schema, as the manifest has them."""


class AdapterQuestions:
    """What can be asked.

    Relations are named by database, schema and identifier, as somebody wrote them; which of those that are there is meant is for the
    adapter to say. All of a schema are listed at once, as dbt itself does, and anew at each question, since others build there too.
    """

    def __init__(self, task: Any, adapter: Any) -> None:
        self._task, self._adapter = task, adapter

    def answer(self, about: str, arguments: dict[str, Any]) -> Any:
        """Answer a question; its name is that of a method."""
        answers: dict[str, Callable[..., Any]] = {
            "relations": self.relations,
            "elsewhere": self.elsewhere,
            "kind": self.kind,
            "columns": self.columns,
            "described": self.described,
            "query": self.query,
            "rows": self.rows,
            "resources": self.resources,
            "execute": self.execute,
        }
        with self._adapter.connection_named(f"sao_{about}"):
            return answers[about](**arguments)

    def relations(self, columns: list[str]) -> dict[str, tuple[str | None, Any]]:
        """Return what is there of the project's relations: by unique id, what kind it is, and its columns where these are wanted.

        Args:
            columns: Unique ids of those whose columns are wanted.
        """
        manifest = self._task.manifest
        built = {
            name: node
            for name, node in manifest.nodes.items()
            if str(node.resource_type) in RELATIONAL and not node.is_ephemeral_model
        }
        required = {(node.database, node.schema) for node in built.values()}
        nodes = {**built, **manifest.sources}
        places = [*{(node.database, node.schema): None for node in nodes.values()}]
        listed = self._each(lambda place: self._listed(place, place in required), places)
        there = {}
        for name, node in nodes.items():
            found = self._meant(listed[node.database, node.schema], node.database, node.schema, node.identifier)
            if found is not None:
                there[name] = found
        wanted = [name for name in columns if name in there]
        shown = self._each(lambda name: self._columns_of(there[name]), wanted)
        return {name: (_kind(relation), shown.get(name)) for name, relation in there.items()}

    def elsewhere(self, relations: dict[str, dict[str, Any]]) -> dict[str, str | None]:
        """Return which relations of another environment are there: by unique id, what kind each is.

        Args:
            relations: Database, schema and identifier, by unique id; the database is that of the node where its name has none.
        """
        nodes = self._task.manifest.nodes
        named = {
            name: (each["database"] or nodes[name].database, each["schema"], each["identifier"])
            for name, each in relations.items()
        }
        places = [*{(database, schema): None for database, schema, _ in named.values()}]
        listed = self._each(lambda place: self._listed(place, required=True), places)
        found = {name: self._meant(listed[each[:2]], *each) for name, each in named.items()}
        return {name: _kind(relation) for name, relation in found.items() if relation is not None}

    def kind(self, database: str | None, schema: str, identifier: str) -> str | None:
        """Return what kind of relation is there under a name; None where there is none."""
        found = self._found(database, schema, identifier)
        return None if found is None else _kind(found) or "table"

    def columns(self, database: str | None, schema: str, identifier: str) -> list[tuple[str, str]]:
        """Return names and types of the columns of a relation; none where it is not there."""
        found = self._found(database, schema, identifier)
        return [] if found is None else self._columns_of(found)

    def described(self, read: str) -> list[tuple[str, str]]:
        """Return the names of the columns of what can stand after `from`; their types are not known."""
        _, table = self._adapter.execute(f"select * from {read} where 1 = 0", auto_begin=False, fetch=True)
        return [(name, "") for name in table.column_names]

    def query(self, sql: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return names and rows, with the values that a template of dbt would see."""
        _, table = self._adapter.execute(sql, auto_begin=False, fetch=True)
        return tuple(table.column_names), [tuple(row.values()) for row in table.rows]

    def rows(self, statements: list[str], columns: list[str]) -> dict[str, list[tuple[str | None, ...]] | None]:
        """Return some columns of the rows of each statement, as text; None for one that was refused."""

        def asked(sql: str) -> list[tuple[str | None, ...]] | None:
            try:
                with self._adapter.connection_named(f"sao_rows_{statements.index(sql)}"):
                    _, cursor = self._adapter.connections.add_query(sql, auto_begin=False)
                    names = [str(each[0]).lower() for each in cursor.description]
                    found = [[row[names.index(name)] for name in columns] for row in cursor.fetchall()]
                    cursor.close()
            except Exception:  # noqa: BLE001 - it may be no table of the format that is asked about
                return None
            return [tuple(None if value is None else str(value) for value in row) for row in found]

        return self._each(asked, statements)

    def resources(self, relations: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what BigQuery's API says of tables: `endpoint` and `location`, and as `found` the dataset and the table of each; None for what it refuses."""
        connections = self._adapter.connections

        def asked(place: tuple[str | None, ...]) -> dict[str, Any] | None:
            database, schema, identifier = place
            client = connections.get_thread_connection().handle
            try:
                if identifier is None:
                    properties = client.get_dataset(f"{database}.{schema}")._properties
                else:
                    properties = client.get_table(connections.table_ref(database, schema, identifier))._properties
            except Exception:  # noqa: BLE001 - it is not there, or may not be looked at
                return None
            return {name: value for name, value in properties.items() if name not in ("schema", "access")}

        tables = [(each["database"], each["schema"], each["identifier"]) for each in relations]
        datasets: list[tuple[str | None, ...]] = [*{(database, schema, None): None for database, schema, _ in tables}]
        found = self._each(asked, [*datasets, *tables])
        credentials = self._adapter.config.credentials
        return {
            "endpoint": connections.get_thread_connection().handle._connection.API_BASE_URL,
            "location": getattr(credentials, "location", None),
            "found": [
                (found[database, schema, None], found[database, schema, name]) for database, schema, name in tables
            ],
        }

    def execute(self, sql: str) -> None:
        """Run a statement, and commit it."""
        self._adapter.execute(sql, auto_begin=True, fetch=False)
        self._adapter.commit_if_has_connection()

    def _found(self, database: str | None, schema: str, identifier: str) -> Any:
        return self._meant(self._listed((database, schema), required=True), database, schema, identifier)

    def _listed(self, place: Place, required: bool) -> list[Any]:
        """Return the relations of a schema; none where there is no such schema, or where it cannot be looked into and need not be."""
        database, schema = place
        relation = self._adapter.Relation.create(
            database=database, schema=schema, identifier="", quote_policy=self._adapter.config.quoting
        )
        try:
            return list(self._adapter.list_relations_without_caching(relation.without_identifier()))
        except Exception:
            if not required or schema.lower() not in [each.lower() for each in self._adapter.list_schemas(database)]:
                return []
            raise

    def _meant(self, listed: list[Any], database: str | None, schema: str, identifier: str) -> Any:
        """Return the relation that a name means by the adapter's rules, or that has exactly it; None where none, or several, may be."""
        exact = [each for each in listed if each.identifier == identifier]
        try:
            found = self._adapter._make_match(listed, database, schema, identifier)
        except Exception:  # noqa: BLE001 - names that differ by their case alone, of which one is not quoted
            found = []
        matching = found or exact
        return matching[0] if len(matching) == 1 else None

    def _columns_of(self, relation: Any) -> list[tuple[str, str]]:
        return [(str(each.name), str(each.data_type)) for each in self._adapter.get_columns_in_relation(relation)]

    def _each(self, ask: Callable[[Any], Any], about: list[Any]) -> dict[Any, Any]:
        """Return answers by what they are about, from as many connections at once as the profile has threads."""
        count = min(len(about), self._task.config.threads)
        if count < 2:
            return {each: ask(each) for each in about}

        def asked(part: list[Any]) -> dict[Any, Any]:
            with self._adapter.connection_named("sao_part"):
                return {each: ask(each) for each in part}

        answers: dict[Any, Any] = {}
        with ThreadPoolExecutor(count) as pool:
            going = [pool.submit(contextvars.copy_context().run, asked, about[start::count]) for start in range(count)]
            for part in going:
                answers.update(part.result())
        return answers


def _kind(relation: Any) -> str | None:
    return None if relation.type is None else str(getattr(relation.type, "value", relation.type))
