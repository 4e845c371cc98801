"""Histories of one project in several environments, in one DuckDB file and with one state; the file is moved now and then."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sao_dagster import DuckDBWarehouse
from sao_dagster.core.project import Project
from sao_dagster.run.report import RunResult
from sao_dagster.warehouses.protocol import Session, Warehouse
from tests.oracle.machine import History
from tests.oracle.oracle import Built, Content, Oracle

ENVIRONMENTS = (("dev", "main"), ("dev", "other"), ("prod", "main"))
"""Targets and schemas: two people with a target of one name, and two targets that build into one schema."""


@dataclass
class FileOracle(Oracle):
    """The warehouse, seen from outside over a connection that is open between runs."""

    stack: ExitStack = field(default_factory=ExitStack)
    session: Session | None = None

    def opened(self) -> Session:
        if self.session is None:
            self.session = self.stack.enter_context(self.warehouse.session())
        return self.session

    def close(self) -> None:
        self.session = None
        self.stack.close()

    def query(self, sql: str) -> Content:
        return Content(self.opened().query(sql).rows)

    def execute(self, sql: str) -> None:
        self.opened().execute(sql)


class EnvironmentsHistory(History):
    """As `History`, with a file, so that what is known of contents is kept from run to run."""

    oracle_type: ClassVar[Any] = FileOracle

    def new_warehouse(self) -> Warehouse:
        self.folder = tempfile.TemporaryDirectory(prefix="sao-oracle-")
        self.built_in: dict[tuple[str, str], dict[str, Built]] = {each: {} for each in ENVIRONMENTS}
        self.moves = 0
        return DuckDBWarehouse(path=str(Path(self.folder.name) / "random.duckdb"), threads=2)

    def prepare(self) -> None:
        self.go_to(ENVIRONMENTS[0])

    @rule(environment=st.sampled_from(ENVIRONMENTS))
    def go_to(self, environment: tuple[str, str]) -> None:
        assert isinstance(self.warehouse, DuckDBWarehouse)
        self.warehouse = replace(self.warehouse, name=environment[0], schema=environment[1])
        self.oracle.built = self.built_in[environment]

    @rule()
    def move(self) -> None:
        assert isinstance(self.warehouse, DuckDBWarehouse)
        self.oracle.close()
        self.moves += 1
        folder = Path(self.folder.name) / str(self.moves)
        folder.mkdir()
        path = shutil.move(self.warehouse.path, folder / "random.duckdb")
        self.warehouse = self.oracle.warehouse = replace(self.warehouse, path=str(path))

    def before(self, project: Project) -> None:
        self.oracle.close()

    def _check_all(self, result: RunResult) -> None:
        self.oracle.close()
        super()._check_all(result)

    def _check_needed(self, known: Built | None, meaning: Any, inputs: Any, decision: Any, *, there: bool) -> None:
        """Where two build into one schema, the other one may have built for a reason of its own."""
        if self.warehouse.schema == "other":
            super()._check_needed(known, meaning, inputs, decision, there=there)

    def teardown(self) -> None:
        if hasattr(self, "oracle"):
            self.oracle.close()
            self.folder.cleanup()
