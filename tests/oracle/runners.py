"""Histories in which several runs, of other code too, and people who change tables by hand, are there at once; a quiet run makes everything right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from sao_dagster import select
from sao_dagster.core.reasons import Mode
from sao_dagster.sql_project import SqlProject
from sao_dagster.state.sql_store import SqlStateStore
from sao_dagster.warehouses.postgres import session
from tests.oracle.machine import drafts_of_models
from tests.oracle.on_postgres import PostgresHistory
from tests.postgres import execute


class RunnersHistory(PostgresHistory):
    """As `PostgresHistory`, with others who run at the same time; the state is on the server, too."""

    def __init__(self) -> None:
        super().__init__()
        self.patched = pytest.MonkeyPatch()

    def new_url(self) -> str:
        self.url = super().new_url()
        self.state_url = super().new_url()
        return self.url

    @initialize(drafts=drafts_of_models, is_large=st.booleans())
    def start(self, drafts: list[tuple[int, int, int, int]], is_large: bool = False) -> None:
        if is_large:  # so that increments are known by their build, and not by their content
            self.patched.setattr(session, "CHEAP_BYTES", -1)
        super().start(drafts)
        self.store = SqlStateStore(self.state_url)

    @rule(seed=st.integers(0, 10**6), runs=st.integers(2, 3), edited=st.booleans(), by_hand=st.booleans())
    def run_beside_others(self, seed: int, runs: int, edited: bool, by_hand: bool) -> None:
        """Run parts of the project at once, one of them perhaps of other code, while somebody changes what models have left behind."""
        chance = random.Random(seed)
        chosen = [self._some(chance) for _ in range(runs)]
        projects = [self._project() for _ in chosen]
        if edited:
            spec = self.specs[chance.choice(sorted(self.specs))]
            spec.constant += 1
            projects[0] = self._project()
            spec.constant -= 1
        over = threading.Event()
        with ThreadPoolExecutor() as pool:
            somebody = pool.submit(self._change, random.Random(seed), over) if by_hand else None
            going = [pool.submit(self._runs, each, what) for each, what in zip(projects, chosen, strict=True)]
            try:
                for each in going:
                    each.result()
            finally:
                over.set()
            if somebody is not None:
                somebody.result()
        self._check_all(self.settle())

    def _some(self, chance: random.Random) -> str:
        names = chance.sample(sorted(self.specs), chance.randint(1, len(self.specs)))
        return " ".join(f"{chance.choice(['', '', '+'])}{name}{chance.choice(['', '+'])}" for name in names)

    def _runs(self, opened: SqlProject, selection: str) -> None:
        store = SqlStateStore(self.state_url)
        runner = replace(opened.runner(), open_store=lambda: store, clock=lambda: self.now)
        runner.run(select(opened.project, selection), Mode.STATE_AWARE)
        store.close()

    def teardown(self) -> None:
        if hasattr(self, "state_url"):
            self.store.close()
        super().teardown()
        self.patched.undo()

    def _change(self, chance: random.Random, over: threading.Event) -> None:
        changes: list[Callable[[str], str]] = [
            lambda table: f"insert into {table} select * from {table} limit 1",
            lambda table: f"update {table} set v = v + 1",
            lambda table: f"delete from {table} where v % 2 = 0",
        ]
        is_over = False
        while not is_over:
            # once more after the end, when no run is there to notice it
            is_over = over.wait(chance.choice((0, 0.01, 0.05)))
            table = f"main.{chance.choice(sorted(self.specs))}"
            with suppress(psycopg.Error):  # it is a view, or not there now
                execute(self.url, "set lock_timeout = '1s'", chance.choice(changes)(table))
