"""Items for functions that may change them: each evaluation of a set that is kept begins with what was kept.

What can't be changed is given as it is, and so is what can't be copied: a lock, a generator.
"""

from __future__ import annotations

import copy
import pickle
import sys
from itertools import chain

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

_FROZEN: Final = frozenset((int, float, complex, bool, str, bytes, type(None), type(...), range, type))
_TUPLES: Final = frozenset((tuple,))
_PROTOCOL: Final = 5


def fresh(items: list[Any]) -> list[Any]:
    """The same items, or copies of those that can be changed."""
    kinds = set(map(type, items))
    if kinds <= _FROZEN:
        return items
    if kinds == _TUPLES and set(map(type, chain.from_iterable(items))) <= _FROZEN:
        return items
    return [_copied(item) for item in items]


def _copied(item: Any) -> Any:
    kind = type(item)
    if kind in _FROZEN:
        return item
    if kind is tuple and set(map(type, item)) <= _FROZEN:
        return item
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind is numpy.ndarray and not item.dtype.hasobject:
        return item.copy(order="K")
    for copying in (_by_pickle, copy.deepcopy):
        try:
            return copying(item)
        except MemoryError:
            raise
        except Exception:
            continue
    return item


def _by_pickle(item: Any) -> Any:
    return pickle.loads(pickle.dumps(item, _PROTOCOL))
