"""The lease protocol under all kinds of interleavings: three holders that ask, build, stall, crash, and record.

A rule-based machine runs the real statements on SQLite, with a clock of its own, beside a model of what must hold. Taking out the
fence, the look at who holds, or the queue must make it fail; that is tested, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sao_dagster.core.records import Lease, QueuePosition
from sao_dagster.errors import LeaseLostError
from sao_dagster.state import leases
from sao_dagster.state.connection import StateConnection
from sao_dagster.state.sql_store import SqlStateStore
from tests.machines import explore
from tests.state.test_store import RECORD

HOLDERS = ("h0", "h1", "h2")
MODELS = ("a", "b")
SECONDS = 10.0
STEPS = 40  # of an interleaving, at most
holders = st.sampled_from(HOLDERS)
models = st.sampled_from(MODELS)


class Protocol(RuleBasedStateMachine):
    """Holders and models, with what each of them believes."""

    clock: ClassVar[float] = 0.0

    @initialize()
    def begin(self) -> None:
        Protocol.clock = 1000.0
        self.store = SqlStateStore("sqlite://")
        self.store._database.now = lambda _: Protocol.clock  # type: ignore[method-assign]
        self.believes: dict[tuple[str, str], Lease] = {}  # what a holder was given, and has not given back
        self.rightful: dict[str, tuple[str, float]] = {}  # by model: whose it is, and until when
        self.queue: dict[str, list[tuple[str, float]]] = {model: [] for model in MODELS}
        self.builds = 0

    def _lives(self, until: float) -> bool:
        """Return whether something lasts; what lasts longer than it could was written before the clock was set back."""
        return self.clock < until <= self.clock + 2 * SECONDS

    def _living(self, model: str) -> list[str]:
        self.queue[model] = [(who, until) for who, until in self.queue[model] if self._lives(until)]
        return [who for who, _ in self.queue[model]]

    @rule(holder=holders, model=models)
    def ask(self, holder: str, model: str) -> None:
        if (holder, model) in self.believes:
            return
        answer = self.store.take_lease("e", model, holder, f"run of {holder}", SECONDS)
        whose, until = self.rightful.get(model, ("", 0.0))
        waiting = self._living(model)
        if isinstance(answer, QueuePosition):
            assert self._lives(until) or [each for each in waiting if each != holder], "it waits for nobody"
            if holder in waiting:
                place = waiting.index(holder)
                self.queue[model][place] = (holder, self.clock + SECONDS)
            else:
                self.queue[model].append((holder, self.clock + SECONDS))
            return
        if whose == holder and self._lives(until):  # the answer was lost, and it asks again
            self.believes[holder, model] = answer
            return
        assert not self._lives(until), f"{holder} was given what {whose} has"
        assert not waiting or waiting[0] == holder, f"{waiting[0]} came first"
        self.queue[model] = [each for each in self.queue[model] if each[0] != holder]
        self.believes[holder, model] = answer
        self.rightful[model] = (holder, self.clock + SECONDS)

    @rule(holder=holders, model=models)
    def record(self, holder: str, model: str) -> None:
        lease = self.believes.pop((holder, model), None)
        if lease is None:
            return
        self.builds += 1
        mine = self.rightful.get(model, ("", 0.0))[0] == holder and self._is_newest(lease)
        build = replace(RECORD, model=model, run_id=f"{holder} {self.builds}")
        try:
            self.store.record_build("e", build, "", lease)
        except LeaseLostError:
            assert not mine, "a rightful record was refused"
            return
        assert mine, f"{holder} recorded {model} under a lease that was taken over"
        self.rightful.pop(model, None)

    def _is_newest(self, lease: Lease) -> bool:
        """Return whether no newer lease on the model was given to anyone."""
        return all(each.fence < lease.fence for (_, model), each in self.believes.items() if model == lease.model)

    @rule(holder=holders, model=models)
    def fail(self, holder: str, model: str) -> None:
        lease = self.believes.pop((holder, model), None)
        if lease is None:
            return
        self.store.release_lease("e", lease)
        if self.rightful.get(model, ("", 0.0))[0] == holder:
            self.rightful.pop(model)

    @rule(holder=holders)
    def beat(self, holder: str) -> None:
        held = self.store.renew_leases("e", holder, SECONDS)
        assert held == {model for model, (whose, _) in self.rightful.items() if whose == holder}
        for model in held:
            self.rightful[model] = (holder, self.clock + SECONDS)
        for model in MODELS:  # a place that has expired and that nobody noticed is kept, too
            self.queue[model] = [
                (who, self.clock + SECONDS if who == holder else until) for who, until in self.queue[model]
            ]

    @rule(holder=holders)
    def crash(self, holder: str) -> None:
        """It forgets all it believes; what the store has of it expires."""
        for key in [each for each in self.believes if each[0] == holder]:
            del self.believes[key]

    @rule(holder=holders)
    def leave(self, holder: str) -> None:
        self.store.leave_queues("e", holder)
        self.crash(holder)
        for model in MODELS:
            self.queue[model] = [each for each in self.queue[model] if each[0] != holder]
            if self.rightful.get(model, ("", 0.0))[0] == holder:
                self.rightful.pop(model)

    @rule(seconds=st.sampled_from([1.0, SECONDS / 2, SECONDS, 3 * SECONDS]))
    def wait(self, seconds: float) -> None:
        Protocol.clock += seconds

    @rule(seconds=st.sampled_from([SECONDS / 2, 5 * SECONDS]))
    def set_back(self, seconds: float) -> None:
        """The clock of the database jumps."""
        Protocol.clock -= seconds

    @invariant()
    def the_store_agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        there = {each.model: each.holder for each in self.store.leases("e")}
        assert there == {model: whose for model, (whose, until) in self.rightful.items() if self._lives(until)}


@pytest.mark.parametrize("histories", [50, pytest.param(300, marks=pytest.mark.slow)])
def test_the_protocol_holds(histories: int) -> None:
    explore(Protocol, histories, STEPS)


def unfenced(*_: Any) -> None:
    """A check that lets every record pass."""


def careless(connection: Any, now: float, environment: str, model: str, *rest: Any) -> Any:
    """A lease that is given without looking whether another has it."""
    leases.leave(connection, environment, next((each.holder for each in leases.held(connection, now, environment)), ""))
    return TAKE(connection, now, environment, model, *rest)


def impolite(connection: Any, now: float, environment: str, model: str, holder: str, *rest: Any) -> Any:
    """A lease that is given to whoever asks when it is free."""
    for other in HOLDERS:
        if other != holder and not any(each.holder == other for each in leases.held(connection, now, environment)):
            leases.leave(connection, environment, other)
    return TAKE(connection, now, environment, model, holder, *rest)


TAKE = leases.take


@pytest.mark.parametrize(
    ("name", "broken"),
    [pytest.param("check", unfenced, marks=pytest.mark.slow), ("take", careless), ("take", impolite)],
)
def test_what_is_taken_out_is_missed(monkeypatch: pytest.MonkeyPatch, name: str, broken: Any) -> None:
    monkeypatch.setattr(leases, name, broken)
    with pytest.raises(AssertionError):
        explore(
            Protocol, 10_000, STEPS, phases=(Phase.generate,)
        )  # it ends with the first failure, usually within some dozens


def test_the_clock_is_the_stores_own() -> None:
    """Not patched: the database is asked."""
    database = StateConnection("sqlite://")
    with database.transaction() as transaction:
        assert database.now(transaction) > 1_700_000_000
