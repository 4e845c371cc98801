"""What shows writes to what a build has made, in the record of that build: it was kept beside the records, for all of an environment together."""

from __future__ import annotations

import json

from sao_dagster.core.data_version import DataVersion
from sao_dagster.state.convert import dump, understood, versions_from_plain, versions_to_plain
from sao_dagster.state.statements import Transaction


def upgrade(transaction: Transaction) -> None:
    """Make room for it, and take over what was kept of the last builds."""
    transaction.script("alter table sao_builds add column movement text")
    for row in transaction.rows("select environment, contents from sao_contents where stamp = 'movements'"):
        kept = understood("what is kept of contents", _read, row.contents) or {}
        for name, version in kept.items():
            if version.scheme == "movement":
                build_id, _, movement = version.token.partition(" ")
                values = {"environment": row.environment, "model": name, "build_id": build_id, "movement": movement}
                transaction.execute(_OF_BUILD, values)
        others = {name: version for name, version in kept.items() if version.scheme != "movement"}
        rest = {"environment": row.environment, "contents": dump(versions_to_plain(others))}
        transaction.execute("update sao_contents set contents = :contents where environment = :environment", rest)


_OF_BUILD = "update sao_builds set movement = :movement where environment = :environment and model = :model and build_id = :build_id"


def _read(text: str) -> dict[str, DataVersion]:
    return versions_from_plain(json.loads(text))
