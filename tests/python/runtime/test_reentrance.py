"""Handlers and finalizers that print, log, cast and call at random points: nothing is lost, doubled or out of order.

Runs for a few seconds each; `ERL_ENTERING_SECONDS=60` makes it a minute.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import Any

import pytest
from conversation import Conversation

from erl import codec
from erl.terms import Atom

SECONDS = float(os.environ.get("ERL_ENTERING_SECONDS", "3"))
LARGE = 64 << 20
IN_FLIGHT = 40
NAMES = ["add", "add", "add", "litter", "ask", "work", "say", "big", "length"]

CODECS = [False] if codec.Outlet is None else [False, True]
compiled = pytest.mark.parametrize("compiled", CODECS, ids=["Python", "compiled"][: len(CODECS)])


class Load:
    """Calls Python from many callers at once, answers what it asks, and keeps books."""

    def __init__(self, python: Conversation, raises: bool = False) -> None:
        self.python = python
        self.raises = raises
        self.last_id = 10
        self.expected: dict[int, tuple[str, object]] = {}
        self.right = 0
        self.failed: list[object] = []
        self.printed = ""
        self.casts: list[int] = []
        self.logged: list[int] = []
        self.asked = 0
        self._writing = threading.Lock()

    def call(self, name: str, *args: object, result: object = None) -> int:
        self.last_id += 1
        self.expected[self.last_id] = (name, result)
        self._send((Atom("C"), self.last_id, Atom("entering"), Atom(name), list(args)))
        return self.last_id

    def some(self) -> None:
        number = self.last_id
        name = NAMES[number % len(NAMES)]
        if name == "add":
            self.call(name, number, 1, result=number + 1)
        elif name == "litter":
            self.call(name, number, result=-number)
        elif name == "big":
            size = 3_000_000 if number % 16 == 0 else 3_000
            self.call(name, size, result=size)
        elif name == "length":
            size = 2_000_000 if number % 16 == 0 else 2_000
            self.call(name, bytes(size), result=size)
        else:
            self.call(name, number, result=number)

    def _send(self, *terms: object) -> None:
        # Written by a thread: what Python says meanwhile must be read.
        frames = [codec.encode(term, self.python.options) for term in terms]
        data = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
        assert self.python.process.stdin is not None
        fd = self.python.process.stdin.fileno()

        def write(rest: bytes) -> None:
            with (
                self._writing,
                contextlib.suppress(OSError),
            ):  # the process may be gone, where the test has failed
                while rest:
                    rest = rest[os.write(fd, rest) :]

        if len(data) < 4096 and not self._writing.locked():
            write(data)
        else:
            thread = threading.Thread(target=write, args=(data,), daemon=True)
            thread.start()
            self._threads = [*getattr(self, "_threads", [])[-20:], thread]

    def take(self) -> None:
        """Take one message."""
        message: Any = self.python.receive()
        kind = message[0]
        if kind == "P":
            assert type(message[1]) is bytes
            self.printed += message[1].decode()
        elif kind == "C":
            self.asked += 1
            assert message[2:4] == ("m", "echo"), message
            self._send((Atom("r"), message[1], message[4][0]))
        elif kind == "M":
            if message[1] == Atom("somebody"):
                self.casts.append(message[2][1])
            else:
                assert message[2][0] == "$py.log", message
                self.logged.append(int("".join(map(chr, message[2][1][2]))))
        elif kind == "r":
            name, result = self.expected.pop(message[1])
            value = len(message[2]) if name == "big" else message[2]
            assert result is None or value == result, (name, result, value)
            self.right += 1
        elif kind == "e" and self.raises:
            name, _ = self.expected.pop(message[1])
            assert is_raised(message[2]), message
            self.failed.append(name)
        else:
            raise AssertionError(message)

    def drain(self, most: int = 0) -> None:
        while len(self.expected) > most:
            self.take()

    def once(self, name: str, *args: object) -> Any:
        """The result of a call while nothing else is under way."""
        self.drain()
        id_ = self.call(name, *args)
        del self.expected[id_]
        while True:
            message: Any = self.python.receive()
            if message[:2] == ("r", id_):
                return message[2]
            self.expected[id_] = (name, None)
            if message[0] in ("r", "e"):
                raise AssertionError(message)
            self._again(message)
            del self.expected[id_]

    def _again(self, message: Any) -> None:
        receive = self.python.receive
        self.python.receive = lambda: message  # type: ignore[method-assign]
        try:
            self.take()
        finally:
            self.python.receive = receive  # type: ignore[method-assign]

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while len(self.expected) < IN_FLIGHT:
                self.some()
            self.take()
        self.drain()


RAISED = {"entering.StrayError", "builtins.TimeoutError", "builtins.KeyboardInterrupt"}
WITH_CAUSE = {"erl.errors.EncodeError", "erl.errors.DecodeError"}


def is_raised(error: tuple[Any, ...]) -> bool:
    """Whether it is a handler's, or the codec's for want of an encoder that a handler's kept it from finding."""
    kind, cause = error[1], error[3][-1]
    return kind in RAISED or (kind in WITH_CAUSE and cause[:1] == (Atom("cause"),) and cause[1] in RAISED)


def lines_of(printed: str) -> list[str]:
    """The lines that were printed. All of them are whole, but a finalizer may come between a text and its newline."""
    found = []
    while True:
        lines = re.findall(r"(<\w+ \d+>)\n", printed)
        if not lines:
            break
        found += lines
        printed = re.sub(r"<\w+ \d+>\n", "", printed)
    assert not printed.strip("\n"), printed[:2000]
    return found


@compiled
@pytest.mark.parametrize("extra", ["none", "thread", "trace"])
def test_whoever_enters_prints_logs_casts_and_calls(compiled: bool, extra: str) -> None:
    with Conversation("--py", compiled=compiled) as python:
        load = Load(python)
        load.once(
            "start",
            7,
            [Atom(kind) for kind in ("print", "mumble", "log", "cast", "call")],
            False,
        )
        if extra != "none":
            load.once(extra, True)
        load.run(SECONDS)
        if extra != "none":
            load.once(extra, False)
        entered, wrong, refused, _ = load.once("stop")
        assert wrong == []
        assert all("while a message was written" in "".join(map(chr, text)) for text in refused), refused
        assert not (compiled and refused)
        lines = lines_of(load.printed)
        counts = {str(kind): number for kind, number in entered.items()}
        ours = [int(line[6:-1]) for line in lines if line.startswith("<call ")]
        others = [int(re.sub(r"\D", "", line)) for line in lines if not line.startswith("<call ")]
        assert len(ours) == len(set(ours))
        assert len(others) == len(set(others)) == counts.get("print", 0) + counts.get("mumble", 0)
        assert len(load.casts) == len(set(load.casts)) == counts["cast"]
        assert len(load.logged) == len(set(load.logged)) == counts["log"]
        assert load.right > 100
        assert min(counts.values()) > 3


@compiled
@pytest.mark.parametrize("extra", ["none", "thread"])
def test_a_handler_that_raises_costs_one_call_at_most(compiled: bool, extra: str) -> None:
    with Conversation("--py", compiled=compiled) as python:
        load = Load(python, raises=True)
        load.call("start", 7, [Atom(kind) for kind in ("print", "cast", "call")], True)  # may be hit itself
        if extra != "none":
            load.call(extra, True)
        load.run(SECONDS)
        load.drain()
        for _ in range(100):  # until one of them is not itself hit
            load.call("stop", result=None)
            load.drain()
            if load.failed[-1:] != ["stop"]:
                break
            load.failed.append("tried")
        assert load.right > 100
        assert load.failed
        load.call("add", 1, 2, result=3)
        load.drain()


@compiled
def test_64_mebibytes_come_whole_while_a_handler_prints(compiled: bool) -> None:
    with Conversation("--py", compiled=compiled) as python:
        load = Load(python)
        load.once("start", 7, [Atom(kind) for kind in ("print", "log", "cast", "call")], False)
        for _ in range(3):
            load.call("big", LARGE, result=LARGE)
        load.drain()
        _, wrong, refused, _ = load.once("stop")
        assert (wrong, load.right) == ([], 3)
        assert not (compiled and refused)
        lines_of(load.printed)


@compiled
@pytest.mark.parametrize("mebibytes", [60, 100, 170, 200])
def test_an_argument_that_memory_has_no_room_for_costs_its_call_alone(compiled: bool, mebibytes: int) -> None:
    most = mebibytes << 20
    with Conversation("--py", compiled=compiled) as python:
        load = Load(python)
        assert load.once("bind", most) is None
        for name, argument in (("length", bytes(120 << 20)), ("add", 1)):
            load._send(
                (
                    Atom("C"),
                    load.last_id,
                    Atom("entering"),
                    Atom(name),
                    [argument] * (1 + (name == "add")),
                )
            )
        kind, _, error = python.receive()
        assert (kind, error[1]) == ("e", "builtins.MemoryError")  # type: ignore[index]
        assert python.receive()[2] == 2
