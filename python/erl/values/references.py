"""Objects that stay in this process and are known to Erlang by a small term.

The term is ``{'$py.ref', Worker, Incarnation, Id}``: the pid of the worker process that owns this interpreter's
port, the count of interpreters it has started, and a number that is never used twice in one interpreter. Here
is the table; it does not know which Erlang process owns a reference (the worker process does, from
the `own` message of each call that made some).
"""

from __future__ import annotations

from _operator import delitem, setitem  # `operator` costs more
from _thread import get_ident
from itertools import count

from erl import errors
from erl.terms import Atom
from erl.values import steps

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Memory(Protocol):
        """A file of shared memory (`erl.shared`)."""

        name: str

        def handing_over(self) -> steps.Step:
            """A step: the file is Erlang's from now on."""


_MARKER = "$py.ref"


class References:
    """The objects of a conversation that stay here, and who this interpreter is in it."""

    __slots__ = ("_held", "_identity", "_made_elsewhere", "_main", "_next", "made", "since")

    def __init__(self) -> None:
        self._identity: tuple[object, int] | None = None
        self._held: dict[int, object] = {}
        self.made: list[Any] = []
        """Those of the main thread, and the shared memory that it has sent: see `give`. Always the same list: the
        compiled lane looks at its length. What a call has made that nests in another one stands behind that one's.
        """
        self.since: dict[int, int] = {}
        """Where in `made` that of a call begins which nests in another one."""
        self._made_elsewhere: dict[int, list[Any]] = {}
        """Those of each other thread."""
        self._next = count(1).__next__
        self._main = get_ident()

    def set_main_thread(self) -> None:
        """The thread that calls is the one that serves."""
        self._main = get_ident()

    def set_identity(self, worker: object, incarnation: int) -> None:
        """Say who this interpreter is; until then nothing can be held (ErlPort's flags alone)."""
        self._identity = (worker, incarnation)

    def hold(self, value: object) -> tuple[object, ...]:
        """Keep `value` and return the term that stands for it.

        Raises `errors.NotPicklableError` where no worker process is there to own it.
        """
        if self._identity is None:
            raise errors.NotPicklableError(
                f"a {type(value).__name__} can't be pickled, and references need a py worker"
            )
        number = self._next()
        kept = steps.each(setitem, self._held, number, value)
        steps.at_once(steps.together(kept, steps.each(self._made_here().append, number)))
        worker, incarnation = self._identity
        return (Atom(_MARKER), worker, incarnation, number)

    def give(self, memory: Memory) -> None:
        """Let a file of shared memory belong to whom the references belong that this thread makes just now."""
        self._made_here().append(memory)

    def _made_here(self) -> list[Any]:
        thread = get_ident()
        return self.made if thread == self._main else self._made_elsewhere.setdefault(thread, [])

    def resolve(self, worker: object, incarnation: object, number: object) -> object:
        """The object a reference stands for. Raises `errors.StaleReferenceError` when it is not here (any more)."""
        if (worker, incarnation) != self._identity:
            raise errors.StaleReferenceError(
                "the reference belongs to another worker or to one that has died"
            )
        try:
            return self._held[number]  # type: ignore[index]
        except (KeyError, TypeError):
            raise errors.StaleReferenceError(
                "the reference was released: by py:release/1 or because the process that owned it ended"
            ) from None

    def count_made(self) -> int:
        """How many references and files this thread has made and Erlang has not been told of."""
        return len(self._made_here())

    def owed(self, since: int = 0) -> tuple[list[Any], steps.Step]:
        """What this thread has made after the first `since`, and the step by which that is Erlang's, for whoever sends
        it (see `named`): what is owed is to be held until then, so that no file goes with its object before.
        """
        made = self._made_here()
        some = made[since:]
        handed = [each.handing_over() for each in some if type(each) is not int]
        return some, steps.together(*handed, steps.each(delitem, made, slice(since, since + len(some))))

    def owes_elsewhere(self) -> bool:
        """Whether there is anything that a thread has made which is not the main one, and this is that thread."""
        thread = get_ident()
        return thread != self._main and bool(self._made_elsewhere.get(thread))

    def take_made(self) -> list[int | bytes]:
        """What this thread owes; from here on it is Erlang's."""
        some, taken = self.owed()
        steps.at_once(taken)
        return named(some)

    def release_since(self, number: int) -> None:
        """Forget the objects that this thread has made after the first `number` of those that it owes."""
        made = self._made_here()
        self.release([each for each in made[number:] if type(each) is int])
        del made[number:]

    def release(self, numbers: list[int]) -> None:
        """Forget the objects with these ids; ids that are not held are passed over."""
        for number in numbers:
            self._held.pop(number, None)

    def held(self) -> int:
        """How many objects are held."""
        return len(self._held)


def named(owed: list[Any]) -> list[int | bytes]:
    """What is owed, as Erlang is told of it: the ids of references, the names of files."""
    return [each if type(each) is int else each.name.encode() for each in owed]
