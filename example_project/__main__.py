"""`python -m example_project`: make the raw data if it is not there, build the shop, and say what to try next."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from example_project import shop_data

HERE = Path(__file__).parent
NEXT = """
Try next ({programs}python -m example_project.tour tells it step by step):
  {programs}sao plan --project-dir {here}
  {programs}python {here}/shop_data.py add --hours 1
  {programs}sao build --project-dir {here}
  {programs}sao explain customers --project-dir {here}
  {programs}dagster dev -w workspace.yaml
"""


def main() -> int:
    """Run the example and return its exit status."""
    if not shop_data.FILE.exists():
        shop_data.main(["create"])
    command = [sys.executable, "-m", "sao_dagster.cli", "build", "--project-dir", str(HERE)]
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command
    print(NEXT.format(here=_from_here(HERE), programs=_programs()))
    return status


def _programs() -> str:
    """Return what comes before the name of a program of this environment: nothing where the shell finds it, else its folder."""
    folder = Path(sys.executable).parent
    found = shutil.which("sao")
    return "" if found is not None and Path(found).parent == folder else f"{_from_here(folder)}/"


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
