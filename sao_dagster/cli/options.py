"""The options that commands share, and several values in a row for those that may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from sao_dagster.core.indirect_selection import Indirect


def names_in_files(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of models and seeds that begin like a word, for the completion of a shell: by their files, since those are found at once."""
    root = Path(ctx.params.get("project_dir") or ".")
    begun = incomplete.lstrip("+@0123456789")
    ahead = incomplete[: len(incomplete) - len(begun)]
    files = (file for folder in ("models", "seeds") for file in (root / folder).rglob("*"))
    names = {file.stem for file in files if file.suffix in (".sql", ".py", ".csv")}
    return sorted(f"{ahead}{name}" for name in names if name.startswith(begun))


ProjectDir = Annotated[Path, typer.Option("--project-dir", help="The folder with dbt_project.yml.")]
ProfilesDir = Annotated[
    Path | None,
    typer.Option(
        "--profiles-dir",
        help="The folder with profiles.yml; else DBT_PROFILES_DIR, the project's folder, or ~/.dbt.",
    ),
]
StateUrl = Annotated[
    str | None,
    typer.Option(
        "--state-url",
        help="The URL of the shared state, sqlite:///FILE or postgresql://...; else SAO_STATE_URL, or what sao.yml says.",
    ),
]
Target = Annotated[str | None, typer.Option("--target", "-t", help="The target of the profile.")]
Select = Annotated[
    list[str] | None,
    typer.Option("--select", "-s", help="What to include, in dbt's selection syntax.", autocompletion=names_in_files),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="What to leave out, in the same syntax.", autocompletion=names_in_files),
]
Force = Annotated[bool, typer.Option("--force", help="Build everything selected, whatever the state says.")]
FullRefresh = Annotated[
    bool, typer.Option("--full-refresh", help="Like --force, and incremental models start from scratch.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="How many models to build at once.")]
NoTests = Annotated[bool, typer.Option("--no-tests", help="Leave data tests out.")]
VerifyProofs = Annotated[bool, typer.Option("--verify-proofs", help="Run data tests that are proven to pass, too.")]
Now = Annotated[
    str | None,
    typer.Option("--now", help="Decide as if it were this time (ISO 8601; UTC if it names no zone)."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")
]
Vars = Annotated[str | None, typer.Option("--vars", help="Variables over those of the project, as YAML.")]
Defer = Annotated[
    str | None,
    typer.Option(
        "--defer",
        help="Read what is not selected and not built here from this environment: a target, or target/schema.",
    ),
]
FavorState = Annotated[bool, typer.Option("--favor-state", help="Read it there even where it is built here.")]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        help="What state: compares with: a target, target/schema, or a folder with dbt's manifest.json; that of --defer if it is left out. "
        "result: asks for its last run, else for that of this one.",
    ),
]
IndirectSelection = Annotated[
    Indirect,
    typer.Option(
        "--indirect-selection",
        help="Which data tests come with what is selected: those that read any of it, nothing else, nothing but it and what is above it; or none.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only what went wrong.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="List everything, also what was reused.")]


class _Options:
    """What commands and groups do with options: they leave values as they are that need no converting (typer loads pydantic for it).

    They take several values in a row where an option may be repeated, as dbt's do: `--select a b`.
    """

    params: list[Any]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in found:
            if "process_value" not in vars(each):
                each.process_value = partial(_processed, each, each.process_value)
        return found

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments in which each value has its option in front of it."""
        repeated = {name for each in self.params if getattr(each, "multiple", False) for name in each.opts}
        found: list[str] = super().parse_args(ctx, list(one_by_one(args, repeated)))  # type: ignore[misc]
        return found


class Group(_Options, TyperGroup):
    """A group of commands."""


class Command(_Options, TyperCommand):
    """A command."""


def _processed(option: Any, convert: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    """Return the value of an option: as it is where that is the default, made of its text where that is all, else as typer converts it."""
    if ctx.get_parameter_source(option.name).name == "DEFAULT":
        return convert(ctx, value) if option.required else value
    kind = getattr(getattr(option, "type_descriptor", None), "annotation", None)
    make = _OF_TEXT.get(kind) if option.callback is None else None
    return convert(ctx, value) if make is None else make(value)


_OF_TEXT: dict[Any, Callable[[Any], Any]] = {str: str, Path: Path, list[str]: list}
"""What of the options is made of its text as it is, by its type."""


def one_by_one(arguments: Sequence[str], repeated: Collection[str]) -> Iterator[str]:
    """Yield arguments so that each value of a repeated option has the option in front of it.

    >>> list(one_by_one(["--select", "a", "+b", "--force", "-s=c", "d"], {"--select", "-s"}))
    ['--select', 'a', '--select', '+b', '--force', '-s=c', '-s', 'd']
    """
    option, is_first = None, False
    for each in arguments:
        if each.startswith("-"):
            name, has_value, _ = each.partition("=")
            option, is_first = (name, not has_value) if name in repeated else (None, False)
        elif option is not None:
            if not is_first:
                yield option
            is_first = False
        yield each
