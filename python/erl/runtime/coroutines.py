"""Calls whose value comes later: coroutines, on an event loop that starts with the first (`erl.runtime.tasks`)."""

from __future__ import annotations

from erl.codec import Options
from erl.runtime import limits
from erl.runtime.tasks import Tasks

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.runtime.answers import Answers
    from erl.runtime.outgoing import Outgoing
    from erl.values.scope import Scope


class Coroutines:
    """The calls that go on beside the others, so many at a time."""

    def __init__(
        self, out: Outgoing, answers: Answers, scope: Scope, event_loop: str, most: int | None
    ) -> None:
        self._out = out
        self._answers = answers
        self._scope = scope
        self._tasks = Tasks(self._ended, out.port.flush, event_loop, most, scope)

    def start(self, id_: int, value: Any, flags: int, begun: list[int]) -> None:
        """Answer a call when what it returned has ended; the calls behind it go on meanwhile."""
        references = self._scope.references
        since = references.since.pop(id_, 0)
        if references.count_made() > since:
            self._out.own(id_, since)
        self._out.stdout.end()
        self._out.tell("$py.later", id_)
        self._tasks.start(id_, value, Options.from_flags(flags))
        if id_ in begun:
            begun.remove(id_)

    def _ended(self, id_: int, options: Options, value: object, error: BaseException | None) -> None:
        """A coroutine has ended, or is not wanted any more; on the event loop's thread."""
        answers = self._answers
        try:
            frame = answers.result(id_, value, options) if error is None else answers.failure(id_, error)
            self._out.own_elsewhere(id_)
        except BaseException as second:  # the door around user code, as in `erl.runtime.server`
            if isinstance(second, MemoryError):
                limits.spare.clear()
            frame = answers.failure(id_, second)
        answers.send(id_, frame)

    def has(self, id_: int) -> bool:
        """Whether that call is answered from here."""
        return self._tasks.has(id_)

    def cancel(self, id_: int) -> bool:
        """Cancel the coroutine of a call, from any thread; False where it has none."""
        return self._tasks.cancel(id_)
