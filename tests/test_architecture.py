"""Holds the direction of imports, with those inside functions and under TYPE_CHECKING, and that there are no circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import cast

import pytest

from sao_dagster.projects.templates.python_syntax import parsed

PACKAGE = Path(__file__).parents[1] / "sao_dagster"
LEVELS = (  # what stands beside each other does not know each other
    ("version", "errors", "gc_pause", "connection_pool"),
    ("core",),
    ("sql",),
    ("state", "warehouses"),
    ("projects", "run"),
    ("dbt", "known_environments"),
    ("sql_project", "load"),
    ("dagster", "cli", "__init__"),
)
KNOW_EACH_OTHER = {("load", "sql_project"), ("cli", "__init__")}
FOREIGN = {  # what only these parts may import
    "dagster": ("dagster",),
    "duckdb": ("warehouses", "dbt"),
    "dbt": (),
    "dbt_common": (),
    "sqlalchemy": (),  # it takes a third of a second to import
    "psycopg": ("state", "warehouses"),
    "jinja2": ("projects",),
    "yaml": ("projects", "cli", "state"),
    "pydantic": ("projects", "dagster", "warehouses"),
    "typer": ("cli",),
    "rich": ("cli",),
    "sqlglot": ("sql", "warehouses"),
}
PURE = {"time", "os", "pathlib", "io", "socket", "subprocess", "random", "uuid", "threading", "logging", "tempfile"}
IN_DBT = PACKAGE / "dbt/child"  # which dbt's own Python runs, as a package of another name
FILES = sorted(path for path in PACKAGE.rglob("*.py") if IN_DBT not in path.parents)


def part(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def level(name: str) -> int:
    return next(index for index, names in enumerate(LEVELS) if name in names)


@cache
def tree(path: Path) -> ast.Module:
    return cast(ast.Module, parsed(path.read_text(), "exec"))


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, wherever it does; names that are imported from a package may be modules."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            inner = [name for name in modules if name in MODULES]
            yield from inner
            if len(inner) < len(modules):
                yield str(node.module)


def module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def test_imports_run_one_way() -> None:
    for path, name in ((each, name) for each in FILES for name in imports(each)):
        if name.startswith("sao_dagster."):
            own, other = part(path), name.split(".")[1]
            known = other == own or level(other) < level(own) or (own, other) in KNOW_EACH_OTHER
            assert known, f"{path} must not know {name}"


def test_there_are_no_circles() -> None:
    graph = {name: {each for each in imports(path) if each in MODULES} - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_libraries_stay_at_their_edge() -> None:
    for path, name in ((each, name) for each in FILES for name in imports(each)):
        root = name.split(".")[0]
        if root in FOREIGN:
            assert part(path) in FOREIGN[root], f"{path} imports {name}"
        private = name.startswith("dagster._") and path.name != "automation.py"  # the one module that may, and says why
        assert not private, f"{path} imports a private part of Dagster"


def test_the_core_touches_nothing_outside() -> None:
    for path in (path for path in FILES if part(path) == "core"):
        assert not {name.split(".")[0] for name in imports(path)} & PURE, path
        text = path.read_text().replace("datetime.now(timezone.utc))", "")
        assert "datetime.now" not in text, f"{path}: no clock but in doctests"


ENGINES = ("sql/dialects.py", "warehouses/duckdb/", "warehouses/postgres/")  # what may know engines by name


def asks_for_an_engine(node: ast.AST) -> bool:
    """Return whether a node compares the name of a dialect with something, or looks it up in a table of its own."""
    if isinstance(node, ast.Compare):
        compared = [node.left, *node.comparators]
    elif isinstance(node, ast.Match):
        compared = [node.subject]
    elif isinstance(node, ast.Subscript):
        compared = [node.slice]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        compared = [*node.args, node.func.value] if node.func.attr in ("get", "startswith", "endswith") else []
    else:
        return False
    names = {each.id if isinstance(each, ast.Name) else getattr(each, "attr", "") for each in compared}
    return any(name == "dialect" or name.endswith("_dialect") for name in names)


def test_what_an_engine_does_is_data() -> None:
    """Whatever differs between engines is a field of `sql/dialects.py`, whose defaults are the humblest."""
    for path in (path for path in FILES if not str(path.relative_to(PACKAGE)).startswith(ENGINES)):
        lines = [node.lineno for node in ast.walk(tree(path)) if asks_for_an_engine(node)]  # type: ignore[attr-defined]
        assert not lines, f"{path} asks for an engine by name in the lines {lines}; make it a field of `Dialect`"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("dialect == 'duckdb'", True),
        ("'duckdb' != self.project.dialect", True),
        ("block.dialect not in ('duckdb', 'postgres')", True),
        ("dialect in _KEEPS_CASE", True),
        ("WIDTHS[dialect]", True),
        ("WIDTHS.get(dialect, 64)", True),
        ("match dialect:\n    case 'duckdb': pass", True),
        ("dialect.startswith('post')", True),
        ("connection.dialect.name == 'sqlite'", False),
        ("dialect_named(dialect).merges_first == True", False),
    ],
)
def test_questions_for_an_engine_are_noticed(code: str, expected: bool) -> None:
    assert any(map(asks_for_an_engine, ast.walk(ast.parse(code)))) == expected


def test_sql_is_read_in_one_place() -> None:
    """`sql/parsing.py` alone calls sqlglot's parser and tokenizer, since only it knows all that they may raise."""
    read = {("sqlglot", name) for name in ("parse", "parse_one", "tokenize")} | {
        ("sqlglot.dialects.dialect", "Dialect")
    }
    reading = {"sqlglot.parse", "sqlglot.parse_one", "sqlglot.tokenize", "exp.DataType.build"}
    for path in (path for path in FILES if path.relative_to(PACKAGE) != Path("sql/parsing.py")):
        nodes = list(ast.walk(tree(path)))
        froms = (each for each in nodes if isinstance(each, ast.ImportFrom))
        imported = {(each.module, name.name) for each in froms for name in each.names}
        assert not imported & read, f"{path} reads SQL by sqlglot itself"
        assert not {ast.unparse(each.func) for each in nodes if isinstance(each, ast.Call)} & reading, path


def test_there_is_one_way_to_reused() -> None:
    """Only the walk over the rows of the truth table gives a model an outcome, but for a build that failed."""
    from sao_dagster.core.reasons import Outcome
    from sao_dagster.core.truth_table import TRUTH_TABLE, Kind

    makers = {
        (path.name, keyword and ast.unparse(keyword.value))
        for path in FILES
        for call in ast.walk(tree(path))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("Decision", "replace")
        for keyword in ([each for each in call.keywords if each.arg == "outcome"] or [None])
        if keyword or call.func.id == "Decision"
    }
    assert makers == {("decide.py", "row.kind.outcome"), ("plan.py", "Outcome.FAILED")}
    assert {kind for kind in Kind if kind.outcome is Outcome.REUSED} == {Kind.NOTHING, Kind.HELD, Kind.ELSEWHERE}
    assert not any(row.holds(None) for row in TRUTH_TABLE if row.kind is Kind.ELSEWHERE)  # type: ignore[arg-type]


def loaded_by(code: str) -> set[str]:
    """Return the modules that a process of its own has imported after some code."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_the_package_imports_nothing_before_it_is_used() -> None:
    assert not loaded_by("import sao_dagster") & set(FOREIGN)
    assert not loaded_by("from sao_dagster import PostgresWarehouse") & {"dagster", "duckdb", "psycopg"}


@pytest.mark.parametrize(
    ("profile", "others"),
    [
        ("{type: duckdb, path: ':memory:'}", {"dagster", "psycopg"}),
        ("{type: postgres, host: nowhere, user: u, dbname: d, schema: s}", {"dagster", "duckdb", "psycopg"}),
    ],
)
def test_a_project_imports_only_the_warehouse_it_builds_into(tmp_path: Path, profile: str, others: set[str]) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (tmp_path / "profiles.yml").write_text(f"shop: {{target: dev, outputs: {{dev: {profile}}}}}")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.sql").write_text("select 1 as x")
    found = loaded_by(f"from sao_dagster import load_project\nload_project({str(tmp_path)!r}).runner()")
    assert "sao_dagster.run.runner" in found
    assert not found & others


def test_a_session_on_postgres_needs_no_duckdb() -> None:
    assert "duckdb" not in loaded_by("import sao_dagster.warehouses.postgres.session")


def test_every_public_name_is_there() -> None:
    import sao_dagster

    assert dir(sao_dagster) == sorted(sao_dagster.__all__)
    for name in sao_dagster.__all__:
        assert getattr(sao_dagster, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = sao_dagster.Nothing


def test_what_runs_in_dbt_knows_nothing_of_this_package() -> None:
    for path in sorted(IN_DBT.glob("*.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("sao_dagster") for alias in node.names), path
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1 or not str(node.module).startswith("sao_dagster"), path


def test_no_alias_of_a_type_inside_dbt_needs_more_than_python_3_9() -> None:
    """Annotations are not evaluated there, but what is assigned is."""
    assigned = [
        each
        for file in (PACKAGE / "dbt" / "child").glob("*.py")
        for statement in ast.parse(file.read_text()).body
        if isinstance(statement, ast.Assign)
        for each in ast.walk(statement)
    ]
    assert not [each for each in assigned if isinstance(each, ast.BinOp) and ast.unparse(each).endswith("| None")]
