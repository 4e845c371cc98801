"""What the state and the warehouse say of all environments: how old they are, how large, and which were made for branches."""

from __future__ import annotations

from dataclasses import dataclass

from sao_dagster.core.environment import Branch, EnvironmentUse, KnownEnvironment
from sao_dagster.core.hashing import JSON
from sao_dagster.core.relations import Relation
from sao_dagster.errors import WarehouseError
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Warehouse


@dataclass(frozen=True, kw_only=True)
class DescribedEnvironment:
    """An environment, with all that is known of it.

    Attributes:
        known: Which it is, and where.
        use: How much the state knows of it.
        branch: What `sao ci` has made for it, where it did.
        bytes: How much its relations take; None where nobody says.
    """

    known: KnownEnvironment
    use: EnvironmentUse
    branch: Branch | None = None
    bytes: int | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return it as the command line prints it."""
        last, branch = self.use.last_build, self.branch
        return {
            "environment": self.known.key,
            "name": self.known.name,
            "schema": self.known.schema,
            "places": list(self.known.places),
            "builds": self.use.builds,
            "rows": self.use.rows,
            "bytes": self.bytes,
            "last_build": None if last is None else last.isoformat(),
            "last_ci": None if branch is None else branch.used_at.isoformat(),
        }


def described(store: StateStore, warehouse: Warehouse) -> list[DescribedEnvironment]:
    """Return all environments that the state knows, sorted by key, with the bytes of those that are in the database of a warehouse.

    A warehouse that cannot be reached, or does not say at once how large something is, is left out.
    """
    known = {each.key: each for each in store.environments()}
    uses, branches = store.uses(), {each.environment: each for each in store.branches()}
    older = {key: KnownEnvironment(key=key, name=key, schema="", places=()) for key in uses.keys() - known.keys()}
    sizes = _sizes(store, warehouse, list(known.values()))
    return [
        DescribedEnvironment(
            known=each, use=uses.get(key, EnvironmentUse()), branch=branches.get(key), bytes=sizes.get(key)
        )
        for key, each in sorted((known | older).items())
    ]


def built_in(store: StateStore, environment: KnownEnvironment, dialect: str) -> list[Relation]:
    """Return the relations that were built in an environment, as its state knows them; a name that is not understood is left out."""
    engine = dialect_named(dialect)
    parsed = (engine.parsed_relation(record.relation) for record in store.builds(environment.key).values())
    return [relation for relation in parsed if relation is not None]


def _sizes(store: StateStore, warehouse: Warehouse, known: list[KnownEnvironment]) -> dict[str, int]:
    """Return the bytes of the environments that are reached, by key."""
    if not warehouse.capabilities.sizes:
        return {}
    try:
        with warehouse.session(read_only=True) as session:
            database = session.database_id() or warehouse.place
            relations = {each.key: built_in(store, each, warehouse.dialect) for each in known if each.is_in(database)}
            bytes_of = session.sizes([relation for found in relations.values() for relation in found])
    except WarehouseError:
        return {}
    return {key: sum(bytes_of.get(each, 0) for each in found) for key, found in relations.items()}
