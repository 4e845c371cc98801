"""Histories of projects that read what they do not declare: tables by name, files, functions, and somebody's views, over models too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import duckdb
from hypothesis import strategies as st
from hypothesis.stateful import rule

from sao_dagster import SqlProject, select
from sao_dagster.core.decide import Decision
from sao_dagster.core.nodes import Model, Node
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode
from tests.meanwhile import Meanwhile
from tests.oracle.machine import History, picks
from tests.oracle.on_postgres import PostgresHistory
from tests.oracle.oracle import Content
from tests.oracle.specs import HOOKS, SHAPES, SOURCES, Spec, by_name

EXTRA, SHOWN, TOP = "raw.extra", "raw.shown", "top()"
FILES = st.sampled_from("abc")
ROWS = "select i::int as id, (i % 3)::int as k, {}::int as v from generate_series(0, {}) t(i)"
READING = {
    "extra": f"select id, k, {{column}} from {EXTRA} union all select id, k, v from {{first}}",
    "by_name": "select id, k, {column} from {by_name} union all select id, k, v from {first}",
    "shown": f"select id, k, {{column}} from {SHOWN} union all select id, k, v from {{first}}",
    "source": "select id, k, {column} from {{{{ source('raw', 'shown') }}}} union all select id, k, v from {first}",
    "asked": "{{% set got = run_query('select id, k, v from {by_name} order by 1, 2, 3') %}}"
    "select id, k, {column} + {{{{ got.rows | length if got else 0 }}}} as v from {first}",
    "named": "{{% set got = run_query(\"select '{by_name}' as name\") %}}select id, k, {column} from {first} union all "
    "select id, k, v from {{{{ got.rows[0][0] if got else 'raw.extra' }}}}",
    **dict.fromkeys(HOOKS, SHAPES["shift"]),
    "function": f"select id, k, {{column}} + {TOP} as v from {{first}}",
}


class UndeclaredHistory(History):
    """As `History`, with a table, a view and a function that somebody else makes, which read one another and models."""

    # another alias may mean a column, where not all that is read is known, and changes what a template that asks may ask
    shapes: ClassVar[Mapping[str, str]] = {
        name: body.replace("{alias}", "t")
        for name, body in {**{name: SHAPES[name] for name in ("shift", "union")}, **READING}.items()
    }

    unknown_at_most = 6  # each of the models once

    def is_unknown(self, decision: Decision) -> bool:
        """A view of somebody's over a model that was gone when the run began is known from the next run on."""
        return super().is_unknown(decision) or decision.evidence.get("parts") == ["views"]

    def prepare(self) -> None:
        self.put(EXTRA, ROWS.format(1, 2))
        self.show(EXTRA)
        self.make_function("max", EXTRA)

    def declare(self, opened: SqlProject) -> None:
        opened.source("raw", "shown")

    def show(self, what: str) -> None:
        """Make the view show something."""
        self.shown = what
        # PostgreSQL keeps the types of a view that is replaced
        self.oracle.execute(f"drop view if exists {SHOWN} {self.drop_behaviour}")
        self.oracle.execute(f"create view {SHOWN} as select id, k, v from {what}")

    def make_function(self, aggregate: str, of: str) -> None:
        """Make the function give something."""
        self.function = (aggregate, of)
        self.oracle.execute(f"create or replace macro main.{TOP} as (select {aggregate}(v)::int from {of})")

    # ------------------------------------------------------------------ what happens to it

    @rule(rows=st.integers(0, 4), value=st.integers(-3, 9))
    def change_extra(self, rows: int, value: int) -> None:
        self.put(EXTRA, ROWS.format(value, rows))

    @rule(key=st.integers(0, 4), value=st.integers(-3, 9))
    def update_extra(self, key: int, value: int) -> None:
        self.oracle.execute(f"update {EXTRA} set v = {value} where id = {key}")

    @rule(pick=picks)
    def show_another(self, pick: int) -> None:
        what = self._other(pick, ("raw.shown", "source('raw', 'shown')"))
        if what is not None:
            self.show(what)

    @rule(pick=picks, aggregate=st.sampled_from(["min", "max", "sum"]))
    def change_function(self, pick: int, aggregate: str) -> None:
        what = self._other(pick, (TOP,))
        if what is not None:
            self.make_function(aggregate, what)

    def _other(self, pick: int, words: tuple[str, ...]) -> str | None:
        """Return what can be read there without a circle: a source, the table, or a model that is above nobody who reads it."""
        names = [*SOURCES, *self.specs]
        name = names[pick % (len(names) + 1)] if pick % (len(names) + 1) < len(names) else None
        if name is None:
            return EXTRA
        above = {name, *self._above(name)}
        if any(
            word in spec.body for spec in self.specs.values() if spec.name in above for word in (*words, TOP, "shown")
        ):
            return None
        return by_name(name) if self._is_there(by_name(name)) else None

    def _above(self, name: str) -> Iterator[str]:
        for parent in self.specs[name].parents if name in self.specs else ():
            yield parent
            yield from self._above(parent)

    def _is_there(self, relation: str) -> bool:
        try:
            self.oracle.query(f"select id, k, v from {relation} limit 0")
        except Exception:  # noqa: BLE001 - whatever the reason, it cannot be read
            return False
        return True

    # ------------------------------------------------------------------ what the oracle sees of it

    def fresh(self, node: Node) -> Content:
        assert isinstance(node, Model)
        sql = node.compiled.sql
        if node.compiler is not None:
            with self.warehouse.session() as session:
                sql = node.compiler.compile(session, "", self.now, incremental=False).sql
        shape = self.specs[node.name].shape if node.hooks else None
        if shape == "call":
            return self.oracle.query(f"select id, k, v + {TOP} as v from ({sql}) q")
        rows = self.oracle.query(sql)
        return rows + self.oracle.query(f"select id, k, v from {EXTRA}") if shape == "hook" else rows

    def read_besides(self, project: Project, name: str, *, only_types: bool = False) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for spec in [self.specs[name]] if only_types else self.looked_through(name):
            for what in self._named(spec):
                seen[what] = self._state(project, what)
        return seen

    def _named(self, spec: Spec) -> Iterator[str]:
        """Yield what a model reads without declaring it."""
        parent = by_name(spec.parents[-1])
        words = {"extra": EXTRA, "shown": SHOWN, "source": SHOWN, "function": TOP, "hook": EXTRA, "call": TOP}
        words |= dict.fromkeys(("by_name", "asked", "named"), parent)
        if spec.is_whole and spec.shape in words:
            yield words[spec.shape]

    def _state(self, project: Project, what: str) -> Any:
        """What somebody reads there: how it is made, and what it is made of."""
        if what == TOP:
            below = self._state(project, self.function[1])
            return None if below is None else (self.function, below)
        name = what.partition(".")[2]
        below: Any = ()
        if what == SHOWN:
            below = (self.shown, self._state(project, self.shown))
        elif name in self.specs and self.specs[name].kind in ("view", "ephemeral"):
            below = self._inputs(project, name), [spec.meaning() for spec in self.looked_through(name)]
            built = self.oracle.built.get(name)
            below = (below, built.meaning if built else None)
        try:
            rows = self.oracle.query(f"select * from {what}")
        except Exception:  # noqa: BLE001 - whatever the reason, it cannot be read
            return None
        return rows, self._types_of(*what.split(".")), str(below)


class FilesHistory(UndeclaredHistory):
    """As `UndeclaredHistory`, with files that SQL names, and that others also write while models are built."""

    def prepare(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="sao-oracle-")
        self.shapes = {  # type: ignore[misc]
            **self.shapes,
            "glob": f"select id, k, {{column}} from read_csv('{self.folder.name}/*.csv') union all select id, k, v from {{first}}",
            "file": f"select id, k, {{column}} from '{self.folder.name}/a.csv' union all select id, k, v from {{first}}",
            "parquet": f"select id, k, {{column}} from read_parquet('{self.folder.name}/c.parquet') union all select id, k, v from {{first}}",
        }
        super().prepare()
        self.write("a", 1)
        self.write("c", 1)

    @rule(name=FILES, value=st.integers(0, 3))
    def write(self, name: str, value: int) -> None:
        if name == "c":
            made = (
                f"copy (select {value}::int as id, 0::int as k, 7::int as v) to '{self._file(name)}' (format parquet)"
            )
            duckdb.execute(made)
        else:
            self._file(name).write_text(f"id,k,v\n{value},0,7\n")

    def _file(self, name: str) -> Path:
        return Path(self.folder.name) / f"{name}.{'parquet' if name == 'c' else 'csv'}"

    @rule(name=FILES, value=st.integers(0, 3), back=st.booleans())
    def run_while_a_file_is_written(self, name: str, value: int, back: bool) -> None:
        """Before each build a file is another one, and after it perhaps what it was; a quiet run makes everything right."""
        file = self._file(name)
        before = file.read_bytes() if file.exists() else None

        def restore() -> None:
            if back and before is None:
                file.unlink(missing_ok=True)
            elif back and before is not None:
                file.write_bytes(before)

        opened = self._project()
        runner = replace(
            opened.runner(),
            open_store=lambda: self.store,
            clock=lambda: self.now,
            materializer=Meanwhile(lambda: self.write(name, value), restore),
        )
        runner.run(select(opened.project), Mode.STATE_AWARE)
        self.oracle.built.clear()  # nobody knows what was read
        for spec in self.specs.values():
            spec.hours, spec.tolerance, spec.updates_on = 0, 0, "any"
        self._run(None, Mode.STATE_AWARE)

    @rule()
    def remove(self) -> None:
        (Path(self.folder.name) / "b.csv").unlink(missing_ok=True)

    def _named(self, spec: Spec) -> Iterator[str]:
        yield from super()._named(spec)
        if spec.kind != "incremental" and spec.shape in ("glob", "file", "parquet"):
            yield "files"

    def _state(self, project: Project, what: str) -> Any:
        if what == "files":
            return sorted((path.name, path.read_bytes()) for path in Path(self.folder.name).iterdir())
        return super()._state(project, what)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class UndeclaredOnPostgres(PostgresHistory, UndeclaredHistory):
    """As `UndeclaredHistory`; what is replaced takes the views over it along."""

    unknown_at_most = UndeclaredHistory.unknown_at_most + PostgresHistory.unknown_at_most

    def make_function(self, aggregate: str, of: str) -> None:
        self.function = (aggregate, of)
        self.oracle.execute(
            f"create schema if not exists main; create or replace function public.{TOP} returns int language sql as "
            f"$$ select {aggregate}(v)::int from {of} $$"
        )
