"""Objects that stay in this process and are known to Erlang by a small term.

The term is ``{'$py.ref', Worker, Incarnation, Id}``: the pid of the worker process that owns this interpreter's
port, the count of interpreters it has started, and a number that is never used twice in one interpreter. This
module keeps the table; it does not know which Erlang process owns a reference (the worker process does, from
the `own` message of each call that made some).
"""

from __future__ import annotations

from erl import errors

_MARKER = "$py.ref"

_identity: tuple[object, int] | None = None
_held: dict[int, object] = {}
_made: list[int] = []
"""Always the same list: the compiled lane looks at its length."""

_last_id = 0


def set_identity(worker: object, incarnation: int) -> None:
    """Say who this interpreter is; until then nothing can be held (ErlPort's flags alone)."""
    global _identity
    _identity = (worker, incarnation)


def hold(value: object) -> tuple[object, ...]:
    """Keep `value` and return the term that stands for it.

    Raises `errors.NotPicklableError` where no worker process is there to own it.
    """
    global _last_id
    if _identity is None:
        raise errors.NotPicklableError(
            f"a {type(value).__name__} can't be pickled, and references need a py worker"
        )
    from erl.terms import Atom

    _last_id += 1
    _held[_last_id] = value
    _made.append(_last_id)
    worker, incarnation = _identity
    return (Atom(_MARKER), worker, incarnation, _last_id)


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
    """How many references were made since the last call of `take_made`."""
    return len(_made)


def take_made() -> list[int]:
    """The ids made since the last call of this function."""
    made = _made.copy()
    _made.clear()
    return made


def put_back(numbers: list[int]) -> None:
    """Let the next `take_made` return these ids as well."""
    _made.extend(numbers)


def release_since(count: int) -> None:
    """Forget the objects that were made after the first `count` since the last call of `take_made`."""
    unfit = _made[count:]
    del _made[count:]
    release(unfit)


def release(numbers: list[int]) -> None:
    """Forget the objects with these ids; ids that are not held are passed over."""
    for number in numbers:
        _held.pop(number, None)


def count() -> int:
    """How many objects are held."""
    return len(_held)
