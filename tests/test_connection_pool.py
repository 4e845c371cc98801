"""Connections that are lent to one user at a time."""

from __future__ import annotations

import pytest

from sao_dagster.connection_pool import ConnectionPool


class Counted:
    """A connection that knows its number and whether it is open."""

    made = 0

    def __init__(self) -> None:
        Counted.made += 1
        self.number, self.is_open = Counted.made, True

    def close(self) -> None:
        self.is_open = False


def test_what_is_given_back_is_lent_again_if_it_is_usable() -> None:
    pool = ConnectionPool(Counted, keep=1)
    first, second = pool.take(), pool.take()
    pool.give_back(first)
    pool.give_back(second)
    assert (first.is_open, second.is_open) == (True, False), "one is kept"
    assert pool.take() is first
    pool.give_back(first, usable=False)
    assert not first.is_open
    third = pool.take()
    assert third.number > second.number
    pool.give_back(third)
    pool.close()
    assert not third.is_open
    assert pool.take().is_open, "there is always one more"


def test_where_there_may_be_no_more_somebody_waits_and_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ConnectionPool(Counted, keep=1, most=1, patience=0.01)
    lent = pool.take()
    with pytest.raises(TimeoutError, match=r"no connection was free within 0\.01 seconds"):
        pool.take()
    pool.give_back(lent)
    monkeypatch.setattr(pool, "_process", 0)
    forked = pool.take()
    assert forked is not lent, "in a fork, those that are kept go on elsewhere"
    pool.give_back(forked, usable=False)
    monkeypatch.setattr(pool, "_connect", lambda: 1 / 0)
    for _ in range(2):  # one that cannot be made takes no place
        with pytest.raises(ZeroDivisionError):
            pool.take()


def test_a_fork_leaves_the_connections_of_its_parent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ConnectionPool(Counted, keep=2)
    kept, lent = pool.take(), pool.take()
    pool.give_back(kept)
    monkeypatch.setattr("os.getpid", lambda: -1)
    pool.close()
    assert kept.is_open
    assert pool.take() not in (kept, lent)
