"""DuckDB in `profiles.yml`, as dbt-duckdb writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from sao_dagster.warehouses.duckdb.attached import absolute
from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse
from sao_dagster.warehouses.registry import WarehouseProfile

_READS_SOURCES = frozenset({"excel", "gsheet", "iceberg", "sqlalchemy", "delta", "glue"})


class Extension(BaseModel):
    """An extension, and the repository that it is installed from."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str
    repo: str


class DuckDBProfile(WarehouseProfile):
    """An output of `type: duckdb`; `DuckDBWarehouse` says what the keys mean.

    Attributes:
        database: Accepted, as in dbt; it is the name of the file.
        motherduck_token: A setting of that name.
        retries: Accepted; whoever holds the file is waited for in any case.
        external_root: Accepted; it is for a materialization that only dbt does, as `keep_open`, `disable_transactions` and
            `module_paths` are for what dbt does.
        plugins: Only dbt has them; those that only read sources are named where a source uses them.
    """

    title: ClassVar[str] = "DuckDB"
    deployment: ClassVar[tuple[str, ...]] = ("path", "threads", "wait_seconds")

    path: str = ":memory:"
    schema_: str = Field(default="main", alias="schema")
    database: str | None = None
    extensions: list[str | Extension] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    config_options: dict[str, Any] = Field(default_factory=dict)
    attach: list[dict[str, Any]] = Field(default_factory=list)
    secrets: list[dict[str, Any]] = Field(default_factory=list)
    motherduck_token: str | None = None
    wait_seconds: float = Field(default=300.0, ge=0)
    retries: Any = None
    external_root: Any = None
    keep_open: Any = None
    disable_transactions: Any = None
    module_paths: Any = None
    is_ducklake: Any = None
    plugins: list[dict[str, Any]] | None = None
    filesystems: list[dict[str, Any]] | None = None
    remote: Any = None
    flights: Any = None
    use_credential_provider: Any = None

    def only_in_dbt(self) -> tuple[str, ...]:
        """Return the keys that change what a connection is and that only dbt-duckdb understands."""
        modules = (str(each.get("module") or each.get("alias")) for each in self.plugins or ())
        plugins = tuple(f"the plugin {each}" for each in modules if each not in _READS_SOURCES)
        keys = ("filesystems", "remote", "use_credential_provider")
        return plugins + tuple(f"the key {key}" for key in keys if getattr(self, key))

    def warehouse(self, name: str, root: Path) -> DuckDBWarehouse:
        """Return the warehouse, with paths from the project's folder."""
        return DuckDBWarehouse(
            path=absolute(self.path, root),
            schema=self.schema_,
            name=name,
            threads=self.threads,
            extensions=tuple(each if isinstance(each, str) else each.name for each in self.extensions),
            repositories={each.name: each.repo for each in self.extensions if isinstance(each, Extension)},
            settings={
                **self.settings,
                **({"motherduck_token": self.motherduck_token} if self.motherduck_token else {}),
            },
            secrets=tuple(self.secrets),
            attach=tuple({**each, "path": absolute(str(each["path"]), root)} for each in self.attach),
            config_options=self.config_options,
            wait_seconds=self.wait_seconds,
            folder=str(root),
        )
