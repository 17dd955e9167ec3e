"""Objects that stay in this process and are known to Erlang by a small term.

The term is ``{'$py.ref', Worker, Incarnation, Id}``: the pid of the worker process that owns this interpreter's
port, the count of interpreters it has started, and a number that is never used twice in one interpreter. This
module keeps the table; it does not know which Erlang process owns a reference (the worker process does, from
the `own` message of each call that made some).
"""

from __future__ import annotations

from _thread import get_ident
from itertools import count

from erl import errors
from erl.values import steps

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Memory(Protocol):
        """A file of shared memory (`erl.shared`)."""

        def hand_over(self) -> bytes:
            """Its name, for Erlang, whose file it is from now on."""


_MARKER = "$py.ref"

_identity: tuple[object, int] | None = None
_held: dict[int, object] = {}
_made: list[Any] = []
"""Those of the main thread, and the shared memory that it has sent: see `give`. Always the same list: the compiled
lane looks at its length.
"""
_main = get_ident()
_made_elsewhere: dict[int, list[Any]] = {}
"""Those of each other thread."""

_next = count(1).__next__


def set_identity(worker: object, incarnation: int) -> None:
    """Say who this interpreter is; until then nothing can be held (ErlPort's flags alone)."""
    global _identity
    _identity = (worker, incarnation)


def hold(value: object) -> tuple[object, ...]:
    """Keep `value` and return the term that stands for it.

    Raises `errors.NotPicklableError` where no worker process is there to own it.
    """
    if _identity is None:
        raise errors.NotPicklableError(
            f"a {type(value).__name__} can't be pickled, and references need a py worker"
        )
    from erl.terms import Atom

    number = _next()
    _held[number] = value
    _made_here().append(number)
    worker, incarnation = _identity
    return (Atom(_MARKER), worker, incarnation, number)


def give(memory: Memory) -> None:
    """Let a file of shared memory belong to whom the references belong that this thread makes just now."""
    _made_here().append(memory)


def _made_here() -> list[Any]:
    thread = get_ident()
    return _made if thread == _main else _made_elsewhere.setdefault(thread, [])


def resolve(worker: object, incarnation: object, number: object) -> object:
    """The object a reference stands for. Raises `errors.StaleReferenceError` when it is not here (any more)."""
    if (worker, incarnation) != _identity:
        raise errors.StaleReferenceError("the reference belongs to another worker or to one that has died")
    try:
        return _held[number]  # type: ignore[index]
    except (KeyError, TypeError):
        raise errors.StaleReferenceError(
            "the reference was released: by py:release/1 or because the process that owned it ended"
        ) from None


def made() -> int:
    """How many references this thread has made since its last call of `take_made`."""
    return len(_made_here())


def take_made_elsewhere() -> list[int | bytes]:
    """The same as `take_made` for this thread, which is not the main one."""
    return _handed_over(_made_elsewhere.pop(get_ident(), []))


def take_made() -> list[int | bytes]:
    """The ids that the main thread has made since the last call of this function, and the names of shared memory."""
    made: list[Any] = []
    steps.move(_made, made)
    return _handed_over(made)


def _handed_over(made: list[Any]) -> list[int | bytes]:
    return [each if type(each) is int or type(each) is bytes else each.hand_over() for each in made]


def put_back(numbers: list[int | bytes]) -> None:
    """Let the next `take_made` return these ids as well."""
    _made.extend(numbers)


def release_since(number: int) -> None:
    """Forget the objects that this thread has made after the first `number` since the last call of `take_made`."""
    made = _made_here()
    unfit = made[number:]
    del made[number:]
    release([each for each in unfit if type(each) is int])


def release(numbers: list[int]) -> None:
    """Forget the objects with these ids; ids that are not held are passed over."""
    for number in numbers:
        _held.pop(number, None)


def held() -> int:
    """How many objects are held."""
    return len(_held)
