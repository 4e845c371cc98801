"""The connection to whoever started this process: requests come with a number, and each is answered with it, in any order."""

from __future__ import annotations

import pickle
import threading
from multiprocessing.connection import Connection
from typing import Any


class Wire:
    """Requests from the other side, and answers to it; several threads answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def receive(self) -> tuple[int, str, dict[str, Any]]:
        """Return the next request: number, name, arguments.

        Raises:
            EOFError: The other side is gone.
        """
        number, name, arguments = self._connection.recv()
        return number, name, arguments

    def wait(self, seconds: float | None) -> bool:
        """Return whether there is a request within some seconds; None for no limit."""
        return self._connection.poll(seconds)

    def answer(self, number: int, value: Any) -> None:
        """Answer a request."""
        self._send((number, True, value))

    def refuse(self, number: int, error: BaseException) -> None:
        """Answer a request with the words of an error, and the name of its class."""
        self._send((number, False, (type(error).__name__, str(error) or repr(error))))

    def tell(self, name: str, value: Any) -> None:
        """Tell something that was not asked for."""
        self._send((None, name, value))

    def _send(self, message: tuple[Any, ...]) -> None:
        try:
            data = pickle.dumps(message, protocol=4)
        except Exception as error:  # noqa: BLE001 - a value of a class of the user's own; its words have to do
            data = pickle.dumps((message[0], False, (type(error).__name__, f"its answer cannot be sent: {error}")))
        with self._lock:
            self._connection.send_bytes(data)
