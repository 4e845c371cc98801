"""Data versions: what two readings of one relation are compared by, and when they may be.

A version has a *scheme*, which says how it was made, and a *token*. Equal tokens of one scheme mean equal content. Versions of different
schemes are never compared: that a reading by content differs from a time of change says nothing, so whoever holds the two knows nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sao_dagster.core.hashing import digest


@dataclass(frozen=True)
class DataVersion:
    """The version of what a relation holds.

    A scheme names whoever read it, with its version where that matters, and a number that is raised when the way of reading changes:
    `duckdb-1.5.2/2`, `files/2`, `build`.

    Attributes:
        scheme: How the token was made; not empty, without white space.
        token: Any text.

    Raises:
        ValueError: The scheme is empty or has white space in it.

    >>> str(DataVersion("altered", "2026-01-01 00:02:00"))
    'altered 2026-01-01 00:02:00'
    >>> DataVersion("two words", "1")
    Traceback (most recent call last):
    ...
    ValueError: the scheme of a data version is one word, got 'two words'
    """

    scheme: str
    token: str

    def __post_init__(self) -> None:
        """Make sure that the text of the version can be read back."""
        if len(self.scheme.split()) != 1 or self.scheme != self.scheme.strip():
            raise ValueError(f"the scheme of a data version is one word, got {self.scheme!r}")

    def comparable(self, other: DataVersion) -> bool:
        """Return whether a difference between the two means other content.

        >>> DataVersion("duckdb-1.4.0/2", "aa").comparable(DataVersion("duckdb-1.5.2/2", "aa"))
        False
        """
        return self.scheme == other.scheme

    @property
    def is_content(self) -> bool:
        """Whether equal tokens mean equal content whatever relations they are of, where the warehouse reads versions by content.

        A build is of one relation, and what a source says of its newest data is about that source.

        >>> build_version("1").is_content, loaded_at_version("12:00", "raw.a").is_content, DataVersion("duckdb-1.5.2/2", "aa").is_content
        (False, False, True)
        """
        return not self.comparable(ANY_BUILD) and not self.scheme.startswith(_LOADED_AT)

    @property
    def is_of_files(self) -> bool:
        """Whether it is of a view over files, and so holds for no longer than these are as they were, whatever the warehouse says of itself.

        >>> view_version(["from 'a.csv'"], {"files": DataVersion("files/3", "1")}, of_files=True).is_of_files
        True
        """
        return self.scheme.startswith(_OF_FILES)

    def __str__(self) -> str:
        """Return the version as one text, which `parse` reads."""
        return f"{self.scheme} {self.token}"

    @classmethod
    def parse(cls, text: str) -> DataVersion:
        r"""Return the version that a text stands for.

        Raises:
            ValueError: The text is not one that `str` gives.

        >>> version = DataVersion("loaded_at/2", " 12:00\n: ")
        >>> DataVersion.parse(str(version)) == version
        True
        """
        scheme, space, token = text.partition(" ")
        if not space:
            raise ValueError(f"a data version is a scheme and a token, got {text!r}")
        return cls(scheme, token)


def columns_version(columns: Sequence[tuple[str, str]]) -> DataVersion:
    """Return the version of names and types of columns; where it is equal, a view over them need not be made anew.

    >>> columns_version([("id", "INTEGER")]) == columns_version([("id", "BIGINT")])
    False
    """
    return DataVersion("columns/1", digest([list(column) for column in columns]))


def definition_version(definition: str | None) -> DataVersion:
    """Return the version by which a view that someone else replaced is recognised.

    Args:
        definition: The view as the catalog has it; None where that is not shown, which is comparable with no definition.
    """
    if definition is None:
        return DataVersion("definition-unknown", "")
    return DataVersion("definition/1", digest(definition))


_LOADED_AT = "loaded_at/2-"
_OF_FILES = "view-of-files/1-"


def loaded_at_version(value: str, *asked: str | None) -> DataVersion:
    """Return the version of a source that says how new its data is. Answers to different questions are not compared.

    Args:
        value: The newest time.
        asked: What was asked: what SQL reads the source from, the column, the filter, or the user's own query.
    """
    return DataVersion(f"{_LOADED_AT}{digest(asked)[:6]}", value)


def build_version(build_id: str) -> DataVersion:
    """Return the version of what nobody has read since one build made it; it is equal to that of no other build."""
    return DataVersion("build", build_id)


ANY_BUILD = build_version("")
"""What each version that is the id of a build is comparable with."""


def view_version(
    definitions: Mapping[str, str] | Collection[str], below: Mapping[str, DataVersion], *, of_files: bool = False
) -> DataVersion:
    """Return the version of a view, made of how it is defined and of the versions of what it reads.

    Its scheme is made of theirs: where one of them is read in another way, nobody knows whether the view shows something else.

    Args:
        definitions: Its own, and those of the views in between.
        below: What it reads.
        of_files: Whether files are a part of that, which others may write to whoever holds the database; see `DataVersion.is_of_files`.

    >>> by_time = view_version(["select 1"], {"a": DataVersion("loaded_at", "1")})
    >>> by_time.comparable(view_version(["select 1"], {"a": DataVersion("loaded_at", "2")}))
    True
    >>> by_time.comparable(view_version(["select 1"], {"a": DataVersion("duckdb-1.5.2/2", "1")}))
    False
    """
    schemes = digest(sorted({version.scheme for version in below.values()}))[:8]
    defined = dict(definitions) if isinstance(definitions, Mapping) else list(definitions)
    kind = _OF_FILES if of_files else "view/2-"
    return DataVersion(f"{kind}{schemes}", digest([{name: str(version) for name, version in below.items()}, defined]))
