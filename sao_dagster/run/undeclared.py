"""The versions of undeclared inputs: what their names mean is looked up, and what functions read is followed to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.policy import Expiry, soonest
from sao_dagster.core.relations import Relation
from sao_dagster.run.reached import Reached
from sao_dagster.warehouses.shared.files import version_of_files


@dataclass
class UndeclaredVersions:
    """Reads the versions of undeclared inputs as they are now.

    Attributes:
        reached: Follows them in the warehouse.
        root: The project's folder, which paths are compared from.
        read: Returns the content versions of relations.
        now: The time (UTC).
    """

    reached: Reached
    root: str
    read: Callable[[Iterable[Relation]], Mapping[Relation, DataVersion | None]]
    now: datetime

    def of(self, inputs: Iterable[UndeclaredInput]) -> dict[str, DataVersion | None]:
        """Return versions by id; None for what cannot be told."""
        wanted = list(dict.fromkeys(inputs))
        reached, relations = self.reached.all_of(wanted), self.reached.relations
        contents = self.read({relations[each] for each in reached if each in relations})
        leaves: dict[UndeclaredInput, DataVersion | None] = {}
        for each in reached:
            if each in relations:
                leaves[each] = contents.get(relations[each])
            elif self.reached.is_file(each):
                leaves[each] = version_of_files([self.reached.session.read_paths().of(each.name)], self.root)
            elif each.kind is not InputKind.FUNCTION:
                leaves[each] = None
        return {
            each.id: self._of_function(each, leaves) if each.kind is InputKind.FUNCTION else leaves[each]
            for each in wanted
        }

    def _of_function(
        self, function: UndeclaredInput, leaves: Mapping[UndeclaredInput, DataVersion | None]
    ) -> DataVersion | None:
        """Return a version of all that a function does and reads; of one that changes by itself, one for the time being."""
        parts = self.reached.parts_of(function, leaves)
        if parts is None:
            return None
        definitions, below = parts
        expiry = soonest(*(each for name in definitions for each in self._expiries(name)))
        until = None if expiry is None else expiry.after(self.now).isoformat()
        versions = sorted((name, str(version)) for name, version in below.items())
        return DataVersion("function/1", digest([sorted(definitions.items()), versions, until]))

    def _expiries(self, function: str) -> list[Expiry | None]:
        """Return when what a function says by itself ends, by the catalog and by each of its queries."""
        from sao_dagster.sql.volatile import volatility  # the parser, where there is such a function

        info = self.reached.functions[function]
        assert info is not None  # noqa: S101 - it has a definition
        changing = (volatility(query, self.reached.dialect) for query in info.queries)
        return [info.expiry, *(Expiry.HOUR if found.columns else found.expiry for found in changing)]
