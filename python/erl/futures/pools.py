"""The pool that an executor's tasks go to: one of the node's, or one of its own, started with the first task."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from erl import Atom, errors
from erl.futures.tasks import payload_of
from erl.link import nodes
from erl.link.prints import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from erl.link.conversation import Link
    from erl.link.lanes import Lane
    from erl.link.node import Node

_START_SECONDS = 120.0
_TOLD_SECONDS = 5.0


class InitializerError(errors.WorkerLostError):
    """Raised by `submit` where the pool of an executor's own has not started, as when its initializer fails."""


class Pool:
    """Where tasks go."""

    def __init__(
        self,
        node: Node | None,
        name: str | None,
        workers: int | None,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        most_tasks: int | None,
        is_own: bool,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._node = node
        self._name = name or "default"
        self._workers = workers
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._most_tasks = most_tasks
        self.is_own = is_own
        self._more = dict(options or {})
        self._is_started = False
        self._is_closed = False
        self._broken: BaseException | None = None
        self._lock = threading.RLock()
        self._raw_path: list[str] = []
        self.found: tuple[Link, Lane] | None = None
        """The link, and where tasks wait; None before the first of them, and after the end."""

    @property
    def node(self) -> Node:
        """Its node; started where there is none."""
        if self._node is None:
            with self._lock:
                if self._node is None:
                    self._node = nodes.default()
        return self._node

    @property
    def name(self) -> str:
        """Its name; a pool of its own is started for that."""
        self._start()
        return self._name

    @property
    def size(self) -> int:
        """How many workers it has."""
        if self._workers is not None:
            return self._workers
        if self.is_own:
            return self._default_workers()
        return self.node.link.size_of(self._name)

    def _default_workers(self) -> int:
        from erl.link.sizes import processors

        return processors()

    @property
    def workers(self) -> list[Any]:
        """Their pids."""
        name = self.name
        end = time.monotonic() + _TOLD_SECONDS
        while not (found := self.node.pools.get(name, {}).get("workers")) and time.monotonic() < end:
            time.sleep(0.01)  # the node says it of its own accord, soon
        return list(found or ())

    @property
    def by_value(self) -> bool:
        """Whether code of this program must go by value: the workers have another path."""
        return self.node.path is None

    @property
    def refused(self) -> str | None:
        """Why no code may go by value: another version of Python does not read it. None where it may."""
        found = self.found
        python = None if found is None else found[0].pools.get(self._name, {}).get("python")
        if type(python) is not tuple or python == sys.version_info[:2]:
            return None
        theirs, ours = ".".join(map(str, python)), ".".join(map(str, sys.version_info[:2]))
        return (
            f"this is Python {ours}, and the workers of pool {self._name} run Python {theirs}, which does not read its "
            "code: put the function into a module that is installed for both"
        )

    def path(self) -> list[str] | None:
        """`sys.path`, where it is not what the workers began with any more; else, and where it is not theirs, None."""
        node = self._node
        if node is None or node.path is None:
            return None
        if sys.path == node.raw_path:
            return None
        return nodes.absolute_path()

    def is_at(self, found: tuple[Link, Lane]) -> bool:
        """Whether tasks go there, and need no path of their own."""
        node = self._node
        return (
            found is self.found
            and found[0].down is None
            and node is not None
            and (node.path is None or sys.path == node.raw_path)
        )

    def lane(self, worker: object) -> tuple[Link, Lane]:
        """The link, and where tasks wait, or those of one worker. Raises `errors.NodeError`, `InitializerError`."""
        found = self.found
        if found is None or found[0].down is not None:
            self._start()
            link = self.node.link
            if not self.is_own and self._name not in link.pools:
                known = ", ".join(sorted(link.pools)) or "none"
                raise errors.NodeError(f"the node has no pool {self._name!r}; it has: {known}")
            found = self.found = link, link.lane(self._name)
        return found if worker is None else (found[0], found[0].lane(self._name, worker))

    def _start(self) -> None:
        if not self.is_own or self._is_started:
            return
        with self._lock:
            self._start_own()

    def _start_own(self) -> None:
        if not self._is_started:
            if self._broken is not None:
                raise type(self._broken)(*self._broken.args)
            node = self.node
            link = node.link
            link.check_wait()
            asked = link.request("start_pool", self._options(node, link))
            try:
                name = link.answer(asked, _START_SECONDS)
            except errors.NodeDownError:
                raise
            except errors.BridgeError as error:
                why = self._why_not(str(error))
                self._broken = InitializerError(why)
                if self._initializer is not None:
                    _tell(why)
                raise InitializerError(why) from error
            except BaseException:  # of whoever waits: nobody would have the pool
                link.cancel(asked.link_id)  # type: ignore[attr-defined]
                raise
            self._name = text_of(name)
            link.pools.setdefault(self._name, {"size": self._workers or self._default_workers()})
            self._is_started = True

    def _why_not(self, text: str) -> str:
        _, is_initializer, trace = text.partition("on_start failed:")
        if self._initializer is None:
            return f"the executor's pool has not started: {text}"
        name = getattr(self._initializer, "__qualname__", type(self._initializer).__name__)
        if not is_initializer:
            return f"the executor's pool, with the initializer {name} as on_start, has not started: {text}"
        return f"the initializer {name} failed, so this executor has no worker: mend it, and make a new one{trace}"

    def _options(self, node: Node, link: Link) -> dict[object, object]:
        options: dict[str, Any] = {**self._more, "size": self._workers or self._default_workers()}
        if self._most_tasks is not None:
            options["max_calls"] = self._most_tasks
        if self._initializer is not None:
            payload, _ = payload_of(
                link, self._initializer, self._initargs, {}, self.path(), self.by_value, False
            )
            options["on_start"] = (Atom("erl.calls.tasks"), Atom("initialize"), [(Atom("bytes"), payload)])
        if node.pool_path is not None:
            return nodes.options(options, node.pool_path)
        return {Atom(key): value for key, value in options.items()}

    def is_reader(self) -> bool:
        """Whether this is the thread that reads what the node says."""
        found = self.found
        return found is not None and found[0].is_reader

    def close(self) -> None:
        """End a pool of its own."""
        if not self.is_own:
            return
        with self._lock:
            if not self._is_started:
                return
            self._is_started = False
            self.found = None
            self._broken = errors.NodeError("the executor is shut down")
            self._is_closed = True
        try:
            link = self.node.link
            name = self._name
            stopped = link.request("stop_pool", Atom(name))
            stopped.add_done_callback(lambda _: link.pools.pop(name, None))
        except errors.BridgeError:
            return

    @property
    def broken(self) -> str:
        """Why its own pool has not started; empty where it has, or has not been tried."""
        return str(self._broken) if self._broken is not None and not self._is_closed else ""

    def __repr__(self) -> str:
        own = "a pool of its own" if self.is_own else f"the pool {self._name!r}"
        return own if self._node is None else f"{own} of {self._node!r}"


def _tell(why: str) -> None:
    """Log it where the executors of the standard library do."""
    import logging

    logging.getLogger("concurrent.futures").critical("Exception in initializer: %s", why)
