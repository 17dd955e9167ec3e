"""The calls whose value comes later, as the server sees them. What they take is imported with the first one."""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.runtime.answers import Answers
    from erl.runtime.coroutines import Coroutines
    from erl.runtime.outgoing import Outgoing
    from erl.values.scope import Scope


class Later:
    """Starts coroutines (`erl.runtime.coroutines`), and knows whether there are any."""

    def __init__(self, out: Outgoing, answers: Answers, scope: Scope) -> None:
        self._out = out
        self._answers = answers
        self._scope = scope
        self._event_loop = "asyncio"
        self._most: int | None = None
        self._coroutines: Coroutines | None = None
        self._starting = allocate_lock()

    def use(self, event_loop: str, most: int | None) -> None:
        """Which event loop the first coroutine begins, and how many may run at a time; None: any number."""
        self._event_loop, self._most = event_loop, most

    def start(self, id_: int, value: Any, flags: int, begun: list[int]) -> None:
        """Answer a call when what it returned has ended; it is no longer one of those that were `begun`."""
        with self._starting:
            if self._coroutines is None:
                from erl.runtime.coroutines import Coroutines

                self._coroutines = Coroutines(
                    self._out, self._answers, self._scope, self._event_loop, self._most
                )
        self._coroutines.start(id_, value, flags, begun)

    def has(self, id_: int) -> bool:
        """Whether that call is answered from there."""
        return self._coroutines is not None and self._coroutines.has(id_)

    def cancel(self, id_: int) -> bool:
        """Cancel the coroutine of a call, from any thread; False where it has none."""
        return self._coroutines is not None and self._coroutines.cancel(id_)
