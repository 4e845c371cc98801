"""Declaring models, sources, seeds and data tests in Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from sao_dagster.errors import Location, ProjectError

SqlFunction = TypeVar("SqlFunction", bound=Callable[..., str])
DataTests = Sequence[str | Mapping[str, Any]]


class Column(BaseModel):
    """A column of a declared model: what it is, and the data tests on it.

    Attributes:
        data_tests: As in YAML: a name, or a mapping of a name to its arguments.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    data_type: str | None = None
    data_tests: tuple[str | dict[str, Any], ...] = ()


def call_function(function: Callable[..., str], name: str, where: Location) -> str:
    """Return the SQL that a function makes; `ref`, `source` and `var` give templates, so all is rendered at once."""
    known: dict[str, Callable[..., str]] = {
        "ref": lambda *args, **kwargs: _template("ref", *args, **kwargs),
        "source": lambda *args: _template("source", *args),
        "var": lambda *args: _template("var", *args),
    }
    wanted = list(inspect.signature(function).parameters)
    if unknown := [each for each in wanted if each not in known]:
        raise ProjectError(
            f"the function of model {name!r} takes {', '.join(unknown)}; it may take ref, source and var",
            location=where,
        )
    text = function(**{each: known[each] for each in wanted})
    if not isinstance(text, str):
        raise ProjectError(f"the function of model {name!r} returns {type(text).__name__}, not SQL", location=where)
    return text


def _template(function: str, *args: Any, **kwargs: Any) -> str:
    parts = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
    return "{{ " + f"{function}({', '.join(parts)})" + " }}"
