"""Which callables are trusted to be fast: before the others, the answers that are ready are written.

One that is trusted may take long all the same, or never come back: Erlang sees that, and rings for the answers before
it ("Answers that wait" in docs/architecture.md). Where it can't, none is trusted.

A callable is trusted once it was fast as often as it is asked for: once when it is new, twenty times when it was
trusted and slow for once (as any call may be on a busy machine), a thousand times when it was slow again.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from erl.wire.port import Port

FAST_SECONDS = 0.0001
_LONG_SECONDS = 0.001
"""Who waited behind a call that took longer may not want an answer any more."""
_OF_SLOW = 1000
_OF_SLOW_ONCE = 20
_MOST_KEYS = 10_000


class Doubts:
    """How often each callable must still be fast. `left` is always the same dict: the compiled lane looks into it."""

    __slots__ = ("_port", "left")

    def __init__(self, port: Port | None = None) -> None:
        self._port = port
        self.left: dict[object, int] = {}

    def note(self, key: object, doubts: int, seconds: float) -> bool:
        """A call of a callable with so many doubts has taken so long: whether that was long for who waited behind."""
        if seconds > FAST_SECONDS:
            self._set(key, _OF_SLOW if doubts else _OF_SLOW_ONCE)
            return seconds > _LONG_SECONDS
        if doubts and (self._port is None or self._port.bell >= 0):
            self._set(key, doubts - 1)
        return False

    def note_slow(self, key: object) -> None:
        """A call of one that was trusted was slow."""
        self._set(key, _OF_SLOW_ONCE)

    def _set(self, key: object, doubts: int) -> None:
        if len(self.left) > _MOST_KEYS:
            self.left.clear()
        if key is not None:
            self.left[key] = doubts
