"""What an attempt of a run has in its interpreter, which is its own: environment variables, secrets, limits."""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

_THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_HIDDEN: Final = "***"
_LEAST_HIDDEN: Final = 3
"""A secret of fewer characters is everywhere; hiding it would hide what is printed."""


@contextmanager
def entered(given: dict[Any, Any]) -> Iterator[None]:
    """Have them here for as long as the attempt runs.

    Afterwards the worker process gets another interpreter. What comes in between, a call that waits behind this one,
    does not find the variables.
    """
    before = dict(os.environb)
    try:
        _limit(given.get("cpus"), given.get("memory"))
        for name, value in [*given.get("env", ()), *given.get("secrets", ())]:
            os.environb[_bytes(name)] = _bytes(value)
        yield
    finally:
        for name in os.environb.keys() - before.keys():
            del os.environb[name]
        for name, value in before.items():
            if os.environb.get(name) != value:
                os.environb[name] = value


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _limit(cpus: float | None, memory: int | None) -> None:
    if cpus is not None:
        import math
        import random

        count = max(1, math.ceil(cpus))
        os.environ.update(dict.fromkeys(_THREADS, str(count)))
        if hasattr(os, "sched_setaffinity"):
            usable = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, random.sample(usable, min(count, len(usable))))
    if memory is not None:
        from erl.runtime import limits

        limits.lower(memory)


class Hidden:
    """The secrets, for what is written where others read it."""

    def __init__(self, given: dict[Any, Any]) -> None:
        values = {_bytes(value).decode("utf-8", "backslashreplace") for _, value in given.get("secrets", ())}
        values |= {line for value in values for line in value.splitlines()}
        # The longest first: one may be part of another one.
        self._values = sorted((each for each in values if len(each) >= _LEAST_HIDDEN), key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._values)

    def hide(self, text: str) -> str:
        """The text with stars in the place of secrets."""
        for value in self._values:
            if value in text:
                text = text.replace(value, _HIDDEN)
        return text
