"""The handlers of the benchmark: for a service, and for uvicorn alone, as a bare application and as Starlette's."""

from __future__ import annotations

import time
from typing import Any


def handler(context: Any, event: Any) -> str:
    """For a service."""
    if event.path == "/nap":
        time.sleep(0.005)
    return "Hello, world!"


_HEAD = [(b"content-type", b"text/plain"), (b"content-length", b"13")]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """For uvicorn, without anything around it."""
    if scope["type"] == "http":
        if scope["path"] == "/nap":
            time.sleep(0.005)
        await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
        await send({"type": "http.response.body", "body": b"Hello, world!"})


def __getattr__(name: str) -> Any:
    """`star`, for uvicorn with Starlette; imported where it is asked for."""
    if name != "star":
        raise AttributeError(name)
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def hello(_request: Any) -> Any:
        return PlainTextResponse("Hello, world!")

    def nap(_request: Any) -> Any:
        time.sleep(0.005)
        return PlainTextResponse("Hello, world!")

    return Starlette(routes=[Route("/", hello), Route("/nap", nap)])
