"""A disk that is full: what was there stays, the failure is told, and the next run with space goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sao_dagster.errors import StateError
from tests.world import World


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(file: Path) -> None:
    """Write a file until nothing more goes in."""
    with file.open("wb", buffering=0) as opened:
        try:
            while True:
                opened.write(b"0" * 4096)
        except OSError:
            return


@pytest.mark.slow
def test_a_warehouse_without_space(small: Path, tmp_path: Path) -> None:
    world = World(small / "shop")
    world.state_url = f"sqlite:///{tmp_path / 'state.db'}"
    world.model("big", "select i, md5(i::varchar) as h from range(100) t(i)").model("other", "select 1 as x").run()
    world.model("big", "select i, md5(i::varchar) || md5((i + 1)::varchar) as h from range(2000000) t(i)")
    world.model("other", "select 2 as x")
    run = world.run()
    assert run.outcomes["big"] == "failed: build_error"
    assert "space" in str(run.decision("big").evidence["error"]).lower()
    assert world.rows("select count(*) from main.big") == [(100,)]
    subprocess.run(["mount", "-o", "remount,size=400m", str(small)], check=True)
    assert world.run().outcomes["big"] == "built: code_changed"
    assert world.run().outcomes == {"big": "reused: no_new_data", "other": "reused: no_new_data"}
    assert world.rows("select count(*) from main.big") == [(2_000_000,)]
    assert world.rows("select x from main.other") == [(2,)]


def test_a_state_without_space(small: Path, tmp_path: Path) -> None:
    world = World(tmp_path / "shop")
    world.source("orders").sql("create table raw.orders as select 1 as id")
    world.model("orders", "select * from {{ source('raw', 'orders') }}").model(
        "below", "select * from {{ ref('orders') }}"
    )
    world.state_url = f"sqlite:///{small / 'state.db'}"
    world.run()
    world.sql("insert into raw.orders values (2)")
    filler = small / "filler"
    fill(filler)
    with pytest.raises(StateError, match="full"):
        world.run()
    filler.unlink()
    world.run()
    assert world.run().built == set()
    assert world.rows("select count(*) from main.below") == [(2,)]
