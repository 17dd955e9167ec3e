"""Values as terms that hold no code: what a driver takes from a sandboxed Python.

Numbers, texts, bytes, None, lists, tuples, dicts, sets, arrays of numbers and times. A tuple of two that begins with an
atom says what it is; text is a binary.
"""

from __future__ import annotations

import pickle
import sys

from erl import errors
from erl.terms import Atom
from erl.values import parcels

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_BYTES: Final = Atom("b")
_TUPLE: Final = Atom("t")
_DICT: Final = Atom("d")
_SET: Final = Atom("s")
_FROZEN: Final = Atom("f")
_COMPLEX: Final = Atom("c")
_FLOAT: Final = Atom("n")
_ARRAY: Final = Atom("a")
_TIME: Final = Atom("i")
_MOST_DEPTH: Final = 200
_KINDS: Final = "biufcMmSU"
"""Of numpy's types: those that are bytes, and no objects."""


def taken_apart(value: object, depth: int = 0) -> object:
    """The term for a value. Raises `errors.NotPicklableError` for one that has none."""
    kind = type(value)
    if value is None or kind in (bool, int):
        return value
    if kind is str:
        return value.encode("utf-8", "surrogatepass")  # type: ignore[attr-defined]
    if depth > _MOST_DEPTH:
        raise errors.NotPicklableError(f"a value with more than {_MOST_DEPTH} containers inside one another")
    if kind is float:
        return (_FLOAT, value.hex().encode())  # type: ignore[attr-defined]  # NaN and infinities, too
    if kind in (bytes, bytearray):
        return (_BYTES, bytes(value))  # type: ignore[call-overload]
    items: Any = value
    if kind is list:
        return [taken_apart(item, depth + 1) for item in items]
    if kind is tuple:
        return (_TUPLE, [taken_apart(item, depth + 1) for item in items])
    if kind is dict:
        pairs = items.items()
        return (_DICT, [[taken_apart(key, depth + 1), taken_apart(item, depth + 1)] for key, item in pairs])
    if kind in (set, frozenset):
        tag = _SET if kind is set else _FROZEN
        return (tag, [taken_apart(item, depth + 1) for item in items])
    if kind is complex:
        return (_COMPLEX, [items.real.hex().encode(), items.imag.hex().encode()])
    if kind.__module__ == "datetime" and kind.__name__ in ("date", "datetime", "time"):
        return (_TIME, [kind.__name__.encode(), items.isoformat().encode()])
    if kind.__module__.partition(".")[0] == "numpy":
        return _array(items)
    raise errors.NotPicklableError(
        f"a {kind.__module__}.{kind.__qualname__} can't leave a sandbox: numbers, texts, bytes, lists, tuples, dicts, "
        "sets, times and arrays of numbers can"
    )


def _array(value: Any) -> object:
    import numpy

    array = numpy.asarray(value)
    if array.dtype.kind not in _KINDS or array.dtype.hasobject:
        raise errors.NotPicklableError(f"an array of {array.dtype} can't leave a sandbox")
    is_array = isinstance(value, numpy.ndarray)
    dtype = array.dtype.str.encode()
    return (_ARRAY, [dtype, list(array.shape) if is_array else None, array.tobytes()])


def put_together(term: object) -> object:
    """The value of a term, which was read where nothing stands for code.

    Raises `errors.DecodeError` for a term that stands for none. Runs no code of the term's.
    """
    try:
        return _made(term, 0)
    except errors.DecodeError:
        raise
    except Exception as error:
        raise errors.DecodeError(f"a sandboxed Python has sent what is no value: {error}") from error


def _made(term: Any, depth: int) -> Any:
    kind = type(term)
    if term is None or kind in (bool, int):
        return term
    if kind is bytes:
        return term.decode("utf-8", "surrogatepass")
    if depth > 2 * _MOST_DEPTH:
        raise errors.DecodeError("a sandboxed Python has sent a value that is nested too deep")
    if kind is list:
        return [_made(item, depth + 1) for item in term]
    if kind is tuple and len(term) == 2 and type(term[0]) is Atom:
        maker = _MAKERS.get(term[0])
        if maker is not None:
            return maker(term[1], depth + 1)
    raise errors.DecodeError(f"a sandboxed Python has sent what is no value: a {kind.__name__}")


def _dict(pairs: Any, depth: int) -> Any:
    return {_made(key, depth): _made(item, depth) for key, item in pairs}


def _complex(parts: Any, _depth: int) -> complex:
    real, imag = (float.fromhex(part.decode("ascii")) for part in parts)
    return complex(real, imag)


def _bytes(data: Any, _depth: int) -> bytes:
    if type(data) is not bytes:
        raise errors.DecodeError("a sandboxed Python has sent bytes that are none")
    return data


def _time(parts: Any, _depth: int) -> object:
    import datetime

    name, text = (part.decode("ascii") for part in parts)
    kinds: dict[str, Any] = {
        each.__name__: each for each in (datetime.date, datetime.datetime, datetime.time)
    }
    return kinds[name].fromisoformat(text)


def _array_of(parts: Any, _depth: int) -> object:
    import numpy

    dtype, shape, data = parts
    kind = numpy.dtype(dtype.decode("ascii"))
    if kind.kind not in _KINDS or kind.hasobject:
        raise errors.DecodeError(f"a sandboxed Python has sent an array of {kind}")
    array = numpy.frombuffer(bytearray(_bytes(data, 0)), kind)
    return array[0] if shape is None else array.reshape([int(size) for size in shape])


_MAKERS: Final[dict[str, Callable[[Any, int], Any]]] = {
    _BYTES: _bytes,
    _TUPLE: lambda items, depth: tuple(_made(item, depth) for item in items),
    _DICT: _dict,
    _SET: lambda items, depth: {_made(item, depth) for item in items},
    _FROZEN: lambda items, depth: frozenset(_made(item, depth) for item in items),
    _COMPLEX: _complex,
    _FLOAT: lambda data, _depth: float.fromhex(data.decode("ascii")),
    _ARRAY: _array_of,
    _TIME: _time,
}


class Rebuilt:
    """An exception on its way to a pickle, which is made there without a call of its `__init__`."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        return rebuilt, self._parts()

    def made(self) -> BaseException:
        """What a pickle of it gives, without one."""
        return rebuilt(*self._parts())

    def _parts(self) -> tuple[type[BaseException], tuple[object, ...], dict[str, object]]:
        return type(self._error), self._error.args, self._error.__dict__


def rebuilt(kind: type[BaseException], args: tuple[object, ...], state: dict[str, object]) -> BaseException:
    """The exception that a `Rebuilt` stands for."""
    made = kind.__new__(kind, *args)
    made.args = args
    made.__dict__.update(state)
    return made


def portable(error: BaseException) -> object:
    """What can be pickled and is this exception where it is read; None where nothing can."""
    for made in (error, Rebuilt(error)):
        try:
            pickle.loads(parcels.pickled(made))
            return made
        except errors.CallCancelled:
            raise
        except BaseException:  # what code of the exception's own raises, of whatever kind
            continue
    return None


def error_apart(error: BaseException) -> tuple[str, str, list[object]]:
    """An exception's class, text and those arguments that have a term; none where one has not."""
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(error)
    except errors.CallCancelled:
        raise
    except BaseException:
        text = ""
    try:
        return name, text, [taken_apart(argument) for argument in error.args]
    except errors.CallCancelled:
        raise
    except BaseException:
        return name, text, [taken_apart(text)]


def error_together(name: str, text: str, args: list[object]) -> BaseException:
    """The exception: of its class where that is a builtin, or in a module that is loaded; else a `RemoteError`.

    Nothing is imported, and no `__init__` is run.
    """
    module, _, path = name.rpartition(".")
    found: Any = sys.modules.get(module)
    # A module's `__getattr__` may import.
    kind = vars(found).get(path) if found is not None else None
    if (
        isinstance(kind, type)
        and issubclass(kind, Exception)
        and f"{kind.__module__}.{kind.__qualname__}" == name
    ):
        try:
            values = [put_together(argument) for argument in args]
            made = kind.__new__(kind, *values)
            made.args = tuple(values)
            return made
        except Exception:
            return errors.RemoteError(name, text)
    return errors.RemoteError(name, text)
