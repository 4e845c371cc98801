"""What is read from another environment, since this one does not have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sao_dagster.core.relations import Relation


@dataclass(frozen=True, kw_only=True)
class Deferral:
    """What one run reads from another environment.

    Attributes:
        environment: What people call that one: its target, or target and schema; all of them where there are several.
        relations: Where the nodes are that are read there, by name; sorted.
        missing: Nodes that were built there and are nowhere now, since their relation is gone.
    """

    environment: str
    relations: Mapping[str, Relation] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def also(self, environments: Iterable[str], relations: Mapping[str, Relation]) -> Deferral:
        """Return the same, with more that is read elsewhere.

        >>> here = Relation(database=None, schema="prod", identifier="orders")
        >>> Deferral(environment="ci").also(["prod"], {"orders": here}).environment
        'ci, prod'
        """
        return replace(
            self,
            environment=", ".join(dict.fromkeys((*filter(None, self.environment.split(", ")), *environments))),
            relations=dict(sorted({**self.relations, **relations}.items())),
            missing=tuple(name for name in self.missing if name not in relations),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of it.

        >>> print(*Deferral(environment="prod", missing=("orders",)).warnings)
        orders is read, and is neither here nor in prod, where its relation is gone; select it too, or build it there
        """
        where = f"neither here nor in {self.environment}, where its relation is gone"
        return tuple(f"{name} is read, and is {where}; select it too, or build it there" for name in self.missing)
