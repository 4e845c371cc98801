"""Lets `ref` read some nodes from another environment, as `dbt build --defer --favor-state` does with the nodes of a manifest.

Which they are and where is said by whoever started this process, so there is no manifest to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

Places = Mapping[str, "tuple[str | None, str, str]"]
"""Database, schema and identifier in the other environment, by unique id."""


class Deferring:
    """What one invocation of dbt reads elsewhere; it may be told anew as long as nothing has been built."""

    def __init__(self, task: Any, adapter: Any) -> None:
        self._task, self._adapter = task, adapter
        self._places: Places = {}
        self._written: dict[str, str] = {}

    def read(self, places: Places) -> dict[str, str]:
        """Let `ref` give these places from now on, and no others; return how dbt writes them, by unique id."""
        if places == self._places:
            return self._written
        from dbt import selected_resources

        manifest, nodes = self._task.manifest, self._task.manifest.nodes
        selected = {*selected_resources.SELECTED_RESOURCES} | {*self._places}
        for name in self._places:
            nodes[name] = replace(nodes[name], defer_relation=None)
        elsewhere = {name: self._placed(nodes[name], *place) for name, place in places.items()}
        manifest.merge_from_artifact(type(manifest)(nodes=elsewhere))
        # `ref` looks elsewhere for what is not selected, whatever is here: which of them that are is known already
        selected_resources.set_selected_resources({name for name in selected if name not in places})
        for name in ("defer", "favor_state"):
            for spelling in (name, name.upper()):
                object.__setattr__(self._task.config.args, spelling, bool(places))  # it is frozen
        self._places, self._written = places, {name: node.relation_name for name, node in elsewhere.items()}
        return self._written

    def attach(self, files: list[tuple[str, str]]) -> None:
        """Let connections that are opened from now on read files of DuckDB, too, each by the name that it is given with."""
        if not files:
            return
        from dbt.adapters.duckdb.credentials import Attachment

        credentials = self._task.config.credentials
        attached = list(credentials.attach or ())
        names = {each.alias for each in attached}
        attached += [Attachment(path=file, alias=name, read_only=True) for file, name in files if name not in names]
        credentials.attach = attached

    def _placed(self, node: Any, database: str | None, schema: str, identifier: str) -> Any:
        # an adapter whose names have two parts has a database of its own that it does not write
        placed = replace(node, database=database or node.database, schema=schema, alias=identifier)
        relation = self._adapter.Relation.create_from(self._task.config, placed)
        return replace(placed, relation_name=str(relation))
