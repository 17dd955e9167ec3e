"""What a `DaskExecutor`'s tasks are called through, in a worker of dask's, which has this package installed."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from erl.executors import calls
from erl.values import parcels

if TYPE_CHECKING:
    from typing import Any

_held: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()
"""What `put` has left, by worker: there can be several in one process."""

_MOST_BYTES = 32_768


class Place:
    """Stands for a scattered object among arguments: dask brings those itself, in this order."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> Any:
        return Place, (self.index,)


class Parcel:
    """An object on its way, pickled here: dask does not look into it, and each worker reads it once."""

    __slots__ = ("_head", "_lock", "_value", "buffers")

    def __init__(self, head: bytes, buffers: list[Any]) -> None:
        self._head = head
        self._lock = threading.Lock()
        self._value: Any = None
        self.buffers = buffers

    def __reduce__(self) -> Any:
        return Parcel, (self._head, self.buffers)

    @classmethod
    def of(cls, value: object, by_value: bool) -> Parcel:
        """`by_value`: with the code that is not installed. Raises what `pickle` raises."""
        buffers: list[Any] = []
        return cls(parcels.pickled(value, buffers.append, by_value), buffers)

    @property
    def size_bytes(self) -> int:
        """How large it is on its way."""
        return len(self._head) + sum(memoryview(each).nbytes for each in self.buffers)

    def read(self) -> Any:
        """A new object each time, to be changed as its owner likes: the parcel may be read again."""
        return pickle.loads(
            self._head, buffers=[bytearray(pickle.PickleBuffer(each).raw()) for each in self.buffers]
        )

    def value(self) -> Any:
        """The same object for all tasks of this worker."""
        with self._lock:
            if self._value is None:
                self._value = [self.read()]
            return self._value[0]


def run(call: Parcel, topic: str, *scattered: Parcel) -> Any:
    """Call it, with the scattered objects in their places."""
    from distributed import get_worker

    worker = get_worker()

    def publish(name: str, message: Any) -> None:
        data = parcels.pickled((name, message))
        if len(data) > _MOST_BYTES:
            raise ValueError(f"a message of {len(data)} bytes: {_MOST_BYTES} is the most")
        worker.log_event(topic, data)

    function, args = call.read()
    ready = tuple(scattered[each.index].value() if type(each) is Place else each for each in args)
    return calls.run_local(calls.Local(_held.setdefault(worker, {}), publish), function, ready)


def kept(value: Parcel) -> Parcel:
    """The same: a result that the scheduler can make again."""
    return value


def hold(key: Any, value: Parcel) -> None:
    """Keep a value in the worker that this task runs in."""
    from distributed import get_worker

    _held.setdefault(get_worker(), {})[key] = value.read()
