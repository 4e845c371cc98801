"""`python -m example_project`: make the raw data if it is not there, build the shop, and say what to try next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from example_project import shop_data

HERE = Path(__file__).parent
NEXT = """
Try next (python -m example_project.tour tells it step by step):
  sao plan --project-dir {here}
  python {here}/shop_data.py add --hours 1
  sao build --project-dir {here}
  sao explain customers --project-dir {here}
  dagster dev -w workspace.yaml
"""


def main() -> int:
    """Run the example and return its exit status."""
    if not shop_data.FILE.exists():
        shop_data.main(["create"])
    command = [sys.executable, "-m", "sao_dagster.cli", "build", "--project-dir", str(HERE)]
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command
    here = HERE.relative_to(Path.cwd()) if HERE.is_relative_to(Path.cwd()) else HERE
    print(NEXT.format(here=here))
    return status


if __name__ == "__main__":
    sys.exit(main())
