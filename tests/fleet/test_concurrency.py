"""Several processes run overlapping selections at once, again and again, on one warehouse and one state.

What is held: no two builds of a model at once (the builds themselves say so, in an advisory lock and a table), no build from the inputs
that another run has just built it from, exactly as many builds as there are models with news, every table equal to its query, no run hangs.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.fleet.fleet import Fleet
from tests.postgres import Postgres

MODELS = 200


@pytest.fixture(params=["postgres", "sqlite"])
def fleet(request: pytest.FixtureRequest, postgres: Postgres, tmp_path: Path) -> Any:
    state_url = postgres.database() if request.param == "postgres" else f"sqlite:///{tmp_path / 'state.db'}"
    with Fleet(postgres.database(), state_url, MODELS) as found:
        yield found


class Made(NamedTuple):
    """One build of a model."""

    at: str
    inputs: dict[str, str]
    reason: str
    evidence: dict[str, Any]

    def has_news_since(self, last: Made) -> bool:
        """Return whether it was decided on something else than the last build consumed."""
        return any(last.inputs.get(each["input"]) != each["new"] for each in self.evidence["news"])


def change(fleet: Fleet, chance: random.Random) -> None:
    """Change a source, sometimes to what it was."""
    source = f"raw.s{chance.randrange(10)}"
    fleet.sql(
        chance.choice(
            [
                f"update {source} set v = v + 1 where id = {chance.randint(1, 20)}",
                f"insert into {source} values ({chance.randint(1, 20)}, {chance.randint(1, 9)})",
                f"update {source} set v = v",
                f"delete from {source} where id = {chance.randint(1, 20)} and v % 2 = 0",
            ]
        ),
    )


@contextmanager
def changing(fleet: Fleet, chance: random.Random) -> Iterator[None]:
    """Change sources all the time."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(0.15):
            change(fleet, chance)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def selections(chance: random.Random, count: int) -> list[str]:
    """Return selections with all that is above them, which overlap."""
    some = [" ".join(f"+m{number}" for number in sorted(chance.sample(range(MODELS), 12))) for _ in range(count - 1)]
    return ["+m0 +m1 *" if count < 3 else "*", *some]


def succeeded(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        assert "error" not in answer, answer
        failed = {
            name: each["evidence"]
            for name, each in answer["models"].items()
            if each["outcome"] in ("failed", "skipped")
        }
        assert not failed


@pytest.mark.slow
def test_runs_at_once_build_the_least_and_build_it_right(fleet: Fleet) -> None:
    run_at_once(fleet, random.Random("1"), rounds=4, processes=4)


def run_at_once(fleet: Fleet, chance: random.Random, rounds: int, processes: int) -> None:
    """Run at once, in every second round while sources change, and look at what came of it after each round."""
    workers = fleet.hire(
        processes, lease_seconds=3600.0
    )  # none is to expire, also if the machine stands still for a while
    consumed: dict[str, tuple[str, ...]] = {}  # what each model was made of when it was last built
    builds: dict[str, list[Made]] = {}
    said: dict[str, list[str]] = {}

    def noted(answers: list[dict[str, Any]]) -> None:
        succeeded(answers)
        for answer in answers:
            said[answer["run_id"]] = answer["messages"]
            for name, each in answer["models"].items():
                if each["outcome"] == "built" and fleet.drafts[name].kind != "view":
                    made = Made(each["built_at"], each["inputs"], each["reason"], each["evidence"])
                    builds.setdefault(name, []).append(made)

    for number in range(rounds):
        crew = workers[: max(2, chance.randint(2, len(workers)))]
        for _ in range(3):
            change(fleet, chance)
        before = fleet.last_build()
        moving = number % 2 == 1
        for place, (worker, selection) in enumerate(zip(crew, selections(chance, len(crew)), strict=True)):
            worker.start(f"r{number}.{place}", select=selection)
        with changing(fleet, chance) if moving else nullcontext():
            noted([worker.answer() for worker in crew])
        if not moving:
            contents = fleet.contents()
            news = {}
            for name, draft in fleet.drafts.items():
                made_of = tuple(contents[each] for each in fleet.inputs(name)) if draft.kind != "view" else ("view",)
                if consumed.get(name) != made_of:
                    news[name] = 1
                    consumed[name] = made_of
            built = fleet.builds(before)
            more = {name: builds[name] for name in built.keys() | news.keys() if built[name] != news.get(name, 0)}
            assert not more, f"the models with news are built once each, and no others; {said}"
        else:
            noted([workers[0].run(f"r{number}.settle")])
            contents = fleet.contents()
            consumed = {
                name: tuple(contents[each] for each in fleet.inputs(name)) if draft.kind != "view" else ("view",)
                for name, draft in fleet.drafts.items()
            }
        assert fleet.wrong() == []
    for name, made in builds.items():
        in_order = sorted(made, key=lambda each: each.at)
        for one, other in pairwise(in_order):
            moved = other.evidence.get("unrecorded")  # while the build before read it, so nobody knows what that saw
            assert other.reason == ("input_unknown" if moved else "new_data"), f"{name}: no news, but {other}"
            assert moved or other.has_news_since(one), f"{name} was built twice from the same: {one}, then {other}"
    assert fleet.strangers() == []
    assert workers[0].run("last")["models"].keys() == fleet.drafts.keys()
    assert {each["outcome"] for each in workers[0].run("last-2")["models"].values()} == {"reused"}
