"""How much Python may say unasked: texts that are printed, records that are logged, messages to processes.

Where a page is shared with Erlang, Erlang counts in it the bytes of output that it has taken. Whoever has more to say
waits while more than a window of it is on its way, in small sleeps that a signal ends, and holds nothing meanwhile. So
nobody's memory fills, and since Erlang takes each frame in a bounded time, nobody waits for ever.

A sandboxed Python shares no page. It keeps to the rate that is heard of it; what is beyond is dropped, and counted.
"""

from __future__ import annotations

from erl.values import steps

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.wire.port import Port

WINDOW_BYTES = 262_144
_TAKEN = 2
"""The word of the page that counts the bytes that Erlang has taken."""
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.02
_RATE_BYTES = 1_048_576
_RATE_TEXTS = 1_000
_KEPT_TEXTS = 2
_KEPT_BYTES = 400
"""Room for the line that says what was dropped."""
_SECONDS = 1.5
"""More than a second of Erlang's, which counts what comes and not what leaves."""


class Output:
    """Counts what leaves through the port, and makes whoever has too much to say wait."""

    # Here nobody replaces them.
    from time import monotonic as _now  # type: ignore[misc]
    from time import sleep as _sleep  # type: ignore[misc]

    def __init__(self, port: Port) -> None:
        self._port = port
        self._sent = steps.Sum()
        self._page: memoryview | None = None
        self._rate: _Rate | None = None

    def use_page(self, page: memoryview | None) -> None:
        """Count from here on, and wait for what this page says; None, or a page without that word: wait for nothing."""
        self._page = page if page is not None and len(page) > _TAKEN else None
        self._sent.clear()

    def keep_to_rate(self) -> None:
        """Say no more than what is heard of a sandboxed Python."""
        self._rate = _Rate()

    def await_room(self) -> None:
        """Wait while too much is on its way; not where this thread was entered in a write, which goes on first."""
        page = self._page
        if page is None or self._sent.value - page[_TAKEN] <= WINDOW_BYTES or self._port.is_writing:
            return
        self._port.flush()
        pause = _FIRST_PAUSE
        while self._sent.value - page[_TAKEN] > WINDOW_BYTES:
            self._sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def write(self, frame: bytes, *then: steps.Step) -> None:
        """Send a frame of output, and do these steps at once; see `Port.write`."""
        self._port.write(frame, *then, self._sent.adding(len(frame) + self._port.packet))

    @property
    def is_limited(self) -> bool:
        """Whether something may be dropped."""
        return self._rate is not None

    def admits(self, size: int) -> bool:
        """Whether a text of so many bytes is heard; one that is not is counted."""
        return self._rate is None or self._rate.admits(size, self._now())

    def lost(self, is_end: bool = False) -> bytes | None:
        """A line that says how much was dropped, once it is over or at the end of a call; None where nothing was."""
        return None if self._rate is None else self._rate.lost(self._now(), is_end)


class _Rate:
    """What is heard in a second."""

    def __init__(self) -> None:
        self._since = 0.0
        self._bytes = 0
        self._texts = 0
        self._has_said = False
        self._dropped_bytes = 0
        self._dropped_texts = 0

    def _enter(self, now: float) -> None:
        if now - self._since > _SECONDS:
            self._since, self._bytes, self._texts, self._has_said = now, 0, 0, False

    def admits(self, size: int, now: float) -> bool:
        self._enter(now)
        bytes_, texts = self._bytes + size, self._texts + 1
        if bytes_ > _RATE_BYTES - _KEPT_BYTES or texts > _RATE_TEXTS - _KEPT_TEXTS:
            self._dropped_bytes += size
            self._dropped_texts += 1
            return False
        self._bytes, self._texts = bytes_, texts
        return True

    def lost(self, now: float, is_end: bool) -> bytes | None:
        self._enter(now)
        if not self._dropped_texts or self._has_said or not (is_end or not self._texts):
            return None
        self._has_said = True
        bytes_, texts = self._dropped_bytes, self._dropped_texts
        self._dropped_bytes = self._dropped_texts = 0
        return (
            f"[py: {bytes_} bytes in {texts} texts were dropped: a sandboxed Python prints and logs"
            " 1 MiB and 1000 texts a second]\n"
        ).encode()


def words(page: Any) -> memoryview:
    """The page as native integers. Raises `ValueError` for one that is not of 8 or 64 bytes."""
    view = memoryview(page).cast("B")
    if len(view) not in (8, 64):
        raise ValueError(f"begun calls are counted in 8 bytes, or a page of 64, not {len(view)}")
    return view.cast("Q")
