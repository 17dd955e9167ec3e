"""How large items are, nearly, without looking at all of them: for what is to fit into memory."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

_SAMPLE: Final = 16
_MOST_DEPTH: Final = 4
BATCH_BYTES: Final = 1 << 20
"""Of items that go from step to step together."""
MOST_ITEMS: Final = 4096
_PLACE_BYTES: Final = 8
"""Of one item in a list."""


def size_of(value: Any, depth: int = 0) -> int:
    """The bytes of a value in memory, nearly."""
    kind = type(value)
    if kind in (int, float, bool, type(None), complex):
        return 32
    if kind in (str, bytes, bytearray):
        return 56 + len(value)
    if kind in (list, tuple, set, frozenset):
        if depth >= _MOST_DEPTH or not value:
            return 64 + 8 * len(value)
        return 64 + _sampled(value, len(value), depth + 1)
    if kind is dict:
        if depth >= _MOST_DEPTH or not value:
            return 64 + 96 * len(value)
        count = len(value)
        return (
            64 + 32 * count + _sampled(value, count, depth + 1) + _sampled(value.values(), count, depth + 1)
        )
    nbytes = getattr(value, "nbytes", None)
    if type(nbytes) is int:
        return 128 + nbytes
    try:
        found = sys.getsizeof(value)
    except Exception:
        found = 64
    state = getattr(value, "__dict__", None)
    return found + (size_of(state, depth + 1) if state and depth < _MOST_DEPTH else 0)


def _sampled(values: Any, count: int, depth: int) -> int:
    """Of many, by a few of them."""
    if count <= _SAMPLE:
        return sum(size_of(each, depth) + _PLACE_BYTES for each in values)
    if isinstance(values, (list, tuple)):
        step = count // _SAMPLE
        chosen = [values[at] for at in range(0, count, step)]
    else:
        chosen = [each for each, _ in zip(values, range(_SAMPLE), strict=False)]
    return (sum(size_of(each, depth) for each in chosen) // len(chosen) + _PLACE_BYTES) * count


def size_of_all(items: list[Any]) -> int:
    """Of a list of items."""
    return _sampled(items, len(items), 0) if items else 0


def room(item: Any) -> int:
    """How many items like this one make a batch."""
    return min(MOST_ITEMS, max(1, BATCH_BYTES // size_of(item)))
