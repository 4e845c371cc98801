"""What `sao ui` shows of a project without definitions of its own: the project in the folder that `SAO_PROJECT_DIR` names."""

from __future__ import annotations

import os

from sao_dagster.dagster import definitions
from sao_dagster.load import load_project

defs = definitions(load_project(os.environ["SAO_PROJECT_DIR"]))
