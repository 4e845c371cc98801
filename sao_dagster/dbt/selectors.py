"""How dbt is given exactly one node, in the words of `--select`: https://docs.getdbt.com/reference/node-selection/methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def selectors(manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return by unique id how dbt is given exactly a node or data test, with the unit tests of a model.

    `fqn:` also selects all whose names begin with the same parts, with or without the package; where there are such, the file tells them apart,
    and where a folder is called as a package, the package.

    >>> nodes = {
    ...     "model.shop.orders": {"fqn": ["shop", "orders"], "original_file_path": "models/orders.sql"},
    ...     "model.shop.late": {"fqn": ["shop", "orders", "late"], "original_file_path": "models/orders/late.sql"},
    ... }
    >>> selectors({"nodes": nodes, "unit_tests": {}})
    {'model.shop.orders': ('fqn:shop.orders,file:orders.sql',), 'model.shop.late': ('fqn:shop.orders.late',)}
    """
    tests = manifest.get("unit_tests") or {}
    named = {**manifest["nodes"], **tests}
    begins: dict[str, set[str]] = {}
    for unique_id, each in named.items():
        for start in (0, 1):
            parts = ".".join(each["fqn"][start:]).split(".")
            for end in range(1, len(parts) + 1):
                begins.setdefault(".".join(parts[:end]), set()).add(unique_id)

    def selector(unique_id: str) -> str:
        fqn, file = ".".join(named[unique_id]["fqn"]), file_of(unique_id)
        if begins[fqn] == {unique_id}:
            return f"fqn:{fqn}"
        package = named[unique_id]["fqn"][0]
        others = (each for each in begins[fqn] - {unique_id} if file_of(each) == file)
        by_package = any(named[each]["fqn"][0] != package for each in others)
        return f"fqn:{fqn},file:{file}" + f",package:{package}" * by_package

    def file_of(unique_id: str) -> str:
        return Path(str(named[unique_id]["original_file_path"])).name

    found = {unique_id: [selector(unique_id)] for unique_id in manifest["nodes"]}
    for unique_id, test in tests.items():
        about = test.get("tested_node_unique_id")
        for node in [about] if about else test["depends_on"]["nodes"]:
            if node in found:
                found[node].append(selector(unique_id))
    return {unique_id: tuple(each) for unique_id, each in found.items()}
