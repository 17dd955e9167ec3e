"""Two conversations in one process, each served by a thread of its own: what `test_scope` runs and looks at.

Says as JSON what each of them saw of what the other one had set.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import socket
import struct
import sys
import threading
from collections.abc import Iterator, MutableMapping, MutableSequence, MutableSet
from typing import Any

import erl
from erl import codec
from erl.codec import Options
from erl.runtime.server import Server
from erl.terms import Atom, Pid
from erl.values import plain
from erl.values.scope import Scope, current
from erl.wire import messages
from erl.wire.port import Port, PortClosedError

SECONDS = 20.0


class Kept:
    """Stays in its interpreter: its values are references."""

    def __next__(self) -> int:
        return 42


class Cup:
    """Has an encoder in each conversation."""


def kept() -> Kept:
    return Kept()


def cup() -> Cup:
    return Cup()


def whose() -> str:
    return current().pickles._key.decode()  # type: ignore[union-attr]


def first(_cup: Cup) -> object:
    return Atom("first")


def second(_cup: Cup) -> object:
    return Atom("second")


def upper(payload: object) -> object:
    return "first " + str(payload)


def lower(payload: object) -> object:
    return "second " + str(payload)


async def whose_later() -> str:
    return whose()


def log(text: str) -> None:
    import logging

    logging.getLogger("tea").warning(text)


class Talk:
    """The other end of a conversation."""

    def __init__(self, number: int, flags: int, encoder: str, decoder: str) -> None:
        self.pid = Pid(b"X" + b"w\3n@h" + struct.pack(">III", number, 0, 1))
        self._number = 0
        self._socket, self._theirs = socket.socketpair()
        self._socket.settimeout(SECONDS)
        self._input = self._socket.makefile("rb")
        self.plain = Options.from_flags(4)
        self.said: list[object] = []
        threading.Thread(target=self._serve, daemon=True).start()
        here = __name__
        settings = {
            "wire": messages.VERSION,
            "worker": self.pid,
            "incarnation": 1,
            "former_keys": [],
            "flags": flags,
            "event_loop": b"asyncio",
            "coroutines": b"infinity",
            "shared": None,
            "page": None,
            "stderr": None,
            "max_memory": Atom("infinity"),
            "key": f"key {number}".encode(),
            "pickle": Atom("signed"),
            "modules": None,
            "log_level": Atom("info"),
            "encoders": [((here + ".Cup").encode(), (here.encode(), encoder.encode()))],
            "decoders": [(Atom("cup"), (here.encode(), decoder.encode()))],
        }
        self.call("erl.calls.worker", "configure", settings, at_once=True)

    def _serve(self) -> None:
        fd = self._theirs.fileno()
        server = Server(Port(fd, fd), self.plain, scope=Scope())
        try:
            server.serve()
        except PortClosedError:
            self._theirs.close()

    def call(self, module: str, name: str, *args: object, at_once: bool = False) -> Any:
        """The answer's value, or the class and text of the exception."""
        self._number += 1
        if not at_once:
            args = (4, Atom(module), Atom(name), list(args), [])
            module, name = "erl.calls.objects", "call"
        term = (Atom("C"), self._number, Atom(module), Atom(name), list(args))
        frame = codec.encode(term, self.plain)
        self._socket.sendall(len(frame).to_bytes(4, "big") + frame)
        while True:
            size = int.from_bytes(self._input.read(4), "big")
            frame = self._input.read(size)
            self.frame = frame
            kind, *rest = codec.decode(frame, Options.from_flags(20))
            if kind in (b"r", b"e") and rest[0] == self._number:
                return rest[1] if kind == b"r" else rest[1][1:3]
            self.said.append(rest[-1])

    def end(self) -> None:
        self._input.close()
        self._socket.close()


def pickle_in(frame: bytes) -> bytes:
    """The content of the opaque that a frame ends with."""
    at = frame.index(b"w\x06pythonm") + 9
    return frame[at + 4 : at + 4 + int.from_bytes(frame[at : at + 4], "big")]


def text(value: Any) -> str:
    """A text or an atom as such, anything else as Python shows it."""
    if type(value) is plain.List:
        return value.to_string()
    return value.decode() if isinstance(value, plain.Atom) else repr(value)


def meet() -> dict[str, object]:
    """What the two saw."""
    talks = [Talk(1, 4, "first", "upper"), Talk(2, 5, "second", "lower")]
    here = __name__
    saw: dict[str, object] = {}
    for _ in range(30):  # by the server, and by the lane, if it has one
        saw["keys"] = [text(talk.call(here, "whose")) for talk in talks]
    saw["later"] = [text(talk.call(here, "whose_later")) for talk in talks]
    saw["encoders"] = [text(talk.call(here, "cup")) for talk in talks]
    saw["decoders"] = [text(talk.call("builtins", "str", (Atom("cup"), b"x"))) for talk in talks]
    # What a call brings no options for: a text is a list of code points here, a binary there.
    saw["options"] = [text(talk.call("builtins", "str", Atom("x"), at_once=True)) for talk in talks]
    held = [talk.call(here, "kept") for talk in talks]
    saw["references"] = [[text(term[0]), term[2], term[3]] for term in held]
    terms = [(Atom("$py.ref"), talk.pid, term[2], term[3]) for talk, term in zip(talks, held, strict=True)]
    saw["own reference"] = [
        talk.call("builtins", "next", term) for talk, term in zip(talks, terms, strict=True)
    ]
    saw["other reference"] = [
        text(talk.call("builtins", "next", term)[0])
        for talk, term in zip(talks, reversed(terms), strict=True)
    ]
    terms = []
    for talk in talks:
        talk.call("builtins", "range", 3)
        terms.append((Atom("$erlport.opaque"), Atom("python"), pickle_in(talk.frame)))
    saw["own pickle"] = [talk.call("builtins", "len", term) for talk, term in zip(talks, terms, strict=True)]
    saw["other pickle"] = [
        text(talk.call("builtins", "len", term)[0]) for talk, term in zip(talks, reversed(terms), strict=True)
    ]
    for talk, name in zip(talks, ("first", "second"), strict=True):
        talk.said.clear()
        talk.call(here, "log", name.encode())
        talk.call("builtins", "abs", 1)
    saw["logged"] = [
        [text(each[1][2]) for each in talk.said if type(each) is tuple and each[0] == b"$py.log"]
        for talk in talks
    ]
    for talk in talks:
        talk.end()
    return saw


def _states() -> Iterator[tuple[str, object]]:
    """What each global of the package is, and each attribute of its classes: enough to see that one has changed."""
    for info in [None, *pkgutil.walk_packages(erl.__path__, "erl.")]:
        name = "erl" if info is None else info.name
        if name in ("erl.__main__", "erl.codec.native") or ".facades" in name or ".sandbox" in name:
            continue
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if (error.name or "erl").partition(".")[0] == "erl":
                raise
            continue  # what belongs to a library that is not there
        for key, value in list(vars(module).items()):
            if key.startswith("__"):
                continue
            yield f"{name}.{key}", _state(value)
            if isinstance(value, type) and value.__module__ == name:
                for attribute, inner in list(vars(value).items()):
                    if not attribute.startswith("__"):
                        yield f"{name}.{key}.{attribute}", _state(inner)


def _state(value: Any, depth: int = 2) -> object:
    if isinstance(value, type):
        return id(value)
    if isinstance(value, MutableMapping | MutableSequence | MutableSet):
        return id(value), len(value)
    if type(value).__module__.startswith("erl.") and depth:
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        names = [*slots, *(vars(value) if "__dict__" in dir(type(value)) else ())]
        return id(value), [_state(getattr(value, name, None), depth - 1) for name in names]
    if isinstance(value, tuple):
        return tuple(_state(each, depth - 1) for each in value) if depth else id(value)
    return id(value)


def changed() -> list[str]:
    """The globals that the two conversations change."""
    import erl.codec.haystack
    import erl.runtime.tasks  # noqa: F401

    dict(_states())  # imports what there is
    before = dict(_states())
    meet()
    own = current()  # that of the process is none of the two
    assert (own.bridge, own.log, own.references.held(), own.encoders.registered) == (None, None, 0, {})
    return sorted(name for name, state in _states() if before.get(name, state) != state)


if __name__ == "__main__":
    sys.modules["two_conversations"] = sys.modules["__main__"]
    __name__ = "two_conversations"
    for kind in (Kept, Cup):
        kind.__module__ = __name__
    print(json.dumps(meet() if sys.argv[1] == "meet" else changed()))
