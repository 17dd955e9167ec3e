"""What the worker process calls first and last: who this interpreter is, what its pool wants, and that it may go."""

from __future__ import annotations

import sys

from erl import api, codec, errors, shared
from erl.calls import objects
from erl.codec import Options
from erl.terms import Atom
from erl.values import opaque, references
from erl.wire import messages, port

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.runtime.server import Server


def configure(settings: dict[str, Any]) -> list[tuple[Atom, object]]:
    """The first call of a worker process: who it is, and the pool's options. Returns what this interpreter is.

    Raises `errors.ProtocolError` when the two halves speak different versions.
    """
    if settings["wire"] != messages.VERSION:
        raise errors.ProtocolError(
            f"the application speaks version {settings['wire']} of the wire, the package erl-bridge of "
            f"{sys.executable} version {messages.VERSION}: install the version that belongs to the application"
        )
    server = api._bound()
    server.worker = settings["worker"]
    server.use(Options.from_flags(settings["flags"]))
    server.event_loop = str(settings["event_loop"])
    references.set_identity(settings["worker"], settings["incarnation"])
    shared.set_place(settings["shared"])
    _bound_by(server, settings)
    opaque.set_key(settings["key"])
    opaque.set_policy(str(settings["pickle"]))
    if settings["modules"] is not None:
        from erl.calls import pushed

        pushed.use(settings["modules"].decode())
    _register(settings["encoders"], settings["decoders"])
    from erl.runtime import logs

    logs.install(server.log, str(settings["log_level"]))
    return [
        (Atom("python"), sys.version),
        (Atom("executable"), sys.executable),
        (Atom("codec"), Atom(codec.implementation)),
    ]


def _bound_by(server: Server, settings: dict[str, Any]) -> None:
    # A sandbox shares no page with the worker process.
    if settings["page"] is None:
        server.keep_to_rate()
    counter = None if settings["page"] is None else port.shared_counter(settings["page"])
    server.count_begun(counter)
    if counter is not None:
        counter.cast("Q")[0] = 1  # this call
    if settings["stderr"] is not None:
        port.redirect_errors(settings["stderr"])
    if type(settings["max_memory"]) is int:
        from erl.runtime import limits

        limits.memory(settings["max_memory"])


def _register(
    encoders: list[tuple[object, tuple[object, object]]], decoders: list[tuple[object, tuple[object, object]]]
) -> None:
    if encoders:
        from erl.encoders import register as register_encoder

        for type_, (module, function) in encoders:
            register_encoder(objects.target(type_), objects.target(module, function))
    if decoders:
        from erl.decoders import register as register_decoder

        for tag, (module, function) in decoders:
            # A tag is compared as it stands: unlike a name it may hold a `-`.
            known = tag.decode() if isinstance(tag, bytes) else tag
            register_decoder(known, objects.target(module, function))


def leave() -> None:
    """The last call of a worker process: run the exit handlers and go."""
    api._bound().leave()
