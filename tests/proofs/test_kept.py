"""What was proven is kept by all that it follows from, and is the same when it is read again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.proofs import Assertion, Fact, FactKind
from sao_dagster.sql.inference import kept
from sao_dagster.sql.inference.kept import Entry, KeptProofs, Question
from sao_dagster.sql.inference.proven import TableFacts

ORDERS = ("db", "main", "orders")
PAID = ("db", "main", "paid")
COLUMNS = (("id", "INTEGER"), ("city", "VARCHAR"))
UNIQUE = Fact(FactKind.UNIQUE, "orders", ("id",), "unique_orders_id", DataVersion("content", "1"))
DOMAIN = Fact(FactKind.ACCEPTED_VALUES, "orders", ("city",), "accepted_orders_city", values=("Rome", "Oslo"))
BELOW = Question("select id, city from main.orders", "duckdb", {ORDERS: TableFacts(COLUMNS, (UNIQUE, DOMAIN))})


def told(proofs: KeptProofs) -> Question:
    """Return a question about a query over what another query gives."""
    found = proofs.of("paid", BELOW)
    assert found is not None
    return Question("select id from main.paid", "duckdb", {PAID: TableFacts(COLUMNS, (), found.claims, found.key)})


def kept_by(proofs: KeptProofs) -> dict[str, Entry]:
    """Return what is kept for the next process."""
    files: list[dict[str, Entry]] = []
    proofs.keep = files.append
    proofs.save(["paid", "ids"])
    return dict(files[0])


def test_another_process_reads_the_same_proofs_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    first = KeptProofs()
    ids = first.of("ids", told(first))
    assert ids is not None
    monkeypatch.setattr(Question, "answer", lambda self: pytest.fail("it is worked out again"))
    again = KeptProofs(kept_by(first))
    found = again.of("ids", told(again))
    assert found is not None
    assert (found.names, found.types, found.key) == (ids.names, ids.types, ids.key)
    wanted = Assertion(FactKind.UNIQUE, "id")
    proof, expected = found.proof_of(wanted), ids.proof_of(wanted)
    assert proof is not None
    assert expected is not None
    assert proof.evidence() == expected.evidence()
    assert proof.facts[-1] == UNIQUE
    below = again.of("paid", BELOW)
    assert below is not None
    assert below.proof_of(wanted) in proof.walk(), "what was derived below is there once"
    assert below.proof_of(Assertion(FactKind.ACCEPTED_VALUES, "city", ("Oslo", "Rome", "Bonn"))) is not None
    assert below.proof_of(Assertion(FactKind.ACCEPTED_VALUES, "city", ("Oslo",))) is None
    assert below.proof_of(Assertion(FactKind.NOT_NULL, "city")) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(BELOW, sql="select id, city from main.orders where id > 1"),
        replace(BELOW, dialect="postgres"),
        replace(BELOW, hashes_are_unique=True),
        replace(BELOW, own_functions=frozenset({"upper"})),
        replace(BELOW, tables={PAID: BELOW.tables[ORDERS]}),
        *(
            replace(BELOW, tables={ORDERS: table})
            for table in (
                TableFacts((("id", "BIGINT"), COLUMNS[1]), (UNIQUE, DOMAIN)),
                TableFacts(COLUMNS, (UNIQUE,)),
                TableFacts(COLUMNS, (replace(UNIQUE, kind=FactKind.NOT_NULL), DOMAIN)),
                TableFacts(COLUMNS, (replace(UNIQUE, columns=("city",)), DOMAIN)),
                TableFacts(COLUMNS, (replace(UNIQUE, because="another_test"), DOMAIN)),
                TableFacts(COLUMNS, (replace(UNIQUE, version=DataVersion("content", "2")), DOMAIN)),
                TableFacts(COLUMNS, (UNIQUE, replace(DOMAIN, values=("Rome",)))),
                TableFacts(COLUMNS, (UNIQUE, replace(DOMAIN, values=(1, 2)))),
                TableFacts(COLUMNS, (UNIQUE, DOMAIN), derived_from="another"),
            )
        ),
    ],
)
def test_a_proof_is_kept_by_all_that_it_follows_from(other: Question) -> None:
    assert other.key != BELOW.key


def test_every_field_of_what_is_asked_is_in_the_key() -> None:
    """Whoever adds one has to say how it counts."""
    assert [*Question.__dataclass_fields__] == ["sql", "dialect", "tables", "hashes_are_unique", "own_functions"]
    assert [*TableFacts.__dataclass_fields__] == ["columns", "facts", "derived", "derived_from"]
    assert [*Fact.__dataclass_fields__] == ["kind", "relation", "columns", "because", "version", "values"]


def test_what_is_damaged_or_too_deep_is_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = KeptProofs()
    expected = first.of("paid", BELOW)
    assert expected is not None
    key, _ = kept_by(first)["paid"]
    found = KeptProofs({"paid": (key, b"nothing")}).of("paid", BELOW)
    assert found is not None
    assert found.names == expected.names

    def too_deep(*_: object) -> bytes:
        raise RecursionError

    monkeypatch.setattr(kept, "_written", too_deep)
    proofs = KeptProofs()
    assert proofs.of("paid", BELOW) is not None
    assert proofs.entries == {}
