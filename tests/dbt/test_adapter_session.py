"""What a session over an adapter of dbt says where the adapter refuses to answer."""

from __future__ import annotations

from typing import Any, cast

from sao_dagster.core.connection import NO_SETTINGS
from sao_dagster.core.messages import Message
from sao_dagster.core.relations import Relation
from sao_dagster.dbt.adapters.ducklake import Lakes
from sao_dagster.dbt.adapters.session import AdapterSession, ProjectRelations
from sao_dagster.dbt.adapters.table import Adapter, Asks, Snapshots
from sao_dagster.dbt.adapters.warehouse import AdapterWarehouse
from sao_dagster.dbt.prepare import Preparation
from sao_dagster.dbt.process import DbtProcess
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import Capabilities

LOAVES = Relation(None, "bakery", "loaves")


class Refusing:
    """A process of dbt that answers nothing."""

    def __init__(self, *, has_ended: bool = False) -> None:
        self.has_ended = has_ended
        self.asked: list[str] = []
        self.told: list[Message] = []
        self.on_message = self.told.append

    def ask(self, name: str, /, **_: Any) -> Any:
        self.asked.append(name)
        raise WarehouseError("no module named pyspark")


def session_over(process: Refusing) -> AdapterSession:
    def snapshots(asks: Asks, relations: object) -> Snapshots:
        asks.query("show tables")
        return Lakes({}, {})

    return AdapterSession(cast(DbtProcess, process), ProjectRelations(), NO_SETTINGS, Adapter(snapshots=snapshots))


def test_that_nobody_can_say_who_wrote_is_told_once_and_a_model_counts_by_its_build() -> None:
    process = Refusing()
    session = session_over(process)
    versions = [session.built_since(Lakes({}, {}), LOAVES, f"model.bakery.{name}") for name in ("loaves", "dark")]
    assert versions == [None, None]
    assert [each.text for each in process.told] == [
        "which writes are those of a build cannot be read, so that models count by their builds: no module named pyspark"
    ]


def test_of_a_process_that_has_ended_that_is_not_said_too() -> None:
    process = Refusing(has_ended=True)
    assert session_over(process).built_since(Lakes({}, {}), LOAVES, "model.bakery.loaves") is None
    assert not process.told


def test_a_statement_that_was_refused_is_not_sent_again_for_each_node() -> None:
    process = Refusing()
    session = session_over(process)
    assert [session.snapshots([LOAVES]) for _ in range(3)] == [None, None, None]
    assert process.asked == ["adapter"]


def test_another_database_is_reached_on_the_same_server_alone_and_where_names_have_three_parts() -> None:
    def reaches(kind: str, here: str, there: str) -> bool:
        warehouse = AdapterWarehouse(
            type=kind,
            name="dev",
            database="SHOP",
            schema="bakery",
            place=here,
            threads=1,
            capabilities=Capabilities(),
            target={},
            preparation=cast(Preparation, None),
        )
        return warehouse.reaches(there)

    assert reaches("snowflake", "snowflake mine SHOP", "snowflake mine LAB")
    assert not reaches("snowflake", "snowflake mine SHOP", "snowflake yours SHOP")
    assert not reaches("redshift", "redshift mine SHOP", "redshift mine LAB")
