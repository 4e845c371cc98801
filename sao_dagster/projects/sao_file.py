"""`sao.yml`: settings of this package that belong to no node, beside `dbt_project.yml`, which dbt does not read.

`Settings` is the one table of them: name, type, default and meaning. The environment variables (`SAO_` and the name), the schema for
editors and the documentation are made from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml
from pydantic import Field, ValidationError, field_validator

from sao_dagster.core.elsewhere import Clone
from sao_dagster.core.project import Notice
from sao_dagster.core.proofs import ProofSettings
from sao_dagster.errors import ProjectError
from sao_dagster.projects.config import checked, describe_error
from sao_dagster.projects.policies import Strict
from sao_dagster.projects.yaml_files import LoadedYaml, load_yaml

FILE = "sao.yml"
OnStateError: TypeAlias = Literal["fail", "build"]
"""Whether a run whose state cannot be reached fails, or builds everything."""


Reader: TypeAlias = Literal["auto", "folder", "manifest"]
"""Who reads the project: this package, or dbt."""
Executor: TypeAlias = Literal["auto", "native", "dbt"]
"""Who builds: this package, or dbt."""
DbtExecution: TypeAlias = Literal["auto", "inside", "selection"]
"""How dbt builds: node by node inside one `dbt build`, or by commands that are given what is to be built."""


class DeferTo(Strict):
    """Another environment, and where its state is."""

    environment: str = Field(description="its target, or target and schema: `prod`, `dev/anna`")
    state_url: str | None = Field(
        default=None,
        description="the URL of its shared state, which is only read; the project's own where nothing is said",
    )


class ReadFrom(Strict):
    """Where another project is read whose models are used here."""

    environment: str | None = Field(
        default=None,
        description="its target, or target and schema; the one that is called as the target in use, where nothing is said",
    )
    state_url: str | None = Field(
        default=None,
        description="the URL of its shared state, which is only read; the project's own where nothing is said",
    )
    manifest: str | None = Field(
        default=None,
        description="in place of both, a `manifest.json` of dbt, for a project that is not built by this package; a relative path starts at the "
        "project's folder",
    )


class Settings(Strict):
    """Settings that belong to no model."""

    executor: Executor = Field(
        default="auto",
        description="who builds: `native` (this package itself), or `dbt`; `auto` is native for a project that uses nothing that only dbt "
        "does, and stays with dbt once that was needed",
    )
    reader: Reader = Field(
        default="auto",
        description="who reads the project: `folder` (this package itself), or `manifest` (dbt); `auto` is that of the executor",
    )
    dbt: str | None = Field(
        default=None,
        description="where dbt is: a Python that has it, the program `dbt`, or the folder of its virtual environment; relative paths start at "
        "the project's folder. Else it is looked for in the environment of this package, and on the path",
    )
    dbt_execution: DbtExecution = Field(
        default="auto",
        description="how dbt builds: `inside` (node by node, inside one `dbt build`), or `selection` (it is given exactly what is to be built, by "
        "one command for each step down the graph); `auto` is inside where that is known to work (dbt 1.8 to 1.12)",
    )
    state_url: str | None = Field(
        default=None,
        description="the URL of the shared state, `sqlite:///FILE` or `postgresql://...`; a relative path of SQLite starts at the project's folder",
    )
    on_state_error: OnStateError = Field(
        default="fail", description="whether a run whose state cannot be reached fails, or builds everything"
    )
    retention_days: float = Field(
        default=90,
        gt=0,
        lt=36_500,
        allow_inf_nan=False,
        description="for how long all that is history is kept: runs, decisions, versions that others followed",
    )
    branch_days: float | None = Field(
        default=None,
        gt=0,
        lt=36_500,
        allow_inf_nan=False,
        description="for how many days after its last use an environment is kept that `sao ci` has made; for ever where nothing is said",
    )
    defer: str | DeferTo | None = Field(
        default=None,
        description="the environment from which is read what a selection reads, does not select, and this environment does not have: a "
        "target, target and schema (`dev/anna`), or a mapping of `environment` and `state_url`",
    )
    favor_state: bool = Field(
        default=False, description="whether that is read there also where this environment has it"
    )
    reuse_from: list[str | DeferTo] | str = Field(
        default=[],
        description="environments from which is taken what they have built from the same code and the same inputs, in place of a build here, and the verdicts "
        "of data tests that passed there on the same content; each named as for `defer`. The first that has it is asked; nothing is taken in an environment that is named itself",
    )
    clone: Clone = Field(
        default="view",
        description="how that is taken: by a `view` over it where the warehouse finds what views read by name (DuckDB, within one file), else and "
        "with `copy` as a table of its own; with `defer` what is not here is read there, and nothing is made of it",
    )
    projects: dict[str, str | ReadFrom] = Field(
        default={},
        description="where the projects are read that `dependencies.yml` names, and others: by name, an environment, or a mapping of "
        "`environment` and `state_url`, or of `manifest`",
    )
    prove_tests: bool = Field(default=True, description="whether data tests that are proven to pass are not run")
    verify_proofs: int | None = Field(
        default=None, ge=1, description="one in so many proven tests is run all the same, by chance"
    )
    hashes_are_unique: bool = Field(
        default=False, description="whether hashes of different texts are taken to be different, in proofs"
    )

    @field_validator("state_url")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        if value is not None and "{{" in value:
            raise ValueError(f"it is not rendered; what is secret belongs into {variable_of('state_url')}")
        return value

    @field_validator("projects", mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        """Take a text as YAML: that is how an environment variable says it."""
        return yaml.safe_load(value) if isinstance(value, str) else value

    @property
    def deferred_to(self) -> DeferTo | None:
        """The environment to read from, and where its state is."""
        return DeferTo(environment=self.defer) if isinstance(self.defer, str) else self.defer

    @property
    def reused_from(self) -> tuple[DeferTo, ...]:
        """The environments from which builds are taken, and where their state is.

        >>> [each.environment for each in Settings(reuse_from="ci, prod").reused_from]
        ['ci', 'prod']
        """
        given = self.reuse_from
        names = [each.strip() for each in given.split(",") if each.strip()] if isinstance(given, str) else given
        return tuple(DeferTo(environment=each) if isinstance(each, str) else each for each in names)

    def deferring(self, environment: str | None, *, favor: bool) -> Settings:
        """Return the settings with what options say of deferral; an environment that is set keeps the address of its state."""
        changed: dict[str, Any] = {"favor_state": True} if favor else {}
        if environment and (self.deferred_to is None or self.deferred_to.environment != environment):
            changed["defer"] = environment
        return self.model_copy(update=changed)

    def read_from(self, project: str) -> ReadFrom:
        """Return where another project is read."""
        said = self.projects.get(project, ReadFrom())
        return ReadFrom(environment=said) if isinstance(said, str) else said

    @property
    def retention(self) -> timedelta:
        """For how long runs and their decisions are kept."""
        return timedelta(days=self.retention_days)

    @property
    def proofs(self) -> ProofSettings:
        """What is set about proofs of data tests."""
        return ProofSettings(self.prove_tests, self.verify_proofs, self.hashes_are_unique)


class SaoFile(Settings):
    """Settings of sao_dagster that belong to no model; those of a target win over those at the top."""

    targets: dict[str, Settings] = Field(
        default_factory=dict, description="settings for single targets of the profile, by name"
    )


def variable_of(setting: str) -> str:
    """Return the environment variable of a setting.

    >>> variable_of("state_url")
    'SAO_STATE_URL'
    """
    return f"SAO_{setting.upper()}"


def read_settings(root: Path, target: str, given: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of a project: what is given, else the environment variables, else `sao.yml`, else the defaults.

    Args:
        root: The project's folder.
        target: The name of the target in use.
        given: Settings by name; None stands for nothing.

    Raises:
        ProjectError: A key is unknown, or a value means nothing; names the file and the line, or the variable.
    """
    found = {**_of_file(root, target), **_of_environment()}
    found |= {name: value for name, value in (given or {}).items() if value is not None}
    settings: Settings = checked(Settings, found, None, None)
    return settings


def _of_file(root: Path, target: str) -> dict[str, Any]:
    """Return what `sao.yml` sets for a target; nothing where there is no such file."""
    file = root / FILE
    if not file.is_file():
        return {}
    loaded = load_yaml(file, FILE)
    written = {} if loaded.values is None else loaded.values
    if not isinstance(written, Mapping):
        raise ProjectError("it is a mapping with keys such as state_url", location=loaded.location())
    try:
        parsed = SaoFile.model_validate(written, strict=True)
    except ValidationError as error:
        raise _in_file(error, loaded) from error
    found = parsed.model_dump(exclude_unset=True, exclude={"targets"})
    if target in parsed.targets:
        found |= parsed.targets[target].model_dump(exclude_unset=True)
    if found.get("state_url"):
        found["state_url"] = url_from(root, found["state_url"])
    return found


def _in_file(error: ValidationError, loaded: LoadedYaml) -> ProjectError:
    first = error.errors()[0]
    message = describe_error(SaoFile, first, loaded.values)
    got = f", got {first['input']!r}" if first["type"] != "extra_forbidden" else ""
    return ProjectError(message + got, location=loaded.location(*first["loc"]))


def _of_environment() -> dict[str, Any]:
    """Return what the environment variables set; one that is empty sets nothing."""
    found: dict[str, Any] = {}
    for name in Settings.model_fields:
        text = os.environ.get(variable_of(name))
        if text:
            try:
                found[name] = getattr(Settings.model_validate({name: text}), name)
            except ValidationError as error:
                why = describe_error(Settings, error.errors()[0], {}).partition(": ")[2]
                raise ProjectError(f"{variable_of(name)} is {text!r}; {why[:1].lower()}{why[1:]}") from error
    return found


def url_from(root: Path, url: str) -> str:
    """Return a URL in which the path of an SQLite file that is relative starts at a folder.

    >>> url_from(Path("/shop"), "sqlite:///state.db"), url_from(Path("/shop"), "sqlite:////var/state.db")
    ('sqlite:////shop/state.db', 'sqlite:////var/state.db')
    """
    scheme, slashes, path = url.partition(":///")
    return f"{scheme}{slashes}{root / path}" if scheme.startswith("sqlite") and path else url


def moved_variables(names: Iterable[str]) -> list[Notice]:
    """Return notices about variables of a project that are settings, and so have no effect as variables.

    >>> print(*moved_variables(["sao_prove_tests", "region"]))
    the variable sao_prove_tests has no effect; write prove_tests in sao.yml
    """
    settings = [name.removeprefix("sao_") for name in names if name.startswith("sao_")]
    return [
        Notice(f"the variable sao_{name} has no effect; write {name} in {FILE}")
        for name in settings
        if name in Settings.model_fields
    ]
