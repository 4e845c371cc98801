"""`python -m example_project.tour`: docs/tutorial.md, told step by step, with its commands run.

It begins anew: what the example has built before is removed. Press Enter to go on, or give `--all` to run through.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from example_project.shop_data import FILE

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs/tutorial.md"
PROGRAMS = {"sao": [sys.executable, "-m", "sao_dagster.cli"], "python": [sys.executable]}


def steps(text: str) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """Yield what is told, and the commands that follow it, each with the lines that it is said to show."""
    told = 0
    for block in re.finditer(r"```console\n(.*?)```", text, flags=re.DOTALL):
        commands: list[tuple[str, list[str]]] = []
        for line in block[1].splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            elif line.strip():
                commands[-1][1].append(line)
        yield text[told : block.start()].strip(), commands
        told = block.end()
    yield text[told:].strip(), []


def arguments(command: str) -> list[str]:
    """Return a command of the tutorial as a process with this Python."""
    program, *rest = shlex.split(command)
    return [*PROGRAMS[program], *rest]


def main() -> int:
    """Tell the tutorial; return 1 where a command could not be run."""
    parser = argparse.ArgumentParser(prog="python -m example_project.tour", description=__doc__)
    parser.add_argument("--all", action="store_true", help="run through, without waiting for Enter")
    runs_through = parser.parse_args().all
    FILE.unlink(missing_ok=True)  # a file that is made anew is another database, of which the state knows nothing
    for told, commands in steps(TUTORIAL.read_text()):
        print("\n" + re.sub(r"```\w*\n", "", told) + "\n")
        for command, _ in commands:
            print(f"$ {command}", flush=True)
            if not runs_through:
                try:
                    input("(Enter) ")
                except EOFError:
                    print("\nnobody is there to press Enter; --all runs through", file=sys.stderr)
                    return 2
                except KeyboardInterrupt:
                    return 0
            if subprocess.run(arguments(command), check=False, cwd=ROOT).returncode not in (0, 1):  # noqa: S603 - of the tutorial
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
