"""Environments: the places that a project is built into, told apart by what is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sao_dagster.core.hashing import digest

BRANCH_PREFIX = "ci_"
_LONGEST_SCHEMA = 48  # so that what is put behind it, as the name of a custom schema, has room in PostgreSQL's 63 bytes


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
        is_branch: Whether `sao ci` has made it.
    """

    key: str
    name: str
    schema: str
    places: tuple[str, ...]
    is_branch: bool = False

    def is_in(self, database: str) -> bool:
        """Return whether it is in a database, by what tells that from all others."""
        return Environment(name=self.name, schema=self.schema, database=database).key == self.key


@dataclass(frozen=True, kw_only=True)
class EnvironmentUse:
    """How much of an environment the state knows.

    Attributes:
        builds: How many models are built in it.
        rows: How many rows they have together, as far as they were counted.
        last_build: When one of them was built last (UTC).
    """

    builds: int = 0
    rows: int = 0
    last_build: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Branch:
    """An environment that `sao ci` has made for a branch, and may drop.

    Attributes:
        environment: The key of the environment.
        against: What the other environment is called that it is compared with.
        schemas: The schemas that were not there and were made for it, each with its database (empty for the one that is connected to).
        made_at: When it was first used (UTC).
        used_at: When it was last used (UTC).
        failures: The relations in them that keep failing rows of its data tests, as SQL writes them.
    """

    environment: str
    against: str
    schemas: tuple[tuple[str, str], ...]
    made_at: datetime
    used_at: datetime
    failures: tuple[str, ...] = ()


def schema_of(branch: str) -> str:
    """Return the schema that a branch is built into: letters, digits and underscores, and never that of another branch.

    >>> schema_of("totals"), schema_of("feature/New-Totals")
    ('ci_totals', 'ci_feature_new_totals_fb3829')
    >>> len(schema_of("x" * 300))
    48
    """
    plain = re.sub(r"[^a-z0-9_]+", "_", branch.lower()).strip("_")
    if plain == branch and len(BRANCH_PREFIX + plain) <= _LONGEST_SCHEMA:
        return BRANCH_PREFIX + plain
    mark = f"_{digest(branch)[:6]}"
    return (BRANCH_PREFIX + plain)[: _LONGEST_SCHEMA - len(mark)] + mark
