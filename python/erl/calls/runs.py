"""An attempt of a durable run: what `py_run_attempt` of the Erlang side calls.

    > run(Meta, Flags, Module, Function, Args, Keywords)
    < (NOT_HERE, Bytes, Size, Message)              nothing has run: this is another interpreter than was written down
    < (COMPLETED | FAILED, Bytes, Size, Message)    the result is in its file, and a small one in the answer, too
    < (COMPLETED | FAILED, Bytes, Size, Message, Kept)    of a function's run in a box: entities that the node writes

The result is written before it is answered, under another name, synced, and renamed: so after any death it is known
whether the attempt ended. Where it can't be written, as on a full disk, it goes with the answer alone. The file:

    b"py run 1\\n", the attempt (4 bytes), crc32 of the frame (4 bytes), the frame of the answer to a call with the id 1

What the attempt prints and logs is added to the file `log` beside it as it comes. A sandboxed interpreter writes no
file: its result goes with the answer, what it prints and logs as what any call prints.
"""

from __future__ import annotations

import builtins
import os
import sys
from _contextvars import ContextVar
from _thread import get_ident
from contextlib import nullcontext, suppress

from erl import errors
from erl.codec import Options
from erl.names import lookup, traces
from erl.values import running
from erl.values.ended import ended
from erl.values.scope import current
from erl.wire import messages

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

NOT_HERE: Final = 0
COMPLETED: Final = 1
FAILED: Final = 2

_HEAD: Final = b"py run 1\n"
_ID: Final = 1
_SMALL_BYTES: Final = 4096
"""Results up to this size are in the journal as well."""
_CARRIED_BYTES: Final = 1 << 16
"""What can't be written goes with the answer up to this size."""
_MOST_LOG_BYTES: Final = 16 << 20
_MOST_MESSAGE: Final = 1000


def run(
    meta: tuple[Any, ...],
    flags: int,
    module: object,
    name: object,
    args: list[object],
    keywords: list[tuple[object, object]],
) -> tuple[Any, ...]:
    """Run an attempt and write its result. Raises only what interrupts it."""
    directory, attempt, os_pid, started, given = meta
    place = None if not directory else _path(directory)
    if not _is_this(os_pid, started):
        return NOT_HERE, b"", 0, b"the worker has another Python now"
    own_pid = os.getpid()
    log = _Log(place, _hidden(given))
    entered = _log.set(log)
    known = running.attempt.set((place or "", attempt))
    boxed = running.Boxed(given["box"]) if place is None and given and "box" in given else None
    before = running.boxed.set(boxed)
    try:
        _active.append(log)
        with _surroundings(given):
            kind, frame, message = _run(Options.from_flags(flags), module, name, args, keywords, log)
    finally:
        running.attempt.reset(known)
        running.boxed.reset(before)
        if boxed is not None and boxed.store is not None:
            boxed.store.close()
        _active[:] = [each for each in _active if each is not log]
        if not _active:
            _Shown.remove()
        _log.reset(entered)
        log.close()
    if (
        os.getpid() != own_pid
    ):  # a child that the function has forked, and that returns from it: it is not the attempt
        return kind, b"", 0, message
    answer = _answer(kind, frame, message, place, attempt)
    return answer if boxed is None else (*answer, boxed.kept)


_BUILTINS: Final = vars(builtins)


def _restore(usual: dict[str, Any]) -> None:
    """Have the builtin functions that there were: here, and for the next call."""
    for name, value in usual.items():
        now = _BUILTINS.get(name, usual)
        # How sources of functions find their own modules: what was loaded may still import.
        if now is not value and getattr(now, "__module__", None) != "erl.functions.loading":
            _BUILTINS[name] = value


def _directory() -> str | None:
    """The working directory; None where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _surroundings(given: Any) -> Any:
    if not given:
        return nullcontext()
    from erl.calls import surroundings

    return surroundings.entered(given)


def _hidden(given: Any) -> Any:
    if not given or "secrets" not in given:
        return None
    from erl.calls import surroundings

    return surroundings.Hidden(given)


def _run(
    options: Options, module: object, name: object, args: list[object], keywords: Any, log: _Log
) -> tuple[int, bytes, bytes]:
    references = current().references
    since = references.count_made()
    try:
        function = lookup.target(module, name)
        named = lookup.keywords(keywords) if keywords else {}
        usual, directory = dict(_BUILTINS), _directory()
        try:
            value = ended(function(*args, **named))
        finally:
            _restore(usual)
            if directory is not None and _directory() != directory:
                os.chdir(directory)
        frame = messages.result(_ID, current().encoders.apply(value), options)
        if references.count_made() > since:
            raise errors.NotPicklableError(
                "the result of a run outlives its Python: it holds an object that can't be pickled, or shared memory"
            )
    except errors.CallCancelled:
        references.release_since(since)
        raise
    except BaseException as error:  # the door around user code: what it raises is the run's result
        references.release_since(since)
        frame, text = _failure(error, options, log.hidden), _text(error, log.hidden)
        log.write(_trace(error))
        error.__traceback__ = None
        return FAILED, frame, text
    return COMPLETED, frame, b""


def _failure(error: BaseException, options: Options, hidden: Any) -> bytes:
    for with_trace in (True, False):
        try:
            trace = traces.trace_of(error) if with_trace else []
            return messages.failure(_ID, error, trace, options, _hiding(error, hidden))
        except BaseException:  # user code, in the exception's own methods
            continue
    return messages.last_words(_ID, isinstance(error, MemoryError))


def _hiding(error: BaseException, hidden: Any) -> Any:
    """What hides of an exception's texts what is nobody's business: secrets, and the package that a source is in."""
    if hidden is not None:
        return lambda text: _named(hidden.hide(text))
    return _named if _SOURCE in type(error).__module__ else None


_SOURCE: Final = "erl_source_"
"""What the names of such packages begin with, `erl.functions.loading`; the hash is behind it."""


def _named(text: str) -> str:
    if _SOURCE not in text:
        return text
    import re

    return re.sub(rf"\b{_SOURCE}[0-9a-f]{{40}}\.", "", text)


def _text(error: BaseException, hidden: Any) -> bytes:
    kind = type(error)
    try:
        text = f"{kind.__module__}.{kind.__qualname__}: {error}"
    except BaseException:  # user code, in the exception's `__str__`
        text = f"{kind.__module__}.{kind.__qualname__}"
    if hidden is not None:
        text = hidden.hide(text)
    return _named(text)[:_MOST_MESSAGE].encode(errors="backslashreplace")


def _trace(error: BaseException) -> str:
    try:
        import traceback

        own = error.__traceback__
        while own is not None and own.tb_frame.f_code.co_filename.startswith(_OURS):
            own = own.tb_next
        return _named("".join(traceback.format_exception(type(error), error, own)))
    except BaseException:  # user code, as above, also of causes and contexts
        return ""


_OURS = __file__.rpartition("calls/")[0]
"""What leads to user code is no news to whoever has written that."""


# Files


def _path(directory: Any) -> str:
    return directory.decode() if isinstance(directory, bytes) else str(directory)


def _is_this(os_pid: int, started: Any) -> bool:
    known = started.encode() if isinstance(started, str) else bytes(started)
    return os_pid in (0, os.getpid()) and (not known or known == running.started())


def _answer(
    kind: int, frame: bytes, message: bytes, place: str | None, attempt: int
) -> tuple[int, bytes, int, bytes]:
    size = len(frame)
    if place is None:
        return kind, frame, size, message
    try:
        _write(place, frame, attempt)
    except OSError as error:
        if size <= _CARRIED_BYTES:
            return kind, frame, size, message
        text = f"the result has {size} bytes and can't be written: {error}"
        failed = messages.failure(_ID, OSError(error.errno, text), [], Options.from_flags(0))
        return FAILED, failed, len(failed), text.encode(errors="backslashreplace")
    return kind, frame if size <= _SMALL_BYTES else b"", size, message


def _write(place: str, frame: bytes, attempt: int) -> None:
    from zlib import crc32

    _make(place)
    new = f"{place}/result.{attempt}"
    head = b"".join((_HEAD, attempt.to_bytes(4, "big"), crc32(frame).to_bytes(4, "big")))
    try:
        with open(new, "wb", opener=_private) as file:
            file.write(head)
            file.write(frame)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    os.rename(new, f"{place}/result")
    if len(frame) > _SMALL_BYTES:
        _sync(place)
        _sync(os.path.dirname(place))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _make(place: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(place, 0o700)


def _sync(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# What is printed and logged

_active: list[_Log] = []
"""The attempts that run in this interpreter: one, unless the pool has threads."""


class _Log:
    """The file `log` of a run, made with the first text."""

    def __init__(self, place: str | None, hidden: Any = None) -> None:
        self._place = place
        self.hidden = hidden
        """What stands in the place of secrets; None where there are none."""
        self._others = frozenset(sys._current_frames())
        self._file: Any = None
        self._size = 0
        self._is_open = True
        _Shown.install()

    def write(self, text: str) -> bool:
        """Add a text; False where there is no file."""
        if self._place is None:
            return self._is_open and self._say(text)
        if self._size > _MOST_LOG_BYTES or not text:
            return True
        if self.hidden is not None:
            text = self.hidden.hide(text)
        data = text.encode("utf-8", "backslashreplace")
        try:
            if self._file is None:
                _make(self._place)
                path = f"{self._place}/log"
                self._file = open(path, "ab", buffering=0, opener=_private)  # noqa: SIM115  # `close` closes it
                self._size = self._file.tell()
            self._size += len(data)
            if self._size > _MOST_LOG_BYTES:
                data = f"\n[py: the log of a run ends after {_MOST_LOG_BYTES >> 20} MiB]\n".encode()
            self._file.write(data)
        except OSError:  # a full disk: what is printed is lost, the run goes on
            pass
        return True

    def _say(self, text: str) -> bool:
        """In a box, which has no files: the node writes down what is printed."""
        if self.hidden is not None:
            text = self.hidden.hide(text)
        stream = _usual.get("stdout")
        if stream is not None:
            stream.write(text)
        return True

    def is_of(self, thread: int) -> bool:
        """Whether that thread was started since: the thread of a run before may go on."""
        return thread not in self._others

    def close(self) -> None:
        file, self._file, self._place, self._is_open = self._file, None, None, False
        if file is not None:
            file.close()


_log: ContextVar[_Log | None] = ContextVar("erl.run", default=None)


def _current() -> _Log | None:
    """The log of the attempt that this code runs for; of a thread that it has started, where it is the only one."""
    log = _log.get()
    if log is None and len(_active) == 1 and _active[0].is_of(get_ident()):
        return _active[0]
    return log


_usual: dict[str, Any] = {}
"""The streams in whose place they stand, which come back whatever an attempt has put there."""


class _Shown:
    """Stands before a standard stream: what an attempt writes goes to its log, the rest to the stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @staticmethod
    def install() -> None:
        """Stand there, also where user code has put another stream in the place, and hear what is logged."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and type(stream) is not _Shown:
                _usual.setdefault(name, stream)
                setattr(sys, name, _Shown(stream))
        current().heard = _heard

    @staticmethod
    def remove() -> None:
        """Leave, where no attempt runs any more: what forks or replaces streams finds them as they were."""
        for name, stream in _usual.items():
            setattr(sys, name, stream)
        _usual.clear()
        current().heard = None

    def write(self, text: Any) -> int:
        log = _current()
        if log is None or not isinstance(text, str) or not log.write(text):
            written: int = self._stream.write(text)
            return written
        return len(text)

    def close(self) -> None:
        """Leave it open: it is not the attempt's alone."""

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _heard(level: str, name: str, text: str) -> None:
    log = _current()
    if log is not None:
        log.write(f"{level.upper()} {name}: {text}\n")
