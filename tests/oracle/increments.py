"""Histories of incremental models that read themselves: what is reused is what another build would leave as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from hypothesis.stateful import rule

from sao_dagster.core.nodes import Model
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Outcome
from sao_dagster.run.events import ModelResult
from tests.oracle.machine import History, picks
from tests.oracle.on_postgres import PostgresHistory
from tests.oracle.oracle import Content
from tests.oracle.specs import SHAPES, Spec

MERGE = {"unique_key": "id", "incremental_strategy": "merge"}
APPEND = {"unique_key": None, "incremental_strategy": "append"}
DELETE = {"unique_key": "id", "incremental_strategy": "delete+insert"}
ALL = "select id, k, {column} from {first}"
BY_ID = "select id, max(k) as k, max({column}) as v from {first}"
GREATEST = "(select coalesce(max({}), -99) from <this>)"
NEW = "id not in (select id from <this>)"
INCREMENTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "above": (f"{ALL} << where v > {GREATEST.format('v')} >>", APPEND),
    "above by id": (f"{BY_ID} << where v >= {GREATEST.format('v')} >> group by id", MERGE),
    "above a little": (f"{BY_ID} << where id > {GREATEST.format('id')} - 2 >> group by id", DELETE),
    "new": (f"{ALL} << where {NEW} >>", APPEND),
    "not there": (
        f"{BY_ID} s << where not exists (select 1 from <this> t where t.id = s.id) >> group by id",
        APPEND,
    ),
    "some": (f"{BY_ID} << where {NEW} >> group by id order by id limit {{constant}}", APPEND),
    "the next": (
        f"{ALL} << where id > {GREATEST.format('id')} and id <= 1 + {GREATEST.format('id')} >>",
        APPEND,
    ),
    "first of each": (
        (
            f"select id, k, v from (select id, k, {{column}}, row_number() over (partition by k order by id, v) as n "
            f"from {{first}} << where {NEW} >>) numbered where n = 1"
        ),
        APPEND,
    ),
    "last of each": (
        (
            f"select id, k, v from (select id, k, {{column}}, row_number() over (partition by k order by v desc, id) as n "
            f"from {{first}} << where v > {GREATEST.format('v')} >>) numbered where n = 1"
        ),
        APPEND,
    ),
    "distinct": (
        f"select distinct on (k) id, k, {{column}} from {{first}} << where {NEW} >> order by k, id, v",
        APPEND,
    ),
    "smallest": (
        f"select min(id) as id, k, min({{column}}) as v from {{first}} << where v > {GREATEST.format('v')} >> group by k",
        APPEND,
    ),
    "up to": (f"{ALL} << where (select count(*) from <this>) < 12 >>", APPEND),
}


class IncrementHistory(History):
    """As `History`, with incremental models that take all that is new to them, or a part at a time."""

    shapes: ClassVar[Mapping[str, str]] = {
        **{name: body for name, (body, _) in INCREMENTS.items()},
        **{name: SHAPES[name] for name in ("group", "star")},
    }
    kinds: ClassVar[tuple[str, ...]] = ("incremental", "incremental", "incremental", "table", "view")

    def new_spec(self, name: str, shape: int, kind: int, parents: tuple[str, ...]) -> Spec:
        spec = super().new_spec(name, shape, kind, parents)
        return replace(spec, settings=INCREMENTS[spec.shape][1]) if spec.shape in INCREMENTS else spec

    @rule(pick=picks, rows=picks)
    def load_late(self, pick: int, rows: int) -> None:
        """Rows come that are older than some that are there, and newer ones."""
        values = ", ".join(f"({(pick + row) % 15}, {row % 3}, {(pick * row) % 30})" for row in range(rows % 6))
        if values:
            self.oracle.execute(f"insert into raw.s{pick % 2} (id, k, v) values {values}")

    def check_increment(self, project: Project, result: ModelResult, now: Content) -> None:
        """Where it is reused, one more build finds nothing that is not there."""
        node = project.nodes[result.name]
        if result.decision.outcome is not Outcome.REUSED or not isinstance(node, Model):
            return
        more = self.oracle.query(node.compiled.incremental_sql or node.compiled.sql)
        assert more.keys() <= now.keys(), f"{result.name} is reused and would get more: {result.decision}"


class IncrementsOnPostgres(PostgresHistory, IncrementHistory):
    """The same there, where versions of a build are told by what it wrote."""
