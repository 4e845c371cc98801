"""Holds the direction of imports: core <- sql <- projects, warehouses, state <- checks <- runner <- integration, cli."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sao_dagster"
LEVELS = (
    ("version", "errors"),
    ("core",),
    ("sql",),
    ("state", "warehouses"),
    ("checks",),
    ("results", "tasks", "observe", "turns"),
    ("known", "prover"),
    ("run",),
    ("runner",),
    ("projects",),  # a project hands out its runner, which it imports when it is asked for
    ("integration", "cli", "dagster", "__init__"),
)
FOREIGN = {  # what only these parts may import
    "dagster": ("integration", "dagster"),
    "duckdb": ("warehouses",),
    "sqlalchemy": ("state", "cli", "warehouses"),
    "psycopg": ("warehouses",),
    "jinja2": ("projects",),
    "yaml": ("projects", "cli"),
    "pydantic": ("projects", "integration"),
    "typer": ("cli",),
    "rich": ("cli",),
    "sqlglot": ("sql", "warehouses"),
}
PURE = {"time", "os", "pathlib", "io", "socket", "subprocess", "random", "uuid", "threading", "logging", "tempfile"}
FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def level(name: str) -> int:
    return next(index for index, names in enumerate(LEVELS) if name in names)


def imports(path: Path, *, at_top: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in tree.body if at_top else ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield str(node.module)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    own = level(part(path))
    for name in imports(path, at_top=True):
        if name.startswith("sao_dagster."):
            other = name.split(".")[1]
            assert level(other) <= own, f"{path} is below {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_at_their_edge(path: Path) -> None:
    for name in imports(path):
        root = name.split(".")[0]
        if root in FOREIGN:
            assert part(path) in FOREIGN[root], f"{path} imports {name}"
        private = name.startswith("dagster._") and path.name != "automation.py"  # the one module that may, and says why
        assert not private, f"{path} imports a private part of Dagster"


@pytest.mark.parametrize("path", [path for path in FILES if part(path) == "core"], ids=lambda path: path.stem)
def test_the_core_touches_nothing_outside(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path)}
    assert not found & PURE
    assert "datetime.now" not in path.read_text().replace("datetime.now(timezone.utc))", ""), "no clock but in doctests"


def test_there_is_one_way_to_reused() -> None:
    """Only `_reused` of decide.py makes the outcome."""
    makers = [
        (path.name, line)
        for path in FILES
        for line in path.read_text().splitlines()
        if "outcome=Outcome.REUSED" in line
    ]
    assert makers == [
        ("decide.py", "    return Decision(model=model, outcome=Outcome.REUSED, reason=reason, evidence=evidence)")
    ]
