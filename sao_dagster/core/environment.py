"""Environments: the places that a project is built into, told apart by what is there."""

from __future__ import annotations

from dataclasses import dataclass

from sao_dagster.core.hashing import digest


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One place that a project is built into.

    Attributes:
        name: Project and target, as people call it: `shop.dev`. Two people have a `dev` each, in schemas or databases of their own.
        schema: The schema of models, where nothing else is said.
        database: What tells its database from all others: its own identifier, or where it is as long as that is not known.

    >>> anna, ben = (Environment(name="shop.dev", schema=schema, database="x") for schema in ("anna", "ben"))
    >>> anna.key
    'shop.dev.anna.9d3383fa'
    >>> anna.key == ben.key
    False
    """

    name: str
    schema: str
    database: str

    @property
    def key(self) -> str:
        """What all state of it is kept under: the name, the schema, and a digest of everything."""
        return f"{self.name}.{self.schema}.{digest([self.name, self.schema, self.database])[:8]}"


@dataclass(frozen=True, kw_only=True)
class KnownEnvironment:
    """What the shared state knows of an environment.

    Attributes:
        key: What its state is kept under.
        name: Project and target.
        schema: The schema of models.
        places: Where its database was found, as files or servers are named; sorted.
        builds: How many models are built in it.
    """

    key: str
    name: str
    schema: str
    places: tuple[str, ...]
    builds: int
