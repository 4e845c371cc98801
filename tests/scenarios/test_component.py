"""The component: `defs.yaml` with policies as plain keys, state that saves reading the folder, and the scaffolder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sao_dagster import load, load_project
from sao_dagster.core.records import Verdict
from sao_dagster.dagster import SaoProjectComponent
from sao_dagster.dagster.scaffolder import SaoProjectScaffolder, ScaffoldParams
from sao_dagster.load import restore_project
from tests.deployment import Deployment, write_shop
from tests.world import World

PYPROJECT = """
[project]
name = "location"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "location"
"""
GUIDE = (Path(__file__).parents[2] / "docs/dagster.md").read_text()
FULL = next(each for part in GUIDE.split("```yaml\n") if (each := part.split("```")[0]).startswith("type: "))


@pytest.fixture
def shop(world: World) -> World:
    return write_shop(world)


def located(shop: World, text: str, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """Write a code location beside the shop, and load it as `dg` does."""
    folder = shop.root.parent / "code" / "location" / "defs" / "shop"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "defs.yaml").write_text(text)
    return load_location(folder.parent, monkeypatch)


def load_location(defs: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """Return the deployment of a folder of definitions, which is `<root>/location/defs`."""
    root = defs.parents[1]
    (root / "pyproject.toml").write_text(PYPROJECT)
    for each in (root / "location", root / "location" / "defs"):
        (each / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(root))
    for name in [each for each in sys.modules if each.split(".")[0] == "location"]:
        monkeypatch.delitem(sys.modules, name)
    return Deployment(dg.load_from_defs_folder(path_within_project=defs))


def test_everything_can_be_said_in_yaml(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed = located(shop, FULL.replace("{{ project_root }}/shop", "../../../../shop"), monkeypatch)
    specs = {each.key.to_user_string(): each for each in deployed.defs.resolve_all_asset_specs()}
    assert {"dwh/orders", "dwh/customers", "dwh/report", "dwh/raw/orders"} <= set(specs)
    report = specs["dwh/report"]
    assert report.metadata["sao/policy"] == "at most every 4 h, when all inputs have news, news may wait 30 min"
    assert specs["dwh/customers"].freshness_policy is not None
    assert specs["dwh/orders"].freshness_policy is None
    assert report.tags["layer"] == "report"
    assert {dep.asset_key.to_user_string() for dep in report.deps} == {"dwh/orders", "dwh/customers"}
    repository = deployed.repository
    sensor = repository.get_sensor_def("shop_evaluator")
    assert (sensor.minimum_interval_seconds, sensor.default_status.value) == (60, "RUNNING")
    schedule = repository.get_schedule_def("nightly")
    assert schedule.cron_schedule == "0 2 * * *"
    assert repository.get_job("everything").tags["sao/mode"] == "full-refresh"
    assert {key.name for key in repository.asset_graph.asset_check_keys} == {"data_tests"}
    assert deployed.run().success


def test_a_minimal_component_is_enough(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "type: sao_dagster.dagster.SaoProjectComponent\nattributes: {project: ../../../../shop}\n"
    deployed = located(shop, text, monkeypatch)
    assert deployed.repository.has_sensor_def("shop_evaluator")
    assert deployed.run().success


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("{project: ../../../../shop, polices: []}", "polices"),
        (
            "{project: ../../../../shop, policies: [{select: report, build_after: {count: 4}}]}",
            "count and period come together",
        ),
        ("{project: ../../../../shop, policies: [{select: reprot, max_age: 1h}]}", "reprot"),
        ("{project: ../../../../shop, policies: [{select: report, max_age: soon}]}", "policies"),
        ("{project: ../../../../nowhere}", "/nowhere does not exist; say where dbt_project.yml is"),
    ],
)
def test_mistakes_are_named(shop: World, monkeypatch: pytest.MonkeyPatch, attributes: str, message: str) -> None:
    text = f"type: sao_dagster.dagster.SaoProjectComponent\nattributes: {attributes}\n"
    with pytest.raises(Exception) as raised:  # noqa: PT011 - Dagster wraps it; the words are what counts
        located(shop, text, monkeypatch)
    error: BaseException | None = raised.value
    words = []
    while error is not None:
        words.append(str(error))
        error = error.__cause__
    assert any(message in each for each in words), words


def test_the_state_saves_reading_the_folder(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    component = SaoProjectComponent(project=str(shop.root))
    file = shop.root.parent / "state"
    component.write_state_to_path(file)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the folder is read")

    monkeypatch.setattr("sao_dagster.projects.dbt_folder.folder.OpenedFolder.read", refuse)
    restored = restore_project(file, shop.root)
    assert restored is not None
    assert set(restored.project.nodes) == {"orders", "customers", "report"}
    defs = component.build_defs_from_state(None, file)  # type: ignore[arg-type]
    assert Deployment(defs).run().success
    monkeypatch.undo()
    assert load_project(shop.root).runner().plan(restored_selection(restored))[0].to_build == ()


def restored_selection(restored: Any) -> Any:
    from sao_dagster import select

    return select(restored.project)


def test_state_of_another_place_version_or_environment_is_not_used(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write("models/core/orders.sql", "select '{{ env_var('REGION', 'eu') }}' as region, 1 as id, 1 as amount")
    file = shop.root.parent / "state"
    load_project(shop.root).save(file)
    assert restore_project(file, shop.root) is not None
    assert restore_project(file, shop.root, target="other") is None
    monkeypatch.setenv("REGION", "us")
    assert restore_project(file, shop.root) is None, "a template read it"
    monkeypatch.undo()
    monkeypatch.setattr(load, "MADE_BY", "another version")
    assert restore_project(file, shop.root) is None
    monkeypatch.undo()
    file.write_bytes(b"not a pickle")
    assert restore_project(file, shop.root) is None


def test_the_saved_project_has_no_credentials(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write(
        "profiles.yml",
        "shop: {target: dev, outputs: {dev: {type: duckdb, path: \"{{ env_var('DB_FILE') }}\", settings: "
        "{custom_user_agent: \"{{ env_var('DB_SECRET') }}\"}}}}",
    )
    monkeypatch.setenv("DB_FILE", "shop.duckdb")
    monkeypatch.setenv("DB_SECRET", "swordfish-31")
    file = shop.root.parent / "state"
    load_project(shop.root).save(file)
    assert b"swordfish-31" not in file.read_bytes()


def scaffold(tmp_path: Path, **params: str) -> str:
    target = tmp_path / "code" / "defs" / "shop"
    target.mkdir(parents=True)
    request = dg.ScaffoldRequest(
        type_name="sao_dagster.dagster.SaoProjectComponent",
        target_path=target,
        scaffold_format="yaml",
        project_root=tmp_path / "code",
        params=ScaffoldParams(**params),
    )
    SaoProjectScaffolder().scaffold(request)
    return (target / "defs.yaml").read_text()


def test_the_scaffolder_makes_a_project_that_builds(tmp_path: Path) -> None:
    assert "{{ project_root }}/../numbers" in scaffold(tmp_path, init=str(tmp_path / "numbers"))
    project = load_project(tmp_path / "numbers")
    from sao_dagster import select

    result = project.runner().run(select(project.project))
    assert result.succeeded
    assert result.summary()["built"] == 2
    assert {each.verdict for each in result.tests} == {Verdict.PASS}


def test_the_scaffolder_takes_a_project_that_is_there(shop: World, tmp_path: Path) -> None:
    assert "shop" in scaffold(tmp_path / "a", project_path=str(shop.root))
    for wrong in ({"project_path": str(tmp_path)}, {}, {"init": str(shop.root)}):
        with pytest.raises(ValueError, match=r"dbt_project.yml|--project-path|not empty"):
            scaffold(tmp_path / f"b{len(wrong)}{len(str(wrong))}", **wrong)


def test_a_translation_sees_what_dbts_manifest_would_say(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
type: sao_dagster.dagster.SaoProjectComponent
attributes:
  project: ../../../../shop
  translation:
    group_name: "{{ node.source_name if node.resource_type == 'source' else node.fqn[1] }}"
    tags: {as: "{{ node.config.materialized if node.resource_type == 'model' else 'none' }}", called: "{{ node.name }}", id: "{{ node.unique_id }}"}
"""
    specs = {
        each.key.to_user_string(): each for each in located(shop, text, monkeypatch).defs.resolve_all_asset_specs()
    }
    assert {name: specs[name].group_name for name in ("orders", "report", "raw/orders")} == {
        "orders": "core",
        "report": "reports",
        "raw/orders": "raw",
    }
    assert (
        specs["customers"].tags.items() >= {"as": "view", "called": "customers", "id": "model.shop.customers"}.items()
    )
    assert specs["raw/orders"].tags.items() >= {"called": "orders", "id": "source.shop.raw.orders"}.items()


def test_a_component_leaves_sources_to_the_assets_and_components_beside_it(
    shop: World, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A source that an asset of the location makes is that asset; one that two projects read is observed once."""
    crm = World(tmp_path_factory.mktemp("crm"))
    crm.write("dbt_project.yml", "name: crm\nprofile: crm\n")
    crm.write("profiles.yml", "crm: {target: dev, outputs: {dev: {type: duckdb, path: crm.duckdb}}}\n")
    crm.write("models/sources.yml", "sources: [{name: raw, tables: [{name: orders}, {name: customers}]}]")
    crm.model("people", "select 1 as id from {{ source('raw', 'customers') }}")
    defs = shop.root.parent / "code" / "location" / "defs"
    (defs / "crm").mkdir(parents=True)
    component = "type: sao_dagster.dagster.SaoProjectComponent\nattributes: {project: %s}\n"
    (defs / "crm" / "defs.yaml").write_text(component % crm.root)
    (defs / "loader.py").write_text(
        "import dagster as dg\n\n\n@dg.asset(key=['raw', 'orders'])\ndef loader():\n    pass\n"
    )
    deployed = located(shop, component % shop.root, monkeypatch)
    graph = deployed.repository.asset_graph
    orders, customers = (graph.get(dg.AssetKey(["raw", name])) for name in ("orders", "customers"))
    assert orders.is_materializable
    assert {key.name for key in orders.check_keys} == {"source_not_null_raw_orders_id"}
    assert customers.is_observable
    assert {key.to_user_string() for key in customers.child_keys} == {"customers", "people"}
    assert deployed.run(["raw/orders", "orders", "customers", "report"]).success


@pytest.mark.parametrize("names", ["abc", "acb", "cba"])
def test_components_that_read_one_another_load_in_any_order(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, names: str
) -> None:
    """The first of three projects makes the source of the second, and that of the third; each is read once."""
    defs = world.root.parent / "code" / "location" / "defs"
    for number, name in enumerate(names):
        read, made = f"t{number}", f"t{number + 1}"
        project = World(tmp_path_factory.mktemp(name))
        project.write("dbt_project.yml", f"name: {name}\nprofile: p\n")
        project.write("profiles.yml", "p: {target: dev, outputs: {dev: {type: duckdb, path: db.duckdb}}}\n")
        meta = f"{{dagster: {{asset_key: [raw, {read}]}}}}"
        project.write("models/sources.yml", f"sources: [{{name: raw, tables: [{{name: {read}, meta: {meta}}}]}}]")
        project.model(
            f"m{number}",
            f"{{{{ config(meta={{'dagster': {{'asset_key': ['raw', '{made}']}}}}) }}}} select 1 as id from {{{{ source('raw', '{read}') }}}}",
        )
        (defs / name).mkdir(parents=True)
        (defs / name / "defs.yaml").write_text(
            f"type: sao_dagster.dagster.SaoProjectComponent\nattributes: {{project: {project.root}}}\n"
        )
    opened: list[Path] = []
    monkeypatch.setattr(
        "sao_dagster.dagster.component.load_project",
        lambda root, **given: opened.append(root) or load_project(root, **given),  # type: ignore[func-returns-value]
    )
    graph = load_location(defs, monkeypatch).repository.asset_graph
    assert {key.to_user_string() for key in graph.materializable_asset_keys} == {"raw/t1", "raw/t2", "raw/t3"}
    assert {key.to_user_string() for key in graph.observable_asset_keys} == {"raw/t0"}
    assert len(opened) == 3
