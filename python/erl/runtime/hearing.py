"""Messages for the message handler, where calls run in threads: in order, one at a time, in a thread of their own."""

from __future__ import annotations

from _thread import allocate_lock

from erl.runtime import limits
from erl.runtime.clock import release, start_thread
from erl.values import steps
from erl.wire.port import PortClosedError

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.runtime.answers import Answers
    from erl.runtime.outgoing import Outgoing
    from erl.values.scope import Scope


class Hearing:
    """What was sent to the handler and has not been heard. Its thread starts with the first message."""

    def __init__(self, out: Outgoing, answers: Answers, scope: Scope) -> None:
        self._out = out
        self._answers = answers
        self._scope = scope
        self._heard: list[object] = []
        self._something: Any = None

    def step(self, message: object) -> steps.Step:
        """A step: note a message; `hear` is to follow."""
        return steps.each(self._heard.append, message)

    def hear(self) -> None:
        """There is a message."""
        if self._something is None:
            self._something = allocate_lock()
            start_thread(self._listen, ())
            return
        release(self._something)

    def _listen(self) -> None:
        while True:
            self._something.acquire()
            while self._heard:
                try:
                    self._scope.context().run(self._hear, self._heard.pop(0))
                except PortClosedError:
                    return

    def _hear(self, message: object) -> None:
        bridge = self._scope.bridge
        try:
            if bridge is not None:
                bridge.handler(message)
        except PortClosedError:
            raise
        except BaseException as error:  # the door around user code, as in `erl.runtime.server`
            if isinstance(error, MemoryError):
                limits.spare.clear()
            message = None
            self._answers.send(None, self._answers.failure(None, error))
        self._out.own_elsewhere(0)
        self._out.end_output()
        self._out.port.flush()
