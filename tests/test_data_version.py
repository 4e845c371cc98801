"""Data versions of different schemes are never compared; tokens may be any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sao_dagster.core.data_version import DataVersion, view_version
from sao_dagster.core.explain import explain
from sao_dagster.warehouses.duckdb import content
from tests.world import World

TEXT = st.text()
SCHEMES = st.text(min_size=1).filter(lambda text: text.split() == [text])


@given(SCHEMES, TEXT)
def test_any_token_comes_back_from_its_text(scheme: str, token: str) -> None:
    version = DataVersion(scheme, token)
    assert DataVersion.parse(str(version)) == version


@pytest.mark.parametrize("scheme", ["", " ", "a b", "a ", " a", "a\tb", "a\n"])
def test_a_scheme_is_one_word(scheme: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        DataVersion(scheme, "1")


@given(SCHEMES, TEXT, TEXT)
def test_tokens_are_compared_as_a_whole(scheme: str, one: str, other: str) -> None:
    first, second = DataVersion(scheme, one), DataVersion(scheme, other)
    assert first.comparable(second)
    assert (first == second) == (one == other)


@given(st.dictionaries(st.text(), st.tuples(SCHEMES, TEXT), max_size=3), TEXT)
def test_a_view_over_what_is_read_in_another_way_is_not_compared(below: dict[str, tuple[str, str]], token: str) -> None:
    versions = {name: DataVersion(*each) for name, each in below.items()}
    view = view_version(["v"], versions)
    for name, version in versions.items():
        assert view.comparable(view_version(["v"], {**versions, name: DataVersion(version.scheme, token)}))
        other = {**versions, name: DataVersion(version.scheme + "+", token)}
        assert not view.comparable(view_version(["v"], other))


def test_what_was_read_in_another_way_is_unknown_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the engine, say: inputs are unknown, nothing is said to be altered, and then nothing is left to do."""
    world.sql("create table raw.orders as select 1 as id")
    world.source("orders", extra="        data_tests: [{not_null: {column_name: id}}]\n")
    world.model("orders", "select * from {{ source('raw', 'orders') }}")
    world.model("above", "select * from {{ source('raw', 'orders') }}", materialized="view")
    world.write("tests/fine.sql", "select * from {{ ref('above') }} where id is null")
    world.run()
    assert world.run().built == set()
    monkeypatch.setattr(content, "_HASHING", 99)
    world.sql("create table raw.other as select 1 as i")  # what was read under the file as it was would still be true
    run = world.run()
    assert run.outcomes == {"orders": "built: input_unknown", "above": "reused: no_new_data"}
    evidence = run.decision("orders").evidence
    assert evidence["unknown"] == ["orders", "source:raw.orders"]
    assert evidence["schemes"][0]["new"].endswith("/99")
    said = "nobody can tell whether it is as it was built; the version of raw.orders cannot be compared ("
    assert explain(run.decision("orders")).startswith(said)
    assert not run.result.warnings
    assert run.test("fine").reason.value == "input_unknown"
    again = world.run()
    assert again.built == set()
    assert set(again.tests.values()) <= {"reused: pass", "proven: pass"}
