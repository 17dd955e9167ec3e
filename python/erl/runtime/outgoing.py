"""What leaves for Erlang: what is printed, logged and cast, and notes to the worker process."""

from __future__ import annotations

import os
import sys

from erl.runtime import console, output
from erl.runtime.state import whose
from erl.terms import Atom
from erl.values import steps
from erl.values.references import named
from erl.wire import messages

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from erl.codec import Options
    from erl.values.scope import Scope
    from erl.wire.port import Port

_PRINTED_BYTES = 100
"""Of the message that holds a printed text, at most."""


class Outgoing:
    """Frames on their way out."""

    def __init__(self, port: Port, options: Options, scope: Scope, compressed: int) -> None:
        self.port = port
        self.options = options
        self.worker: object = None
        self.flush: Callable[[], None] = port.flush
        """Writes what is pending, in a call."""
        self.is_forked = False
        self.ended_by: BaseException | None = None
        """Of a process that was forked in a call: the exception by which that call has ended in it."""
        self.waited = 0
        """The id of the call that runs, if Erlang may take what it prints for another's since it has waited; or 0."""
        self._compressed = compressed
        if not compressed:
            self.send = port.write  # type: ignore[method-assign]
        self._references = scope.references
        self.output = output.Output(port)
        self.stdout = console.Stdout(self._print, self.output.await_room, self._most_printed())

    def send(self, frame: bytes, *then: steps.Step) -> None:
        """Add a frame to what is pending, and do these steps at once."""
        self.port.write(self.compress(frame), *then)

    def compress(self, frame: bytes) -> bytes:
        """The frame as ErlPort's flag wants it."""
        return messages.compress(frame, self._compressed) if self._compressed else frame

    # Notes to the worker process

    def tell(self, what: str, id_: int) -> None:
        """Tell the worker process something of a call, where there is one."""
        if self.worker is not None:
            self.send(messages.message(self.worker, (Atom(what), id_), self.options))

    def own(self, id_: int, since: int = 0) -> None:
        """Tell the worker process which references the call with this id has made; until that is sent they are owed."""
        owed, told = self._references.owed(since)
        self.send(messages.message(self.worker, (Atom("$py.own"), id_, named(owed)), self.options), told)

    def own_elsewhere(self, id_: int) -> None:
        """The same for references made in another thread than the main one: those of no call are the worker's."""
        if self._references.owes_elsewhere():
            self.own(id_)

    # Casts and records

    def cast(self, to: object, message: object) -> None:
        """Send a message to an Erlang process; see `api.cast`."""
        self.output.await_room()
        self._cast_frame(to, message, self._encoded_cast(to, message))
        self.own_elsewhere(whose.get())
        self.flush()

    def prepared_cast(self, to: object, message: object) -> Callable[[], None]:
        """See `api.prepared_cast`."""
        frame = self._encoded_cast(to, message)
        return lambda: self._cast_frame(to, message, frame)

    def _encoded_cast(self, to: object, message: object) -> bytes:
        return self.compress(messages.message(to, message, self.options))

    def _cast_frame(self, to: object, message: object, frame: bytes) -> None:
        """Send it; what Erlang reads as a note of the bridge's own is no output."""
        if to == self.worker and messages.is_note(message):
            self.port.write(frame)
        else:
            self.output.write(frame)

    def log(self, record: tuple[object, ...]) -> None:
        """Send a record of `logging` to the worker process; of a process that was forked, to its standard error."""
        if self.is_forked:
            level, name, text, *_ = record
            print(f"{str(level).upper()}:{name}:{text}", file=sys.stderr)
            return
        self.output.await_room()
        id_ = whose.get()
        note = (Atom("$py.log"), id_, record) if id_ else (Atom("$py.log"), record)
        frame = self.compress(messages.message(self.worker, note, self.options))
        if self.output.admits(sum(len(text.encode()) for text in record if isinstance(text, str))):
            self.output.write(frame)
        self.flush()

    # Texts

    def _print(self, text: bytes, *then: steps.Step) -> None:
        """Send a text that was printed, and do these steps at once."""
        if self.waited:
            waited, self.waited = self.waited, 0
            self.tell("$py.goes_on", waited)
        if self.output.admits(len(text)):
            self.output.write(self._printed(text), *then)
            if self.output.is_limited:
                self._say_lost(False)
        else:
            steps.at_once(steps.together(*then))
        self.flush()

    def _printed(self, text: bytes) -> bytes:
        try:
            text.decode()
        except UnicodeDecodeError:
            text = text.decode("utf-8", "backslashreplace").encode()
        id_ = whose.get()
        if id_:
            return messages.message(self.worker, (Atom("$py.print"), id_, text), self.options)
        return self.compress(messages.printed(text, self.options))

    def _most_printed(self) -> int:
        """How many bytes of text a message holds: what is no character takes four for each, a code point five."""
        return max(4, (self.port.limit - _PRINTED_BYTES) // 5)

    def end_output(self) -> None:
        """Send what is printed and not sent, at the end of a call."""
        self.stdout.end()
        if self.output.is_limited:
            self._say_lost(True)

    def _say_lost(self, is_end: bool) -> None:
        lost = self.output.lost(is_end)
        if lost is not None:
            self.output.write(self._printed(lost))

    def abandon(self) -> None:
        """Leave all of it to the process that this one was forked from."""
        self.port.abandon()
        self.stdout.bytes.parts.clear()
        self.output.use_page(None)
        self.is_forked = True

    def closed(self, error: int) -> None:
        """The main thread has no port any more, by this number of an error or 0; a forked process ends as its call."""
        if self.is_forked:
            if self.ended_by is not None:
                raise self.ended_by from None
        elif error:
            sys.exit(f"erl: the port's descriptors were closed or replaced: {os.strerror(error)}")

    def end_fork(self) -> NoReturn:
        """End a process that was forked in a call as that call has ended: in another thread than the main one."""
        status, error = 0, self.ended_by
        try:
            if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
                status = error.code or 0
            elif error is not None:
                status = 1
                if isinstance(error, SystemExit):
                    print(error.code, file=sys.stderr)
                else:
                    sys.excepthook(type(error), error, error.__traceback__)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status & 0xFF)
