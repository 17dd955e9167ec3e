"""The trace that a call belongs to: its headers, and a span where OpenTelemetry is installed.

The headers are W3C's Trace Context (`traceparent`, `tracestate`). They come with a call, and go on with what it calls
in Erlang, and with the tasks that a program submits. Nothing is imported, and nothing sent, where there is no trace.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Final

_headers: Final[ContextVar[dict[str, str]]] = ContextVar("erl.tracing")

_API: Final = "opentelemetry.trace"
_CO_COROUTINE: Final = 0x80
"""As `inspect` has it."""


def current() -> dict[str, str]:
    """The headers of the trace that this code runs in, empty where it is in none."""
    carrier: dict[str, str] = {}
    if _API in sys.modules:
        from opentelemetry import propagate

        propagate.inject(carrier)
    return carrier or dict(_headers.get({}))


@contextmanager
def using(headers: Mapping[str, str], name: str | None = None) -> Iterator[None]:
    """Run the block in the trace that headers tell of; with a name, in a span where OpenTelemetry is installed."""
    given = dict(headers)
    token = _headers.set(given)
    try:
        # Without headers a block is in no trace, also where one is around it.
        trace = _opentelemetry() if given or _API in sys.modules else None
        if trace is None:
            yield
            return
        from opentelemetry import context, propagate

        attached = context.attach(propagate.extract(given) if given else context.Context())
        try:
            if name is None or not given:
                yield
            else:
                tracer = trace.get_tracer("erl")
                with tracer.start_as_current_span(name, kind=trace.SpanKind.SERVER):
                    yield
        finally:
            context.detach(attached)
    finally:
        _headers.reset(token)


def carried(
    headers: Mapping[str, str], name: str, function: Callable[..., Any], args: Any, keywords: Any
) -> Any:
    """The result of a function that runs in a trace: at once, or, of a coroutine, when that is awaited."""
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _CO_COROUTINE:
        return _awaited(headers, name, function(*args, **keywords))
    with using(headers, name):
        value = function(*args, **keywords)
    return _awaited(headers, None, value) if hasattr(type(value), "__await__") else value


async def _awaited(headers: Mapping[str, str], name: str | None, value: Any) -> Any:
    with using(headers, name):
        return await value


_found: list[Any] = []
"""OpenTelemetry's `trace`, or None, once it was looked for."""


def _opentelemetry() -> Any:
    if not _found:
        try:
            from opentelemetry import trace
        except ImportError:
            _found.append(None)
        else:
            _found.append(trace)
    return _found[0]
