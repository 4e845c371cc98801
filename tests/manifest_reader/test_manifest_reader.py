"""dbt's manifest as a format of one's own: the same project as our own reader finds, and one state for both."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import pytest

from example_project import shop_data
from sao_dagster import SqlProject, load_project, select
from sao_dagster.core.nodes import Node, Seed
from sao_dagster.core.project import Project
from sao_dagster.core.records import Verdict
from sao_dagster.errors import ProjectError
from sao_dagster.projects.templates.python_syntax import parsed
from sao_dagster.run.report import RunResult
from tests.manifest_reader.make import NOT_COPIED, PROJECTS
from tests.manifest_reader.reader import FILE, MANIFEST, read

HERE = Path(__file__).parent
OTHERWISE_WRITTEN = {
    "not_null",
    "accepted_values",
    "relationships",
}  # dbt's SQL of these tests, and ours, is not the same text
EVENTS = (
    "create schema raw",
    "create table raw.events as select i as id, 2 * i as amount, timestamp '2026-01-01' as seen_at from range(1, 5) t(i)",
    "create table raw.late_ones as select * from raw.events",
)


def copied(name: str, place: Path) -> Path:
    """Return a copy of a project with its manifest, and its raw data."""
    folder = place / name
    shutil.copytree(PROJECTS[name], folder, ignore=NOT_COPIED)
    (folder / FILE).parent.mkdir()
    shutil.copy(HERE / f"{name}.json", folder / FILE)
    with duckdb.connect(str(folder / f"{name}.duckdb")) as connection:
        if name == "shop":
            shop_data.create(connection)
        for statement in EVENTS if name == "corners" else ():
            connection.execute(statement)
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return copied("shop", tmp_path)


@pytest.fixture
def corners(tmp_path: Path) -> Path:
    return copied("corners", tmp_path)


def by_manifest(folder: Path) -> SqlProject:
    return SqlProject.of(*read(folder, None, None))


def by_folder(folder: Path) -> SqlProject:
    return SqlProject(folder=folder)


def run(project: SqlProject) -> RunResult:
    assert project.project.errors == ()
    return project.runner().run(select(project.project))


def outcomes(result: RunResult) -> dict[str, str]:
    return {each.name: f"{each.decision.outcome.value}: {each.decision.reason.value}" for each in result.models}


def differences(ours: Any, theirs: Any, *ignored: str) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two things differ."""
    pairs = {each.name: (getattr(ours, each.name), getattr(theirs, each.name)) for each in fields(ours)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in ignored}


def settled(config: dict[str, Any]) -> dict[str, Any]:
    """Return configuration without what dbt adds to it when it reads it."""
    hooks = {
        key: [each.get("sql") if isinstance(each, dict) else each for each in config[key]]
        for key in ("pre_hook", "post_hook")
        if key in config
    }
    build_after = {
        "count": None,
        "period": None,
        "updates_on": "any",
        **((config.get("freshness") or {}).get("build_after") or {}),
    }
    tags = list(dict.fromkeys(config.get("tags", ())))
    return {**config, **hooks, "freshness": build_after, "tags": tags}  # fmt: skip


def same(ours: Project, theirs: Project) -> None:
    """Assert that two readers found one project; code versions are the caller's."""
    assert (ours.errors, theirs.errors) == ((), ())
    assert (ours.name, ours.environment, ours.root) == (theirs.name, theirs.environment, theirs.root)
    assert (ours.on_run_start, ours.on_run_end) == (theirs.on_run_start, theirs.on_run_end)
    assert set(ours.nodes) == set(theirs.nodes)
    for name, node in ours.nodes.items():
        other = theirs.nodes[name]
        assert set(node.depends_on) == set(other.depends_on), name  # dbt keeps no order
        # dbt takes the last line break off a template; how SQL is written says its version
        # these manifests do not have where properties speak of a node
        ignored = ("depends_on", "raw_sql", "config", "code", "compiled", "compiler", "patch_path")
        assert differences(node, other, *ignored) == {}, name
        assert settled(dict(node.config)) == settled(dict(other.config)), name
    assert set(ours.sources) == set(theirs.sources)
    for name, source in ours.sources.items():
        # dbt knows no lines, the folders of a source, and what is said of its group only apart
        assert differences(source, theirs.sources[name], "location", "fqn", "description") == {}, name
    assert set(ours.tests) == set(theirs.tests)
    for name, test in ours.tests.items():
        assert differences(test, theirs.tests[name], "location", "fqn", "sql", "version") == {}, name
        equal = test.version == theirs.tests[name].version
        assert equal == (test.kind not in OTHERWISE_WRITTEN), name


def code(project: Project) -> dict[str, dict[str, str]]:
    return {name: dict(node.code.parts) for name, node in project.nodes.items()}


def test_it_is_short_and_touches_nothing_private() -> None:
    text = (HERE / "reader.py").read_text()
    assert len(text.splitlines()) <= 150
    nodes = list(ast.walk(parsed(text, "exec")))
    names = {each.attr for each in nodes if isinstance(each, ast.Attribute)}
    names |= {each.name for part in nodes if isinstance(part, ast.ImportFrom) for each in part.names}
    assert not [name for name in names if name.startswith("_")]
    assert all((HERE / f"{name}.json").stat().st_size < 100_000 for name in PROJECTS)


@pytest.mark.parametrize("name", PROJECTS)
def test_the_manifests_are_of_these_projects(name: str) -> None:
    for each in json.loads((HERE / f"{name}.json").read_text())["nodes"].values():
        if each.get("compiled") and "test_metadata" not in each and each["resource_type"] != "operation":
            written = (PROJECTS[name] / each["original_file_path"]).read_text().strip()
            assert each["raw_code"].strip() == written, "run: python -m tests.manifest_reader.make --dbt DBT"


def test_the_example_is_the_same_project(shop: Path) -> None:
    """All of dbt's 18 nodes and 14 tests; `customer_tiers` is declared in Python, so dbt does not know it.

    All code versions are equal: even the incremental model's, of whose two renderings the manifest has one, because it is declared as a
    template.
    """
    ours, theirs = by_folder(shop).project, by_manifest(shop).project
    same(ours, theirs)
    assert code(ours) == code(theirs)
    assert {kind: sum(isinstance(each, kind) for each in theirs.nodes.values()) for kind in (Node, Seed)} == {
        Node: 18,
        Seed: 1,
    }
    assert len(theirs.tests) == 14
    assert theirs.notices == ()
    asserting = {test.kind for test in theirs.tests.values() if test.asserts is not None}
    assert sum(test.asserts is not None for test in theirs.tests.values()) == 9
    assert asserting == {"unique", "not_null", "accepted_values"}
    assert sum(test.version == ours.tests[name].version for name, test in theirs.tests.items()) == 7


def test_what_python_declares_comes_on_top(shop: Path) -> None:
    opened = load_project(shop, formats=[MANIFEST])
    assert (len(opened.project.nodes), len(opened.project.tests)) == (19, 17)
    assert opened.project.nodes["customer_tiers"].depends_on == ("customers",)
    assert opened.project.nodes["customer_tiers"].code == load_project(shop).project.nodes["customer_tiers"].code


@pytest.mark.parametrize("readers", [(by_manifest, by_manifest), (by_folder, by_manifest), (by_manifest, by_folder)])
def test_what_one_reader_built_the_other_one_reuses(
    shop: Path, readers: tuple[Callable[[Path], SqlProject], ...]
) -> None:
    first, second = readers[0](shop), readers[1](shop)
    built = run(first)
    assert set(outcomes(built).values()) == {"built: never_built"}
    assert len(built.models) == 17  # the ephemeral one is part of the others
    assert {each.verdict for each in built.tests} == {Verdict.PASS, Verdict.WARN}
    again = run(second)
    assert set(outcomes(again).values()) == {"reused: no_new_data"}
    ran = {each.test.kind for each in again.tests if each.decision.outcome.value == "ran"}
    assert ran <= (OTHERWISE_WRITTEN if readers[0] is not readers[1] else set())


def test_corners_are_the_same_project(corners: Path) -> None:
    """Ephemerals in ephemerals, hooks, operations, versions, files, quoted columns, groups, what is disabled, names and settings of tests.

    One code version differs, which nothing asks for: that of an ephemeral that reads another one, which dbt has put into its SQL.
    """
    ours, theirs = by_folder(corners).project, by_manifest(corners).project
    same(ours, theirs)
    assert [name for name, parts in code(ours).items() if code(theirs)[name] != parts] == ["above"]
    assert "off" not in theirs.nodes
    assert len(theirs.nodes) == 11
    assert len(theirs.tests) == 10
    noted = theirs.nodes["noted"]
    assert noted.hooks[1:] == (
        """insert into main_log.notes values ('noted_here')""",
        """insert into main_log.notes select 'rows: ' || count(*) from "corners"."main_extra"."noted_here\"""",
    )


@pytest.mark.parametrize("readers", [(by_manifest, by_folder), (by_folder, by_manifest)])
def test_corners_are_built_the_same(corners: Path, readers: tuple[Callable[[Path], SqlProject], ...]) -> None:
    def rows(query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(corners / "corners.duckdb")) as connection:
            return connection.execute(query).fetchall()

    assert set(outcomes(run(readers[0](corners))).values()) == {"built: never_built"}
    assert rows("select note from main_log.notes where note like 'rows%' or note like '%ed' order by 1") == [
        ("appended",),
        ("ended",),
        ("rows: 4",),
        ("started",),
    ]
    assert rows("select count(*), sum(id) from main.from_files") == [(2, 2)]
    assert set(outcomes(run(readers[1](corners))).values()) == {"reused: no_new_data"}
    with duckdb.connect(str(corners / "corners.duckdb")) as connection:
        connection.execute("insert into raw.events values (9, 18, timestamp '2027-01-01')")
    assert outcomes(run(readers[0](corners)))["appended"] == "built: new_data"
    assert rows("select count(*), max(id) from main.appended") == [(5, 9)]


def test_what_it_cannot_read_is_named(corners: Path) -> None:
    def changed(name: str, **changes: Any) -> SqlProject:
        manifest = json.loads((HERE / "corners.json").read_text())
        manifest["nodes"][name].update(changes)
        (corners / FILE).write_text(json.dumps(manifest))
        return by_manifest(corners)

    with pytest.raises(ProjectError, match="not everything in it is compiled; run `dbt compile`"):
        changed("model.corners.latest", compiled=False)
    config = {"materialized": "snapshot"}
    history = changed("model.corners.latest", resource_type="snapshot", config=config, unrendered_config=config)
    assert {name: str(error) for name, error in history.project.broken.items()} == {
        "latest": "models/latest.sql: materialized: 'snapshot', where here there are table, view, incremental, ephemeral: only dbt itself does this; install dbt (dbt-core and the adapter) and build the project with it"
    }
    asked = changed("model.corners.latest", depends_on={"nodes": ["function.corners.shout"]})
    assert "latest reads 'shout', which is not there" in str(asked.project.broken["latest"])
