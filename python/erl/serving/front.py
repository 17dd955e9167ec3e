"""A front: the process that speaks HTTP for a service. `python -m erl --front`, started by `py_front`.

Its descriptors 3 and 4 lead to that process; frames with their length in four bytes, each one term:

    > {start, 1, Settings}      what `_Settings` has
    > {state, ready | starting | draining}
    > {metrics, Id, Text}
    > {ping, Number}
    < {listening, 1, Info}
    < {failed, Reason, Text}    and it ends
    < {figures, Figures}        each half a second in which they have changed
    < {metrics, Id}             it wants the text of all metrics
    < {pong, Number}
    < {drained, Open}           nothing is open any more, since it was told to drain
    < {log, Level, Text}

It ends with its input, as with the BEAM. It has one link to the node, of the role `front`, over which its service's
replicas are called with bytes; when that is over, so is the front, and another one is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import Any, Final

from erl.link import protocol
from erl.terms import Atom

EXTRA: Final = "a service needs uvicorn and starlette, which {} lacks: pip install 'erl-bridge[serve]'"
_VERSION: Final = 1
_LENGTH_BYTES: Final = 4
_FIGURES_SECONDS: Final = 0.5
_METRICS_SECONDS: Final = 5.0
_BACKLOG: Final = 2048
_MOST_CONNECTIONS: Final = 8192
_KEEP_ALIVE_SECONDS: Final = 65


class _Control(asyncio.Protocol):
    """The way to `py_front`, and from there."""

    def __init__(self) -> None:
        self._left = bytearray()
        self._out: Any = None
        self.settings: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.told: Any = None

    def sends(self, transport: Any) -> None:
        """Over this transport it speaks."""
        self._out = transport

    def say(self, kind: str, *elements: object) -> None:
        """A message to `py_front`."""
        self._out.write(protocol.message(kind, *elements))

    def data_received(self, data: bytes) -> None:
        """Messages from there."""
        self._left += data
        while len(self._left) >= _LENGTH_BYTES:
            size = int.from_bytes(self._left[:_LENGTH_BYTES], "big")
            if len(self._left) - _LENGTH_BYTES < size:
                return
            frame = bytes(self._left[_LENGTH_BYTES : _LENGTH_BYTES + size])
            del self._left[: _LENGTH_BYTES + size]
            message = protocol.sealed(frame)
            if message[0] == "start" and not self.settings.done():
                self.settings.set_result(message)
            elif self.told is not None:
                self.told(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody has this front any more."""
        os._exit(0)


def main() -> None:
    """Serve, until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the shell's; `py_front` ends it
    try:
        from uvloop import new_event_loop
    except ImportError:
        from asyncio import new_event_loop
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    status = loop.run_until_complete(_serve())
    sys.stdout.flush()
    os._exit(status)


async def _serve() -> int:
    loop = asyncio.get_running_loop()
    control = _Control()
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(4, "wb", 0))  # noqa: SIM115
    control.sends(transport)
    await loop.connect_read_pipe(lambda: control, open(3, "rb", 0))  # noqa: SIM115
    message = await control.settings
    if message[1] != _VERSION:
        return await _failed(
            control, "version", f"the front speaks version {_VERSION}, the application {message[1]}"
        )
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        return await _failed(control, "extra", EXTRA.format(sys.executable))
    from erl import errors

    try:
        return await _Front(control, message[2]).serve()
    except (OSError, errors.BridgeError, ValueError) as error:
        return await _failed(control, "start", f"{type(error).__name__}: {error}")


async def _failed(control: _Control, reason: str, text: str) -> int:
    control.say("failed", Atom(reason), text)
    await asyncio.sleep(0.5)  # it is read by then: `py_front` closes its end
    return 1


class _Front:
    def __init__(self, control: _Control, settings: Any) -> None:
        from erl.serving import application, exchange, figures

        self._control = control
        self._said = _read(settings)
        self._figures = figures.Figures()
        self._metrics: dict[int, asyncio.Future[str]] = {}
        self._is_draining = False
        token = self._said.get("token")
        functions = ("handle", "more", "close")
        self._application = application.Application(
            {name: protocol.body_head(exchange.REPLICA, name) for name in functions},
            self._said["timeout"] if type(self._said["timeout"]) is int else None,
            token.encode() if token else None,
            self._figures,
            self._rest(),
        )
        self._application.state = str(self._said["state"])
        self._server: Any = None
        self._sweeps: set[Any] = set()

    async def serve(self) -> int:
        import uvicorn

        from erl.link import loop as links
        from erl.serving import direct, watching

        said = self._said
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def over(why: str) -> None:
            if not ended.done():
                ended.set_result(why)

        self._application.link = await links.connected(said["path"], over)
        listening = _listening(said["ip"], said["port"])
        hosts = frozenset(name.lower().encode() for name in said["hosts"])
        protocol_class = watching.protocol(
            hosts, said["max_body"], _most_connections(), direct.Direct(self._application)
        )
        files = said.get("tls") or {}
        config = uvicorn.Config(
            self._application,
            http=protocol_class,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            ssl_certfile=files.get("certfile"),
            ssl_keyfile=files.get("keyfile"),
        )
        self._server = _quiet(uvicorn.Server)(config)
        serving = asyncio.ensure_future(self._server.serve(sockets=[listening]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.01)  # uvicorn says nothing when it begins
        if serving.done():
            await serving
            raise OSError("uvicorn has not started")
        self._control.told = self._told
        self._control.say("listening", _VERSION, {Atom("os_pid"): os.getpid()})
        self._sweeps.add(asyncio.ensure_future(self._sweep()))
        why = await ended
        self._control.say("log", Atom("warning"), f"a front ends: {why}")
        await asyncio.sleep(0.1)  # what is answered is written
        return 0

    def _told(self, message: Any) -> None:
        if message[0] == "state":
            self._application.state = str(message[1])
            self._is_draining = message[1] == "draining"
            if message[1] == "ready":
                self._control.say("ready", 0)
            self._drained()
        elif message[0] == "ping":
            self._control.say("pong", message[1])
        elif message[0] == "metrics":
            future = self._metrics.pop(message[1], None)
            if future is not None and not future.done():
                future.set_result(message[2].decode() if isinstance(message[2], bytes) else str(message[2]))

    def _drained(self) -> None:
        if self._is_draining and self._figures.open == 0:
            self._is_draining = False
            self._control.say("figures", _figures(self._figures))
            self._control.say("drained", 0)

    async def _sweep(self) -> None:
        """What is done now and then: late clients, figures, the end of a drain."""
        loop = asyncio.get_running_loop()
        said = 0.0
        while True:
            await asyncio.sleep(0.05 if self._is_draining else 0.25)
            now = loop.time()
            for connection in list(self._server.server_state.connections):
                connection.late(now)
            self._drained()
            if self._figures.is_changed and now - said >= _FIGURES_SECONDS:
                said = now
                self._control.say("figures", _figures(self._figures))

    def _rest(self) -> Any:
        """What is asked of the front itself."""
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse, PlainTextResponse
        from starlette.routing import Route

        async def health(_request: Any) -> Any:
            return JSONResponse({"status": "ok"})

        async def ready(_request: Any) -> Any:
            state = self._application.state
            if state == "ready":
                return JSONResponse({"status": "ready"})
            return JSONResponse({"status": state}, 503, {"retry-after": "1"})

        async def metrics(_request: Any) -> Any:
            number = max(self._metrics, default=0) + 1
            self._metrics[number] = future = asyncio.get_running_loop().create_future()
            self._control.say("figures", _figures(self._figures))
            self._control.say("metrics", number)
            try:
                text = await asyncio.wait_for(future, _METRICS_SECONDS)
            except asyncio.TimeoutError:
                return PlainTextResponse("the node does not answer\n", 503)
            finally:
                self._metrics.pop(number, None)
            return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

        return Starlette(
            routes=[Route("/-/health", health), Route("/-/ready", ready), Route("/-/metrics", metrics)]
        )


def _read(value: Any) -> Any:
    """Settings with texts for bytes; an atom is a text."""
    if isinstance(value, dict):
        return {str(key): _read(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_read(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


def _figures(figures: Any) -> dict[Any, Any]:
    return {Atom(name): value for name, value in figures.said().items()}


def _quiet(server: Any) -> Any:
    """A server of uvicorn's that leaves signals alone."""

    class Quiet(server):  # type: ignore[misc]
        def install_signal_handlers(self) -> None:
            return

        def capture_signals(self) -> Any:
            return contextlib.nullcontext()

    return Quiet


def _listening(ip: str, port: int) -> socket.socket:
    """A socket beside those of the other fronts of this service; the node keeps the port between them.

    That its protocol is named matters: asyncio has what is written go at once (TCP_NODELAY) where it is, and an answer
    in two writes is 40 ms late where it does not.
    """
    made = socket.socket(
        socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((ip, port))
        made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _most_connections() -> int:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, max(16, soft - 64))
