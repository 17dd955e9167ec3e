"""What workers answer to tasks, opened where somebody wants it: reading a pickle runs code, which the reader must not.

The reader looks at the first bytes only. From a sandboxed worker no pickle is read, whatever it says.
"""

from __future__ import annotations

import errno
import pickle
import threading

from erl import errors, shared
from erl.link import prints, protocol
from erl.values import parcels, unpickled

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from erl.link.conversation import Link


_LATER: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class RemoteTraceback(Exception):
    """The traceback of what a task raised, as text: the `__cause__` of the exception here."""

    def __init__(self, tb: str) -> None:
        super().__init__(tb)
        self.tb = tb

    def __str__(self) -> str:
        return f'\n"""\n{self.tb}"""'


class Answer:
    """An answer that nobody has looked into yet."""

    __slots__ = ("__weakref__", "_data", "_file", "_link", "_lock", "is_error", "is_trusted", "warned")

    def __init__(self, link: Link, is_trusted: bool, frame: bytes) -> None:
        """Raises `errors.BridgeError` for what is no answer."""
        self._link = link
        self._lock = threading.RLock()
        self.is_trusted = is_trusted
        self._file: str | None = None
        self._data: Any = b""
        self.warned: BaseException | None = None
        """A warning that the program's filters have made an error."""
        is_result, value = protocol.answer(frame, is_trusted)
        if not is_result:
            self._data, self.is_error = value, True
            return
        if is_trusted and type(value) is tuple and len(value) == 2:
            value, term = value
            self._file = _name_of(term)
        if type(value) is not bytes or not value:
            raise errors.ProtocolError("a worker has sent what is no answer to a task")
        if value[:1] == b"W":
            value = self._warn(value)
        self._data = value
        self.is_error = value[:1] in (b"E", b"X")

    def _warn(self, data: bytes) -> bytes:
        if self.is_trusted:
            self._link.scope.pickles.verify(data)
            data = data[:-32]
        size = int.from_bytes(data[1:5], "big")
        for category, name, text, filename, lineno in _texts(protocol.sealed(data[5 : 5 + size])):
            number = int(lineno) if lineno.isdecimal() else 0
            try:
                prints.warn(category, name, text, filename if self.is_trusted else "<sandbox>", number)
            except Warning as error:
                self.warned = error
            except Exception:  # of the program's own `showwarning`
                continue
        inner = data[5 + size :]
        return self._link.scope.pickles.signed(inner) if self.is_trusted else inner

    def open(self) -> tuple[bool, Any]:
        """Whether it is a value, and that, or the exception. The same each time; by one thread at a time."""
        with self._lock:
            if self.warned is not None:
                return False, self.warned
            try:
                found = self._opened()
            except KeyboardInterrupt:
                raise  # of whoever waits: it can be opened again
            except OSError as error:
                if error.errno in _LATER:
                    raise  # the same: descriptors or memory are short
                found = False, error
            except Exception as error:
                found = False, error
            except BaseException as error:  # what is unpickled must not end whoever waits
                wrapped = errors.RemoteError(type(error).__name__, "raised where the result was read")
                wrapped.__cause__ = error
                found = False, wrapped
            self.release()
            return found

    def _opened(self) -> tuple[bool, Any]:
        data = self._data
        if type(data) is tuple or type(data) is not bytes:
            return False, _failure(data)
        kind = data[:1]
        if not self.is_trusted:
            if kind == b"V":
                return True, unpickled.put_together(protocol.sealed(data[1:]))
            if kind == b"X":
                return False, _described(data, unpickled.error_together)
            raise errors.DecodeError("a sandboxed Python has sent what is no value")
        self._link.scope.pickles.verify(data)
        content = memoryview(data)[1:]
        if kind == b"R":
            return True, pickle.loads(content)
        if kind == b"M":
            head, sizes, digest = pickle.loads(content)
            if self._file is None:
                raise errors.SharedMemoryError("the result's shared memory is missing")
            scope = self._link.scope
            path = scope.context().run(shared.path_of, self._file)
            return True, parcels.unpacked(head, path, sizes, digest, scope.memory)
        if kind == b"E":
            error, trace = pickle.loads(content)
            return False, _with_trace(error, trace)
        if kind == b"X":
            return False, _described(data[:-32], _builtin)
        raise errors.ProtocolError("a worker has sent what is no answer to a task")

    def release(self) -> None:
        """Have its file in shared memory deleted, where it has one."""
        name, self._file = self._file, None
        if name is not None:
            self._link.release(name)

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.release()


def unopened(link: Link, value: bytes) -> Answer:
    """The answer of a trusted worker, a result in a pickle: what the reader has taken out of its frame without more."""
    made = Answer.__new__(Answer)
    made._link = link
    made._lock = threading.RLock()
    made._file = made.warned = None
    made._data = value
    made.is_trusted, made.is_error = True, False
    return made


def _name_of(term: Any) -> str | None:
    if type(term) is tuple and len(term) == 2 and term[0] == "$py.shm" and type(term[1]) is tuple:
        name = term[1][1]
        return name.decode("latin-1") if type(name) is bytes else None
    return None


def _text(value: Any) -> str:
    """Text as an answer may have it: bytes, or a list of code points."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return "".join(chr(each) for each in value if type(each) is int and 0 <= each < 0x110000)
    return str(value)


def _texts(rows: Any) -> list[list[str]]:
    if not isinstance(rows, list):
        raise errors.DecodeError("a worker has sent warnings that are none")
    return [[_text(each) for each in row] for row in rows if isinstance(row, list) and len(row) == 5]


def _builtin(name: str, text: str, args: Any) -> BaseException:
    """One that could not be pickled: a builtin, or a description."""
    if name.startswith("builtins."):
        return unpickled.error_together(name, text, args)
    return errors.RemoteError(name, text)


def _described(data: bytes, made: Callable[[str, str, Any], BaseException]) -> BaseException:
    described = protocol.sealed(data[1:])
    if not isinstance(described, list) or len(described) != 4:
        raise errors.DecodeError("a worker has sent an error that is none")
    name, text, args, trace = described
    return _with_trace(made(_text(name), _text(text), args), _text(trace))


def _failure(term: Any) -> BaseException:
    """What a call failed with before or behind its task: `{python, Class, Text, Trace}`."""
    if type(term) is tuple and len(term) == 4 and term[0] == "python":
        _, name, text, _ = term
        return unpickled.error_together(_text(name), _text(text), [_text(text).encode()])
    return errors.RemoteError("the task", f"failed: {term!r}")


def _with_trace(error: Any, trace: str) -> BaseException:
    if not isinstance(error, BaseException):
        raise errors.ProtocolError("a worker has sent an error that is none")
    if trace:
        error.__cause__ = _remote_traceback()(trace)
    return error


def _remote_traceback() -> type[Exception]:
    """What a `ProcessPoolExecutor` has there; who looks at it finds the same."""
    try:
        from concurrent.futures.process import _RemoteTraceback
    except ImportError:
        return RemoteTraceback
    return _RemoteTraceback
