"""Tasks of drivers: what `erl.futures` sends is run here, and what it gives goes back (`erl.values.parcels` says how).

The function of a task is the pickle of one that goes by value, a path (`"math.sqrt"`), or None where the call begins
with it. A task never fails as a call does, unless it is interrupted: what it raises is part of its answer.
"""

from __future__ import annotations

import pickle
import sys
from types import BuiltinFunctionType, CoroutineType, FunctionType

from erl import codec, errors, shared
from erl.codec import Options
from erl.names import lookup
from erl.runtime.clock import Clock
from erl.runtime.doubts import FAST_SECONDS, Doubts
from erl.values import parcels, unpickled
from erl.values.scope import Scope, current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_TERMS: Final = Options.from_flags(7)
_MOST_FUNCTIONS: Final = 256
_MOST_FUNCTION_BYTES: Final = 1 << 20
_MOST_WARNINGS: Final = 100

_seconds = Clock.perf_counter
_doubts = Doubts()
"""Of functions of tasks, as the server has them of what is called: for that, all tasks are one callable. Where it
trusts none, the answers before a task are written already."""

_functions: dict[bytes, Callable[..., Any]] = {}
"""Functions that go by value, by their pickles."""

_used_path: list[str] = []
"""The path of the driver that was last put in front of `sys.path`."""


def run(payload: bytes) -> object:
    """Run a task. Its answer, with the shared memory that belongs to it; or the exception that interrupts it."""
    warned: list[tuple[str, ...]] = []
    memory: object = None
    scope = current()
    try:
        answer, memory = _run(payload, warned, scope)
    except errors.CallCancelled:
        raise
    except BaseException as error:  # the door around user code: what it raises is the task's answer
        answer = _error(error)
        error.__traceback__ = None
    if warned:
        listed = codec.encode([list(each) for each in warned], _TERMS)
        answer = b"".join((b"W", len(listed).to_bytes(4, "big"), listed, answer))
    if scope.memory is None:
        return answer  # of a sandbox
    signed = scope.pickles.signed(answer) if codec.signed is None else codec.signed(scope.pickles, answer)
    return signed if memory is None else (signed, memory)


def _run(payload: bytes, warned: list[tuple[str, ...]], scope: Scope) -> tuple[bytes, object]:
    is_boxed = scope.memory is None
    if not is_boxed:
        if codec.verify is None:
            scope.pickles.verify(payload)
        else:
            codec.verify(scope.pickles, payload)
    args: Any
    plain = None if codec.plain_task is None else codec.plain_task(payload)
    if plain is None:
        function, args, keywords = _taken_apart(payload)
    else:
        function, args = plain
        keywords = None
    del payload, plain
    key = _key(function)
    doubts = _doubts.left.get(key, 1)
    if doubts:
        _answer_others()
    shown = _Shown.of_thread or _install()
    outer, shown.now = shown.now, warned
    start = _seconds()
    try:
        value = function(*args, **keywords) if keywords else function(*args)
        del args, keywords
    finally:
        shown.now = outer
        seconds = _seconds() - start
        if doubts or seconds > FAST_SECONDS:
            _doubts.note(key, doubts, seconds)
    if type(value) is CoroutineType:
        raise _unawaited(value)
    if is_boxed:
        return b"V" + codec.encode(unpickled.taken_apart(value), _TERMS), None
    return _result(value)


def _unawaited(value: Any) -> TypeError:
    """What a task of a coroutine function fails with: nothing here awaits what it gives."""
    name = value.__qualname__
    value.close()
    return TypeError(
        f"{name} is a coroutine function: a task would have to await what it gives. Submit a function that runs it, "
        "as asyncio.run does"
    )


def _taken_apart(payload: bytes) -> tuple[Any, list[Any], Any]:
    """The function, the arguments and the keywords of a task."""
    function, call, memory, path = pickle.loads(payload)
    if path is not None and path != _used_path:
        _use_path(path)
    args: list[Any]
    if function is None:
        function, *args, keywords = _read(call, memory)
    else:
        *args, keywords = _read(call, memory)
        function = lookup.target(function) if type(function) is str else _function(function)
    return function, args, keywords


def _read(call: bytes, memory: Any) -> Any:
    try:
        if memory is None:
            return pickle.loads(call)
        name, sizes, digest = memory
        return parcels.unpacked(call, shared.path_of(name), sizes, digest, current().memory)
    except Exception as error:
        _note(error, "raised where the task was read, in the worker")
        raise


def _key(function: object) -> object:
    """What tells functions apart, where they come anew with each task."""
    if type(function) is FunctionType:
        return function.__code__
    named = function if isinstance(function, (BuiltinFunctionType, type)) else type(function)
    return getattr(named, "__module__", None), getattr(named, "__qualname__", "")


def _answer_others() -> None:
    """Have the answers to tasks that are over written: this one may take long, or end the interpreter."""
    bridge = current().bridge
    if bridge is not None:
        bridge.flush()


def _note(error: BaseException, text: str) -> None:
    if sys.version_info >= (3, 11):
        error.add_note(text)


def _function(data: bytes) -> Callable[..., Any]:
    """The function in a pickle: the same one as long as it comes in the same bytes."""
    found = _functions.get(data)
    if found is None:
        found = pickle.loads(data)
        if len(data) <= _MOST_FUNCTION_BYTES:
            if len(_functions) >= _MOST_FUNCTIONS:
                _functions.clear()
            _functions[data] = found
    assert found is not None
    return found


def _result(value: object) -> tuple[bytes, object]:
    made = None if codec.plain_result is None else codec.plain_result(value)
    if made is not None:
        return made, None
    kind = type(value)
    if value is None or kind is int or kind is float or kind is bool or (kind is str and len(value) < 1000):  # type: ignore[arg-type]
        return b"R" + pickle.dumps(value, 5), None
    try:
        head, memory, digest = parcels.packed(value, _shared)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        if type(error) in (TypeError, AttributeError, pickle.PicklingError):
            raise type(error)(f"the result: {error}") from error
        raise
    except errors.SharedMemoryError:
        return b"R" + parcels.pickled(value), None
    if memory is None:
        return b"R" + head, None
    made, sizes = memory
    return b"M" + pickle.dumps((head, sizes, digest), 5), made


def _shared(parts: list[memoryview]) -> Any:
    return shared.share_parts(parts)


def _error(error: BaseException) -> bytes:
    """The answer that has an exception, and its traceback as text. Raises nothing, whatever the exception is."""
    try:
        trace = _trace(error)
    except BaseException:
        trace = ""
    name, text, args = unpickled.error_apart(error)
    if not _is_boxed():
        made = unpickled.portable(error)
        if made is not None:
            return b"E" + parcels.pickled((made, trace))
    described: list[object] = [
        name.encode(),
        text.encode(errors="backslashreplace"),
        args,
        trace.encode(errors="replace"),
    ]
    return b"X" + codec.encode(described, _TERMS)


def _trace(error: BaseException) -> str:
    import traceback

    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    return "".join(traceback.format_exception(type(error), error, own))


def _is_boxed() -> bool:
    """Whether this interpreter is in a sandbox: those have no part in shared memory."""
    return current().memory is None


def _use_path(path: list[str]) -> None:
    """Put the driver's path in front of what else is on this interpreter's."""
    import importlib

    before = set(_used_path)
    known = set(path)
    sys.path[:] = [*path, *(entry for entry in sys.path if entry not in known and entry not in before)]
    _used_path[:] = path
    importlib.invalidate_caches()


def initialize(payload: bytes) -> None:
    """What a pool of an executor's own runs in each interpreter before its first task: its initializer."""
    current().pickles.verify(payload)
    _, call, memory, path = pickle.loads(payload)
    if path is not None:
        _use_path(path)
    function, *args, _ = _read(call, memory)
    function(*args)


# Warnings go to the driver, which decides what becomes of them: here none is left out.


class _Shown:
    """The list that notes the warnings of a thread's task, in place of showing them."""

    of_thread: Any = None


def _note_warning(
    warned: list[tuple[str, ...]], message: object, category: type, filename: str, lineno: int
) -> None:
    try:
        text = str(message)
    except Exception:  # of the `__str__` of a warning of the user's
        text = ""
    found = (category.__module__, category.__qualname__, text, filename, str(lineno))
    if len(warned) < _MOST_WARNINGS and found not in warned:
        warned.append(found)


def _install() -> Any:
    import threading
    import warnings

    class Local(threading.local):
        now: list[tuple[str, ...]] | None = None

    show: Any = warnings.showwarning
    shown = _Shown.of_thread = Local()

    def noted(
        message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        now = shown.now
        if now is None or file is not None:
            show(message, category, filename, lineno, file, line)
        else:
            _note_warning(now, message, category, filename, lineno)

    warnings.showwarning = noted
    for category in (Warning, ImportWarning, ResourceWarning):
        warnings.simplefilter("always" if category is Warning else "ignore", category)
    return shown
