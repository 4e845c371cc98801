"""Random models: what their SQL is, and what of it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SOURCES = ("s0", "s1")
KINDS = ("table", "table", "view", "ephemeral", "incremental")
SHAPES: Mapping[str, str] = {
    "filter": "select {alias}.id, k, {column} from {first} as {alias} where v % 3 <> {rest}",
    "shift": "select id, k, {column} + {constant} as v from {first} {alias}",
    "group": "select k as id, k, sum({column})::bigint as v from {first} as {alias} group by k",
    "union": "select id, k, {column} from {first} union all select id, k, v + {constant} from {second}",
    "join": "select a.id, b.k, a.{column} from {first} a join {second} b on a.id = b.id",
    "star": "select * from {first} {condition}",
    "day": "select id, k, {column} from {first} where current_date >= date '2000-01-01'",
}
"""Queries by name, with gaps: two parents, a number, what is broken on purpose, and what is only for the look. What stands between `<<` and
`>>` is for an incremental build."""

CALLED = (
    "select id, k, {column} + case when to_json(q)::text like '%live%' then 100 else 0 end as v "
    "from (select id, k, {column}, (select max(id) from {second}) from {first}) q"
)
"""A query whose rows follow how a column is called: DuckDB does that by where it reads, such as production's schema `live`."""

MERGED = "select id, max(k) as k, max({column}) as v from {first} as {alias} group by id"
"""What an incremental model selects: one row for each key."""

HOOKS = {
    "hook": "insert into {{ this }} (id, k, v) select id, k, v from raw.extra",
    "call": "update {{ this }} set v = v + top()",
}
"""What changes the rows of a model after its query has run, by its shape."""

TABLES_ALONE = ("asked", "named", *HOOKS)
"""Shapes that only a table has; another kind of model that is of one is a `shift`."""


@dataclass
class Spec:
    """One model of a random project."""

    name: str
    shape: str
    body: str
    parents: tuple[str, ...]
    kind: str
    constant: int = 1
    cosmetic: int = 0
    broken: bool = False
    hours: int = 0
    updates_on: str = "any"
    tolerance: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def sql(self) -> str:
        """Return the template of its SQL."""
        comment = ("", "-- looks different\n", "/* so does this */ ")[self.cosmetic // 3 % 3]
        body = SHAPES["shift"] if self.shape in TABLES_ALONE and not self.is_whole else self.body
        body = MERGED if self.kind == "incremental" and "<<" not in self.body else body
        text = body.format(
            first=read(self.parents[0]),
            second=read(self.parents[-1]),
            by_name=by_name(self.parents[-1]),
            alias=("t", "u", "source_rows")[self.cosmetic % 3],
            column="no_such_column" if self.broken else "v",
            condition="where no_such_column" if self.broken else "",
            constant=self.constant,
            rest=self.constant % 3,
        )
        return comment + text.replace("<<", "{% if is_incremental() %}").replace(">>", "{% endif %}").replace(
            "<this>", "{{ this }}"
        )

    @property
    def is_whole(self) -> bool:
        """Whether it does all that its shape says."""
        return self.kind == "table" or (self.kind != "incremental" and self.shape not in TABLES_ALONE)

    def meaning(self) -> tuple[Any, ...]:
        """What of it can change the result: all but the look of it and its policy."""
        return (self.shape, self.parents, self.kind, self.constant, self.broken)

    def config(self) -> dict[str, Any]:
        """Return its configuration."""
        config: dict[str, Any] = {"materialized": self.kind}
        if self.kind == "incremental":
            config |= {"unique_key": "id", "incremental_strategy": "merge"}
        if self.kind == "incremental" or "incremental_strategy" not in self.settings:
            config |= self.settings
        if self.shape in HOOKS and self.is_whole:
            config["post_hook"] = HOOKS[self.shape]
        rule = {"updates_on": self.updates_on} | ({"count": self.hours, "period": "hour"} if self.hours else {})
        config["build_after"] = rule
        if self.tolerance:
            config["lag_tolerance"] = f"{self.tolerance}h"
        return config


def read(parent: str) -> str:
    """Return how a template reads a source or a model."""
    return "{{ source('raw', '" + parent + "') }}" if parent in SOURCES else "{{ ref('" + parent + "') }}"


def by_name(parent: str) -> str:
    """Return how SQL reads the same without saying so."""
    return f"raw.{parent}" if parent in SOURCES else f"main.{parent}"


def over(spec: Spec, place: Callable[[str], str], inlined: Callable[[str], Spec | None]) -> str:
    """Return the query of a model over what is there.

    Args:
        spec: The model.
        place: Returns the relation of what it reads.
        inlined: Returns the model that is a part of the query of whoever reads it; None for what has a relation.
    """
    text, ctes = spec.sql(), dict[str, str]()
    for parent in spec.parents:
        within = inlined(parent) if read(parent) in text else None
        if within is not None:
            ctes[parent] = over(within, place, inlined)
        text = text.replace(read(parent), place(parent) if within is None else parent)
    head = ", ".join(f"{name} as ({sql})" for name, sql in ctes.items())
    return f"with {head} {text}" if head else text
