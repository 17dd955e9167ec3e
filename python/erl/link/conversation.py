"""A link to a node: calls and tasks that are open, what becomes of each event. It knows nothing of processes."""

from __future__ import annotations

import os
import sys
from collections import deque
from itertools import count

from erl import codec, errors, shared
from erl.link import lanes, prints, protocol
from erl.link.channel import Channel
from erl.link.waiting import Future, Gate
from erl.terms import Atom
from erl.values import steps
from erl.values.scope import Place, Scope

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any, Final

    from erl.link.lanes import Lane, Task
    from erl.link.protocol import Event

_HELLO_SECONDS: Final = 30.0
_OPEN_TASKS: Final = 1024
_SPARE: Final = 16
"""Threads that ask at the same time may all find the last place free."""
_PACKET_BYTES: Final = 64 << 20
_LARGE_BYTES: Final = 1 << 14


class Link:
    """One connection. May be used by any thread.

    `info` is what the node has said in `hello`. `on_end` is called once, with why, after everything open has failed.
    """

    def __init__(
        self, connection: socket.socket, role: str = "driver", token: bytes | None = None, log: bool = False
    ) -> None:
        self.scope = Scope()
        self.info: dict[str, Any] = {}
        self.pools: dict[str, dict[str, Any]] = {}
        self.threads: dict[str, int] = {}
        """The threads of workers, where whoever started the pool knows it."""
        self.down: BaseException | None = None
        """Why it is over; None while it is not."""
        self.down_told: Callable[[], str] | None = None
        """Tells how the node has ended."""
        self.pid = os.getpid()
        self._role = role
        self._calls: dict[int, Future[Any]] = {}
        self._late: deque[bytes] = deque()
        """Requests that wait for room."""
        self._most_open = _OPEN_TASKS
        self._lanes: dict[Any, Lane] = {}
        self._numbers = count(1)
        self._greeted = Gate()
        self._refused = ""
        self._entered = False
        self.ended = Gate()
        self._channel = Channel(connection, self._handle, self._end, self._feed, self._intake)
        self._kinds = {
            "done": self._done,
            "failed": self._failed,
            "result": self._result,
            "raised": self._raised,
            "unread": self._unread,
            "print": lambda event: prints.show(event[1]),
            "log": lambda event: prints.log(*event[1:]),
            "pools": lambda event: self._use_pools(event[1]),
            "hello": self._hello,
            "refused": self._refuse,
            "dropped": _ignore,
            "begun": _ignore,
        }
        hello: dict[str, object] = {
            "role": Atom(role),
            "os_pid": os.getpid(),
            "python": sys.version_info[:2],
        }
        if token is not None:
            hello["token"] = token
        if log:
            hello["log"] = True
        self._channel.start()
        self._channel.send(protocol.hello(hello))
        self._await_hello()

    def _await_hello(self) -> None:
        try:
            if not self._greeted.wait(_HELLO_SECONDS):
                raise errors.NodeError(
                    "the node has not answered in time: is it a gateway that listens there?"
                )
            if self._refused:
                raise errors.NodeError(self._refused)
            if self.down is not None:
                raise errors.NodeError(f"the node has ended the link: {self.down}")
        except BaseException:
            self.close("the link was not opened")
            raise

    # What is sent

    def check(self) -> None:
        """Raises `errors.NodeError` where the link is over, or belongs to the process that this one was forked from."""
        if self.pid != os.getpid():
            raise errors.NodeError(
                "this process was forked from the one that has the link to the node, which can't be shared: "
                "start or connect here, erl.start() or erl.connect()"
            )
        if self.down is not None:
            raise type(self.down)(*self.down.args)

    def number(self) -> int:
        """An id that no open request has."""
        while True:
            id_ = next(self._numbers)
            if id_ <= protocol.MOST_IDS:
                return id_
            self._numbers = count(1)

    def request(self, kind: str, *elements: object) -> Future[Any]:
        """Ask the node something that it answers: the future of its answer."""
        self.check()
        future: Future[Any] = Future()
        id_ = self.number()
        frame = self.encoded(kind, id_, *elements)
        future.check_wait = self.check_wait
        future.link_id = id_  # type: ignore[attr-defined]
        self._calls[id_] = future
        if self._late or not self._has_room():
            self._late.append(frame)
            self._feed()
        else:
            self._channel.send(frame)
        if self.down is not None and self._calls.pop(id_, None) is not None:
            self.check()
        return future

    def _has_room(self) -> bool:
        """Whether the node takes another request: what is beyond that waits here."""
        count = len(self._calls) - len(self._late)
        for lane in list(self._lanes.values()):
            count += len(lane.open)
        return count < self._most_open

    def answer(self, future: Future[Any], timeout: float | None = None) -> Any:
        """Wait for an answer. Raises `errors.AnswerTimeoutError`, and what the request failed with."""
        from concurrent.futures import TimeoutError as LateError

        self.check_wait()
        try:
            return future.result(timeout)
        except LateError:
            if future.done():
                raise
            self.cancel(future.link_id)  # type: ignore[attr-defined]
            raise errors.AnswerTimeoutError("the node has not answered in time") from None

    @property
    def is_reader(self) -> bool:
        """Whether this is the thread that reads."""
        return self._channel.is_reader

    def check_wait(self) -> None:
        """Raises `errors.NodeError` in the thread that reads, which would wait for itself."""
        if self.pid != os.getpid():
            self.check()
        if self._channel.is_reader:
            raise errors.NodeError(
                "a callback of a future runs in the thread that reads what the node says, and must not wait for it: "
                "wait in a thread of your own"
            )

    def encoded(self, kind: str, *elements: object) -> bytes:
        """A message as a frame. Raises `errors.EncodeError`."""
        frame: bytes = self.scope.context().run(protocol.message, kind, *elements)
        if len(frame) - 4 > self.most_bytes:
            raise errors.EncodeError(
                f"a message of {len(frame) - 4} bytes: the node takes {self.most_bytes} at the most"
            )
        return frame

    def tell(self, kind: str, *elements: object) -> None:
        """Tell the node something that it does not answer."""
        self.check()
        self._channel.send(self.encoded(kind, *elements))

    def cancel(self, id_: int) -> None:
        """Have an open task or call end; it is answered all the same."""
        if self.down is None:
            self._channel.send(protocol.message("cancel", id_))

    @property
    def most_bytes(self) -> int:
        """Of a frame."""
        return int(self.info.get("packet_bytes", _PACKET_BYTES))

    # Tasks

    def lane(self, pool: str, worker: object = None) -> Lane:
        """Where the tasks of a pool, or those of one worker, wait."""
        key = pool if worker is None else worker
        found = self._lanes.get(key)
        if found is None:
            size = self.width_of(pool) if worker is None else self.threads_of(pool)
            found = lanes.Lane(size, self._most_open, self.number, self._channel.adding, self._has_room)
            if codec.Sender is not None:
                found.sender = codec.Sender(
                    found,
                    self._channel.out,
                    self._lanes,
                    self._calls,
                    self._late,
                    self._most_open,
                    self.number,
                    protocol.TASK,
                )
            found = self._lanes.setdefault(key, found)
        return found

    def size_of(self, pool: str) -> int:
        """How many workers a pool has."""
        return int(self.pools.get(pool, {}).get("size", 1))

    def threads_of(self, pool: str) -> int:
        """How many calls a worker of a pool runs at once."""
        known = self.pools.get(pool, {}).get("threads", self.threads.get(pool, 1))
        return known if type(known) is int and known > 0 else 1

    def width_of(self, pool: str) -> int:
        """How many calls a pool runs at once."""
        return self.size_of(pool) * self.threads_of(pool)

    def submit(self, lane: Lane, task: Task, then: steps.Step) -> None:
        """Send a task, now or later, and do this in the step that takes it. It is told what became of it by the reader.

        Where the workers have enough to do it is written with others, by the reader, when the next answer comes.
        """
        lane.put(task, then)
        if lane.feed() and (not lane.is_busy or task.payload_bytes > _LARGE_BYTES):
            self._channel.flush()
        if self.down is not None:
            self._lose(lane, self.down)

    def submit_now(
        self, lane: Lane, task: Task, future: object, route: bytes, payload: bytes, opened: set[Any]
    ) -> bool:
        """Send a common task, if it need not wait: whether it was. The same step has its future among `opened`."""
        if not lane.sender.send(task, future, route, payload, opened):
            return False
        if not lane.is_busy:
            self._channel.flush()
        if self.down is not None:
            self._lose(lane, self.down)
        return True

    @staticmethod
    def _lose(lane: Lane, why: BaseException) -> None:
        for task in lane.close():
            _tell(task.lost, why)

    def again(self, lane: Lane, task: Task) -> None:
        """Send a task once more, before those that wait."""
        lane.put_first(task)
        if lane.feed():
            self._channel.flush()
        if self.down is not None:
            self._lose(lane, self.down)

    def _feed(self) -> None:
        while self._late and self._has_room():
            try:
                self._channel.send(self._late.popleft())
            except IndexError:
                break
        for lane in list(self._lanes.values()):
            if lane.waiting:
                lane.feed()
        self._channel.flush()

    def share_parts(self, parts: list[memoryview]) -> Any:
        """Put parts of a task into shared memory: what has it, and their sizes. Raises `errors.SharedMemoryError`."""
        return self.scope.context().run(shared.share_parts, parts)

    def release(self, name: str) -> None:
        """Have a file deleted that a result has brought. May be said anywhere, in a finalizer, too."""
        if self.down is None and self.pid == os.getpid():
            self._channel.send(protocol.message("release", [name]))

    # What comes, in the reader's thread

    def _intake(self, event: Callable[[bytes], Event]) -> Any:
        return None if codec.Intake is None else codec.Intake(self._lanes, event, _log)

    def _handle(self, event: Event) -> None:
        if not self._entered:
            self._entered = True
            self.scope.enter()
        self._kinds[event[0]](event)

    def _taken(self, id_: int) -> Task | None:
        for lane in self._lanes.values():
            task = lane.answered(id_)
            if task is not None:
                return task
        return None

    def _done(self, event: Event) -> None:
        task = self._taken(event[1])
        if task is not None:
            _tell(task.done, event[2] == "trusted", event[3])

    def _failed(self, event: Event) -> None:
        _, id_, reason, text = event
        text = prints.text_of(text)
        task = self._taken(id_)
        if task is not None:
            _tell(task.failed, reason, text)
        else:
            self._settle(id_, None, errors.NodeError(text))

    def _result(self, event: Event) -> None:
        self._settle(event[1], event[2], None)

    def _raised(self, event: Event) -> None:
        _, id_, class_, reason, stack = event
        self._settle(id_, None, errors.ErlangError(class_, reason, stack))

    def _unread(self, event: Event) -> None:
        _, id_, error = event
        task = self._taken(id_)
        if task is not None:
            _tell(task.failed, Atom("unread"), f"what the node says of the task can't be read: {error}")
        else:
            self._settle(id_, None, error)

    def _settle(self, id_: int, value: object, error: BaseException | None) -> None:
        future = self._calls.pop(id_, None)
        if future is None:
            return
        future.settle(value, error)

    def _hello(self, event: Event) -> None:
        _, version, info = event
        if version != protocol.VERSION:
            self._refused = (
                f"the node speaks version {version} of the link, this package version {protocol.VERSION}: "
                "install the one that belongs to the node"
            )
        else:
            self.info = {str(key): value for key, value in info.items()}
            self._most_open = max(2, int(self.info.get("open_tasks", _OPEN_TASKS)) - _SPARE)
            self._use_pools(self.info.get("pools"))
            if type(key := self.info.get("key")) is bytes:
                self.scope.pickles.set_key(key, self.info.get("former_keys", ()))
            if isinstance(place := self.info.get("shared"), dict):
                self.scope.memory = Place.told(place)
        self._greeted.open()

    def _refuse(self, event: Event) -> None:
        self._refused = prints.text_of(event[2])
        self._greeted.open()

    def _use_pools(self, pools: Any) -> None:
        if not isinstance(pools, dict):
            return
        self.pools = {
            str(name): {str(key): value for key, value in pool.items()} for name, pool in pools.items()
        }
        for name, lane in list(self._lanes.items()):
            if type(name) is str:
                lane.resize(self.width_of(name))
        alive = {worker for pool in self.pools.values() for worker in pool.get("workers", ())}
        for key, lane in list(self._lanes.items()):
            if not (lane.open or lane.waiting) and key not in (self.pools if type(key) is str else alive):
                self._lanes.pop(key, None)

    def _end(self, why: str) -> None:
        if self._refused:
            why = f"the node has ended the link: {self._refused}"
        told = self.down_told
        text = why if told is None or not why.startswith("the node is gone") else f"{why}{told()}"
        self.down = errors.NodeDownError(text)
        self._greeted.open()
        for lane in list(self._lanes.values()):
            self._lose(lane, self.down)
        while self._calls:
            try:
                _, future = self._calls.popitem()
            except KeyError:
                break
            future.settle(error=errors.NodeDownError(text))
        self.ended.open()

    # The end

    def close(self, why: str) -> None:
        """End it: everything open fails with an `errors.NodeDownError` that says why."""
        self._channel.close(why)

    def forked(self) -> None:
        """In a child that was forked: let go of what is the parent's."""
        self._channel.forked()


def _tell(what: Callable[..., object], *arguments: object) -> None:
    """Tell a task something. What it raises, or a callback of its future, is no reason not to read on."""
    try:
        what(*arguments)
    except BaseException:
        _log()


def _log() -> None:
    import logging

    logging.getLogger("erl.link").exception("an error where a task was told of its end")


def _ignore(_event: Event) -> None:
    """What is of no interest any more."""
