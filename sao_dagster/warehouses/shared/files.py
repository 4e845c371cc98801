"""Versions of sources that are files: names, sizes and times, without reading them."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from sao_dagster.core.hashing import JSON, digest


def files_version(pattern: str, root: str) -> str | None:
    """Return a token of the files that a path or glob means; None where none is there or they are remote.

    Args:
        pattern: A path or glob, absolute or from `root`.
        root: The project's folder.
    """
    if "://" in pattern:
        return None
    names = sorted(glob.glob(os.path.join(root, pattern), recursive=True))  # noqa: PTH118, PTH207 - absolute patterns
    if not names:
        return None
    seen: list[JSON] = []
    for name in names:
        try:
            stat = Path(name).stat()
        except OSError:
            return None
        seen.append([os.path.relpath(name, root), stat.st_size, stat.st_mtime_ns])
    return f"files:{digest(seen)}"
