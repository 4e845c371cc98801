"""Takes the pictures of the UI that the documentation shows: `python -m tests.ui.screenshots [FOLDER]`.

Runs `dagster dev` on a copy of the example, lets the evaluator build it, lets an hour pass in the shop, and looks at what the
UI says then. Needs Chromium.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from tests.ui.browser import Browser, chromium
from tests.ui.server import DevServer

FOLDER = Path(__file__).parents[2] / "docs" / "images"


def main(folder: Path = FOLDER) -> None:
    """Take the pictures."""
    if chromium() is None:
        raise SystemExit("there is no Chromium; install one (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as place, DevServer(Path(place)) as server:
        server.start_sensor()

        def rest() -> bool:
            return "are reused" in (server.ticks()[0]["skipReason"] or "") if server.ticks() else False

        server.until("the first build", rest)
        server.shop("add", "--hours", "1")
        server.until("the news", lambda: len([each for each in server.ticks() if each["runIds"]]) == 2)
        server.until("a tick with nothing to do", rest)
        server.launch(**{"sao/mode": "dry-run"})
        server.launch()
        take(server, folder)


def take(server: DevServer, folder: Path) -> None:
    """Look at each page, once it says what it is to show."""
    with Browser() as browser:
        browser.open(f"{server.url}/assets/customers?view=automation", "Not requested")
        first = re.search(r"\w{3} \d+, \d+:\d\d:\d\d\s[AP]M", browser.text())
        assert first is not None
        browser.click(first[0])
        browser.wait_for("at most every 4 h")
        browser.picture(folder / "automation.png")
        browser.open(f"{server.url}/assets/orders", "Row count", "The key.")
        browser.picture(folder / "asset.png")
        browser.open(f"{server.url}/assets/orders?view=checks", "unique_orders_order_id")
        browser.picture(folder / "checks.png")
        browser.open(f"{server.url}/runs", "sao/built")
        browser.picture(folder / "runs.png")
        browser.open(f"{server.url}/assets/shop/savings", "sao/seconds_saved")
        browser.click("Plots")
        browser.picture(folder / "savings.png", settle=4)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
