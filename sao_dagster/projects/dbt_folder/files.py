"""Which files of a folder belong to a project: those that dbt would read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sao_dagster.errors import Location, ProjectError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".dbtignore"


class ProjectFiles:
    """Finds files in the folders of a project.

    As in dbt, folders that are links are read as folders, and left out are files whose name begins with `.`, `#` or `~` (which editors
    leave behind) and what `.dbtignore` names, in the language of `.gitignore`
    (https://docs.getdbt.com/reference/dbtignore).

    Args:
        root: The project's folder, absolute.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._ignored = _ignored_by(root / IGNORE_FILE)
        self._known: dict[str, list[tuple[str, list[str]]]] = {}
        self._links: set[str] = set()

    def find(self, folders: Iterable[str], endings: tuple[str, ...]) -> list[Path]:
        """Return the files with one of some endings, in whatever case, below folders of the project; folder by folder, sorted by name.

        Raises:
            ProjectError: One is a link to what is not there.
        """
        found = []
        for folder in folders:
            for place, names in self._walked(folder):
                found += [
                    path
                    for name in names
                    if name[0] not in ".#~"
                    and name.lower().endswith(endings)
                    and not self._is_ignored(path := f"{place}{os.sep}{name}")
                ]
        for path in found:
            if path in self._links and not os.path.exists(path):  # noqa: PTH110
                raise ProjectError("it is a link to a file that is not there", location=Location(self._shown(path)))
        return [Path(path) for path in found]

    def _walked(self, folder: str) -> list[tuple[str, list[str]]]:
        """Return a folder of the project and all below it, as `_folders` does; what was walked once is not walked again."""
        if folder not in self._known:
            place = os.path.join(self._root, folder)  # noqa: PTH118 - strings make many files cheap
            self._known[folder] = list(self._folders(place, ()))
        return self._known[folder]

    def _folders(self, place: str, above: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
        """Yield a folder and all below it, each with the names of its files; a link to a folder that it is in is not followed."""
        real = os.path.realpath(place)
        if real in above or not os.path.isdir(place):  # noqa: PTH112
            return
        below: list[str] = []
        names: list[str] = []
        with os.scandir(place) as entries:
            for entry in entries:
                (below if entry.is_dir() else names).append(entry.name)
                if entry.is_symlink():
                    self._links.add(f"{place}{os.sep}{entry.name}")
        yield place, sorted(names)
        for name in sorted(below):
            inner = f"{place}{os.sep}{name}"
            if not self._is_ignored(inner + os.sep):
                yield from self._folders(inner, (*above, real))

    def _is_ignored(self, path: str) -> bool:
        return self._ignored is not None and self._ignored.match_file(self._shown(path))

    def _shown(self, path: str) -> str:
        """Return a path as the user would write it."""
        return path.removeprefix(self._root + os.sep).replace(os.sep, "/")


def _ignored_by(file: Path) -> GitIgnoreSpec | None:
    """Return what a file names; None where it is not there, as in most projects, which load nothing for it."""
    if not file.is_file():
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(file.read_text(encoding="utf-8").splitlines())
