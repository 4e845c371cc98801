"""Who may read what: `access` and `group`, with dbt's rules and dbt's words.

As https://docs.getdbt.com/docs/mesh/govern/model-access has it: a private model is read by its own group alone, a protected one by its project, a
public one by all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sao_dagster.core.nodes import Access, Materialized
from sao_dagster.errors import Location, ProjectError
from sao_dagster.projects.config import NodeConfig


@dataclass(frozen=True, kw_only=True)
class Referable:
    """What reads others, or is read: a model, a seed, a data test, a hook of the project.

    Attributes:
        name: What messages call it.
        unique_id: What dbt calls it: `model.shop.orders`.
        package: The project or package it belongs to.
        group: Whose it is; None for nobody's.
        access: Who may read it.
    """

    name: str
    unique_id: str
    package: str
    group: str | None = None
    access: Access = Access.PROTECTED


def refuse_reference(reader: Referable, read: Referable, location: Callable[[], Location]) -> None:
    """Refuse what a node reads and may not.

    Args:
        reader: Who reads.
        read: What it reads.
        location: Where it says so, which is looked for only where it may not.

    Raises:
        ProjectError: It is private to a group that the reader is not in, or protected in another project.

    >>> m, costs = (Referable(name=each, unique_id=f"model.shop.{each}", package="shop") for each in ("m", "costs"))
    >>> refuse_reference(m, costs, lambda: Location("models/m.sql"))
    """
    if read.access is Access.PRIVATE and (not reader.group or reader.group != read.group):
        scope, ways = f"'{read.group or ''}' group", f"make {read.name} protected"
        if read.package != reader.package:
            ways = f"make {read.name} public in {read.package}"
        elif read.group:
            ways = f"give {reader.name} the group {read.group!r}, or {ways}"
    elif read.access is not Access.PUBLIC and read.package != reader.package:
        scope, ways = f"'{read.package}' package", f"make {read.name} public in {read.package}"
    else:
        return
    raise ProjectError(
        f"Node {reader.unique_id} attempted to reference node {read.unique_id}, which is not allowed because the referenced node is "
        f"{read.access.value} to the {scope}; {ways}",
        location=location(),
    )


def access_of(config: NodeConfig, unique_id: str, materialized: Materialized) -> Access:
    """Return who may read a model.

    Raises:
        ProjectError: That is said wrongly, or an ephemeral model is public: there is nothing of it to read.
    """
    given = config.access
    try:
        found = Access.PROTECTED if given is None else Access(given)
    except ValueError:
        known = ", ".join(each.value for each in Access)
        raise ProjectError(
            f"Node {unique_id} has an invalid value ({given}) for the access field; there are {known}"
        ) from None
    if found is Access.PUBLIC and materialized is Materialized.EPHEMERAL:
        raise ProjectError(
            f"Node {unique_id} with 'ephemeral' materialization has an invalid value (public) for the access field; other projects can read "
            f"a table or a view"
        )
    return found


def check_group(group: str | None, known: Collection[str]) -> None:
    """Refuse a group that is declared nowhere.

    Raises:
        ProjectError: It is.

    >>> check_group("fin", ["finance"])
    Traceback (most recent call last):
    sao_dagster.errors.ProjectError: Invalid group 'fin', expected one of ['finance']; declare it under `groups` in a YAML file
    """
    if group and group not in known:
        raise ProjectError(
            f"Invalid group '{group}', expected one of {sorted(known)}; declare it under `groups` in a YAML file"
        )
