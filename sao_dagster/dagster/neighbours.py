"""What else a folder of Dagster components defines: the sources of a project that other assets make are left to them.

The tree of components is public, how to walk it is not; where an installed Dagster has changed that, nothing is found, and what makes a
source is named by `upstream_assets`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import dagster as dg

from sao_dagster.sql_project import SqlProject

Place: TypeAlias = Any
"""Where a component stands; Dagster has no public name for it, nor for what is declared there."""


@dataclass
class _Look:
    """One look around a folder of components, which the first component of a project that is built begins.

    Attributes:
        asks: Whether components are only asked for their own keys now; afterwards they are built.
        found: The keys of the assets that are known so far.
        opened: What was read to answer, by component, so that each project is read once.
    """

    asks: bool = True
    found: set[dg.AssetKey] = field(default_factory=set)
    opened: dict[int, SqlProject] = field(default_factory=dict)


_LOOK: ContextVar[_Look | None] = ContextVar("look", default=None)


def opened_before(component: dg.Component) -> SqlProject | None:
    """Return the project of a component, where it was read already to learn its keys."""
    look = _LOOK.get()
    return None if look is None else look.opened.get(id(component))


def keys_of_neighbours(
    context: dg.ComponentLoadContext,
    component: dg.Component,
    opened: SqlProject,
    own: Collection[dg.AssetKey],
    kind: type[dg.Component],
) -> frozenset[dg.AssetKey] | None:
    """Return the keys of the assets that are defined beside a component; None if only its own keys were asked for.

    The own keys of all components of the kind are known before one of them is built, whatever their order. A source that several of them
    read is observed by the first that is built.

    Args:
        context: Of the component.
        component: The component.
        opened: Its project.
        own: The keys of its models and seeds.
        kind: The components that look around themselves.
    """
    look = _LOOK.get()
    if look is not None:
        if look.asks:
            look.found.update(own)
            look.opened[id(component)] = opened
            return None
        return frozenset(look.found.difference(own))
    look = _Look(found=set(own))
    token = _LOOK.set(look)
    try:
        others: list[Place] = []
        alike: list[Place] = []
        for place, declared in _places_beside(context):
            neighbour = _loaded(context, place)
            (alike if isinstance(neighbour, kind) else others).append(place)
            if isinstance(neighbour, kind):
                with suppress(Exception):
                    neighbour.build_defs(dg.ComponentLoadContext.from_decl_load_context(declared.context, declared))
        look.asks = False
        for place in (*others, *alike):
            with suppress(Exception):
                look.found.update(_keys(context.component_tree.build_defs_at_path(place)))
    finally:
        _LOOK.reset(token)
    return frozenset(look.found.difference(own))


def _places_beside(context: dg.ComponentLoadContext) -> Iterator[tuple[Place, Any]]:
    """Yield where else components or definitions are, each with what is declared there."""
    tree = getattr(context, "component_tree", None)
    if tree is None or isinstance(tree, type(dg.ComponentTree.for_test())):  # which stands in no folder of components
        return
    declared = []
    with suppress(AttributeError):
        declared = list(tree.find_root_decl().iterate_loc_component_decl_pairs())
    for place, each in declared:
        with suppress(AttributeError):  # of no component
            if place != context.component_loc and len(list(each.iterate_loc_component_decl_pairs())) == 1:
                yield place, each


def _loaded(context: dg.ComponentLoadContext, place: Place) -> dg.Component | None:
    """Return a component, or None where it cannot be loaded: Dagster says so itself, when it is its turn."""
    with suppress(Exception):
        return context.component_tree.load_component(place)
    return None


def _keys(defs: dg.Definitions) -> Iterator[dg.AssetKey]:
    for each in defs.assets or ():
        if isinstance(each, dg.AssetsDefinition):
            yield from each.keys
        elif isinstance(each, dg.AssetSpec | dg.SourceAsset):
            yield each.key
