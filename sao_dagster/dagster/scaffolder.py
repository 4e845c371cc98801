"""`dg scaffold defs sao_dagster.dagster.SaoProjectComponent`: a component over a project that is there, or a new one."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, Field

from sao_dagster.errors import ProjectError
from sao_dagster.projects.starter import write_starter


class ScaffoldParams(BaseModel):
    """What can be said on the command line."""

    project_path: str | None = Field(default=None, description="A folder with dbt_project.yml that is there already.")
    init: str | None = Field(default=None, description="A folder to make, with a small project to start from.")


class SaoProjectScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Writes `defs.yaml`, and a project if there is none."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        """Return the parameters."""
        return ScaffoldParams

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        """Write the files.

        Raises:
            ProjectError: The parameters contradict each other, or the folders.
        """
        params = request.params
        if (params.project_path is None) == (params.init is None):
            raise ProjectError("say --project-path PATH for a project that is there, or --init PATH for a new one")
        folder = Path(params.project_path or params.init or "").resolve()
        if params.init is not None:
            _write_project(folder)
        elif not (folder / "dbt_project.yml").is_file():
            raise ProjectError(f"there is no dbt_project.yml in {folder}; --init makes a new project")
        root = (request.project_root or Path.cwd()).resolve()
        dg.scaffold_component(
            request, {"project": f"{{{{ project_root }}}}/{Path(os.path.relpath(folder, root)).as_posix()}"}
        )


def _write_project(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise ProjectError(f"{folder} is there already, and not empty")
    write_starter(folder)
