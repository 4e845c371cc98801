"""Fingerprints: short, stable digests of plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


_text = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode


def digest(value: JSON) -> str:
    """Return 24 hexadecimal digits (96 bits) that depend on nothing but `value`.

    Mappings are taken in the order of their keys, so two equal values have one digest, in every process.

    >>> digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    True
    >>> digest("1") == digest(1)
    False
    """
    return hashlib.blake2b(_text(value).encode(), digest_size=12).hexdigest()
