"""YAML files with the lines of what stands in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from sao_dagster.errors import Location, ProjectError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Place: TypeAlias = tuple[str | int, ...]
"""Where in a YAML file: keys, and positions in lists."""


@dataclass(frozen=True)
class LoadedYaml:
    """A YAML file: its values, and where each of them is written."""

    path: str
    values: Any
    text: str

    def location(self, *keys: str | int) -> Location:
        """Return the line of a value, or of the deepest part of its path that is there."""
        node = _nodes(self.text)
        line = node.start_mark.line + 1 if node is not None else None
        for key in keys:
            node = _child(node, key)
            if node is None:
                break
            line = node.start_mark.line + 1
        return Location(self.path, line)

    def says(self, *keys: str | int) -> bool:
        """Return whether there is a value at a path."""
        node = _nodes(self.text)
        for key in keys:
            node = _child(node, key)
        return node is not None


@dataclass(frozen=True)
class WrittenIn:
    """Where a YAML file configures a node.

    Attributes:
        at: Its entry in the file; the line is of the version of the file that was read.
        places: The mappings in it whose keys may be configuration; what stands in an earlier one wins.
    """

    at: Location
    places: tuple[Place, ...]

    def location(self, root: str, key: str, *inner: str) -> Location | None:
        """Return where a key of the configuration, or what is inside of it, is written; None if it is not written here.

        Args:
            root: The project's folder.
            key: The key, without a plus.
            inner: The keys inside of it, as far as they are there.

        Raises:
            ProjectError: The file cannot be read any more.
        """
        loaded = LoadedYaml(self.at.path, None, read_text(Path(root) / self.at.path, self.at.path))
        spelled = (key, f"+{key}", key.replace("_", "-"), f"+{key.replace('_', '-')}")
        found = ((*place, each) for place in self.places for each in spelled)
        return next((loaded.location(*each, *inner) for each in found if loaded.says(*each)), None)


@lru_cache(maxsize=64)
def _nodes(text: str) -> yaml.Node | None:
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child: yaml.Node = node.value[key]
        return child
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                # the line of a scalar is that of its key, which is what a person looks for
                found: yaml.Node = name if isinstance(value, yaml.ScalarNode) else value
                return found
    return None


def load_yaml(file: Path, shown: str) -> LoadedYaml:
    """Return a YAML file.

    Args:
        file: Where it is.
        shown: Its path as the user would write it.

    Raises:
        ProjectError: It cannot be read, or is not YAML.
    """
    text = read_text(file, shown)
    try:
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, in C where there is one
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        where = Location(shown, mark.line + 1 if mark else None)
        raise ProjectError(f"this is not YAML: {problem}", location=where) from error
    except (ValueError, TypeError, RecursionError) as error:  # of values such as the 31st of June
        raise ProjectError(f"this is not YAML: {error}", location=Location(shown)) from error
    return LoadedYaml(shown, values, text)


def read_text(file: Path, shown: str) -> str:
    """Return the text of a file.

    Raises:
        ProjectError: It cannot be read, or is no text.
    """
    try:
        with open(file, "rb", buffering=0) as raw:  # noqa: PTH123 - which takes half the time of opening it as text
            text = raw.readall().decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ProjectError("this is not UTF-8; save it in that encoding", location=Location(shown, line)) from error
    except OSError as error:
        raise ProjectError(f"this cannot be read: {error.strerror}", location=Location(shown)) from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
