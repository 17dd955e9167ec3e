"""A task of an executor, from its arguments to what became of it: the link's lanes send it and tell it."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from erl import errors
from erl.futures import functions
from erl.link import answers, protocol
from erl.values import parcels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from erl.futures.future import Future
    from erl.link.conversation import Link
    from erl.link.lanes import Lane

_TAIL_BYTES = 1000
"""Of a frame, beside its payload."""


class Task:
    """One call of a function, in one worker at a time."""

    __slots__ = (
        "_killed",
        "_lane",
        "_link",
        "_over",
        "_route",
        "future",
        "id",
        "memory",
        "opened",
        "payload",
        "retries",
        "sent",
    )

    def __init__(
        self,
        link: Link,
        lane: Lane,
        route: bytes,
        future: Future[Any],
        payload: tuple[bytes, Any],
        retries: int,
        over: Callable[[Future[Any]], object],
        opened: set[Future[Any]] | None = None,
    ) -> None:
        """`over` is told when it is, and takes the future out of `opened`; who has done that tells it of the last."""
        self._link = link
        self._lane = lane
        self._route = route
        self.future = future
        self.payload, self.memory = payload
        self.retries = retries
        self._over = over
        self.opened = opened
        self._killed = False
        self.id = 0
        self.sent = 0.0
        future._task = self
        future._link = link

    @property
    def payload_bytes(self) -> int:
        """How large it is on the wire."""
        return len(self.payload)

    def begin(self) -> bool:
        """See `erl.link.lanes.Task`."""
        if self.future.begin():
            return True
        self._end()
        return False

    def frame(self, id_: int) -> bytes:
        """See `erl.link.lanes.Task`."""
        return protocol.submit(id_, self._route, self.payload)

    def kill(self) -> bool:
        """End it, wherever it is; whether it is not over."""
        if self.future.done():
            return False
        self._killed = True
        if self.id:
            self._link.cancel(self.id)
        return True

    def done(self, is_trusted: bool, frame: bytes) -> None:
        """See `erl.link.lanes.Task`."""
        try:
            answer = answers.Answer(self._link, is_trusted, frame)
        except Exception as error:  # whatever it holds
            self._fail(error)
            return
        if self._killed and answer.is_error:
            self.future.settle_cancelled()
        else:
            self.future.answered(answer)
        self._end()

    def failed(self, reason: Any, text: str) -> None:
        """See `erl.link.lanes.Task`."""
        what = str(reason[0]) if type(reason) is tuple and reason else str(reason)
        if self._killed or what == "cancelled":
            self.future.settle_cancelled()
            self._end()
        elif what == "timeout":
            self._fail(errors.TaskTimeoutError(text))
        elif what == "worker_down":
            if self.retries > 0:
                self.retries -= 1
                self._link.again(self._lane, self)
            else:
                self._fail(errors.WorkerLostError(text))
        else:
            self._fail(errors.NodeError(text))

    def lost(self, error: BaseException) -> None:
        """See `erl.link.lanes.Task`."""
        self._fail(type(error)(*error.args))

    def _fail(self, error: BaseException) -> None:
        self.future.settle(error=error)
        self._end()

    def _end(self) -> None:
        self.future._task = None
        self.memory = None  # and with it the file that the arguments lie in
        self._over(self.future)


def payload_of(
    link: Link,
    function: Any,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    path: list[str] | None,
    by_value: bool,
    may_share: bool = True,
    refused: str | None = None,
) -> tuple[bytes, Any]:
    """What the worker gets, signed, and the shared memory that belongs to it.

    Raises what `pickle` raises, with the argument named that can't be pickled.
    """
    if path is None and functions.is_simple(function, args, keywords, by_value):
        head = pickle.dumps((function, *args, keywords), 5)
        return link.scope.pickles.signed(pickle.dumps((None, head, None, None), 5)), None
    write = link.share_parts if may_share and link.scope.memory is not None else None
    try:
        is_whole = not may_share or refused is not None
        sent, call = (
            (None, (function,)) if is_whole and callable(function) else functions.split(function, by_value)
        )
        parts = (*call, *args, keywords)
        try:
            head, memory, digest = parcels.packed(parts, write, by_value, refused)
        except errors.SharedMemoryError:
            head, memory, digest = parcels.pickled(parts, None, by_value, refused), None, b""
    except Exception as error:
        raise functions.blamed(error, function, args, keywords, by_value) from error
    named = None
    made: Any = None
    if memory is not None:
        made, sizes = memory
        named = (made.name, sizes, digest)
    payload = link.scope.pickles.signed(pickle.dumps((sent, head, named, path), 5))
    if len(payload) + _TAIL_BYTES > link.most_bytes:
        raise errors.SharedMemoryError(
            f"the arguments have {len(payload)} bytes, and there is no room for them in shared memory: "
            f"a message has at most {link.most_bytes}"
        )
    return payload, made
