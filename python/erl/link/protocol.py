"""The link's messages as bytes, and back. Knows no socket, no thread and no future.

A frame is one term of the external term format behind its length in four bytes, as of a port. The messages are tuples:

    > {hello, Version, Info}                first and once
    < {hello, Version, Info}                the node's answer
    < {refused, Reason, Text}               or this one, and the end
    > {submit, Id, Route, Body}             a call of Python; Body is what follows its id in the port's protocol
    < {done, Id, Trust, Frame}              its answer, as the worker has sent it; Trust is `trusted` or `box`
    < {failed, Id, Reason, Text}            what the bridge could not do
    > {cancel, Id}                          interrupt it, or drop it; `done` or `failed` still comes
    > {drop, Id}                            drop it if it has not begun
    < {dropped, Id} | {begun, Id}
    > {call, Id, Module, Function, Args}    a call of Erlang
    < {result, Id, Value}
    < {raised, Id, Class, Reason, Stack}
    > {cast, To, Message}
    > {release, [Name]}                     files of shared memory that are needed no more
    > {start_pool, Id, Options}  {stop_pool, Id, Name}  {status, Id}  {stop, Id}    answered by `result` or `failed`
    < {print, Text}  {log, Level, Text, Meta}  {pools, Pools}

Text is a binary on its way to both sides, never a list of code points.
"""

from __future__ import annotations

from struct import Struct

from erl import codec, errors
from erl.codec import Options
from erl.terms import Atom
from erl.values.scope import Scope

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    Event = tuple[Any, ...]
    """A message of the node's: its kind, then its elements."""

VERSION: Final = 1
"""The number of this protocol. A node that speaks another one says so and closes the link."""

OPTIONS: Final = Options.from_flags(7)
"""Text and bytes are binaries, a dict is a map, a binary is bytes."""

MOST_BYTES: Final = 1 << 31
"""The longest frame that is taken."""

_LENGTH: Final = Struct(">I")
_SHAPES: Final = {
    "hello": 3,
    "refused": 3,
    "done": 4,
    "failed": 4,
    "dropped": 2,
    "begun": 2,
    "result": 3,
    "raised": 5,
    "print": 2,
    "log": 4,
    "pools": 2,
}
_WITH_ID: Final = frozenset(("done", "failed", "dropped", "begun", "result", "raised"))
_OPENING: Final = frozenset(("hello", "refused"))
_SUBMIT: Final = b"\x83h\x04d\x00\x06submitb"
_BINARY: Final = Struct(">cI")
_ID: Final = Struct(">I")

MOST_IDS: Final = 0x7FFFFFFF
"""Ids are 1 to this, in a circle."""


class Protocol:
    """One end of a link, the driver's: bytes in, events out."""

    __slots__ = ("_is_open", "_left")

    def __init__(self) -> None:
        self._left = bytearray()
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether the node has answered `hello`."""
        return self._is_open

    @property
    def waiting_bytes(self) -> int:
        """How many bytes there are that no event was made of yet."""
        return len(self._left)

    def event(self, frame: bytes) -> Event:
        """The message in a frame; nothing where it can't be read and nobody is told. Raises `errors.ProtocolError`."""
        return self._event(frame)

    def receive(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """The messages that more bytes complete. Raises `errors.ProtocolError` for what is none."""
        return [event for frame in self.frames(data) if (event := self._event(frame))]

    def frames(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """The frames that more bytes complete, for `event`. Raises `errors.ProtocolError` for what is none."""
        left = self._left
        left += data
        start, have = 0, len(left)
        try:
            while have - start >= 4:
                (size,) = _LENGTH.unpack_from(left, start)
                if not 0 < size <= MOST_BYTES:
                    raise errors.ProtocolError(f"the node has sent a frame of {size} bytes")
                end = start + 4 + size
                if have < end:
                    break
                frame = bytes(left[start + 4 : end])
                start = end
                yield frame
        finally:
            if start:
                del left[:start]

    def _event(self, frame: bytes) -> Event:
        try:
            term: Any = codec.decode(frame, OPTIONS)
        except errors.BridgeError as error:
            return unread(frame, error)
        if type(term) is not tuple or not term or _SHAPES.get(term[0]) != len(term):
            raise errors.ProtocolError(f"the node has sent what is no message: {_shown(term)}")
        kind = term[0]
        if (kind in _OPENING) is self._is_open and kind != "refused":
            raise errors.ProtocolError(f"the node has sent {str(kind)!r} at the wrong time")
        if kind in _WITH_ID and type(term[1]) is not int:
            raise errors.ProtocolError(f"the node has sent {str(kind)!r} with the id {_shown(term[1])}")
        if kind == "hello":
            self._is_open = True
        return term


def unread(frame: bytes, error: errors.BridgeError) -> Event:
    """A message that can't be read, which its request is told of; nothing where it has none.

    Raises `errors.ProtocolError` for what is no message.
    """
    try:
        reader = codec.Reader(frame)
        size, kind = reader.tuple_header(), reader.raw()
        if type(kind) is Atom and _SHAPES.get(kind) == size:
            if kind not in _WITH_ID:
                return ()
            if type(id_ := reader.raw()) is int:
                return Atom("unread"), id_, error
    except errors.BridgeError:
        pass
    raise errors.ProtocolError(f"the node has sent a message that can't be read: {error}") from error


def _shown(term: object) -> str:
    text = repr(term)
    return text if len(text) <= 100 else f"{text[:100]}..."


def framed(term: bytes) -> bytes:
    """A term's bytes behind their length."""
    return _LENGTH.pack(len(term)) + term


def hello(info: dict[str, object]) -> bytes:
    """The first frame of a driver."""
    return message("hello", VERSION, {Atom(key): value for key, value in info.items()})


def message(kind: str, *elements: object) -> bytes:
    """The frame of a message. Raises `errors.EncodeError`."""
    return framed(codec.encode((Atom(kind), *elements), OPTIONS))


def map_of(parts: dict[str, object]) -> bytes:
    """A map with atoms for its keys, encoded to stand inside of a message."""
    return codec.encode({Atom(key): value for key, value in parts.items()}, OPTIONS)[1:]


def route(pool: str | None, worker: object = None, timeout_ms: int | None = None) -> bytes:
    """The route of a call, encoded: it is the same for many."""
    parts: dict[object, object] = {}
    if pool is not None:
        parts[Atom("pool")] = Atom(pool)
    if worker is not None:
        parts[Atom("worker")] = worker
    if timeout_ms is not None:
        parts[Atom("timeout")] = timeout_ms
    return codec.encode(parts, OPTIONS)[1:]


def body_head(module: str, function: str) -> bytes:
    """The body of a call of one binary up to that: behind the binary come the end of the list and nothing else."""
    return codec.encode((Atom(module), Atom(function), [b""]), OPTIONS)[3:-6]


TASK: Final = body_head("erl.calls.tasks", "run")


def submit(id_: int, encoded_route: bytes, payload: bytes) -> bytes:
    """The frame that has a worker run `erl.calls.tasks.run(payload)`."""
    return submit_to(id_, encoded_route, TASK, payload)


def submit_to(id_: int, encoded_route: bytes, head: bytes, payload: bytes) -> bytes:
    """The frame that has a worker call, with these bytes, the function of a `body_head`."""
    body_bytes = len(head) + 6 + len(payload)
    size = len(_SUBMIT) + 4 + len(encoded_route) + 5 + body_bytes
    return b"".join(
        (
            _LENGTH.pack(size),
            _SUBMIT,
            _ID.pack(id_),
            encoded_route,
            _BINARY.pack(b"m", body_bytes),
            head,
            _BINARY.pack(b"m", len(payload)),
            payload,
            b"j",
        )
    )


class Calls:
    """Calls of one function of a `body_head` by one route: what is the same in their frames is made once."""

    __slots__ = ("_fixed", "_head", "_parts")

    def __init__(self, encoded_route: bytes, head: bytes) -> None:
        before, behind = _SUBMIT, encoded_route + b"m"
        self._parts = before, behind, head + b"m"
        self._head = Struct(f">I{len(before)}sI{len(behind)}sI{len(head) + 1}sI")
        self._fixed = len(head) + 6, self._head.size - 4 + 1

    def frame(self, id_: int, *payload: bytes) -> bytes:
        """The frame of one: the payload is these pieces, one behind the other."""
        size = sum(map(len, payload))
        before, behind, head = self._parts
        body, whole = self._fixed
        packed = self._head.pack(whole + size, before, id_, behind, body + size, head, size)
        return b"".join((packed, *payload, b"j"))


_DONE: Final = Struct(">10sI10sI")
_DONE_WORDS: Final = b"\x83h\x04w\x04doneb", b"w\x07trustedm"
_RESULT: Final = b"\x83h\x03w\x01r"


def done_bytes(frame: bytes) -> tuple[int, bytes] | None:
    """The id and the result of a call whose result is one binary, from a worker that is trusted; nothing for all else.

    Most answers of a front's are: nothing in them has to be decoded.
    """
    if len(frame) < _DONE.size + 13:
        return None
    before, id_, behind, size = _DONE.unpack_from(frame)
    at = _DONE.size
    if before != _DONE_WORDS[0] or behind != _DONE_WORDS[1] or len(frame) != at + size:
        return None
    if not frame.startswith(_RESULT, at):
        return None
    at += len(_RESULT)
    at += 2 if frame[at] == 97 else 5  # the worker's own number: SMALL_INTEGER_EXT, or INTEGER_EXT
    if frame[at] != 109 or int.from_bytes(frame[at + 1 : at + 5], "big") != len(frame) - at - 5:
        return None
    return id_, frame[at + 5 :]


_BARE: Final = Options.from_flags(20)
"""No tagged forms: where the name of a file in shared memory stands, the file is not mapped."""

_SEALED: Final = Scope()
"""A conversation that knows nobody: no pickle, reference, decoder or file of shared memory is taken in it."""


def sealed(data: bytes) -> Any:
    """The value of a term in which nothing stands for code, whoever has written it. Raises `errors.BridgeError`."""
    token = _SEALED.enter()
    try:
        return codec.decode(data, OPTIONS)
    finally:
        _SEALED.leave(token)


def answer(frame: bytes, is_trusted: bool) -> tuple[bool, Any]:
    """Whether a call's answer is its result, and that; else `{python, Class, Text, Trace}` or what else it failed with.

    Raises `errors.BridgeError` for an answer that can't be read.
    """
    term: Any = codec.decode(frame, _BARE) if is_trusted else sealed(frame)
    if type(term) is tuple and len(term) == 3 and term[0] in ("r", "e"):
        return term[0] == "r", term[2]
    raise errors.ProtocolError(f"a worker has sent what is no answer: {_shown(term)}")
