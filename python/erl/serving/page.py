"""`python -m erl page`: the program that serves the page.

The node starts it, over descriptors 3 and 4; by hand it is of no use. It has what the node tells it, and may ask for
what `py_dashboard_server` lets it: it is no driver, and runs none of its user's code.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

from erl.serving.page_board import Board
from erl.serving.page_door import Door
from erl.serving.page_pipe import VERSION, Pipe
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

_BACKLOG: Final = 256
_MOST_CONNECTIONS: Final = 1_024
_HEAD_BYTES: Final = 16_384
_UNREAD_MS: Final = 30_000
"""A browser that takes nothing for so long is no longer connected."""
_MOST_RECORDS: Final = 100
_RECORD_CHARACTERS: Final = 4_000
_MISSING: Final = (
    "the page takes uvicorn and starlette, and {python} has no {name}: "
    "install them there (python -m pip install 'erl-bridge[serve]')"
)


def run() -> int:
    """Serve until the pipe ends."""
    try:
        reader, writer = open(3, "rb"), open(4, "wb", buffering=0)  # noqa: SIM115 (as long as the process)
    except OSError:
        print("python -m erl page: the node starts this: py_dashboard:start(#{})", file=sys.stderr)
        return 2
    pipe = Pipe(reader, writer)
    message = pipe.first()
    if message[:2] != ("start", VERSION):
        pipe.say("failed", f"the page speaks version {VERSION}, the node another one".encode())
        return 1
    settings = message[2]
    try:
        import uvicorn

        from erl.serving import page_routes
    except ModuleNotFoundError as error:
        return _failed(pipe, _MISSING.format(python=sys.executable, name=error.name))
    try:
        listening = _listening(settings["ip"], settings["port"])
    except OSError as error:
        return _failed(pipe, f"{settings['ip']}:{settings['port']}: {error.strerror}")
    with listening:
        asyncio.run(_serve(pipe, settings, listening, uvicorn, page_routes))
    return 0


class _ToNode(logging.Handler):
    """Errors of the server go to the node's log: few, and cut."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(logging.ERROR)
        self._pipe = pipe
        self._left = _MOST_RECORDS

    def emit(self, record: logging.LogRecord) -> None:
        if self._left:
            self._left -= 1
            text = self.format(record)[-_RECORD_CHARACTERS:]
            self._pipe.say("log", Atom("warning"), text.encode("utf-8", "replace"))


def _failed(pipe: Pipe, text: str) -> int:
    pipe.say("failed", text.encode("utf-8", "replace"))
    return 1


def _listening(ip: str, port: int) -> socket.socket:
    """A socket that listens there."""
    listening = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Connections have it from the socket that they came to.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        listening.bind((ip, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


async def _serve(
    pipe: Pipe, settings: dict[str, Any], listening: socket.socket, uvicorn: Any, page_routes: Any
) -> None:
    port: int = listening.getsockname()[1]
    token, secret = bytes.fromhex(settings["token"]), bytes.fromhex(settings["secret"])
    door = Door(settings["ip"], port, settings["hosts"], token, secret)
    page = page_routes.Page(door, Board(), pipe.ask, lambda count: pipe.say("watchers", count))

    def told(kind: str, elements: tuple[Any, ...]) -> None:
        if kind == "view":
            number, view = elements
            page.told(view)
            pipe.say("seen", number)

    pipe.start(asyncio.get_running_loop(), told)
    config = uvicorn.Config(
        page,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        backlog=_BACKLOG,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )
    logging.getLogger("uvicorn.error").addHandler(_ToNode(pipe))
    pipe.say("ready", VERSION, port)
    await uvicorn.Server(config).serve(sockets=[listening])
