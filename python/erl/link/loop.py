"""A link of the role `front`, in an event loop: encoded calls of one service's replicas, and nothing else.

Calls of one turn of the loop are written together. What the node answers is told to whoever has asked, at once, or to a
future; who cancels that says so to `cancel`, too.
"""

from __future__ import annotations

import asyncio
import sys

from erl import errors
from erl.link import paths, protocol
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Protocol

    class Asker(Protocol):
        """Who has asked, and is told what came of it: one of the two, once."""

        def came(self, value: Any) -> None:
            """It is this."""

        def failed(self, error: FailedError | RaisedError) -> None:
            """It is none."""


_HELLO_SECONDS: Final = 10.0
_ENDS: Final = frozenset(("done", "failed", "unread"))
"""With these a call is over."""


class FailedError(errors.BridgeError):
    """Raised where the bridge failed: `reason` is its first word, `text` what it says."""

    def __init__(self, reason: str, detail: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.detail = detail


class RaisedError(errors.BridgeError):
    """Raised where the function of the replica raised: `name` is the exception's class."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class _Future:
    """An asker that somebody awaits."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future

    def came(self, value: Any) -> None:
        if not self.future.done():
            self.future.set_result(value)

    def failed(self, error: FailedError | RaisedError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class LoopLink(asyncio.Protocol):
    """One connection to a node. `ended` is called once, with why it is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[str], object]) -> None:
        self._loop = loop
        self._ended: Callable[[str], object] | None = ended
        self._protocol = protocol.Protocol()
        self._calls: dict[int, Asker] = {}
        self._out: list[bytes] = []
        self._next = 0
        self._transport: Any = None
        self.opened: asyncio.Future[Any] = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        """Say hello."""
        self._transport = transport
        info: dict[str, object] = {"role": Atom("front"), "python": tuple(sys.version_info[:2])}
        transport.write(protocol.hello(info))

    def data_received(self, data: bytes) -> None:
        """Answers: each to whoever has asked."""
        try:
            for frame in self._protocol.frames(data):
                done = protocol.done_bytes(frame)
                if done is None:
                    event = self._protocol.event(frame)
                    if event:
                        self._told(event)
                else:
                    asker = self._calls.pop(done[0], None)
                    if asker is not None:
                        asker.came(done[1])
        except errors.BridgeError as error:
            self._over(str(error))
            self._transport.abort()

    def _told(self, event: Any) -> None:
        kind = event[0]
        if kind in _ENDS:
            asker = self._calls.pop(event[1], None)
            if asker is None:
                return
            if kind == "done":
                self._answered(asker, event)
            elif kind == "failed":
                asker.failed(FailedError(*_reason(event[2]), _text(event[3])))
            else:
                asker.failed(FailedError("protocol", "", str(event[2])))
        elif kind == "hello":
            self.opened.set_result(event[2])
        elif kind == "refused":
            self._over(f"the node has refused the link: {_text(event[2])}")

    @staticmethod
    def _answered(asker: Asker, event: Any) -> None:
        try:
            is_result, value = protocol.answer(event[3], event[2] == "trusted")
        except errors.BridgeError as error:
            asker.failed(FailedError("protocol", "", str(error)))
            return
        if is_result:
            asker.came(value)
        elif type(value) is tuple and len(value) == 4 and value[0] == "python":
            asker.failed(RaisedError(_text(value[1]), _text(value[2])))
        else:
            asker.failed(FailedError(*_reason(value), "the bridge failed in the replica"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is answered any more."""
        self._over("the node is gone")

    def _over(self, why: str) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        failed = FailedError("link", "", why)
        if not self.opened.done():
            self.opened.set_exception(failed)
        calls, self._calls = self._calls, {}
        for asker in calls.values():
            asker.failed(failed)
        ended(why)

    def ask(self, calls: protocol.Calls, asker: Asker, *payload: bytes) -> int:
        """Have a function of a replica called with these bytes: the call's number. What it comes to is told later."""
        if self._ended is None:
            self._loop.call_soon(asker.failed, FailedError("link", "", "the node is gone"))
            return 0
        self._next = id_ = self._next % protocol.MOST_IDS + 1
        self._calls[id_] = asker
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(calls.frame(id_, *payload))
        return id_

    def call(self, calls: protocol.Calls, payload: bytes) -> tuple[int, asyncio.Future[Any]]:
        """The same with a future for what it comes to."""
        future: asyncio.Future[Any] = self._loop.create_future()
        return self.ask(calls, _Future(future), payload), future

    def cancel(self, id_: int) -> None:
        """Nobody wants this call's answer, or any more of its stream; nobody is told of it any more."""
        if self._ended is None:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(protocol.message("cancel", id_))

    def _flush(self) -> None:
        out, self._out = self._out, []
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))


async def connected(path: str, ended: Callable[[str], object]) -> LoopLink:
    """A link to the node that listens at this path. Raises `errors.BridgeError`."""
    paths.check(path)
    loop = asyncio.get_running_loop()
    try:
        _, link = await loop.create_unix_connection(lambda: LoopLink(loop, ended), path)
        await asyncio.wait_for(asyncio.shield(link.opened), _HELLO_SECONDS)
    except (OSError, asyncio.TimeoutError) as error:
        raise errors.NodeError(f"no link to {path}: {str(error) or 'no hello came'}") from error
    return link


def _reason(value: Any) -> tuple[str, str]:
    """The first word of a reason, and the first of what stands beside it."""
    if type(value) is tuple and len(value) > 1:
        first, second = value[0], value[1]
        return str(first), str(second[0] if type(second) is tuple and second else second)
    return str(value), ""


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "".join(map(chr, value)) if isinstance(value, list) else str(value)
