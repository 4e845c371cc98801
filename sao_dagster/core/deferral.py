"""What is read from another environment, since this one does not have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sao_dagster.core.relations import Relation


@dataclass(frozen=True, kw_only=True)
class Deferral:
    """What one run reads from another environment, or from several.

    Attributes:
        environments: What people call those that are read: their targets, or target and schema.
        relations: Where the nodes are that are read there, by name; sorted.
        missing: Nodes that were built there and are nowhere now, since their relation is gone.
        outdated: Nodes that are read here as they were built, from other code than they have now.
    """

    environments: tuple[str, ...] = ()
    relations: Mapping[str, Relation] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()

    def also(self, environments: Iterable[str], relations: Mapping[str, Relation]) -> Deferral:
        """Return the same, with more that is read elsewhere.

        >>> there = Relation(database=None, schema="prod", identifier="orders")
        >>> Deferral(environments=("ci",)).also(["prod"], {"orders": there}).environment
        'ci, prod'
        """
        return replace(
            self,
            environments=tuple(dict.fromkeys((*self.environments, *environments))),
            relations=dict(sorted({**self.relations, **relations}.items())),
            missing=tuple(name for name in self.missing if name not in relations),
        )

    @property
    def environment(self) -> str:
        """What people call all that is read."""
        return ", ".join(self.environments)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of it.

        >>> print(*Deferral(environments=("prod",), missing=("orders",)).warnings)
        orders is read, and is neither here nor in prod, where its relation is gone; select it too, or build it there
        >>> print(*Deferral(environments=("prod",), outdated=("orders",)).warnings)
        orders is read as it was built here, from other code than it has now; select it too, or read it in prod with --favor-state
        """
        where = f"neither here nor in {self.environment}, where its relation is gone"
        remedy = f"select it too, or read it in {self.environment} with --favor-state"
        missing = (f"{name} is read, and is {where}; select it too, or build it there" for name in self.missing)
        outdated = (
            f"{name} is read as it was built here, from other code than it has now; {remedy}" for name in self.outdated
        )
        return (*missing, *outdated)
