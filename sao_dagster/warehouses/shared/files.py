"""Versions of sources that are files: names, sizes and times, without reading them."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.nodes import Source


def files_version(source: Source, root: str) -> DataVersion | None:
    """Return the version of the files of a source, and of how they are read; None where none is there or they are remote.

    Args:
        source: The source; its paths start at `root` where they are not absolute.
        root: The project's folder.
    """
    pattern = source.files
    if pattern is None or "://" in pattern:
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
    return DataVersion("files/2", digest([source.expression.replace(root, "."), seen]))
