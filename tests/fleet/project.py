"""A layered project on PostgreSQL whose builds tell on themselves in a table that no lease protects."""

from __future__ import annotations

import random
from dataclasses import dataclass

from sao_dagster import Column, SqlProject
from tests.postgres import execute, warehouse_at

SOURCES = 10
TESTED = {f"m{number}" for number in range(0, 40, 3)}
AUDIT = """
    create schema audit;
    create table audit.builds (id serial, model text, at timestamptz default clock_timestamp());
    create function audit.enter(model text) returns void language plpgsql as $$
    begin
        if not pg_try_advisory_xact_lock(hashtext(model)) then
            raise exception 'two builds of % at once', model;
        end if;
        insert into audit.builds (model) values (model);
    end $$;
    create schema raw;
"""


@dataclass(frozen=True)
class Draft:
    """One model of the project."""

    name: str
    parents: tuple[str, ...]
    kind: str
    shape: str

    @property
    def sql(self) -> str:
        union = " union all ".join(f"select id, v from {_reference(parent)}" for parent in self.parents)
        bodies = {
            "sum": f"select id, (sum(v) * 7 + 1) % 1009 as v from ({union}) as u group by id",
            "least": f"select id % 3 as id, min(v) % 50 as v from ({union}) as u group by id % 3",
            "count": f"select id, count(*) as v from ({union}) as u group by id",
        }
        return bodies[self.shape]


def _reference(parent: str) -> str:
    return f"{{{{ source('raw', '{parent}') }}}}" if parent.startswith("s") else f"{{{{ ref('{parent}') }}}}"


def drafts(models: int) -> list[Draft]:
    """Return models in layers, each of which reads one to three of the layer above; always the same."""
    chance = random.Random(7)
    sources = [f"s{number}" for number in range(SOURCES)]
    layer_size = max(1, models // 5)
    found: list[Draft] = []
    for number in range(models):
        layer = number // layer_size
        above = sources if layer == 0 else [each.name for each in found[(layer - 1) * layer_size : layer * layer_size]]
        parents = tuple(sorted(chance.sample(above, min(len(above), chance.randint(1, 3)))))
        kind = chance.choices(["table", "view", "incremental"], [7, 2, 1])[0]
        shape = chance.choices(["sum", "least", "count"], [6, 2, 2])[0]
        found.append(Draft(f"m{number}", parents, kind, shape))
    return found


def prepare(url: str) -> None:
    """Make the sources and the table in which builds tell on themselves."""
    execute(url, AUDIT)
    for number in range(SOURCES):
        rows = f"select i as id, i * {number + 2} as v from generate_series(1, 20) as t(i)"
        execute(url, f"create table raw.s{number} as {rows}")


def fleet_project(
    url: str, state_url: str | None, models: int, threads: int = 4, *, strict: bool = True, pause: float = 0.0
) -> SqlProject:
    """Return the project.

    Args:
        url: The warehouse.
        state_url: The shared state; None for the default.
        models: How many.
        threads: How many are built at once by one run.
        strict: Whether a build refuses to go on beside another build of the same model.
        pause: How long each build takes at least (seconds).
    """
    opened = SqlProject("fleet", warehouse=warehouse_at(url, threads), state_url=state_url)
    for number in range(SOURCES):
        opened.source("raw", f"s{number}")
    for draft in drafts(models):
        keys = {"unique_key": "id", "incremental_strategy": "merge"} if draft.kind == "incremental" else {}
        opened.model(
            name=draft.name,
            sql=draft.sql,
            materialized=draft.kind,
            stable_functions=["enter"],
            pre_hook=[f"select audit.enter('{draft.name}')"] * strict + [f"select pg_sleep({pause})"] * bool(pause),
            columns={"id": Column(data_tests=("not_null",))} if draft.name in TESTED else None,
            **keys,
        )
    return opened
