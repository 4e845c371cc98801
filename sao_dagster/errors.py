"""Every error this package raises on purpose.

Each class is also a subclass of the built-in error that a caller would expect, and says which model
and which file it is about when that is known: the message is for people, the attributes are for programs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Location:
    """A place in the user's project: a path as the user would write it, and a line counted from 1."""

    path: str
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


class SaoError(Exception):
    """The base of all errors of this package.

    Args:
        message: What is wrong and what to do about it.
        name: The model, test, source or macro it is about.
        location: Where in the project.
    """

    def __init__(self, message: str, *, name: str | None = None, location: Location | None = None) -> None:
        self.message = message
        self.name = name
        self.location = location
        super().__init__(message)

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        who = f"{self.name}: " if self.name and self.name not in self.message else ""
        return f"{where}{who}{self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.name, self.location))


def words_of(error: BaseException) -> str:
    """Return what an error says, without where: its message; for one that this package did not raise on purpose, with its type.

    >>> words_of(SaoError("no", name="orders")), words_of(TypeError("not a number"))
    ('no', 'TypeError: not a number')
    """
    return error.message if isinstance(error, SaoError) else f"{type(error).__name__}: {error}"


def _rebuild(kind: type[SaoError], message: str, name: str | None, location: Location | None) -> SaoError:
    return kind(message, name=name, location=location)


class ProjectError(SaoError, ValueError):
    """The project cannot be used as it is written."""


class UnsupportedError(ProjectError):
    """The project uses something of dbt's that this package does not do."""


class NeedsDbtError(UnsupportedError):
    """The project uses something that only dbt itself does.

    Args:
        uses: What that is, such as "a Python model".
        name: The node that uses it.
        location: Where.
    """

    def __init__(self, uses: str, *, name: str | None = None, location: Location | None = None) -> None:
        self.uses = uses
        message = (
            f"{uses}: only dbt itself does this; install dbt (dbt-core and the adapter) and build the project with it"
        )
        super().__init__(message, name=name, location=location)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.uses, self.name, self.location))


class UnknownNodeError(ProjectError, LookupError):
    """A name refers to nothing in the project."""


class CycleError(ProjectError):
    """Models depend on each other in a circle."""


class SelectionError(SaoError, ValueError):
    """A selection cannot be understood or selects nothing that exists."""


class RenderError(ProjectError):
    """Jinja could not render a model, test or macro."""


class NeedsConnectionError(SaoError, RuntimeError):
    """Something can be rendered only with a warehouse at hand."""


class WarehouseError(SaoError, RuntimeError):
    """The warehouse refused a statement or cannot be reached."""


class ChangedRelationError(WarehouseError):
    """A relation holds something else than is recorded of it."""


class WarehouseBusyError(WarehouseError, TimeoutError):
    """The warehouse is held by another process and did not become free in time."""


class StateError(SaoError, RuntimeError):
    """The shared state cannot be read or written."""


class LeaseLostError(StateError):
    """The lease on a model was taken over by another run, so nothing may be recorded under it."""


class InputBuiltError(SaoError):
    """What a model reads was built anew since it was decided about, so that it is to be decided again."""


class DisturbedBuildError(SaoError):
    """A model was built, and somebody else may have changed what it has read, or what was built; it is to be built again."""


class LeaseTimeoutError(SaoError, TimeoutError):
    """Another run held a model for longer than this one may wait."""


class StalledError(SaoError, RuntimeError):
    """A run cannot go on: what is left of it waits for itself."""


class ProjectErrors(ProjectError):  # noqa: N818 - it is several
    """Several errors of one project, found in one pass.

    Attributes:
        errors: The single errors, in the order of the files.
    """

    def __init__(self, errors: tuple[SaoError, ...]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(error) for error in errors))

    def __reduce__(self) -> tuple[object, ...]:
        return (ProjectErrors, (self.errors,))
