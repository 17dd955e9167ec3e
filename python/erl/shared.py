"""Arrays and bytes in shared memory: files that every worker of the node maps, known to Erlang by a small term.

The term is ``{'$py.shm', {Node, Name, {Offset, Bytes}, Form}}``; `Form` is the atom ``bytes`` or ``{Dtype, Shape}``.
The file `Name` lies in a directory of the application's. Its name is who made it (eight random bytes, drawn for each
interpreter), a number, and its size: what is in use is the sum of what the names say, of the files and of what is
mapped after its release (`erl.values.marks`), so that no count can be left wrong by a process that was killed. Who is
about to make a file makes it first and adds up then, so two at the same time may both be refused and never both be let
through.

A file belongs to this process until its term has been sent, then to Erlang, which deletes it with its owner
(`py_shared_owner`). A map of it lives until nothing refers to it any more, also when the file is deleted. A file that
nobody may write has no permission to be written; the others are written by whom it pleases, in whatever order.
"""

from __future__ import annotations

import os
import sys
from _operator import setitem  # `operator` and `weakref` cost a worker's start more than all the rest here
from _weakref import ref
from io import FileIO
from mmap import MAP_SHARED, PROT_READ, PROT_WRITE, mmap

from erl import errors
from erl.terms import Atom
from erl.values import marks, steps
from erl.values.scope import Place, current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final
    from weakref import WeakValueDictionary

MARKER: Final = "$py.shm"
LEAST_BYTES: Final = 65536
"""What is smaller than this goes by value, unless it was shared by `share` or `zeros`."""

_NAME: Final = r"[0-9a-f]{16}-[0-9]{1,15}-[1-9][0-9]{0,17}"
_READ_ONLY: Final = 0o400
_WRITABLE: Final = 0o600
_MOST_AT_ONCE: Final = 1 << 30
_OPEN_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""A link is not followed and a pipe not waited for: files of ours are neither."""
_NO_FILE_KEPT: Final[dict[str, Any]] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


def _place() -> Place | None:
    place: Place | None = current().memory
    return place


def set_place(settings: dict[str, Any] | None) -> None:
    """Say where the files lie; None: this interpreter has no part in them."""
    current().memory = Place.told(settings)


def is_open() -> bool:
    """Whether this interpreter can share anything."""
    return current().memory is not None


class _Deletion(ref["Memory"]):
    """Deletes a file with the object that stands for it: in compiled code alone, so that no handler enters there."""

    __slots__ = ("__fspath__",)

    __fspath__: Callable[[], str]


_unsent: dict[str, _Deletion] = {}
"""What deletes the files that are this process's, by their names."""
os.register_at_fork(after_in_child=_unsent.clear)


class Memory:
    """A file of shared memory. It is deleted with this object as long as it is this process's."""

    __slots__ = ("__weakref__", "_map", "name", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self._map: ref[Map] | None = None
        _known()[self.name] = self

    def make(self) -> FileIO:
        """The file, which is new and this process's."""
        for name, deletion in list(_unsent.items()):
            if deletion() is None:
                _unsent.pop(name, None)
        made: list[FileIO] = []
        deletion = _Deletion(self, os.unlink)  # which asks it for the path
        deletion.__fspath__ = self.path.__str__
        noted = steps.each(setitem, _unsent, self.name, deletion)
        try:
            steps.at_once(steps.together(noted, map(made.append, map(FileIO, (self.path,), ("xb+",)))))
        except BaseException:
            if not made:
                _unsent.pop(self.name, None)
            raise
        return made[0]

    def map(self) -> Map:
        """The file, mapped; once, however many ask. Raises `FileNotFoundError` where it is gone."""
        found = None if self._map is None else self._map()
        if found is None:
            found = _mapped(self)
            self._map = ref(found)
        return found

    @property
    def is_mapped(self) -> bool:
        """Whether it is mapped already."""
        return self._map is not None and self._map() is not None

    def handing_over(self) -> steps.Step:
        """A step: the file is Erlang's from now on."""
        return steps.each(_unsent.pop, self.name, None)


_memories: dict[str, WeakValueDictionary[str, Memory]] = {}


def _known() -> WeakValueDictionary[str, Memory]:
    """The files that somebody has here, by their names."""
    found = _memories.get("by name")
    if found is None:
        from weakref import WeakValueDictionary

        found = _memories.setdefault("by name", WeakValueDictionary())
    return found


class Map(mmap):
    """A file of shared memory where this process sees it."""

    memory: Memory
    hold: marks.Hold | None


def _mapped(memory: Memory) -> Map:
    place = _place()
    try:
        hold = None if place is None else marks.mark(place, memory.name)
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise errors.SharedMemoryError(
            f"no room to note that shared memory is mapped: {cause.strerror}"
        ) from None
    fd = os.open(memory.path, os.O_RDONLY | _OPEN_FLAGS)
    try:
        status = os.fstat(fd)
        protection = PROT_READ
        if status.st_mode & 0o200:
            os.close(fd)
            fd = os.open(memory.path, os.O_RDWR | _OPEN_FLAGS)
            protection |= PROT_WRITE
        made = Map(fd, status.st_size, MAP_SHARED, protection, **_NO_FILE_KEPT)
    finally:
        os.close(fd)
    made.memory = memory
    made.hold = hold
    return made


# What user code calls


class Shared:
    """An array or bytes in shared memory. Goes to Erlang as its term, whatever the options of the call."""

    __slots__ = ("_form", "_memory", "nbytes")

    def __init__(self, memory: Memory, nbytes: int, form: object) -> None:
        self._memory = memory
        self._form = form
        self.nbytes = nbytes

    @property
    def value(self) -> Any:
        """The array, or a `memoryview` of the bytes. Raises `errors.StaleReferenceError` where Erlang has freed it."""
        try:
            return _seen(self._memory.map(), 0, self.nbytes, self._form)
        except FileNotFoundError:
            raise _stale() from None

    @property
    def name(self) -> str:
        """The file's name."""
        return self._memory.name

    def term(self) -> tuple[object, object]:
        """What stands for it in Erlang."""
        return _term(self._memory, 0, self.nbytes, self._form)

    def __reduce__(self) -> str:
        raise TypeError("shared memory is not pickled: send its value, or the object itself to Erlang")

    def __repr__(self) -> str:
        return f"<{self.nbytes} bytes of shared memory>"


def share(value: Any) -> Shared:
    """Copy an array or a bytes-like object into shared memory. Nobody can write it there.

    Raises `TypeError` for another value and for an array of objects or with a mask, `errors.SharedMemoryError`
    where there is no room.
    """
    if type(value) is Shared:
        return value
    form, nbytes = _form_of(value), size_of(value)
    if form is None:
        raise TypeError(
            "only an array without objects and masks, or a bytes-like object in one piece, can be shared: "
            f"{type(value)}"
        )
    return Shared(_copied(value, nbytes), nbytes, form)


def share_parts(parts: Sequence[memoryview]) -> tuple[Shared, tuple[int, ...]]:
    """Copy these parts, one behind the other, into one file, and their sizes; see `erl.values.parcels` for the places.

    Raises `errors.SharedMemoryError` where there is no room.
    """
    sizes = tuple(part.nbytes for part in parts)
    from erl.values import parcels  # whoever has parts has it: a worker that has none starts without `pickle`

    places = parcels.starts(sizes)
    nbytes = places[-1] + sizes[-1]
    memory, file = _created(nbytes, content_follows=True)
    try:
        fd = file.fileno()
        for place, part in zip(places, parts, strict=True):
            position = 0
            while position < part.nbytes:
                position += os.pwrite(fd, part[position : position + _MOST_AT_ONCE], place + position)
        os.ftruncate(fd, max(1, nbytes))  # the last part may be empty
        os.fchmod(fd, _READ_ONLY)
    except OSError as cause:
        raise _no_room(nbytes, cause) from None
    finally:
        file.close()
    return Shared(memory, nbytes, Atom("bytes")), sizes


def path_of(name: str) -> str:
    """Where the file of this name is. Raises `errors.NoSharedMemoryError` where there is no shared memory."""
    place = _place()
    if place is None or "/" in name:
        raise errors.NoSharedMemoryError("this interpreter has no part in the node's shared memory")
    return f"{place.directory}/{name}"


def zeros(shape: int | Sequence[int], dtype: Any = "float64") -> Shared:
    """An array of zeros in shared memory, which every worker that gets it can write.

    Two that write the same element at the same time leave one of the values, or parts of both. Raises `TypeError` for a
    type with objects, `errors.SharedMemoryError` where there is no room.
    """
    import numpy

    template = numpy.broadcast_to(numpy.zeros((), numpy.dtype(dtype)), shape)
    form, nbytes = _form_of(template), template.size * template.dtype.itemsize
    if form is None:
        raise TypeError(f"an array of {template.dtype} can't be shared")
    memory, file = _created(nbytes)
    file.close()
    return Shared(memory, nbytes, form)


# Out


def term_of(value: Any) -> tuple[object, object] | None:
    """The term of an array or a bytes-like object; None for what can't be shared.

    What lies in shared memory already, in one piece, is not copied.
    """
    form = _form_of(value)
    if form is None:
        return None
    nbytes = size_of(value)
    lies = _lies(value, nbytes)
    if lies is not None:
        return _term(*lies, nbytes, form)
    return _term(_copied(value, nbytes), 0, nbytes, form)


def _term(memory: Memory, offset: int, nbytes: int, form: object) -> tuple[object, object]:
    place = _place()
    if place is None or not os.path.exists(memory.path):
        raise _stale()
    current().references.give(memory)
    return Atom(MARKER), (place.node, memory.name.encode(), (offset, nbytes), form)


def _form_of(value: Any) -> object:
    """What the term says of the value; None for what can't be shared."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        from erl.values import arrays

        described = None if _is_masked(value) else arrays.described(value.dtype)
        return None if described is None else (described, value.shape)
    try:
        with memoryview(value) as view:
            return Atom("bytes") if view.format != "O" and view.c_contiguous else None
    except TypeError:
        return None


def _is_masked(array: Any) -> bool:
    """Whether it has a mask, which would be lost."""
    masked: Any = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(array, masked.MaskedArray)


def size_of(value: Any) -> int:
    """How many bytes an array or a bytes-like object has; 0 for anything else."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return int(value.nbytes)
    try:
        with memoryview(value) as view:
            return view.nbytes
    except TypeError:
        return 0


def _lies(value: Any, nbytes: int) -> tuple[Memory, int] | None:
    """The memory that a value lies in, in one piece, and where."""
    base = value
    while base is not None and type(base) is not Map:
        base = base.obj if type(base) is memoryview else getattr(base, "base", None)
    if base is None or not os.path.exists(base.memory.path):
        return None
    if type(value) is memoryview and nbytes == len(base) and value.c_contiguous:
        return base.memory, 0
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:  # a part of bytes: where it lies only numpy tells
        return None
    view = value if isinstance(value, numpy.ndarray) else numpy.frombuffer(value, "u1")
    offset = _address(view) - _address(numpy.frombuffer(base, "u1"))
    if not view.flags.c_contiguous or not 0 <= offset <= len(base) - nbytes:
        return None
    return base.memory, offset


def _address(array: Any) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _copied(value: Any, nbytes: int) -> Memory:
    """A copy of the value in a file that nobody can write."""
    numpy: Any = sys.modules.get("numpy")
    is_array = numpy is not None and isinstance(value, numpy.ndarray)
    in_pieces = is_array and not value.flags.c_contiguous
    memory, file = _created(nbytes, content_follows=not in_pieces)
    try:
        fd = file.fileno()
        if in_pieces:
            numpy.copyto(numpy.ndarray(value.shape, value.dtype, memory.map()), value)
            memory._map = None  # the next map is one that can't be written
        elif nbytes:
            flat = value.reshape(-1).view("u1") if is_array else value
            with memoryview(flat) as view, view.cast("B") as content:
                position = 0
                while position < nbytes:
                    position += os.pwrite(fd, content[position : position + _MOST_AT_ONCE], position)
        os.fchmod(fd, _READ_ONLY)
    except OSError as cause:
        raise _no_room(nbytes, cause) from None
    finally:
        file.close()
    return memory


def _created(nbytes: int, content_follows: bool = False) -> tuple[Memory, FileIO]:
    """A new file, open. It has its pages, unless its content follows: then writing gives it them.

    Whatever a handler raises, and when: there is always an object that closes the file, and one that deletes it.
    """
    place = _place()
    if place is None:
        raise errors.SharedMemoryError(
            "there is no shared memory here: this is no py worker, or a sandboxed one"
        )
    size = max(1, nbytes)
    memory = Memory(place.new_path(size))
    try:
        file = memory.make()
    except OSError as cause:
        raise _no_room(nbytes, cause) from None
    try:
        os.fchmod(file.fileno(), _WRITABLE)
        used, released = marks.in_use(place)
        if used > place.most_bytes and marks.look(place):
            used, released = marks.in_use(place)
        if used > place.most_bytes:
            mapped = f", {released} of them still mapped after their release" if released else ""
            raise errors.SharedMemoryError(
                f"no room for {nbytes} bytes of shared memory: max_shared_bytes is {place.most_bytes},"
                f" {used - size} are in use{mapped}"
            )
        # Without its pages a file would end the process that touches it where the file system is full.
        if not content_follows or size != nbytes:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as cause:
        file.close()
        raise _no_room(nbytes, cause) from None
    except BaseException:
        file.close()
        raise
    return memory, file


def _no_room(nbytes: int, cause: OSError) -> errors.SharedMemoryError:
    return errors.SharedMemoryError(f"no room for {nbytes} bytes of shared memory: {cause.strerror}")


def _stale() -> errors.StaleReferenceError:
    return errors.StaleReferenceError(
        "the shared memory was freed: by py:release/1 or because the process that owned it ended"
    )


# In


def decode(payload: Any) -> object:
    """What a term stands for: an array, or a `memoryview` of bytes, mapped from the file.

    Raises `errors.DecodeError` for what names no file or does not fit it, `errors.StaleReferenceError` for one that was
    freed, `errors.ElsewhereError` for one of another node, `errors.NoSharedMemoryError` for any where there is none.
    """
    import re

    fits = type(payload) is tuple and len(payload) == 4
    node, name, extent, form = payload if fits else (None, None, None, None)
    text = name.decode("latin-1") if type(name) is bytes else name
    if type(text) is not str or re.fullmatch(_NAME, text, re.ASCII) is None or type(node) is not Atom:
        raise errors.DecodeError("a term of shared memory names no file of it")
    if (
        type(extent) is not tuple
        or len(extent) != 2
        or not all(type(number) is int and number >= 0 for number in extent)
    ):
        raise errors.DecodeError("a term of shared memory does not say which part of it is meant")
    place = _place()
    if place is None:
        raise errors.NoSharedMemoryError("this worker has no part in the node's shared memory")
    memory = _known().get(text) or Memory(f"{place.directory}/{text}")
    try:
        if memory.is_mapped:  # what was freed is gone for everybody
            os.stat(memory.path)
        found = memory.map()
    except FileNotFoundError:
        if node == place.node:
            raise _stale() from None
        raise errors.ElsewhereError(f"the value is in the shared memory of {node}") from None
    except (OSError, ValueError) as cause:
        raise errors.DecodeError(f"shared memory can't be mapped: {cause}") from None
    return _seen(found, *extent, form)


def _seen(found: Map, offset: int, nbytes: int, form: Any) -> Any:
    """A part of a map as what it is."""
    if offset + nbytes > len(found):
        raise errors.DecodeError(
            f"a term of shared memory means bytes {offset} to {offset + nbytes}, there are {len(found)}"
        )
    if type(form) is Atom and form == "bytes":
        return memoryview(found)[offset : offset + nbytes]
    from erl.values import arrays

    array = arrays.over(form, found, offset, nbytes)
    if array is None:
        raise errors.DecodeError("a term of shared memory has a type or a shape that does not fit its bytes")
    return array
