"""ErlPort's messages and frames, as bytes and back. Pure: knows no descriptor and runs no user code.

A frame is a length of `packet` bytes (1, 2 or 4, big endian) and one term. The messages:

    < {'C', Id, Module, Function, Args}       call of Python
    > {'r', Id, Value}                        its result
    > {'e', Id, Error}                        its exception
    < {'M', Message}                          a message for the message handler
    > {'e', Error}                            the message handler's exception
    > {'C', Id, Module, Function, Args, Ctx}  call of Erlang
    < {'r', Id, Value} | {'e', Id, Error}     its answer
    < {'X', Id}                               a call of Python is not wanted any more (an extension)
    > {'M', Pid, Message}                     a message to an Erlang process
    > {'P', Text}                             what user code printed

Higher features are ordinary calls of functions of `erl.*` and messages to the worker process.
"""

from __future__ import annotations

from erl import codec, errors
from erl.codec import Options, Reader
from erl.terms import Atom, Tag
from erl.values.callout import text_of

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VERSION = 1
"""The number of this wire, which both halves must agree on when a worker starts."""

_RESULT = Atom("r")
_PLAIN = Options.from_flags(0)
_OUTERMOST = "  called from Erlang\n"
_SHORT_CHARACTERS = 150
"""With the class of a `BridgeError` they fit in 255 bytes, as long as they are Latin-1."""


class Message:
    """A message of Erlang's that is no call.

    `kind` is its first letter: "r" or "e" the answer to a call of Erlang, "M" a message for the message handler, "X" a
    call of Python that is not wanted any more.
    `error` is why the value of an answer can't be read: its caller gets that instead.
    """

    __slots__ = ("error", "id", "kind", "value")

    def __init__(self, kind: str, id_: int, value: object, error: Exception | None = None) -> None:
        self.kind = kind
        self.id = id_
        self.value = value
        self.error = error


def parse(reader: Reader, options: Options) -> Message:
    """A message that is no call (see `Reader.call_head` for those).

    Raises `errors.ProtocolError` for what is no message, `errors.DecodeError` or `errors.StaleReferenceError` for a
    message that can't be read.
    """
    arity = reader.tuple_header()
    kind = reader.raw()
    id_ = 0
    if kind == "X" and arity == 2:
        id_ = reader.raw()
        reader.end()
        if type(id_) is not int:
            raise errors.ProtocolError(f"an unwanted call with the id {id_!r}")
        return Message(kind, id_, None)
    if kind in ("r", "e") and arity == 3:
        id_ = reader.raw()
        if type(id_) is not int:
            raise errors.ProtocolError(f"an answer with the id {id_!r}")
    elif kind != "M" or arity != 2:
        raise errors.ProtocolError(f"no message: a tuple of {arity} that begins with {kind!r}")
    try:
        value = reader.term(options)
        reader.end()
    except (errors.BridgeError, MemoryError) as error:
        reader.let_go()
        if kind == "M":
            raise
        return Message(kind, id_, None, error)
    return Message(kind, id_, value)


def is_compressed(frame: bytes) -> bool:
    """Whether a frame is a compressed term."""
    return frame[1:2] == b"P"


def result(id_: int, value: object, options: Options) -> bytes:
    """`{'r', Id, Value}`. Raises `errors.EncodeError`."""
    return codec.encode((_RESULT, id_, value), options)


def failure(
    id_: int | None,
    error: BaseException,
    trace: list[object],
    options: Options,
    hide: Callable[[str], str] | None = None,
) -> bytes:
    """`{'e', Id, {python, Class, Text, Trace}}`, or without an id for the message handler's exception.

    What Erlang raised in a call of Python's goes back as it came: `{'e', Id, {erlang, Opaque}}`. With `hide`, all texts
    are what that makes of them.
    """
    if type(error) is errors.ErlangError and options.tagged and hide is None:
        if error._itself is not None:
            term: object = (Atom("erlang"), error._itself)
        else:
            stack = error.stacktrace if isinstance(error.stacktrace, list) else []
            term = (Atom("erlang"), error.class_, error.reason, stack)
    else:
        kind = type(error)
        name = Atom(f"{kind.__module__}.{kind.__qualname__ if options.tagged else kind.__name__}"[:255])
        trace = trace if options.tagged else lines_of(trace)
        text = text_of(error, options.tagged)
        if hide is not None:
            name, text, trace = Atom(hide(name)[:255]), hide(text), _hidden(trace, hide)
        term = (Atom("python"), name, Tag(text), trace)
    return codec.encode((Atom("e"), term) if id_ is None else (Atom("e"), id_, term), options)


def _hidden(trace: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(trace, (list, tuple)):
        return type(trace)(_hidden(each, hide) for each in trace)
    return Tag(hide(trace)) if type(trace) is Tag else trace


def lines_of(trace: list[object]) -> list[object]:
    """A traceback as ErlPort has it: texts as `traceback.format_list` makes them, the innermost frame first.

    The last one stands for the call itself, so that there is always one.
    """
    lines: list[object] = []
    entry: Any
    for entry in trace:
        what, *rest = entry
        if type(what) is not Atom:
            line, name, source = rest
            text = f'  File "{what}", line {line}, in {name}\n'
            lines.append(Tag(f"{text}    {source}\n" if source else text))
        elif what == "cause":
            class_, text, inner = rest
            lines += [Tag(f"{class_}: {text}\n"), *lines_of(inner)[:-1]]
    return [*lines, Tag(_OUTERMOST)]


def short_failure(id_: int | None, error: BaseException, options: Options) -> bytes:
    """As `failure`, for the shortest packets: no trace, and no more of the text than fits."""
    text = text_of(error)[:_SHORT_CHARACTERS]
    return failure(id_, type(error)(text), [], options)


def last_words(id_: int | None, of_memory: bool) -> bytes:
    """As `failure`, where nothing can be told of the exception but whether it was for want of memory."""
    name = b"builtins.MemoryError" if of_memory else b"builtins.BaseException"
    error = b"h\x04d\0\x06pythond" + len(name).to_bytes(2, "big") + name + b"jj"
    if id_ is None:
        return b"\x83h\x02d\0\x01e" + error
    return b"\x83h\x03d\0\x01e" + codec.encode(id_, _PLAIN)[1:] + error


def call(
    id_: int, module: str, function: str, args: list[object], context: str | int, options: Options
) -> bytes:
    """`{'C', Id, Module, Function, Args, Context}`, a call of Erlang. Raises `errors.EncodeError`."""
    where = context if isinstance(context, int) else Atom(context)
    return codec.encode((Atom("C"), id_, Atom(module), Atom(function), args, where), options)


def message(to: object, value: object, options: Options) -> bytes:
    """`{'M', To, Value}`, a message to an Erlang process. Raises `errors.EncodeError`."""
    return codec.encode((Atom("M"), to, value), options)


def is_note(message: object) -> bool:
    """Whether a message to the worker process is one of the bridge's own, and no record of `logging`."""
    if type(message) is not tuple or not message or type(message[0]) is not Atom:
        return False
    return message[0].startswith("$py.") and message[0] not in ("$py.log", "$py.print")


def printed(text: bytes, options: Options) -> bytes:
    """`{'P', Text}`: as the UTF-8 that it is, with ErlPort's own options as a string."""
    if options.tagged:
        return codec.encode((Atom("P"), text), options)
    return codec.encode((Atom("P"), Tag(text.decode("utf-8", "backslashreplace"))), options)


def compress(frame: bytes, level: int) -> bytes:
    """The frame as a compressed term where that is shorter (ERTS external term format, tag 80)."""
    import zlib

    body = zlib.compress(memoryview(frame)[1:], level)
    if len(body) + 6 >= len(frame):
        return frame
    return b"\x83P" + (len(frame) - 1).to_bytes(4, "big") + body
