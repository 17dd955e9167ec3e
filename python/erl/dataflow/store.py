"""The partitions that a worker keeps: in memory, and what was not used for longest on disk.

A partition is chunks, each a list of items. Where the memory of the worker is bounded, chunks beyond half of it are
written to a file (pickle protocol 5), the least recently used first, and mapped when they are used again. The file
has no name, so it ends with the process. A partition that grows may be larger than the memory, then.

What a driver leaves here is its environment's, by whose key it is dropped. Where the driver dies and the worker lives
on, as in the pool of a node that is shared, nobody says so: so there is a file, the *lease*, that goes with the
driver's link (`erl.shared`), and a thread that looks for it as long as there is anything.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import threading
import time
from collections import OrderedDict

from erl import api, errors
from erl.dataflow import blocks, extents
from erl.terms import Atom
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO, Any, Final

_SEGMENT_BYTES: Final = 256 << 20
_LEAST_CHUNK_BYTES: Final = 256 << 10
_MOST_CHUNK_BYTES: Final = 64 << 20
_LOOK_SECONDS: Final = 1.0

Key = tuple[str, int, int]
"""Of a partition: environment, set, index."""


class _Segment:
    """A file without a name, with chunks."""

    __slots__ = ("file", "live", "size")

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(dir=blocks.spill_directory(), buffering=0)  # noqa: SIM115
        self.size = 0
        self.live = 0


class Chunk:
    """Items that are in memory, on disk, or both."""

    __slots__ = ("_lies", "count", "items", "nbytes")

    def __init__(self, items: list[Any], nbytes: int) -> None:
        self.items: list[Any] | None = items
        self.count = len(items)
        self.nbytes = nbytes
        self._lies: tuple[_Segment, int, tuple[int, ...]] | None = None


class Partition:
    """Chunks, in order."""

    __slots__ = ("chunks", "count", "nbytes")

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.count = 0
        self.nbytes = 0


class Store:
    """What one process keeps. May be used by any thread."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        """Of this process: another one has nothing of what this one has."""
        self._partitions: dict[Key, Partition] = {}
        self._recent: OrderedDict[int, Chunk] = OrderedDict()
        """The chunks in memory, by their ids; the one that was used last is the last."""
        self._lock = threading.RLock()
        self._budget: int | None = None
        self._limit = 0
        self._used = 0
        self._segment: _Segment | None = None
        self._leases: dict[str, str | None] = {}
        """What says that an environment is over, by the environments."""
        self._watch: threading.Thread | None = None
        self.spilled_bytes = 0

    def bind(self, env: str, limit: int | None, lease: str | None) -> None:
        """Say how much memory the process may have, and what says that an environment is over."""
        if limit and self._budget is None:
            self._budget = max(limit // 2 - data_bytes(), limit // 8)
            self._limit = limit
        if env not in self._leases:
            with self._lock:
                if not self._leases:
                    tell_holds(True)
                self._leases[env] = lease
                self._look()

    @property
    def chunk_bytes(self) -> int:
        """How large a chunk is."""
        budget = self._budget
        if budget is None:
            return _MOST_CHUNK_BYTES
        return max(_LEAST_CHUNK_BYTES, min(_MOST_CHUNK_BYTES, budget // 8))

    def has(self, key: Key) -> bool:
        """Whether it is here."""
        return key in self._partitions

    def keep(self, key: Key, batches: Iterable[list[Any]]) -> Partition:
        """Keep what comes, as this partition; it is there when all has come."""
        made = Partition()
        try:
            items: list[Any] = []
            nbytes = 0
            most = self.chunk_bytes
            for batch in batches:
                nbytes += extents.size_of_all(batch)
                items += batch
                if nbytes >= most:
                    self._add(made, items, nbytes)
                    items, nbytes = [], 0
            if items:
                self._add(made, items, nbytes)
        except BaseException:
            self._free(made)
            raise
        with self._lock:
            before = self._partitions.pop(key, None)
            self._partitions[key] = made
            if before is not None:
                self._free(before)
        return made

    def _add(self, partition: Partition, items: list[Any], nbytes: int) -> None:
        chunk = Chunk(items, nbytes)
        with self._lock:
            partition.chunks.append(chunk)
            partition.count += chunk.count
            partition.nbytes += nbytes
            self._recent[id(chunk)] = chunk
            self._used += nbytes
            self._make_room(chunk)

    def _make_room(self, but: Chunk) -> None:
        """Write to disk what was not used for longest."""
        if self._budget is None:
            return
        most = min(self._budget, self._used - self._excess())
        while self._used > most and len(self._recent) > 1:
            number, chunk = next(iter(self._recent.items()))
            if chunk is but:
                self._recent.move_to_end(number)
                number, chunk = next(iter(self._recent.items()))
                if chunk is but:
                    return
            self._recent.pop(number, None)
            if self._spill(chunk):
                self._used -= chunk.nbytes
                chunk.items = None

    def _excess(self) -> int:
        """So much more than three quarters of its memory the process has, whatever has it."""
        if not self._limit:
            return 0
        excess = data_bytes() - self._limit * 3 // 4
        if excess > 0:
            give_back()
            excess = data_bytes() - self._limit * 3 // 4
        return max(0, excess)

    def _spill(self, chunk: Chunk) -> bool:
        """Have it on disk; whether it is there. What can't be pickled stays in memory."""
        if chunk._lies is not None:
            return True
        try:
            head, buffers = blocks.pack(chunk.items)
        except MemoryError:
            raise
        except Exception:
            return False
        segment = self._segment
        if segment is None or segment.size >= _SEGMENT_BYTES:
            segment = self._segment = _Segment()
        offset = blocks.aligned(segment.size)
        try:
            sizes = blocks.put(segment.file, offset, head, buffers)
        except OSError as error:
            raise MemoryError(
                f"partitions that don't fit into memory go to {blocks.spill_directory()}, and there is no room: "
                f"{error.strerror} (TMPDIR names another directory)"
            ) from None
        total = sum(sizes)
        segment.size = offset + total + 64 * len(sizes)
        segment.live += 1
        self.spilled_bytes += total
        chunk._lies = segment, offset, sizes
        return True

    def batches(self, key: Key) -> Iterator[list[Any]]:
        """The items of a partition, a chunk at a time; they are not to be changed. Raises `KeyError`."""
        partition = self._partitions[key]
        for chunk in partition.chunks:
            yield self._items(chunk)

    def chunk(self, key: Key, number: int) -> tuple[int, list[Any]]:
        """How many chunks there are, and the items of this one."""
        chunks = self._partitions[key].chunks
        return len(chunks), self._items(chunks[number]) if number < len(chunks) else []

    def _items(self, chunk: Chunk) -> list[Any]:
        with self._lock:
            items = chunk.items
            if items is not None:
                if id(chunk) in self._recent:
                    self._recent.move_to_end(id(chunk))
                return items
            assert chunk._lies is not None
            segment, offset, sizes = chunk._lies
            self._used += chunk.nbytes
            self._recent[id(chunk)] = chunk
            self._make_room(chunk)
            found: list[Any] = blocks.unpacked(segment.file, offset, sizes)
            chunk.items = found
            return found

    def _free(self, partition: Partition) -> None:
        with self._lock:
            for chunk in partition.chunks:
                self._recent.pop(id(chunk), None)
                if chunk.items is not None:
                    self._used -= chunk.nbytes
                    chunk.items = None
                if chunk._lies is not None:
                    segment = chunk._lies[0]
                    segment.live -= 1
                    if not segment.live and (segment is not self._segment or segment.size >= _SEGMENT_BYTES):
                        segment.file.close()
                        if segment is self._segment:
                            self._segment = None

    def drop(self, keys: Iterable[Key]) -> None:
        """Free these partitions, those of them that are here."""
        for key in keys:
            with self._lock:
                partition = self._partitions.pop(key, None)
                if partition is not None:
                    self._free(partition)

    def drop_environment(self, env: str) -> None:
        """Free all that is an environment's."""
        self.drop([key for key in list(self._partitions) if key[0] == env])
        with self._lock:
            if self._leases.pop(env, "") != "" and not self._leases:
                tell_holds(False)
            if not self._partitions and self._segment is not None:
                self._segment.file.close()
                self._segment = None

    def _look(self) -> None:
        """Look from now on whether drivers are still there."""
        if any(self._leases.values()) and self._watch is None:
            self._watch = threading.Thread(target=self._watched, name="erl-dataflow-leases", daemon=True)
            self._watch.start()

    def _watched(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            for env, lease in list(self._leases.items()):
                if lease is not None and not os.path.exists(lease):
                    self.drop_environment(env)
            with self._lock:
                if not any(self._leases.values()):
                    self._watch = None
                    return

    def figures(self) -> dict[str, int]:
        """How much there is."""
        with self._lock:
            return {
                "partitions": len(self._partitions),
                "bytes_in_memory": self._used,
                "spilled_bytes": self.spilled_bytes,
            }


def tell_holds(holds: bool) -> None:
    """Have this worker not be replaced for the calls that it has had, or the memory that it has (`py_draining`)."""
    if current().bridge is not None:
        with contextlib.suppress(errors.BridgeError):
            api.cast(api.self(), (Atom("$py.holds"), holds))


def data_bytes() -> int:
    """What this process has of that which `max_memory` bounds (proc(5), `statm`: data and stack)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def give_back() -> None:
    """Have the C library give back what it keeps of freed memory."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def own_limit() -> int | None:
    """What the memory of this process is bound to (`max_memory`, RLIMIT_DATA), None where it is not."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if limit in (resource.RLIM_INFINITY, -1) else limit


store = Store()
"""Of this process."""
os.register_at_fork(after_in_child=store.__init__)  # type: ignore[misc]
