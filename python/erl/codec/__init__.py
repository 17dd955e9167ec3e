"""Values to terms and back: the external term format under the mapping options of a call.

Two implementations have the same interface; this package is the compiled one (`native`) where it can be
imported, the one in Python (`reference`) where not. `implementation` is the name of the one in use. It
knows nothing of messages beyond the `Reader` that takes one apart, and nothing of the port.

The compiled one has more, which is None where it is missing: a `FrameBuffer` and an `Outlet` like those of
`erl.wire.frames`, a `Collector` of what is printed, the `Lane`, in which `erl.runtime.server` has the common calls
served, the `Promise`, `Sender`, `Intake` and `plain_call`, with which `erl.link` and `erl.futures` have common tasks
sent and settled, `plain_task`, `plain_result`, `signed` and `verify` for the worker's side of those, and what the C
library is told of memory: `trim` gives back to the system what is free, `one_heap` has it taken from one heap,
`keep_free` has some of what is free kept.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from erl.codec.reference import Options, Reader, decode, encode, encode_into, implementation

    Collector: Callable[..., Any] | None
    FrameBuffer: Callable[[int, int], Any] | None
    Intake: Callable[..., Any] | None
    Lane: Callable[..., Any] | None
    Outlet: Callable[[], Any] | None
    Promise: type | None
    Sender: Callable[..., Any] | None
    keep_free: Callable[[], None] | None
    one_heap: Callable[[], None] | None
    plain_call: Callable[[dict[Any, Any], Any, tuple[Any, ...]], bytes | None] | None
    plain_result: Callable[[object], bytes | None] | None
    plain_task: Callable[[bytes], tuple[Any, list[Any]] | None] | None
    signed: Callable[[Any, bytes], bytes] | None
    verify: Callable[[Any, bytes], None] | None
    trim: Callable[[], None] | None
else:
    try:
        from erl.codec.native import (
            Collector,
            FrameBuffer,
            Intake,
            Lane,
            Options,
            Outlet,
            Promise,
            Reader,
            Sender,
            decode,
            encode,
            encode_into,
            implementation,
            keep_free,
            one_heap,
            plain_call,
            plain_result,
            plain_task,
            signed,
            trim,
            verify,
        )
    except ImportError:
        from erl.codec.reference import Options, Reader, decode, encode, encode_into, implementation

        Collector = FrameBuffer = Intake = Lane = Outlet = Promise = Sender = None
        keep_free = one_heap = plain_call = plain_result = plain_task = signed = trim = verify = None

__all__ = [
    "Collector",
    "FrameBuffer",
    "Intake",
    "Lane",
    "Options",
    "Outlet",
    "Promise",
    "Reader",
    "Sender",
    "decode",
    "encode",
    "encode_into",
    "implementation",
    "keep_free",
    "one_heap",
    "plain_call",
    "plain_result",
    "plain_task",
    "signed",
    "trim",
    "verify",
]

_FRAMES = 6000
"""A term nested to the limit takes two frames a level on either way, below those of the caller."""

if sys.getrecursionlimit() < _FRAMES:
    sys.setrecursionlimit(_FRAMES)
