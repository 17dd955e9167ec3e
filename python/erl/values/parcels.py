"""A task and its result as bytes: pickles, and large parts of them in a file of shared memory.

A parcel is a pickle and its out-of-band buffers (pickle protocol 5). Where one of them has 64 KiB or more, and there is
a place for files, they are a file, which the receiver has as a copy of its own, to be changed as it likes.

    task     pickle of (function, call, memory, path), signed; `memory` is None or (name, sizes, digest)
    answer   a letter, then what it says, signed as a whole: "R" and the pickle of a result, "M" and that of
             (head, sizes, digest) of one in shared memory, "E" and that of (error, traceback), "X" and a term that
             describes an error, "W" for warnings, the length of their term, that, and another answer
    of a box "V" and a term that holds no code, or "X", or "W": see `erl.values.unpickled`

Driver and worker both use this; it knows neither a socket nor a port, and writes no file itself.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import threading
from mmap import MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap

from erl import errors
from erl.values import by_value as by_value_pickler
from erl.values import marks, opaque

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Final

    from erl.values.scope import Place

LEAST_BYTES: Final = 65536
"""What is smaller than this goes with the message."""

_PROTOCOL: Final = 5
_ALIGNED: Final = 64
_MAPPED_BYTES: Final = 4 << 20
"""What is smaller is copied: a map costs a descriptor and faults of pages."""
_NO_FILE_KEPT: Final[dict[str, Any]] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


def pickled(
    value: object,
    buffers: Callable[[Any], object] | None = None,
    by_value: bool = False,
    refused: str | None = None,
    in_band: Callable[[Any], bool] | None = None,
) -> bytes:
    """The pickle of a value. Functions and classes without a name that others know go by value.

    `buffers` is told of each part that is not in the pickle: all large ones, but those that `in_band` wants there.
    `by_value`: also those of modules that are not installed, for workers that have another path; `refused`: why none
    may go by value. Raises what `pickle` raises for what can't be pickled, `errors.NodeError` with what `refused` says.
    """
    import io

    dump, unnamed_error = _picklers[by_value]()
    found: list[Any] = []
    taken = None if buffers is None else found.append if in_band is None else _apart(found, in_band)
    try:
        pickle_ = dump(value, _PROTOCOL, taken)
    except unnamed_error as error:
        if refused is not None:
            raise errors.NodeError(f"{refused}: {error}") from None
        found.clear()  # of what came before the one without a name
        stream = io.BytesIO()
        pickler = by_value_pickler.pickler()(stream, _PROTOCOL, buffer_callback=taken)
        with _as_values(by_value):
            pickler.dump(value)
        pickle_ = by_value_pickler.asking(stream.getvalue())
    for each in found:
        assert buffers is not None
        buffers(each)
    return pickle_


def _apart(found: list[Any], in_band: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def taken(buffer: Any) -> bool:
        if in_band(buffer):
            return True
        found.append(buffer)
        return False

    return taken


def has_name(value: Any) -> bool:
    """Whether another interpreter finds this function or class by its name, if it finds the module."""
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value and value.__module__ != "__main__"


_ALWAYS_INSTALLED: Final = frozenset(("cloudpickle", "erl", "erlang"))
"""What each worker has, wherever it is found."""
_INSTALLED_IN: Final = frozenset(("dist-packages", "site-packages"))

_installed: dict[str, bool] = {}


def is_installed(module: str | None) -> bool:
    """Whether a module is part of Python, or of what is installed for it: others have it as well."""
    if module is None:
        return True
    found = _installed.get(module)
    if found is None:
        found = _installed[module] = _is_installed(module)
    return found


def _is_installed(name: str) -> bool:
    import sysconfig

    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in _ALWAYS_INSTALLED:
        return True
    if name == "__main__":
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return top in sys.builtin_module_names
    file = os.path.abspath(file)
    # Those of the system's packages, of the user, and of the interpreter that a virtual environment is made from, too.
    if not _INSTALLED_IN.isdisjoint(file.split(os.sep)):
        return True
    places = (sysconfig.get_path(each) for each in ("purelib", "platlib", "stdlib", "platstdlib"))
    return any(file.startswith(place + os.sep) for place in places if place)


def _named_pickler_for_others() -> tuple[Callable[..., bytes], type[Exception]]:
    import io
    import types

    class UnnamedError(pickle.PicklingError):
        pass

    singletons = (type(None), type(NotImplemented), type(...))

    class NamedPickler(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            if (
                isinstance(value, (type, types.FunctionType))
                and value not in singletons
                and not (has_name(value) and is_installed(value.__module__))
            ):
                raise UnnamedError(f"{value.__qualname__} has no name that other interpreters know")
            return NotImplemented

    def dump(value: Any, protocol: int, buffers: Any = None) -> bytes:
        stream = io.BytesIO()
        NamedPickler(stream, protocol, buffer_callback=buffers).dump(value)
        return stream.getvalue()

    return dump, UnnamedError


_for_others: list[tuple[Callable[..., bytes], type[Exception]]] = []


def _pickler_for_others() -> tuple[Callable[..., bytes], type[Exception]]:
    if not _for_others:
        _for_others.append(_named_pickler_for_others())
    return _for_others[0]


_picklers = {False: opaque.named_pickler, True: _pickler_for_others}
_registering = threading.RLock()


@contextlib.contextmanager
def _as_values(by_value: bool) -> Iterator[None]:
    """Have cloudpickle take the code of modules that are not installed by value, as long as this lasts."""
    if not by_value:
        yield
        return
    import cloudpickle  # type: ignore[import-untyped]

    with _registering:
        known = cloudpickle.list_registry_pickle_by_value()
        own = [
            name
            for name in list(sys.modules)
            if name not in known and not is_installed(name) and name != "__main__"
        ]
        own = [name for name in own if sys.modules.get(name) is not None]
        for name in own:
            cloudpickle.register_pickle_by_value(sys.modules[name])
        try:
            yield
        finally:
            for name in own:
                if name in sys.modules:
                    cloudpickle.unregister_pickle_by_value(sys.modules[name])


def packed(
    value: object,
    write: Callable[[list[memoryview]], Any] | None,
    by_value: bool = False,
    refused: str | None = None,
) -> tuple[bytes, Any, bytes]:
    """A value's pickle, what `write` gives for the parts that it has put into a file, and the digest of a pickle there.

    The first is empty where it lies in the file, the second None where there is none. Raises what `pickle` and
    `write` raise.
    """
    if write is None:
        return pickled(value, None, by_value, refused), None, b""
    buffers: list[Any] = []
    head = pickled(value, buffers.append, by_value, refused)
    if not buffers and len(head) < LEAST_BYTES:
        return head, None, b""
    views = [each.raw() for each in buffers]
    if len(head) + sum(view.nbytes for view in views) < LEAST_BYTES:
        return pickled(value, None, by_value, refused), None, b""
    if len(head) < LEAST_BYTES:
        return head, write([memoryview(b""), *views]), b""
    return b"", write([memoryview(head), *views]), digest(head)


def unpacked(head: bytes, path: str, sizes: tuple[int, ...], expected: bytes, place: Place | None) -> object:
    """The value of a parcel that lies in a file of this place, for whose head, sizes and digest a signature stood.

    Raises what `pickle` raises, `errors.SharedMemoryError` where the file is gone.
    """
    mapped = _mapped(path, place)
    parts = [mapped[start : start + size] for start, size in zip(starts(sizes), sizes, strict=True)]
    if not head:
        head = bytes(parts[0])
        if digest(head) != expected:
            raise errors.SharedMemoryError("the shared memory of a task has changed on its way")
    return pickle.loads(head, buffers=parts[1:])


class _Map(mmap):
    """A file where this process sees it."""

    hold: marks.Hold | None


def _mapped(path: str, place: Place | None) -> memoryview:
    """A copy of a file that this process may change."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise errors.SharedMemoryError("the shared memory of a task is gone") from error
    try:
        size = os.fstat(fd).st_size
        if size >= _MAPPED_BYTES and fd < _most_descriptors() // 2:  # a map keeps one, before Python 3.13
            try:
                hold = None if place is None else marks.mark(place, path.rpartition("/")[2])
                made = _Map(fd, size, flags=MAP_PRIVATE, prot=PROT_READ | PROT_WRITE, **_NO_FILE_KEPT)
                made.hold = hold
                return memoryview(made)
            except OSError:
                pass
        copy = memoryview(bytearray(size))
        done = 0
        while done < size and (count := os.preadv(fd, [copy[done:]], done)):
            done += count
        return copy
    finally:
        os.close(fd)


def _most_descriptors() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def digest(data: bytes) -> bytes:
    """Of a pickle that lies in a file, for the signature of what names it."""
    import hashlib

    return hashlib.blake2b(data, digest_size=32).digest()


def starts(sizes: Iterable[int]) -> list[int]:
    """Where parts of these sizes begin in a file."""
    found, at = [], 0
    for size in sizes:
        found.append(at)
        at += -(-size // _ALIGNED) * _ALIGNED
    return found
