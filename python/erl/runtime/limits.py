"""What an interpreter is bound to by its pool, and how it goes on where there is no memory left.

A `MemoryError` is answered like any exception. What the answer needs is made free first: what the frames hold that the
exception has passed, and those that led to it; a spare piece of memory; and, where this process has set its own limit,
some room beyond it, for as long as the answer is made. All that is needed for that is imported when this module is.
"""

from __future__ import annotations

import builtins
import gc
from _thread import RLock

from erl import codec, errors

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

_SPARE_BYTES = 4 << 20
"""Never touched, so the system gives none for it; with it goes the room to give some."""
_PROBE_BYTES = 8 << 20
"""Where so much can't be had, memory is short."""
_MANY_FRAMES = 16
_MOST_SHARE_BYTES = 16 << 20
_MOST_CAUSES = 10_000
_M_ARENA_MAX = -8  # mallopt(3)

inherited_bytes = 0
"""Of a fork: the data that it shares with its zygote, and that its end does not give back."""

_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())  # new in Python 3.11


class _Bound:
    """The limit of this process: what user code may have, and what is beyond that for an answer."""

    def __init__(self, resource: Any, most_bytes: int, hard: int) -> None:
        share = min(most_bytes // 16, _MOST_SHARE_BYTES)
        # Where the limit is a hard one, as in a sandbox, the room for answers is taken off it.
        is_hard = hard != resource.RLIM_INFINITY and hard < most_bytes + 4 * share
        self.usual = min(most_bytes, hard - share) if is_hard else most_bytes
        self.crowded = self.usual + share // 2
        self.answering = hard if is_hard else most_bytes + 4 * share
        self._set = resource.setrlimit
        self._usage = resource.getrusage
        self._self = resource.RUSAGE_SELF
        self._what = resource.RLIMIT_DATA
        self._hard = hard
        import mmap

        # Mapped, so that what it leaves is there for any use.
        self._map: Any = mmap.mmap
        self._flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.spare_bytes = min(_SPARE_BYTES, share // 2)

        self.trim = _libc_trim() if codec.trim is None else _nothing

    def set(self, soft: int) -> None:
        self._set(self._what, (soft, self._hard))

    def widen(self, size: int) -> None:
        room = size if self._hard == -1 else max(0, min(size, self._hard - self.answering))
        self.usual, self.crowded, self.answering = (
            each + room for each in (self.usual, self.crowded, self.answering)
        )
        self.set(self.usual)

    def was_full(self) -> bool:
        """Whether this process has held most of what user code may have, at some time: in kilobytes, getrusage(2)."""
        most_kb: int = self._usage(self._self).ru_maxrss
        return most_kb * 1024 > self.usual * 3 // 4

    def piece(self, size: int) -> Any:
        """Memory of its own. Raises `OSError` where there is none."""
        return self._map(-1, size, flags=self._flags)


def _libc() -> Any:
    """The C library; None where it has no such functions."""
    try:
        import ctypes

        libc: Any = ctypes.CDLL(None)
        return libc if libc.malloc_trim and libc.mallopt else None
    except (ImportError, OSError, AttributeError):
        return None


def _libc_trim() -> Callable[[], object]:
    libc = _libc()
    if libc is None:
        return _nothing
    import ctypes

    return lambda: libc.malloc_trim(ctypes.c_size_t(0))


def one_heap() -> None:
    """Have the C library take all memory from one heap, if no thread has another one yet.

    Where there is little left it takes from any; what is free in those of threads stays counted, and there would be no
    room for one more thread.
    """
    if codec.one_heap is not None:
        codec.one_heap()
    elif (libc := _libc()) is not None:
        libc.mallopt(_M_ARENA_MAX, 1)


def keep_free() -> None:
    """Keep some memory that is freed, a few megabytes: to have it anew is much of the time of a large call.

    Not for one whose memory is bound: there what is free counts.
    """
    if codec.keep_free is not None:
        codec.keep_free()


def _nothing() -> None:
    return


_bound: _Bound | None = None
spare: list[Any] = [bytes(_SPARE_BYTES)]
"""A piece of memory, or nothing. The first that is done with a `MemoryError` is `spare.clear()`, which needs none,
where even the call of a function may need some; `answered` puts it back.
"""
_inside = 0
_lock = RLock()


def memory(most_bytes: int) -> None:
    """Let this process have no more than `most_bytes` of memory of its own; what would exceed them is a `MemoryError`.

    Counted are the heap and private mappings (RLIMIT_DATA, setrlimit(2)), not what it shares with files. A system that
    has no such limit sets none. What a fork has from its zygote does not count.
    """
    global _bound
    import linecache  # noqa: F401  # there is no memory to import it when its lines are wanted
    import resource

    try:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = _Bound(resource, most_bytes + inherited_bytes, hard)
        piece = bound.piece(bound.spare_bytes)
        bound.set(bound.usual)
    except (AttributeError, ValueError, OSError):
        return
    _bound = bound
    spare[:] = [piece]


def lower(most_bytes: int) -> None:
    """The same as `memory`, where that is less than what this process may have by now."""
    if _bound is None or most_bytes < _bound.usual:
        memory(most_bytes)


def reserve(size: int) -> None:
    """Let this process have so many bytes more than its limit says: of what is never touched, but counts."""
    if _bound is not None:
        _bound.widen(size)


def _trim() -> None:
    """Give freed memory back to the system, which the C library may keep."""
    if codec.trim is not None:
        codec.trim()
    elif _bound is not None:
        _bound.trim()


def is_short(error: BaseException) -> bool:
    """Whether memory is short: the exception says so, or one that led to it."""
    return any(isinstance(each, MemoryError) for each in _chain(error)) or _is_of_a_frame(error)


def _is_of_a_frame(error: BaseException) -> bool:
    """Whether it is what CPython 3.11 raises where there is no memory for a frame: for one more of many, or for the
    object of one that an exception leaves. Then it forgets the exception, and what the frame held is free by now.
    """
    if (
        _bound is None
        or type(error) is not SystemError
        or error.args != ("error return without exception set",)
    ):
        return False
    step, frames = error.__traceback__, 0
    while step is not None:
        step, frames = step.tb_next, frames + 1
    return frames >= _MANY_FRAMES or _bound.was_full()


def answered(error: BaseException, answer: Callable[[BaseException], bytes]) -> bytes:
    """What `answer` makes of an exception that was raised where memory was short, with the memory that this frees."""
    global _inside
    spare.clear()
    with _lock:
        _inside += 1
    if _bound is not None:
        _bound.set(_bound.answering)
    try:
        _let_go(error)
        return answer(_explained(error))
    finally:
        with _lock:
            _inside -= 1
            if not _inside and not spare:
                _take_spare()


def keep(error: BaseException) -> BaseException:
    """For an exception that is raised again later: without what its frames hold, where memory is short."""
    try:
        if is_short(error):
            answered(error, lambda _: b"")
    except MemoryError:
        answered(error, lambda _: b"")
    return error


def recover() -> None:
    """Go on after a `MemoryError` that belongs to no call."""
    answered(MemoryError(), lambda _: b"")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that led to it."""
    pending = [error]
    seen: set[int] = set()
    while pending and len(seen) < _MOST_CAUSES:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
        if isinstance(each, _GROUP):
            pending += each.exceptions


def _explained(error: BaseException) -> BaseException:
    """A `MemoryError` for an exception that amounts to one: its kind is what callers look for."""
    cause = error.__cause__ if isinstance(error, errors.CodecError) else error
    if type(cause) is not SystemError and (cause is error or not isinstance(cause, MemoryError)):
        return error
    explained = MemoryError(str(error))
    explained.__traceback__ = cause.__traceback__
    return explained


def _let_go(error: BaseException) -> None:
    """Free what the frames hold that these exceptions have passed, and what only the collector of garbage can free."""
    for each in _chain(error):
        step = each.__traceback__
        while step is not None:
            _clear(step.tb_frame)
            step = step.tb_next
    if _is_short():
        gc.collect()
        _trim()


def _clear(frame: FrameType) -> None:
    try:
        frame.clear()
    except RuntimeError:
        return  # it is at work: one of this package's


def _is_short() -> bool:
    """Whether there is less than little left of what user code may have."""
    if _bound is None:
        return not _is_room()
    _bound.set(_bound.usual)
    try:
        return not _is_room()
    finally:
        _bound.set(_bound.answering)


def _is_room() -> bool:
    try:
        if _bound is None:
            bytes(_PROBE_BYTES)
        else:
            # The worker process replaces what holds three quarters.
            _bound.piece(max(_PROBE_BYTES, _bound.usual // 3)).close()
    except (MemoryError, OSError):
        return False
    return True


def _take_spare() -> None:
    """Put the limit back, and have a spare piece again, at the cost of the room beyond the limit if need be.

    What user code keeps may fill all that it may have. Then it gets a little more: to let go of something takes some.
    """
    try:
        if _bound is None:
            spare.append(bytes(_SPARE_BYTES))
        else:
            _take_spare_within(_bound)
    except (MemoryError, OSError):
        return  # the next answer does without


def _take_spare_within(bound: _Bound) -> None:
    try:
        for soft in (bound.usual, bound.crowded, bound.answering):
            bound.set(soft)
            try:
                spare.append(bound.piece(bound.spare_bytes))
            except OSError:
                continue
            break
    finally:
        if soft == bound.answering:
            bound.set(bound.crowded)
