"""A node, as a Python program uses it: calls of Erlang, tasks for its pools, its end."""

from __future__ import annotations

import os
import sys

import erl
from erl import errors
from erl.link.prints import text_of

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.link.child import Child
    from erl.link.conversation import Link


class Node:
    """A running node: one that this process has started (`erl.start`), joined (`erl.connect`), or is of (`erl.here`).

    May be used by any thread, not by a process that was forked. With `with` it is stopped at the end.
    """

    def __init__(
        self, link: Link, socket: str, child: Child | None = None, path: list[str] | None = None
    ) -> None:
        self._link = link
        self._child = child
        self.socket = socket
        """The path of the node's socket: others join by `erl.connect(path)`."""
        self.is_own = child is not None
        """Whether this process has started it: then the workers have this process's `sys.path`."""
        self.path = path
        """The `sys.path` that the workers began with, in full; None on a node of others."""
        self.pool_path = path
        """The `sys.path` of pools of this program's own, under its interpreter; None on a node of others."""
        self.raw_path = list(sys.path)
        """`sys.path` as it was then."""
        self.is_stopped = False
        """Whether this process has stopped or left it, rather than lost it."""
        self.turn = 0
        """When it was last made the one that is meant where none is named: later ones have greater numbers."""

    @property
    def link(self) -> Link:
        """The connection, for what is built on it. Raises `errors.NodeError` where it is over."""
        self._link.check()
        return self._link

    @property
    def is_up(self) -> bool:
        """Whether the link is open, in this process."""
        return self._link.down is None and self._link.pid == os.getpid()

    def call(self, m: str, f: str, args: Any = (), timeout: float | None = None) -> Any:
        """Call an Erlang function in a process of its own; text is `bytes` both ways, and an atom is an `erl.Atom`.

        `timeout` is in seconds. Raises `errors.ErlangError` with what it raised, `errors.AnswerTimeoutError`,
        `errors.NodeError` for a node that is gone, `errors.EncodeError` for what can't be sent.
        """
        link = self.link
        link.check_wait()
        return link.answer(link.request("call", erl.Atom(m), erl.Atom(f), list(args)), timeout)

    async def acall(self, m: str, f: str, args: Any = (), timeout: float | None = None) -> Any:
        """The same in a coroutine."""
        import asyncio

        link = self.link
        future = link.request("call", erl.Atom(m), erl.Atom(f), list(args))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout)
        except asyncio.TimeoutError:
            link.cancel(future.link_id)  # type: ignore[attr-defined]
            raise errors.AnswerTimeoutError("the node has not answered in time") from None
        except asyncio.CancelledError:
            link.cancel(future.link_id)  # type: ignore[attr-defined]
            raise

    def cast(self, to: Any, message: Any) -> None:
        """Send a message to a pid or a registered name (an `erl.Atom` or a `str`); nobody says whether it was there."""
        self.link.tell("cast", erl.Atom(to) if isinstance(to, str) else to, message)

    def func(self, target: Any, /, *args: Any, **kw: Any) -> Any:
        """The result of a Python function in a worker of the default pool; `target` may be its dotted name."""
        with self.executor() as executor:
            return executor.submit(target, *args, **kw).result()

    def executor(self, **keywords: Any) -> Any:
        """A `PoolExecutor` on this node; the keywords are its."""
        return erl.futures.PoolExecutor(node=self, **keywords)

    @property
    def pools(self) -> dict[str, dict[str, Any]]:
        """The node's pools by their names: `size`, `workers` (pids), `python` (a version), `sandbox`."""
        self._link.check()
        pools: dict[str, dict[str, Any]] = self._link.pools
        return pools

    def status(self) -> dict[str, Any]:
        """What the node says of itself: `node`, `os_pid`, `version`, `pools` with their workers, and more."""
        link = self.link
        found: dict[str, Any] = _plain(link.answer(link.request("status"), 30))
        return found

    def stop(self) -> None:
        """End a node that this process has started, and all that runs on it; leave one of others.

        What is open fails with `errors.NodeDownError`. Stopping twice is no error.
        """
        if self._link.pid != os.getpid():
            self._link.check()
        self.is_stopped = True
        what = "stopped (node.stop())" if self.is_own else "left (node.stop())"
        self._link.close(f"the node was {what}: start another one, erl.start()")
        if self._child is not None:
            child, self._child = self._child, None
            child.stop()

    def forked(self) -> None:
        """In a child that was forked: leave it to the parent."""
        self._link.forked()
        if self._child is not None:
            self._child.forked()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle 'Node' object: in a task, erl.here() is the node of its worker")

    def __repr__(self) -> str:
        if not self.is_up:
            return f"<erl.Node {self.socket}, which is gone>"
        pools = ", ".join(f"{name} of {pool.get('size', '?')}" for name, pool in self._link.pools.items())
        page = self._link.info.get("page")
        return (
            f"<erl.Node {text_of(self._link.info.get('node'))}, os pid {self._link.info.get('os_pid')}; "
            f"pools: {pools or 'none'}; socket: {self.socket}{f'; page: {text_of(page)}' if page else ''}>"
        )


def _plain(value: Any) -> Any:
    """What the node says, as texts; pids are what they are."""
    if isinstance(value, dict):
        return {str(text_of(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, (bytes, str)):
        return str(text_of(value))
    return value
