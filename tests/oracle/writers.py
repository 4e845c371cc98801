"""Histories in which others write to sources while runs go on; a quiet run makes everything right, and one more reuses all of it."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sao_dagster import select
from sao_dagster.core.reasons import Mode
from tests.oracle.on_postgres import PostgresHistory
from tests.oracle.specs import SOURCES
from tests.postgres import execute


class WritersHistory(PostgresHistory):
    """As `PostgresHistory`, with somebody else who is busy."""

    def new_url(self) -> str:
        self.url = super().new_url()
        return self.url

    @rule(seed=st.integers(0, 10**6), runs=st.integers(1, 2))
    def run_beside_a_writer(self, seed: int, runs: int) -> None:
        over = threading.Event()
        writer = threading.Thread(target=self._write, args=(random.Random(seed), over))
        writer.start()
        try:
            for _ in range(runs):
                opened = self._project()
                runner = replace(opened.runner(), open_store=lambda: self.store, clock=lambda: self.now)
                runner.run(select(opened.project), Mode.STATE_AWARE)
        finally:
            over.set()
            writer.join()
        self.settle()

    def _write(self, chance: random.Random, over: threading.Event) -> None:
        """Write until it is over: rows, changes that are taken back, and whole tables."""
        while not over.is_set():
            source, key = chance.choice(SOURCES), chance.randrange(6)
            statements = chance.choice(
                (
                    [f"insert into raw.{source} (id, k, v) values ({key}, {key % 3}, {chance.randrange(9)})"],
                    [f"update raw.{source} set v = v + 1 where id = {key}"],
                    [f"delete from raw.{source} where id = {key}"],
                    [f"update raw.{source} set v = v + {by} where id = {key}" for by in (1, -1)],
                    [
                        (
                            f"begin; create table raw.{source}_new as select * from raw.{source}; truncate raw.{source}; "
                            f"insert into raw.{source} select * from raw.{source}_new; drop table raw.{source}_new; commit"
                        )
                    ],
                )
            )
            for statement in statements:
                execute(self.url, statement)
                over.wait(chance.choice((0, 0, 0.003, 0.01)))
