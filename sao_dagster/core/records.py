"""The facts that are stored or observed: what the last build saw, what a test said, what is there now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property

from sao_dagster.core.data_version import DataVersion

LONGEST_NAME = 255
"""The greatest length of a name of a model, a test or an environment in the shared state."""
HOLDER_LENGTH = 64
"""The greatest length of the name of a holder of a lease."""


@dataclass(frozen=True, kw_only=True)
class BuildRecord:
    """What the last successful build of a model saw.

    Attributes:
        model: The name of the model or seed.
        relation: Where it was built, as SQL writes it.
        code_version: One digest of the definition.
        code_scheme: The way in which the definition was fingerprinted; see `CODE_SCHEME`.
        code_parts: The digest of each named part of it.
        definition: What models that look through this one compare: the code version of the first of a series
            of builds that differ only cosmetically.
        sql_id: Under which the SQL itself is kept, to compare it with later SQL.
        inputs: Data version by input, read before the build; no entry where it could not be read.
        definitions: Definition by view looked through, as it was in the warehouse before the build.
        data_version: The version of the content that was built.
        columns: Names and types, in order.
        rows: How many rows; None for a view.
        observed_at: When the inputs were read (UTC).
        built_at: When the build ended (UTC).
        seconds: How long the build took.
        run_id: Which run built it.
        build_id: The name under which the warehouse itself keeps this build; None where it keeps none.
        changed: Whether it changed what was there before; None where that is not known. One from nothing that gave the same says what the last one said.
        adopted: Whether nothing was built: somebody has said that what was there is what a build would have given.
        same_as: The key of the environment whose build it is, where it was taken from there. Then `seconds`, and the times, are those of
            that build: its content is not newer than that.
        same_as_run: The run that built it there.
        shows: The relation of that build, as SQL writes it, where a view over it was made here in place of a table.
        shown_by: The version of the definition of that view, or of one that was made here where a table was to be, as some materializations of dbt make.
        movement: What the warehouse shows of it (`Session.movements`) as long as nobody has written to it, where it keeps builds or has counted what
            this one wrote; else what it shows as long as nobody has made it anew (`Session.identities`). None where it shows nothing.
            It may be learned later that it shows something else of the same build, so it is no part of what tells builds apart.
    """

    model: str
    relation: str
    code_version: str
    code_scheme: int
    code_parts: Mapping[str, str]
    definition: str
    sql_id: str
    inputs: Mapping[str, DataVersion]
    definitions: Mapping[str, str]
    data_version: DataVersion
    columns: tuple[tuple[str, str], ...]
    rows: int | None
    observed_at: datetime
    built_at: datetime
    seconds: float
    run_id: str
    build_id: str | None = None
    changed: bool | None = None
    adopted: bool = False
    same_as: str | None = None
    same_as_run: str | None = None
    shows: str | None = None
    shown_by: str | None = None
    movement: str | None = field(default=None, compare=False)

    @property
    def code(self) -> tuple[int, Mapping[str, str]]:
        """What `CodeVersion.changed_parts` compares."""
        return self.code_scheme, self.code_parts

    @cached_property
    def build(self) -> str:
        """The run and the time of the build: what tells it from every other build of the model."""
        return f"{self.run_id} {self.built_at.isoformat()}"


class Verdict(str, Enum):
    """What a data test said; `error` is a test that could not be run."""

    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"
    ERROR = "error"

    @property
    def stands(self) -> bool:
        """Whether it may be reused as long as nothing changes."""
        return self in (Verdict.PASS, Verdict.WARN)


@dataclass(frozen=True, kw_only=True)
class TestRecord:
    """The last verdict of a data test, and what it was about.

    Attributes:
        test: The name of the test.
        version: Fingerprint of the test as it was run.
        code_scheme: The way in which it was made; see `CODE_SCHEME`.
        inputs: Data version of every relation it read, as far as it was known.
        verdict: What it said.
        failures: How many failures it counted.
        run_at: When (UTC).
        seconds: How long its statement took, divided among the tests that shared it.
        run_id: Which run ran it.
        definition: Fingerprint of the test as it is written, whatever is set where it runs; None where an older version recorded it.
        same_as: The key of the environment whose verdict it is, where it was taken from there. Then `run_at` and `seconds` are those of that verdict.
        same_as_run: The run that gave it there.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    test: str
    version: str
    code_scheme: int
    inputs: Mapping[str, DataVersion]
    verdict: Verdict
    failures: int
    run_at: datetime
    seconds: float
    run_id: str
    definition: str | None = None
    same_as: str | None = None
    same_as_run: str | None = None

    @cached_property
    def given(self) -> str:
        """The run and the time of the verdict: what tells it from every other one of the test."""
        return f"{self.run_id} {self.run_at.isoformat()}"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to build one model in one environment, until it expires or is given back.

    Attributes:
        model: The model.
        holder: Who has it: one process of one run, as `<unique> <pid>@<host>`.
        fence: Greater than that of every lease before; what is recorded under an older one is refused.
        run_id: The run.
        expires_at: When it may be taken over (UTC, the store's clock).
    """

    model: str
    holder: str
    fence: int
    run_id: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class QueuePosition:
    """A place in the queue for a model.

    Attributes:
        model: The model.
        run_id: The run that is building it, or comes before this one.
        holder: The process of that run; see `Lease`.
        since: Since when that run has it, or waits for it (UTC, the store's clock).
        ahead: How many runs come before this one, with the one that builds it.
    """

    model: str
    run_id: str
    holder: str
    since: datetime
    ahead: int
