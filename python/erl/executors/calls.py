"""What an executor's tasks are called through, in the worker: what stands for an object becomes that object.

A message that a task publishes is a line among what it prints, which the driver takes out: so it comes at once, in
order, and before the task's result.
"""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar

from erl import errors, shared
from erl.values import parcels
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

MARK: Final = "\x00erl.publish\x00"
"""What a published message begins with, among what a task prints; a newline ends it."""

_MOST_BYTES: Final = 32_768
_MOST_VERSIONS: Final = 2
_MOST_OBJECTS: Final = 100

_held: dict[Any, Any] = {}
"""What `put` has left in this worker."""

_scattered: dict[str, dict[int, Any]] = {}
"""Versions of scattered objects that this worker has read."""

_files: dict[str, str | None] = {}
"""Where the last one of each lies, oldest first; None: it came with its task."""

_local: ContextVar[Any] = ContextVar("erl.executors.local", default=None)
"""Of a task in the driver's own process: what is held for its worker, and who publishes."""


class Local:
    """What a task finds that runs in the driver's own process."""

    __slots__ = ("held", "publish")

    def __init__(self, held: dict[Any, Any], publish: Callable[[str, Any], object]) -> None:
        self.held = held
        self.publish = publish


class Scattered:
    """Stands for one version of a scattered object on its way to a worker."""

    __slots__ = ("digest", "head", "key", "name", "sizes", "version")

    def __init__(
        self, key: str, version: int, head: bytes, name: str | None, sizes: tuple[int, ...], digest: bytes
    ) -> None:
        self.key = key
        self.version = version
        self.head = head
        self.name = name
        self.sizes = sizes
        self.digest = digest

    def __reduce__(self) -> Any:
        return Scattered, (self.key, self.version, self.head, self.name, self.sizes, self.digest)

    def value(self) -> Any:
        """The object, read once by each worker."""
        versions = _scattered.setdefault(self.key, {})
        if self.version not in versions:
            _forget_unused()
            _files[self.key] = None if self.name is None else shared.path_of(self.name)
            versions[self.version] = self._read()
            for version in sorted(versions)[:-_MOST_VERSIONS]:
                versions.pop(version, None)
        return versions[self.version]

    def _read(self) -> Any:
        if self.name is None:
            import pickle

            return pickle.loads(self.head)
        return parcels.unpacked(
            self.head, shared.path_of(self.name), self.sizes, self.digest, current().memory
        )


def _forget_unused() -> None:
    """Let go of objects that the driver has given up, whose files are gone, and of the oldest where there are many."""
    for key, path in list(_files.items()):
        if path is not None and not os.path.exists(path):
            forget([key])
    forget(list(_files)[:-_MOST_OBJECTS])


def call(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call it, with objects in the places of what stands for them."""
    return function(*[each.value() if type(each) is Scattered else each for each in args])


def hold(key: Any, value: Any) -> None:
    """Keep a value in this worker, for `get`; None for a key that is not needed any more is a value as well."""
    _held[key] = value


def forget(keys: list[str]) -> None:
    """Give up scattered objects. One that a task names all the same is read again."""
    for key in keys:
        _scattered.pop(key, None)
        _files.pop(key, None)


def get(key: Any) -> Any:
    """What `Executor.put` has left in the worker that this task runs in. Raises `KeyError`."""
    local = _local.get()
    return (_held if local is None else local.held)[key]


def publish(topic: str, message: Any) -> None:
    """Send a message from a task to who has subscribed to its topic in the driver.

    Raises `ValueError` for one of more than 32 KiB, `errors.NodeError` where this is no task.
    """
    local = _local.get()
    if local is not None:
        local.publish(topic, message)
        return
    scope = current()
    if scope.bridge is None:
        raise errors.NodeError("this is no task of an executor: nobody has subscribed")
    import base64

    data = scope.pickles.signed(parcels.pickled((topic, message)))
    if len(data) > _MOST_BYTES:
        raise ValueError(f"a message of {len(data)} bytes: {_MOST_BYTES} is the most")
    sys.stdout.flush()
    sys.stdout.write(f"{MARK}{base64.b64encode(data).decode()}\n")
    sys.stdout.flush()


def run_local(local: Local, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call it in the driver's own process, as a task of this worker."""
    token = _local.set(local)
    try:
        return call(function, args)
    finally:
        _local.reset(token)
