"""What else a folder of Dagster components defines: the sources of a project that other assets make are left to them.

The tree of components is public, how to walk it is not; where an installed Dagster has changed that, nothing is found, and what makes a
source is named by `upstream_assets`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from contextvars import ContextVar

import dagster as dg

_DEFINED: ContextVar[set[dg.AssetKey] | None] = ContextVar("defined", default=None)
"""While a component looks around: the keys that are known so far, for the components that are built for that."""


def keys_of_neighbours(
    context: dg.ComponentLoadContext, own: Collection[dg.AssetKey], kind: type[dg.Component]
) -> frozenset[dg.AssetKey]:
    """Return the keys of the assets that are defined beside a component.

    A source that several projects read is observed by the first that is built; a component that is built while another one looks around
    leaves to it what that makes.

    Args:
        context: Of the component.
        own: The keys of its models and seeds.
        kind: The components that look around themselves.
    """
    known = _DEFINED.get()
    if known is not None:
        return frozenset(known)
    found = set(own)
    token = _DEFINED.set(found)
    try:
        for defs in _definitions_beside(context, kind):
            found.update(_keys(defs))
    finally:
        _DEFINED.reset(token)
    return frozenset(found.difference(own))


def _definitions_beside(context: dg.ComponentLoadContext, kind: type[dg.Component]) -> Iterator[dg.Definitions]:
    """Yield what is defined beside a component: first what does not look around itself."""
    tree = getattr(context, "component_tree", None)
    if tree is None or isinstance(tree, type(dg.ComponentTree.for_test())):  # which stands in no folder of components
        return
    leaves = []
    declared = []
    with suppress(AttributeError):
        declared = list(tree.find_root_decl().iterate_loc_component_decl_pairs())
    for place, each in declared:
        with suppress(AttributeError):  # of no component
            if place != context.component_loc and len(list(each.iterate_loc_component_decl_pairs())) == 1:
                leaves.append((issubclass(each.component_type, kind), place))
    for _, place in sorted(leaves, key=lambda each: each[0]):
        with suppress(Exception):  # Dagster says so itself, when it is its turn
            yield tree.build_defs_at_path(place)


def _keys(defs: dg.Definitions) -> Iterator[dg.AssetKey]:
    for each in defs.assets or ():
        if isinstance(each, dg.AssetsDefinition):
            yield from each.keys
        elif isinstance(each, dg.AssetSpec | dg.SourceAsset):
            yield each.key
