"""The files for GitHub Actions and GitLab in `docs/ci.md`: their commands are run, as the services run them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from sao_dagster.cli import app
from sao_dagster.cli.ci import BRANCH_VARIABLES
from tests.world import World, on_each_warehouse

pytestmark = [on_each_warehouse, pytest.mark.slow]
PAGE = (Path(__file__).parents[2] / "docs/ci.md").read_text()
NOT_RUN = ("pip", "cat", "gh")
"""What the machines of the services do beside `sao`: they install it, and show the report that it has written."""


def file_called(name: str) -> dict[str, Any]:
    """Return a file that stands in the documentation."""
    (found,) = re.findall(rf"```yaml\n# {re.escape(name)}\n(.*?)```", PAGE, re.DOTALL)
    values: dict[str, Any] = yaml.safe_load(found)
    return values


def github(job: str) -> list[str]:
    steps = file_called(".github/workflows/pull_request.yml")["jobs"][job]["steps"]
    return [each["run"] for each in steps if "run" in each]


def gitlab(job: str) -> list[str]:
    file = file_called(".gitlab-ci.yml")
    return [*file["default"]["before_script"], *file[job]["script"]]


@pytest.fixture
def shop(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A shop that production has built, and a branch that edits it."""
    profiles = (world.root / "profiles.yml").read_text()
    line = next(each.partition("other:")[2].strip() for each in profiles.splitlines() if "other:" in each)
    world.write("profiles.yml", f"{profiles}    prod: {line.replace('other', 'prod')}\n    ci: {line}\n")
    world.model("orders", "select 1 as id").model("report", "select id from {{ ref('orders') }}")
    world.run(target="prod")
    world.model("report", "select id + 1 as id from {{ ref('orders') }}")
    for name in BRANCH_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAO_STATE_URL", f"sqlite:///{world.root / 'state.db'}")
    monkeypatch.chdir(world.root)
    return world


def ran(commands: list[str]) -> list[Result]:
    """Run the commands that are ours, and make sure that the others are known."""
    found = []
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "sao":
            found.append(CliRunner().invoke(app, arguments))
        else:
            assert program in NOT_RUN
    return found


def schemas(world: World) -> list[str]:
    query = "select distinct table_schema from information_schema.tables where table_schema like 'ci_%'"
    return [row[0] for row in world.rows(query)]


@pytest.mark.parametrize(
    ("jobs", "variable"), [(github, "GITHUB_HEAD_REF"), (gitlab, "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")]
)
def test_a_pull_request_is_built_and_dropped(
    shop: World, monkeypatch: pytest.MonkeyPatch, jobs: Any, variable: str
) -> None:
    monkeypatch.setenv(variable, "plus_one")
    monkeypatch.setenv("GITHUB_REF_NAME", "7/merge")
    (built,) = ran(jobs("build"))
    assert built.exit_code == 0, built.output
    assert schemas(shop) == ["ci_plus_one"]
    assert "| `report` | body |  | 1 row: 1 added, 1 gone |" in (shop.root / "report/sao_ci.md").read_text()
    (dropped,) = ran(jobs("drop"))
    assert (dropped.exit_code, schemas(shop)) == (0, [])


def test_what_was_left_is_dropped_once_a_night(shop: World) -> None:
    (refused,) = ran(gitlab("expired"))
    assert (refused.exit_code, "branch_days" in refused.stderr) == (2, True)
    settings = file_called("sao.yml")
    shop.write("sao.yml", yaml.safe_dump({"branch_days": settings["branch_days"]}))
    (done,) = ran(gitlab("expired"))
    assert done.exit_code == 0
    del settings["targets"]["ci"]["state_url"]
    shop.write("sao.yml", yaml.safe_dump(settings))
    assert shop.opened("ci").settings.defer is not None
