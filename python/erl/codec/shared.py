"""What a call with `arrays => shared` writes instead of large arrays and bytes: the terms of `erl.shared`.

Like `standard`, a simplifier returns what is encoded in the value's place. What is small, or can't be shared, goes
as it does with `arrays => value`. Loaded by the first call that needs it.
"""

from __future__ import annotations

import sys

from erl import errors, shared
from erl.codec.standard import NO_FORM
from erl.values import callout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def is_shareable(kind: type) -> bool:
    """Whether large values of exactly this type stay in shared memory. (`bytes` do, too: the writers see to that.)"""
    return kind is bytearray or kind is memoryview or any(kind is found for found in _imported())


def _imported() -> list[object]:
    """The types of libraries that are there."""
    names = (("numpy", "ndarray"), ("array", "array"), ("pyarrow", "Buffer"))
    return [getattr(sys.modules[module], name, None) for module, name in names if module in sys.modules]


def simplifier(by_value: Callable[[Any], object] | None) -> Callable[[Any], object]:
    """The simplifier for such a type; `by_value` is the one for what is not shared."""

    def simplified(value: Any) -> object:
        if shared.is_open() and shared.size_of(value) >= shared.LEAST_BYTES:
            term = callout.run(errors.EncodeError, "sharing an array", shared.term_of, value)
            if term is not None:
                return term
        return NO_FORM if by_value is None else by_value(value)

    return simplified


def of_bytes(value: bytes) -> object:
    """The term of large bytes; None where nothing can be shared here."""
    return shared.term_of(value) if shared.is_open() else None
