"""The pipe between the page's program and the node: what is asked, what is told.

`py_dashboard_server` has the messages.
"""

from __future__ import annotations

import asyncio
import os
import threading
from struct import Struct

from erl.errors import BridgeError
from erl.link import protocol
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO, Final

    Told = Callable[[str, tuple[Any, ...]], None]

VERSION: Final = 1
_LENGTH: Final = Struct(">I")
_ANSWER_SECONDS: Final = 35.0


class AskError(Exception):
    """The node refuses what was asked, and says why."""


class Pipe:
    """Frames from and to the node. With its end this process ends."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._last = 0

    def first(self) -> tuple[Any, ...]:
        """The first message, before anything else is done."""
        message = self._read()
        if message is None:
            os._exit(0)
        return message

    def _read(self) -> tuple[Any, ...] | None:
        head = self._reader.read(4)
        if len(head) < 4:
            return None
        size: int = _LENGTH.unpack(head)[0]
        frame = self._reader.read(size)
        return None if len(frame) < size else plain(protocol.sealed(frame))

    def start(self, loop: asyncio.AbstractEventLoop, told: Told) -> None:
        """Read on in a thread; what comes is told in the loop's."""

        def read() -> None:
            try:
                while (message := self._read()) is not None:
                    loop.call_soon_threadsafe(self._came, message, told)
            except (OSError, BridgeError, RuntimeError):
                pass
            # The node is gone, or stops the page: nothing is left to serve.
            os._exit(0)

        threading.Thread(target=read, name="erl-page-pipe", daemon=True).start()

    def _came(self, message: tuple[Any, ...], told: Told) -> None:
        if message[0] != "answer":
            told(message[0], message[1:])
            return
        _, id_, status, value = message
        future = self._open.pop(id_, None)
        if future is not None and not future.done():
            if status == "ok":
                future.set_result(value)
            else:
                future.set_exception(AskError(value))

    async def ask(self, what: str, argument: object = None) -> Any:
        """The node's answer. Raises `AskError`, also where it does not answer."""
        self._last = self._last % protocol.MOST_IDS + 1
        id_ = self._last
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[id_] = future
        try:
            self.say("ask", id_, Atom(what), argument)
            return await asyncio.wait_for(future, _ANSWER_SECONDS)
        except asyncio.TimeoutError:
            raise AskError("the node does not answer") from None
        finally:
            self._open.pop(id_, None)

    def say(self, kind: str, *elements: object) -> None:
        """Tell the node something. It reads at once whatever it does."""
        view = memoryview(protocol.message(kind, *elements))
        while view:
            view = view[self._writer.write(view) :]


def plain(term: Any) -> Any:
    """A term as JSON has it: text, numbers, lists, dicts; the outermost tuple stays one."""
    if type(term) is tuple:
        return tuple(plain(item) for item in term)
    if type(term) is bytes:
        return term.decode("utf-8", "replace")
    if isinstance(term, str):
        return str(term)
    if isinstance(term, dict):
        return {plain(key): plain(value) for key, value in term.items()}
    if isinstance(term, list):
        return [plain(item) for item in term]
    return term
