"""What the worker process calls first and last: who this interpreter is, what its pool wants, and that it may go."""

from __future__ import annotations

import os
import sys

from erl import api, codec, errors
from erl.codec import Options
from erl.names import lookup
from erl.runtime import limits
from erl.runtime.server import Server
from erl.terms import Atom
from erl.values.scope import Place, current
from erl.wire import messages, port

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any


def source(payload: Any) -> object:
    """The decoder of `py:source/1` of the Erlang side; what it takes is imported with the first one."""
    from erl.calls.streams import Source

    return Source(*payload)


def configure(settings: dict[str, Any]) -> list[tuple[Atom, object]]:
    """The first call of a worker process: who it is, and the pool's options. Returns what this interpreter is.

    Raises `errors.ProtocolError` when the two halves speak different versions.
    """
    if settings["wire"] != messages.VERSION:
        raise errors.ProtocolError(
            f"the application speaks version {settings['wire']} of the wire, the package erl-bridge of "
            f"{sys.executable} version {messages.VERSION}: install the version that belongs to the application"
        )
    server = _server()
    server.serve_for(settings["worker"])
    server.use(Options.from_flags(settings["flags"]))
    most = settings["coroutines"]
    server.later.use(str(settings["event_loop"]), most if type(most) is int else None)
    scope = current()
    scope.references.set_identity(settings["worker"], settings["incarnation"])
    scope.memory = Place.told(settings["shared"])
    _bound_by(server, settings)
    scope.pickles.set_key(settings["key"], settings["former_keys"])
    scope.pickles.set_policy(str(settings["pickle"]))
    if settings["modules"] is not None:
        from erl.calls import pushed

        pushed.use(settings["modules"].decode())
    _register(settings["encoders"], settings["decoders"])
    from erl.runtime import logs

    logs.install(server.log, str(settings["log_level"]))
    # A fork leads a group of its own; otherwise the port's program is known by its number.
    forked = [(Atom("os_pid"), os.getpid())] if limits.inherited_bytes else []
    limit = [(Atom("limit"), Atom("true"))] if server.keeps_limit else []
    return [
        *forked,
        *limit,
        (Atom("python"), sys.version),
        (Atom("executable"), sys.executable),
        (Atom("codec"), Atom(codec.implementation)),
    ]


def _server() -> Server:
    server = api._bound()
    assert isinstance(server, Server)
    return server


def _bound_by(server: Server, settings: dict[str, Any]) -> None:
    # A sandbox shares no page with the worker process.
    if settings["page"] is None:
        server.keep_to_rate()
    counter = None if settings["page"] is None else port.shared_counter(settings["page"])
    server.count_begun(counter)
    if counter is not None:
        counter.cast("Q")[0] = 1  # this call
    server.hear(-1 if settings["stderr"] is None else port.redirect_errors(settings["stderr"]))
    if type(settings["max_memory"]) is int:
        limits.memory(settings["max_memory"])


def _register(
    by_type: list[tuple[object, tuple[object, object]]], by_tag: list[tuple[object, tuple[object, object]]]
) -> None:
    if by_type:
        from erl import encoders

        for type_, (module, function) in by_type:
            encoders.register(lookup.target(type_), lookup.target(module, function))
    if by_tag:
        from erl import decoders

        for tag, (module, function) in by_tag:
            # A tag is compared as it stands: unlike a name it may hold a `-`.
            known = tag.decode() if isinstance(tag, bytes) else tag
            decoders.register(known, lookup.target(module, function))


def load(modules: list[bytes]) -> None:
    """The call after `configure`, where the pool's option `import` names modules: imports them, in this order.

    Raises what the first one raises that can't be imported.
    """
    for module in modules:
        __import__(lookup.name_of(module))


def run_in_threads(most: int) -> None:
    """The last call of the start, where the pool's option `threads` is more than 1: what comes now runs in threads."""
    _server().run_in_threads(most)


def leave() -> None:
    """The last call of a worker process: run the exit handlers and go."""
    _server().leave()
