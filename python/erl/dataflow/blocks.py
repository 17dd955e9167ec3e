"""Blocks: items on their way from one partition to others, in shared memory, and on disk where there is no room there.

A block is a pickle and the large parts of its items (pickle protocol 5). What is small goes with the message. The
blocks that one task leaves are one file: in the directory of shared memory, under the name of the driver's maker
(`erl.shared`), so it goes with the driver's link, whoever dies; or, where that is full, a file without a name, which
is found by the descriptor of the worker that has written it, and goes with that one. In the driver's own process a
block is the list of its items.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from mmap import ACCESS_COPY, ALLOCATIONGRANULARITY, mmap

from erl import errors
from erl.dataflow import extents
from erl.values import parcels

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from typing import IO, Any, Final

SMALL_BYTES: Final = 4096
"""What is smaller goes with the message."""
OUT_OF_BAND_BYTES: Final = 16384
MAPPED_BYTES: Final = 4 << 20
"""What is smaller is copied: a map costs a descriptor and faults of pages."""
_SHARE: Final = 0.75
"""Of the driver's part of shared memory; the rest is for arguments and results."""

_LOOK_BYTES: Final = 16 << 20
"""So many bytes are written before it is looked again how much room there is, and the file's name says them."""

VALUE, FILE, DISK, HERE = "value", "file", "disk", "here"


class BlockGoneError(BaseException):
    """Raised where a block is to be read that is not there any more. No `Exception`: functions let it through."""


class Block:
    """Where items lie. `kind` says what `where` is: their pickle, a path, or the list itself.

    `nbytes` are those of the block, `held` those of the items in memory, nearly.
    """

    __slots__ = ("count", "held", "kind", "nbytes", "offset", "sizes", "where")

    def __init__(
        self,
        kind: str,
        where: Any,
        offset: int,
        sizes: tuple[int, ...],
        nbytes: int,
        count: int,
        held: int,
    ) -> None:
        self.kind = kind
        self.where = where
        self.offset = offset
        self.sizes = sizes
        self.nbytes = nbytes
        self.count = count
        self.held = held

    def __reduce__(self) -> Any:
        return Block, (
            self.kind,
            self.where,
            self.offset,
            self.sizes,
            self.nbytes,
            self.count,
            self.held,
        )

    def read(self) -> list[Any]:
        """Its items. Raises `BlockGoneError`."""
        if self.kind == HERE:
            items: list[Any] = self.where
            return items
        if self.kind == VALUE:
            return list(pickle.loads(self.where))
        try:
            with open(self.where, "rb", buffering=0) as file:
                return list(unpacked(file, self.offset, self.sizes))
        except FileNotFoundError:
            raise BlockGoneError(str(self.where)) from None


def pack(value: object) -> tuple[bytes, list[memoryview]]:
    """Its pickle, and the parts of it that are large. Raises what `pickle` raises."""
    found: list[Any] = []
    head = parcels.pickled(value, found.append, in_band=_is_small)
    return head, [each.raw() for each in found]


def _is_small(buffer: Any) -> bool:
    return bool(buffer.raw().nbytes < OUT_OF_BAND_BYTES)


def aligned(size: int) -> int:
    """Where the next block may begin: at a page."""
    return -(-size // ALLOCATIONGRANULARITY) * ALLOCATIONGRANULARITY


def put(file: IO[bytes], offset: int, head: bytes, buffers: list[memoryview]) -> tuple[int, ...]:
    """Write one, at a place in a file; the sizes of its parts. Raises `OSError`."""
    sizes = (len(head), *(each.nbytes for each in buffers))
    file.seek(offset)
    at = offset
    for place, part in zip(parcels.starts(sizes), (memoryview(head), *buffers), strict=True):
        if offset + place != at:
            file.seek(offset + place)
        view = part.cast("B") if part.nbytes else part
        done = 0
        while done < view.nbytes:
            done += file.write(view[done : done + (1 << 30)])
        at = offset + place + view.nbytes
    return sizes


def unpacked(file: IO[bytes], offset: int, sizes: tuple[int, ...]) -> Any:
    """What lies at a place in a file; a copy that may be changed."""
    total = parcels.starts(sizes)[-1] + sizes[-1]
    view = _seen(file, offset, total)
    parts = [view[start : start + size] for start, size in zip(parcels.starts(sizes), sizes, strict=True)]
    return pickle.loads(parts[0], buffers=parts[1:])


def _seen(file: IO[bytes], offset: int, total: int) -> memoryview:
    if total >= MAPPED_BYTES:
        with contextlib.suppress(OSError, ValueError):
            return memoryview(mmap(file.fileno(), total, access=ACCESS_COPY, offset=offset))
    copy = memoryview(bytearray(total))
    done = 0
    while done < total:
        count = os.preadv(file.fileno(), [copy[done:]], offset + done)
        if not count:
            raise BlockGoneError("a file of blocks is shorter than it was")
        done += count
    return copy


class Place:
    """Where the files of a driver's blocks are made."""

    __slots__ = ("directory", "maker", "most_bytes")

    def __init__(self, directory: str, maker: str, most_bytes: int) -> None:
        self.directory = directory
        self.maker = maker
        self.most_bytes = most_bytes

    def __reduce__(self) -> Any:
        return Place, (self.directory, self.maker, self.most_bytes)

    def used(self) -> int:
        """The bytes of all files there, as their names say."""
        try:
            names = os.listdir(self.directory)
        except OSError:
            return self.most_bytes
        sizes = (name.rpartition("-")[2] for name in names)
        return sum(int(size) for size in sizes if size.isdecimal())

    def path(self, number: int, size: int) -> str:
        """Of the file with this number."""
        return f"{self.directory}/{self.maker}-{number}-{max(1, size)}"

    def forget(self, numbers: Container[int]) -> None:
        """Delete the files with these numbers, whatever their sizes are."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self.directory):
                maker, _, rest = name.partition("-")
                number = rest.partition("-")[0]
                if maker == self.maker and number.isdecimal() and int(number) in numbers:
                    with contextlib.suppress(OSError):
                        os.unlink(f"{self.directory}/{name}")


def spill_directory() -> str:
    """Where files without a name are made: on a disk, where the system has one that is meant for that."""
    for path in (os.environ.get("TMPDIR"), "/var/tmp", "/tmp"):
        if path and os.access(path, os.W_OK | os.X_OK):
            return path
    return tempfile.gettempdir()


_disks: dict[int, Any] = {}
"""The files without a name that this process has written blocks to, by the numbers of their tasks."""


def forget_disks(numbers: Any) -> None:
    """Close files without a name."""
    for number in numbers:
        file = _disks.pop(number, None)
        if file is not None:
            file.close()


class Writer:
    """Writes the blocks of one task; with `close` they can be read."""

    def __init__(self, place: Place | None, number: int, is_local: bool) -> None:
        self._place = place
        self._number = number
        self._is_local = is_local
        self._file: IO[bytes] | None = None
        self._path = ""
        self._size = 0
        self._named = 0
        self._left = 0
        self._disk_size = 0
        self._blocks: list[Block] = []
        self.moved_bytes = 0

    def add(self, items: list[Any], nbytes: int) -> Block:
        """A block of these items."""
        if self._is_local:
            return Block(HERE, items, 0, (), nbytes, len(items), nbytes)
        head, buffers = pack(items)
        total = len(head) + sum(each.nbytes for each in buffers)
        self.moved_bytes += total
        if self._place is None or (not buffers and total < SMALL_BYTES):
            data = parcels.pickled(items) if buffers else head
            return Block(VALUE, data, 0, (), total, len(items), nbytes)
        block = self._in_memory(head, buffers, total) or self._on_disk(head, buffers, total)
        block.count, block.held = len(items), nbytes
        return block

    def _in_memory(self, head: bytes, buffers: list[memoryview], total: int) -> Block | None:
        """In shared memory; None where there is no room."""
        place = self._place
        assert place is not None
        if not self._has_room(place, total):
            return None
        offset = aligned(self._size)
        try:
            if self._file is None:
                self._path = place.path(self._number, 1)
                self._file = open(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b", 0)  # noqa: SIM115
            sizes = put(self._file, offset, head, buffers)
        except OSError:
            return None
        self._size = offset + parcels.starts(sizes)[-1] + sizes[-1]
        if self._size > self._named + _LOOK_BYTES:
            self._name()
        block = Block(FILE, "", offset, sizes, total, 0, 0)
        self._blocks.append(block)
        return block

    def _has_room(self, place: Place, total: int) -> bool:
        """Whether there is room in shared memory; looked at now and then."""
        if self._left < total:
            if self._file is not None:
                self._name()
            free = int(place.most_bytes * _SHARE) - place.used()
            if free < total:
                self._left = 0
                return False
            self._left = max(total, min(free, _LOOK_BYTES))
        self._left -= total
        return True

    def _name(self) -> None:
        """A file's name says how large it is, as what is in use is counted by the names."""
        assert self._place is not None
        self._named = self._size
        path = self._place.path(self._number, self._size)
        os.rename(self._path, path)
        self._path = path

    def _on_disk(self, head: bytes, buffers: list[memoryview], total: int) -> Block:
        file = _disks.get(self._number)
        try:
            if file is None:
                file = _disks[self._number] = tempfile.TemporaryFile(dir=spill_directory(), buffering=0)  # noqa: SIM115
            offset = aligned(self._disk_size)
            sizes = put(file, offset, head, buffers)
        except OSError as error:
            raise errors.SharedMemoryError(
                f"no room for {total} bytes between two steps, neither in shared memory nor on disk: {error.strerror}"
            ) from None
        self._disk_size = offset + parcels.starts(sizes)[-1] + sizes[-1]
        return Block(DISK, f"/proc/{os.getpid()}/fd/{file.fileno()}", offset, sizes, total, 0, 0)

    def close(self) -> None:
        """Have the blocks be found by the name that their file has now."""
        if self._file is not None:
            self._file.close()
            self._name()
            os.chmod(self._path, 0o400)
        for block in self._blocks:
            block.where = self._path

    def give_up(self) -> None:
        """Delete what was written."""
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        forget_disks([self._number])


class Shelf:
    """Items that a task puts aside for itself, in a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(dir=spill_directory(), buffering=0)  # noqa: SIM115
        self._size = 0

    def put(self, items: list[Any]) -> tuple[int, tuple[int, ...]]:
        """Put them there; what `take` wants. Raises `OSError`."""
        head, buffers = pack(items)
        offset = self._size
        sizes = put(self._file, offset, head, buffers)
        self._size = aligned(offset + parcels.starts(sizes)[-1] + sizes[-1])
        return offset, sizes

    def take(self, lies: tuple[int, tuple[int, ...]]) -> list[Any]:
        """Read them."""
        return list(unpacked(self._file, *lies))

    def close(self) -> None:
        """Let go of all."""
        self._file.close()


def persisted(path: str, batches: Iterable[list[Any]], most_bytes: int) -> tuple[list[Block], int]:
    """The blocks of a partition in a file with a name, which is there when all of them are, and how many items they
    have.

    Raises `OSError`.
    """
    made: list[Block] = []
    items: list[Any] = []
    nbytes = offset = 0
    part = f"{path}.part-{os.getpid()}"
    try:
        with open(part, "xb", buffering=0) as file:

            def write() -> None:
                nonlocal offset
                head, buffers = pack(items)
                sizes = put(file, offset, head, buffers)
                total = parcels.starts(sizes)[-1] + sizes[-1]
                made.append(Block(FILE, path, offset, sizes, sum(sizes), len(items), nbytes))
                offset = aligned(offset + total)

            for batch in batches:
                items += batch
                nbytes += extents.size_of_all(batch)
                if nbytes >= most_bytes:
                    write()
                    items, nbytes = [], 0
            if items:
                write()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    return made, sum(block.count for block in made)
