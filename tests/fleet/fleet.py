"""Worker processes of a test, and what can be asked of the warehouse that they share."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from typing_extensions import Self

from sao_dagster.state.sql_store import SqlStateStore
from tests.fleet.project import Draft, drafts, prepare
from tests.postgres import execute, fetch
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]

PROGRESS = """
    select coalesce((select max(id) from sao_versions), 0) + coalesce((select sum(fence) from sao_leases), 0)
         + coalesce((select max(sequence) from sao_builds), 0)
"""


class HungError(AssertionError):
    """A worker did not answer."""


class Worker:
    """One process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._drain, daemon=True).start()
        self._say(settings)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _drain(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def _say(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return the next answer; empty where the process ended instead."""
        try:
            line = self._answers.get(timeout=PATIENCE)
        except queue.Empty:
            self.signal(signal.SIGUSR1)
            time.sleep(1)  # in which it says where it is
            raise HungError(f"no answer from worker {self._process.pid} within {PATIENCE:g} s\n{self.errors}") from None
        if line is None:
            self._process.wait(PATIENCE)
            return {}
        found: dict[str, Any] = json.loads(line)
        return found

    def start(self, run_id: str, **order: Any) -> None:
        """Let it run something."""
        self._say({"run_id": run_id, **order})

    def run(self, run_id: str, **order: Any) -> dict[str, Any]:
        """Let it run something, and return what it did."""
        self.start(run_id, **order)
        answer = self.answer()
        assert answer, f"it died:\n{self.errors}"
        return answer

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        os.kill(self._process.pid, number)

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return "".join(self._errors)

    def stop(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


@dataclass
class Fleet:
    """Workers over one database and one state."""

    url: str
    state_url: str
    models: int
    settings: dict[str, Any] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    def __enter__(self) -> Self:
        prepare(self.url)
        self.drafts = {each.name: each for each in drafts(self.models)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.stop()

    def hire(self, count: int = 1, **settings: Any) -> list[Worker]:
        """Start workers, and wait until they are ready."""
        common = {"url": self.url, "state_url": self.state_url, "models": self.models}
        new = [Worker({**common, **self.settings, **settings}) for _ in range(count)]
        self.workers += new
        for worker in new:
            assert "ready" in worker.answer(), worker.errors
        return new

    def progress(self, connection: psycopg.Connection[Any] | None = None) -> int:
        """Return a number that grows with each version that is noted, each lease that is given and each build that is recorded.

        Args:
            connection: To the state, for who asks often.
        """
        try:
            rows = connection.execute(PROGRESS.encode()).fetchall() if connection else fetch(self.state_url, PROGRESS)
        except psycopg.errors.UndefinedTable:
            return 0
        return int(rows[0][0])

    def environment(self, store: SqlStateStore) -> str:
        """Return the key of the one environment that is built into."""
        (found,) = store.environments()
        return found.key

    def wait_for_a_step(self, before: int) -> None:
        """Wait until there is more progress than before."""
        until("a step of a run", lambda: self.progress() > before)

    # ------------------------------------------------------------------ what is in the warehouse

    def sql(self, *statements: str) -> None:
        execute(self.url, *statements)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return fetch(self.url, query)

    def builds(self, after: int = 0) -> Counter[str]:
        """Return how often each model was built, by what the builds themselves told."""
        return Counter(row[0] for row in self.rows(f"select model from audit.builds where id > {after}"))

    def last_build(self) -> int:
        return int(self.rows("select coalesce(max(id), 0) from audit.builds")[0][0])

    def contents(self) -> dict[str, str]:
        """Return a digest of each relation that is there, sources and models."""
        names = self.rows(
            "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname in ('raw', 'main') and c.relkind in ('r', 'v') and c.relname <> 'sao_build_ids'"
        )
        union = " union all ".join(
            f"select '{name}', (select md5(coalesce(string_agg(t::text, ',' order by t::text), '')) from {schema}.{name} t)"
            for schema, name in names
        )
        return dict(self.rows(union))

    def inputs(self, name: str) -> tuple[str, ...]:
        """Return the tables that a model's rows come from, through views."""
        found: dict[str, None] = {}
        for parent in self.drafts[name].parents:
            draft = self.drafts.get(parent)
            found.update(dict.fromkeys((parent,) if draft is None or draft.kind != "view" else self.inputs(parent)))
        return tuple(found)

    def wrong(self, names: list[str] | None = None) -> list[str]:
        """Return the models whose relation is not what their query gives now."""
        return [name for name in names or self.drafts if not self._is_right(self.drafts[name])]

    def _is_right(self, draft: Draft) -> bool:
        query = draft.sql
        for parent in draft.parents:
            schema = "main" if parent in self.drafts else "raw"
            for written in (f"{{{{ ref('{parent}') }}}}", f"{{{{ source('raw', '{parent}') }}}}"):
                query = query.replace(written, f"{schema}.{parent}")
        table = f"select id, v from main.{draft.name}"
        ((differences,),) = self.rows(
            f"select count(*) from (({query} except all {table}) union all ({table} except all {query})) as d"
            if draft.kind != "incremental"  # which keeps rows whose keys are gone
            else f"select count(*) from (({query}) except all ({table})) as d"
        )
        return differences == 0

    def strangers(self) -> list[str]:
        """Return relations in the schema of the models that are none of them."""
        names = self.rows(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = 'main' and c.relkind in ('r', 'v')"
        )
        return sorted({name for (name,) in names} - {*self.drafts, "sao_build_ids"})
