"""Functions that say which trace they are in."""

from __future__ import annotations

import logging
from typing import Any

import erl
from erl import tracing


def headers() -> dict[str, str]:
    return tracing.current()


def asks() -> Any:
    return erl.call("py_trace_SUITE", "headers", [])


async def asks_later() -> Any:
    return await erl.acall("py_trace_SUITE", "headers", [])


def date() -> Any:
    return erl.call("erlang", "date", [])


def warns() -> None:
    logging.getLogger("tea").warning("the pot is empty")
