"""A headless Chromium, driven over its debugging protocol: open a page, wait for words, click on words, take a picture."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from typing_extensions import Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FIND = """
(() => {{
  const found = [...document.querySelectorAll('a, button, div, span, td, label')].filter(
    each => each.offsetParent !== null && each.innerText && each.innerText.trim() === {text});
  return found.length ? found[found.length - 1] : null;
}})()
"""


def chromium() -> str | None:
    """Return the browser, if one is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page."""

    def __init__(self, width: int = 1500, height: int = 950) -> None:
        self._size = (width, height)
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        width, height = self._size
        self._process = subprocess.Popen(
            [
                str(chromium()), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
                f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}", "--hide-scrollbars",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        until("the browser", lambda: port_file.exists() and "\n" in port_file.read_text())
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as response:
            page = next(each for each in json.load(response) if each["type"] == "page")
        self._socket = self._opened.enter_context(connect(page["webSocketDebuggerUrl"], max_size=None))
        self._number = 0
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        self._process.terminate()
        self._process.wait(20)
        self._profile.cleanup()

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """Return the value of a piece of JavaScript."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """Return the words on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def open(self, url: str, *words: str) -> None:
        """Open a page, and wait for words on it."""
        self._call("Page.navigate", url=url)
        self.wait_for(*words)

    def wait_for(self, *words: str) -> None:
        """Wait until all the words are on the page."""
        self._until(f"{words} on the page", lambda: all(each in self.text() for each in words))

    def _until(self, what: str, holds: Callable[[], object]) -> None:
        try:
            until(what, holds, pause=0.3)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.text()[:3000]}") from None

    def click(self, text: str) -> None:
        """Click on the innermost visible element with exactly this text."""
        find = _FIND.format(text=json.dumps(text))
        self._until(f"{text!r} to click on", lambda: self.evaluate(f"{find} !== null"))
        self.evaluate(f"{find}.click()")

    def picture(self, file: Path, settle: float = 1.5) -> None:
        """Take a picture of the page, once it has come to rest."""
        time.sleep(settle)
        data = self._call("Page.captureScreenshot", format="png")["data"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(data))
