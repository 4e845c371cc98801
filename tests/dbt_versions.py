"""The scenarios of `tests/dbt` with each version of dbt that is supported, one after the other, each in an environment of its own.

    python -m tests.dbt_versions [--environments DIR] [VERSION...] [-- arguments of pytest]

An environment that is there (`DIR/dbt-1.8` and so on, `.dbt-versions` by default) is taken as it is. It prints a table: version, what is installed, and what came of the tests.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

VERSIONS = ("1.8", "1.9", "1.10", "1.11", "1.12")


def environment(place: Path, version: str) -> Path:
    """Return the Python of an environment with a version of dbt, which is made where it is not there."""
    folder = place / f"dbt-{version}"
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        packages = [f"dbt-core~={version}.0", "dbt-duckdb", "dbt-postgres"]
        subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "-q", *packages], check=True)
    return folder / "bin/python"


def installed(python: Path) -> str:
    """Return the versions of dbt and its adapters in an environment."""
    [packages] = python.parents[1].glob("lib/python*/site-packages")
    found = (re.fullmatch(r"dbt_(core|duckdb|postgres)-(.*)\.dist-info", each.name) for each in packages.iterdir())
    return ", ".join(sorted(f"{each[1]} {each[2]}" for each in found if each))


def main() -> int:
    """Try the versions that are asked for; return 1 where a test has failed."""
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    parser.add_argument("--environments", type=Path, default=Path(".dbt-versions"))
    options = parser.parse_args(given[:end])
    rows = []
    for version in options.versions:
        python = environment(options.environments.absolute(), version)
        command = [sys.executable, "-m", "pytest", "-m", "slow", "tests/dbt", *given[end + 1 :]]
        done = subprocess.run(
            command, env={**os.environ, "SAO_TEST_DBT": str(python)}, stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout, flush=True)
        rows.append((version, installed(python), done.stdout.strip().splitlines()[-1], done.returncode))
    for version, packages, said, status in rows:
        print(f"{version:5} {packages:50} {'passed' if status == 0 else 'FAILED'}: {said.strip('= ')}")
    return int(any(status for *_, status in rows))


if __name__ == "__main__":
    sys.exit(main())
