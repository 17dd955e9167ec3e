"""Runs user code: reads messages from the port, calls what they name, answers.

Calls run in the main thread, first in, first out; one that waits for an answer of Erlang's lets those that arrive
meanwhile nest. Answers are written together, at the latest before a call that may be slow and before waiting for more.

Where the codec is compiled, its lane serves the common calls, and what is here says how: whatever a call meets on its
way (arguments, references, prints, errors) has the same effects in the same order on both. A change here is one there.
"""

from __future__ import annotations

import os
import sys
from _signal import SIG_DFL, SIGUSR1, signal  # type: ignore[import-not-found]  # `signal` would import enum
from _thread import get_ident
from time import perf_counter

from erl import api, codec, console, decoders, encoders, errors, objects, opaque, port, references, wire
from erl.codec import Options, Reader
from erl.port import Port, PortClosedError
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FAST_SECONDS = 0.0001
_LOOK = -1
"""A mark in `cancelled`: something may have been cancelled since the port was read last."""
_BACKLOG = -2
"""A mark in `cancelled`: there are frames that were taken before their turn."""
_DOUBTS_OF_SLOW = 1000
_DOUBTS_OF_SLOW_ONCE = 20
_MOST_KEYS = 10_000
_PRINTED_BYTES = 20
"""Of the message that holds a printed text, at most."""


class Server:
    """One interpreter's side of the conversation."""

    def __init__(self, port: Port, options: Options, compressed: int = 0) -> None:
        self.handler: Callable[[Any], object] = _ignore
        self.options = options
        self.worker: object = None
        self._port = port
        self._compressed = compressed
        self._thread = get_ident()
        self._stdout = console.Stdout(self._print)
        self._answers: dict[int, wire.Message] = {}
        self._waiting: set[int] = set()
        self._last_id = 0
        self._doubts: dict[object, int] = {}
        self._leaving = False
        self._backlog: list[bytes] = []
        """Frames that were taken from the port before their turn; while there is one, `cancelled` is not empty."""
        self._outer: list[int] = []
        """Ids of the calls that wait for Erlang, the innermost one last."""
        self._asking = False
        """Whether the call that runs waits for Erlang just now: then it is this module that uses the port."""
        self._running = 0
        self._begun: memoryview | None = None
        self.cancelled: set[int] = set()
        """Ids of calls that are not wanted, and marks; the lane stands aside for one. Always the same set."""
        self._lane = self._open_lane() if port.packet == 4 and not compressed else None

    def _open_lane(self) -> Any:
        """The compiled code that serves the common calls as `_call` does; None where it is missing."""
        if codec.Lane is None:
            return None
        return codec.Lane(
            frames=self._port.buffer,
            pending=self._port.pending,
            printed=self._stdout.parts,
            cancelled=self.cancelled,
            cached=objects._cached,
            doubts=self._doubts,
            wrappers=objects.WRAPPERS,
            find=objects.function,
            keywords=objects.keywords,
            invoke=_invoke,
            failure=self._failure,
            answer=self._answer,
            doubt=self._was_slow,
            closed=PortClosedError,
            flags=self.options.flags,
        )

    def use(self, options: Options) -> None:
        """Map values by these options where a call brings none."""
        self.options = options
        if self._lane is not None:
            self._lane.use(options.flags)

    @property
    def running(self) -> int:
        """The id of the call whose user code runs, 0 where none does or it waits for Erlang; for a signal handler."""
        if self._asking:
            return 0
        return self._current

    @property
    def _current(self) -> int:
        if self._running or self._lane is None:
            return self._running
        running: int = self._lane.running  # no call of the lane's nests in another
        return running

    def count_begun(self, counter: Any) -> None:
        """Add one to a native integer of eight bytes, a writable buffer, for each call before its user code runs.

        None: do not count (as at the start). Raises `ValueError` for a buffer of another size.
        """
        view = None if counter is None else memoryview(counter).cast("B")
        if view is not None and len(view) != 8:
            raise ValueError(f"begun calls are counted in 8 bytes, not {len(view)}")
        self._begun = None if view is None else view.cast("Q")
        if self._lane is not None:
            self._lane.count_begun(self._begun)

    def start(self) -> None:
        """Take over standard output and serve until Erlang closes the port or asks to leave."""
        api._bind(self)
        signal(SIGUSR1, self._interrupted)
        sys.stdout = self._stdout
        os.register_at_fork(after_in_child=self._forked)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (/dev/null, for as long as the process)
        try:
            self._serve(None)
        except PortClosedError:
            self.handler = _ignore

    def _forked(self) -> None:
        """A process that user code forked is no worker: it prints to descriptor 1, and has no Erlang to talk to."""
        signal(SIGUSR1, SIG_DFL)
        self._port.abandon()
        self._backlog.clear()
        api._bind(None)
        if sys.stdout is self._stdout:
            sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115

    def leave(self) -> None:
        """End `start` after this call."""
        self._leaving = True

    def _serve(self, until: int | None) -> None:
        """Serve until the answer with this id has come; None: until the end."""
        port = self._port
        lane = self._lane if until is None else None
        while True:
            while True:
                if lane is not None:
                    while lane.run():
                        port.flush()
                if not self._handle(self._take()):
                    break
                if until in self._answers:
                    return
                if until is not None and self._outer[-1] in self.cancelled:
                    self._heed(self._outer[-1])
            if self._leaving and until is None:
                port.flush()
                return
            port.flush()
            port.wait()

    def _take(self) -> bytes | None:
        """The next frame; None when there is no complete one."""
        if not self._backlog:
            return self._port.take()
        frame = self._backlog.pop(0)
        if not self._backlog:
            self.cancelled.discard(_BACKLOG)
        return frame

    def _handle(self, frame: bytes | None) -> bool:
        """Do what a frame says; False when there is none."""
        if frame is None:
            return False
        try:
            reader = Reader(frame)
            del frame  # a large one goes when it is read, before its call runs
            head = reader.call_head()
            message = wire.parse(reader, self.options) if head is None else None
        except errors.BridgeError as error:
            self._send_answer(None, wire.failure(None, error, [], self.options))
            return True
        if head is not None:
            if self._begun is not None:
                self._begun[0] += 1
            self._call(reader, *head)
        elif message is not None and message.kind == "M":
            self._message(message.value)
        elif message is not None and message.kind == "X":
            self._unwanted(message.id)
        elif message is not None and message.id in self._waiting:
            self._answers[message.id] = message
        return True

    # Calls of Python

    def _call(self, reader: Reader, id_: int, module: str, name: str) -> None:
        options = self.options
        outer = references.take_made() if self._waiting else []  # those of the call that this one nests in
        try:
            prepare = objects.WRAPPERS.get(name) if module == "erl.objects" and options.tagged else None
            if prepare is not None:
                options, args = reader.flagged_args()
                reader.end()
                key, run, args, keywords = prepare(*args)
                args = decoders.apply(args)
                if keywords:
                    keywords = dict(zip(keywords, decoders.apply(list(keywords.values())), strict=True))
            else:
                args, keywords, key = reader.args(options), None, (module, name)
                reader.end()
                run = objects.function(module, name)
                args = decoders.apply(args)  # which the module may have set while it was imported
            value = self._run(id_, run, args, keywords, key)
            frame = self._result(id_, value, options)
            args, value = [], None
        except PortClosedError:
            raise
        except BaseException as error:  # the door around user code: also SystemExit, KeyboardInterrupt
            frame = self._failure(id_, error)
        self._answer(id_, frame)
        if outer:
            references.put_back(outer)

    def _failure(self, id_: int, error: BaseException) -> bytes:
        """The frame of an exception in a call."""
        frame = self._failed(id_, error)
        # The frames of the traceback hold the call's values; let them go before the next call.
        error.__traceback__ = None
        return frame

    def _answer(self, id_: int, frame: bytes) -> None:
        """Send the answer to a call, after what the call has made and printed."""
        if references._made:
            self._own(id_)
        if self._stdout.parts:
            self._stdout.flush()
        self._send_answer(id_, frame)

    def _failed(self, id_: int | None, error: BaseException) -> bytes:
        """The frame of an exception, without its trace where that would be too long for the packet length."""
        frame = wire.failure(id_, error, objects.trace_of(error), self.options)
        return frame if len(frame) < self._port.limit else wire.failure(id_, error, [], self.options)

    def _send_answer(self, id_: int | None, frame: bytes) -> None:
        """Send the answer to a call, or the message handler's exception; if it is too long, say that instead."""
        try:
            self._send(frame)
        except errors.EncodeError as error:
            self._send(wire.short_failure(id_, error, self.options))

    def _result(self, id_: int, value: object, options: Options) -> bytes:
        """The frame of a result; one that can't be encoded holds no references."""
        given = len(references._made)  # what the call has sent already stays, whatever becomes of its result
        try:
            if options.return_ref:
                value = references.hold(value)
            return wire.result(id_, encoders.apply(value), options)
        except BaseException:
            references.release_since(given)
            raise

    def _run(
        self,
        id_: int,
        run: Callable[..., object],
        args: list[Any],
        keywords: dict[str, Any] | None,
        key: object,
    ) -> object:
        """Call user code, after the answers before it if it may hold them up.

        A callable is trusted to be fast once it was fast as often as it is asked for: once when it is new, twenty times
        when it was trusted and slow for once (as any call may be on a busy machine), a thousand times when it was slow
        again.
        """
        doubts = self._doubts.get(key, 1)
        if doubts:
            self._port.flush()
        outer, self._running, self._asking = (self._running, self._asking), id_, False
        start = perf_counter()
        try:
            if self.cancelled:
                self._heed(id_)
            value = run(*args, **keywords) if keywords else run(*args)
        finally:
            self._running, self._asking = outer
        if perf_counter() - start > _FAST_SECONDS:
            self._doubt(key, _DOUBTS_OF_SLOW if doubts else _DOUBTS_OF_SLOW_ONCE)
        elif doubts:
            self._doubt(key, doubts - 1)
        return value

    def _doubt(self, key: object, doubts: int) -> None:
        if len(self._doubts) > _MOST_KEYS:
            self._doubts.clear()
        if key is not None:
            self._doubts[key] = doubts

    def _was_slow(self, key: object) -> None:
        """What the lane says of a callable that was trusted."""
        self._doubt(key, _DOUBTS_OF_SLOW_ONCE)

    def _own(self, id_: int) -> None:
        """Tell the worker process which references the call with this id has made."""
        owned = (Atom("$py.own"), id_, references.take_made())
        self._send(wire.message(self.worker, owned, self.options))

    def _message(self, value: object) -> None:
        self._port.flush()
        try:
            self.handler(value)
        except PortClosedError:
            raise
        except BaseException as error:  # the same door, for the message handler
            self._send_answer(None, self._failed(None, error))
            error.__traceback__ = None
        self._stdout.flush()

    # Calls that Erlang does not want any more

    def _unwanted(self, id_: int) -> None:
        """Its turn has come: the call is over, or waits for Erlang."""
        if id_ in self._outer:
            self.cancelled.add(id_)
        else:
            self.cancelled.discard(id_)

    def _interrupted(self, _signal: int, _frame: object) -> None:
        """SIGUSR1, between two bytecodes of the main thread: raises `CallCancelled` if the call that runs is unwanted.

        Where none runs, or it writes, the port is in use: then one looks when that is over.
        """
        running = self.running
        if running and not self._port.is_writing:
            self._look_ahead()
            self._heed(running)
        else:
            self.cancelled.add(_LOOK)

    def _flush(self) -> None:
        """Write what is pending, in a call; an interruption that came meanwhile is heeded then."""
        self._port.flush()
        if _LOOK in self.cancelled and get_ident() == self._thread and (running := self.running):
            self._heed(running)

    def _heed(self, id_: int) -> None:
        if _LOOK in self.cancelled:
            self.cancelled.discard(_LOOK)
            self._look_ahead()
        if id_ in self.cancelled:
            self.cancelled.discard(id_)
            raise errors.CallCancelled("Erlang does not want the result of this call any more")

    def _look_ahead(self) -> None:
        """Take what has arrived, without waiting, and note the calls that are unwanted."""
        while self._port.has_more():
            self._port.wait()
        while (frame := self._port.take()) is not None:
            self._backlog.append(frame)
            self.cancelled.add(_BACKLOG)
            unwanted = wire.unwanted(frame)
            if unwanted:
                self.cancelled.add(unwanted)

    # Calls of Erlang

    def call_erlang(self, module: str, function: str, args: list[object], context: str) -> object:
        """Call an Erlang function and serve until its answer is here; see `api.call`."""
        if get_ident() != self._thread:
            raise errors.BridgeError(
                "Erlang can be called in the main thread only; cast works in every thread"
            )
        self._last_id += 1
        id_ = self._last_id
        frame = wire.call(id_, module, function, args, context, self.options)
        self._stdout.flush()
        self._send(frame)
        self._waiting.add(id_)
        self._outer.append(self._current)
        asking, self._asking = self._asking, True
        try:
            self._serve(id_)
        finally:
            self._asking = asking
            self._outer.pop()
            self._waiting.discard(id_)
        answer = self._answers.pop(id_)
        if answer.error is not None:
            raise answer.error
        if answer.kind == "e":
            raise _erlang_error(answer.value)
        return answer.value

    def cast(self, to: object, message: object) -> None:
        """Send a message to an Erlang process; see `api.cast`."""
        self._send(wire.message(to, message, self.options))
        self._flush()

    def log(self, record: tuple[object, ...]) -> None:
        """Send a record of `logging` to the worker process."""
        self.cast(self.worker, (Atom("$py.log"), record))

    def _print(self, text: str) -> None:
        most = max(1, (self._port.limit - _PRINTED_BYTES) // 5)  # a code point takes five bytes at most
        for start in range(0, len(text), most):
            self._send(wire.printed(text[start : start + most], self.options))
        self._flush()

    def _send(self, frame: bytes) -> None:
        if self._compressed:
            frame = wire.compress(frame, self._compressed)
        self._port.write(frame)


def _invoke(run: Callable[..., object], args: Any, keywords: dict[str, Any] | None) -> object:
    return run(*args, **keywords) if keywords else run(*args)


def _erlang_error(term: object) -> errors.ErlangError:
    """The exception for the error of an answer: `{erlang, Class, Reason, Stack}`, or what another bridge sends."""
    if isinstance(term, tuple) and len(term) == 4:
        return errors.ErlangError(term[1], term[2], term[3])
    return errors.ErlangError(Atom("error"), term)


def _ignore(_message: object) -> None:
    """The message handler where nobody has set one, as in ErlPort."""


# What the worker process calls.


def configure(settings: dict[str, Any]) -> list[tuple[Atom, object]]:
    """The first call of a worker process: who it is, and the pool's options. Returns what this interpreter is.

    Raises `errors.ProtocolError` when the two halves speak different versions.
    """
    if settings["wire"] != wire.VERSION:
        raise errors.ProtocolError(
            f"the application speaks version {settings['wire']} of the wire, the package erl-bridge of "
            f"{sys.executable} version {wire.VERSION}: install the version that belongs to the application"
        )
    server = api._bound()
    server.worker = settings["worker"]
    server.use(Options.from_flags(settings["flags"]))
    references.set_identity(settings["worker"], settings["incarnation"])
    _bound_by(server, settings)
    opaque.set_key(settings["key"])
    opaque.set_policy(str(settings["pickle"]))
    _register(settings["encoders"], settings["decoders"])
    from erl import logs

    logs.install(server.log, str(settings["log_level"]))
    return [
        (Atom("python"), sys.version),
        (Atom("executable"), sys.executable),
        (Atom("codec"), Atom(codec.implementation)),
    ]


def _bound_by(server: Server, settings: dict[str, Any]) -> None:
    counter = port.shared_counter(settings["page"])
    server.count_begun(counter)
    if counter is not None:
        counter.cast("Q")[0] = 1  # this call
    if settings["stderr"] is not None:
        port.redirect_errors(settings["stderr"])
    if type(settings["max_memory"]) is int:
        from erl import limits

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
