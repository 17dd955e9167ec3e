"""The lane beside the path in Python that specifies it: the same frames give the same bytes and leave no trace."""

from __future__ import annotations

import gc
import mmap
import os
import random
import struct
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lane_calls
import pytest
from conversation import Conversation
from resident import needs_proc, resident_bytes

from erl import codec, terms
from erl.codec import Options
from erl.names import lookup
from erl.runtime.server import Server
from erl.terms import Atom
from erl.values.scope import Scope
from erl.wire.port import Port, PortClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("erl.codec.native", reason="the codec is not compiled here")

TAGGED = Options.from_flags(4)
ERLPORT = Options.from_flags(20)
PID = terms.Pid(b"X" + b"w\3n@h" + struct.pack(">III", 7, 0, 1))


def framed(term: bytes) -> bytes:
    return len(term).to_bytes(4, "big") + term


def encoded(value: object, options: Options = TAGGED) -> bytes:
    return codec.encode(value, options)


def py_func(
    id_: int, name: str, args: object, pairs: object = (), flags: int = 4, module: str = "lane_calls"
) -> bytes:
    arguments = [flags, Atom(module), Atom(name), args, list(pairs) if type(pairs) is tuple else pairs]
    return encoded((Atom("C"), id_, Atom("erl.calls.objects"), Atom("call"), arguments))


def py_call(id_: int, name: str, args: object, module: str = "lane_calls") -> bytes:
    return encoded((Atom("C"), id_, Atom(module), Atom(name), args))


def answer(id_: int, value: object = Atom("ok")) -> bytes:
    return encoded((Atom("r"), id_, value))


class Unhurried(Server):
    """No call is slow for it: how much is read ahead of one that is, and so which calls nest, depends on the clock."""

    _seconds = staticmethod(lambda: 0.0)

    def _was_slow(self, key: object) -> None:
        pass


class Run:
    """A server in this process whose port are two files."""

    def __init__(self, stream: bytes, options: Options, lane: bool) -> None:
        self._in, self._out = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (closed by `serve`)
        self._in.write(stream)
        self._in.seek(0)
        self.server = Unhurried(Port(self._in.fileno(), self._out.fileno(), 4, 4096), options, scope=Scope())
        self.server._doubts._port = None  # as if Erlang could ring for answers that wait
        assert self.server._state.lane is not None
        if not lane:
            self.server._state.lane = None
        self.left_to_the_server = 0
        handle = self.server._handle

        def counted(frame: bytes | None, turn: int) -> bool:
            self.left_to_the_server += frame is not None
            return handle(frame, turn)

        self.server._handle = counted  # type: ignore[method-assign]

    def serve(self) -> list[bytes]:
        """The frames that came out, until the input ends."""
        with clean_slate(self.server):
            with pytest.raises(PortClosedError):
                self.server._serve(None)
            self.server._stdout.end()
            self.server._port.flush()
        self._out.seek(0)
        data = self._out.read()
        self._in.close()
        self._out.close()
        frames = []
        while data:
            size = 4 + int.from_bytes(data[:4], "big")
            frames.append(data[4:size])
            data = data[size:]
        return frames


@contextmanager
def clean_slate(server: Server) -> Iterator[None]:
    """The server's conversation; what it changes in its process beyond that is as it was."""
    import importlib

    importlib.reload(lane_calls)
    stdout = sys.stdout
    lookup._cached.clear()
    entered = server.scope.enter()
    server.scope.references.set_identity(PID, 1)
    server.scope.bridge = server
    sys.stdout = server._stdout
    gc.disable()  # it comes at its own time, and what it takes away may print
    try:
        yield
    finally:
        gc.enable()
        sys.stdout = stdout
        server.scope.leave(entered)
        lookup._cached.clear()


def out_of(frames: list[bytes], options: Options = TAGGED) -> list[bytes]:
    """What comes out with the lane, known to be what comes out without it."""
    stream = b"".join(map(framed, frames))
    for _ in range(20):
        with_lane = Run(stream, options, lane=True).serve()
        without = Run(stream, options, lane=False).serve()
        if with_lane == without:
            break
        # A call that was slow, as any may be on a busy machine, has answers looked for before it the next time.
    assert with_lane == without
    return with_lane


NOT_RANDOM = {"fork_and_return", "running", "running_while_asking", "ask", "asked", "deep", "wait_for_alarm"}
NAMES = [name for name, value in vars(lane_calls).items() if callable(value) and name.islower()]
NAMES = sorted(set(NAMES) - NOT_RANDOM) + ["changing", "missing", "add", "echo"] * 4
OTHERS = [
    ("operator", "add"),
    ("builtins", "len"),
    ("builtins", "dict"),
    ("lane_calls", "Loud.__name__"),
    ("nowhere", "f"),
]
VALUES: list[Any] = [
    1, -1, 2**40, 2**80, 1.5, "text", "я", b"bytes", None, True, Atom("atom"), [1, 2, 3], [1, "two"],
    (1, (2,)), {"k": 1},
    [], (), terms.ImproperList([1], 2), terms.Tag("tag"), (terms.Tag("loud"), [1]), (terms.Tag("failing"), 1),
    (terms.Tag("dict"), [(1, 2)]), "long" * 400, [0] * 3000,
]  # fmt: skip


class Script:
    """A random conversation: what comes in."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.frames: list[bytes] = []
        self.last_id = 0
        self.asked = 0
        self.owed: list[tuple[int, int]] = []  # answers, and before which frame

    def arguments(self) -> Any:
        if self.random.random() < 0.05:
            return self.random.choice([Atom("none"), b"ab", terms.ImproperList([1], 2), 7, ()])
        return [self.random.choice(VALUES) for _ in range(self.random.choice([0, 1, 2, 2, 2, 3]))]

    def call(self, name: str | None = None, args: Any = None) -> bytes:
        self.last_id += self.random.choice([1, 1, 1, 300, 70_000])
        module, function = ("lane_calls", name or self.random.choice(NAMES))
        if name is None and self.random.random() < 0.2:
            module, function = self.random.choice(OTHERS)
        args = self.arguments() if args is None else args
        kind = self.random.random()
        if kind < 0.7:
            pairs: Any = ()
            if self.random.random() < 0.15:
                pairs = self.random.choice(
                    [((Atom("k"), 1),), ((b"k", [1]), ("l", {})), Atom("x"), [1], [(1, 2)]]
                )
            flags = self.random.choice([0, 1, 3, 4, 4, 4, 7, 12, 20, 33, 2048, 4099, 6144])
            return py_func(self.last_id, function, args, pairs, flags, module)
        if kind < 0.95 or name is not None:
            return py_call(self.last_id, function, args, module)
        return py_call(
            self.last_id,
            self.random.choice(["method", "attr", "const", "call", "ptype"]),
            args,
            "erl.calls.objects",
        )

    def mangled(self) -> bytes:
        frame = bytearray(self.call("add"))
        for _ in range(self.random.choice([1, 1, 2, 5])):
            frame[self.random.randrange(len(frame))] = self.random.choice(
                [0, 1, 97, 104, 106, 107, 108, 109, 119, 255]
            )
        cut = self.random.random()
        if cut < 0.2:
            return bytes(frame[: self.random.randrange(len(frame))])
        return bytes(frame) + (b"j" if cut < 0.3 else b"")

    def write(self, size: int) -> list[bytes]:
        while len(self.frames) < size or self.owed:
            while self.owed and self.owed[0][1] <= len(self.frames):
                self.frames.append(answer(self.owed.pop(0)[0]))
            kind = self.random.random()
            if kind < 0.06 and len(self.frames) < size:
                self.asked += 1
                self.frames.append(self.call("ask", [1]))
                self.owed.append((self.asked, len(self.frames) + self.random.randrange(4)))
            elif kind < 0.14:
                self.frames.append(self.mangled())
            elif kind < 0.15:
                self.frames.append(encoded((Atom("M"), 1)))
            else:
                name = self.random.choice([None, None, "add", "echo", "changing", "fail", "say"])
                self.frames.append(self.call(name))
        return self.frames


@pytest.mark.parametrize("options", [TAGGED, ERLPORT], ids=["py", "ErlPort"])
@pytest.mark.parametrize("seed", range(40))
def test_random_conversation_has_the_same_bytes_with_and_without_the_lane(
    seed: int, options: Options
) -> None:
    script = Script(seed)
    script.frames = [py_call(0, "register", [])] if seed % 2 else []
    out_of(script.write(300), options)


@pytest.mark.parametrize("flags", [0, 2048, 2051, 4096])
def test_tiny_calls_are_the_lanes(flags: int) -> None:
    frames = [py_func(number, "add", [number, 1], flags=flags) for number in range(1000)]
    left = []
    # What takes long is the server's, and on a busy machine anything may: of some runs one is undisturbed.
    while not left or (left[-1] >= 50 and len(left) < 50):
        run = Run(b"".join(map(framed, frames)), TAGGED, lane=True)
        assert run.serve() == [answer(number, number + 1) for number in range(1000)]
        left.append(run.left_to_the_server)
    assert left[-1] < 50, left


SEQUENCES: dict[str, list[tuple[str, list[Any]]]] = {
    "a function replaced": [("change", [])],
    "a function taken away": [("vanish", []), ("changing", []), ("restore", [])],
    "a module reloaded": [("change", []), ("reload", [])],
    "a decoder of all": [("decode_all", []), ("add", [(1,), (2,)]), ("decode_none", [])],
    "an encoder of all": [("encode_all", []), ("add", [1, 1]), ("add", [1, 0]), ("encode_none", [])],
    "an encoder of integers": [("encode_integers", []), ("add", [1, 1]), ("forget_integers", [])],
    "references": [("reference", []), ("unencodable", []), ("reference", [])],
    "prints": [("say", [1]), ("mumble", [1]), ("add", [1, 1]), ("mumble_and_fail", [2]), ("mumble", [""])],
    "exceptions": [
        ("fail", []),
        ("fail_from", []),
        ("leave", []),
        ("interrupt", []),
        ("add", [1]),
        ("deep", []),
    ],
    "loud values": [("register", []), ("loud", ["a"]), ("echo", [(terms.Tag("loud"), 1)])],
    "loud arguments of what fails": [("register", []), ("fail", [(terms.Tag("loud"), 1)])],
    "loud values that can't be encoded": [("register", []), ("loud", ["\ud800"]), ("unencodable", [])],
    "slow calls": [("slow", []), ("add", [1, 1]), ("slow", [])],
    "large values": [("big", [700_000]), ("add", [b"x" * 300_000, b"y" * 300_000]), ("big", [5000])],
}


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize(
    "flags", [None, 0, 1, 7, 2051], ids=["py:call", "flags 0", "flags 1", "flags 7", "none => nil"]
)
def test_same_bytes_with_and_without_the_lane_around(sequence: str, flags: int | None) -> None:
    frames = []
    for _ in range(4):
        for name, args in [
            ("changing", []),
            ("add", [1, 2]),
            *SEQUENCES[sequence],
            ("changing", []),
            ("add", [1, 2]),
        ]:
            id_ = len(frames)
            frames.append(
                py_call(id_, name, args) if flags is None else py_func(id_, name, args, flags=flags)
            )
    out_of(frames)


@pytest.mark.parametrize(
    "ending",
    [
        b"",
        b"j",
        b"\0",
        b"jjj",
        b"jjjj",
        b"a\1j",
        b"jja",
        b"w\1xj",
        b"l\0\0\0\1a\1jj",
        b"l\0\0\0\1h\2w\1kl\0\0\0\1a\1jjj",
    ],
)
@pytest.mark.parametrize(
    "args", [b"j", b"k\0\2\1\2", b"l\0\0\0\1a\1j", b"l\0\0\0\1a\1a\2", b"l\0\0\0\0j", b"l\xff\0\0\0j"]
)
def test_the_end_of_a_frame_is_read_the_same_way(args: bytes, ending: bytes) -> None:
    wrapped = py_func(7, "echo", [])
    own = py_call(7, "echo", [])
    assert wrapped.endswith(b"jjj")
    frames = [
        wrapped,
        wrapped,
        wrapped[:-3] + args + b"jj",
        wrapped[:-3] + args + ending,
        own,
        own,
        own[:-1] + args + ending,
    ]
    out_of(frames)


@pytest.mark.parametrize(
    "id_", [0, 255, 256, 2**31 - 1, 2**31, 2**55, 2**56, 2**63 - 1, 2**63, 2**70, -1, -(2**31), -(2**40)]
)
def test_every_id_comes_back(id_: int) -> None:
    call = py_func(id_, "add", [1, 2])
    assert out_of([call, call, call]) == [answer(id_, 3)] * 3


def test_atoms_may_be_spelled_in_every_way() -> None:
    frames = []
    for size, tag in ((">B", b"w"), (">B", b"s"), (">H", b"v"), (">H", b"d")):

        def atom(name: bytes, size: str = size, tag: bytes = tag) -> bytes:
            return tag + struct.pack(size, len(name)) + name

        flagged = b"l\0\0\0\5a\4" + atom(b"lane_calls") + atom(b"add") + b"k\0\2\1\2jj"
        wrapped = b"\x83h\5" + atom(b"C") + b"a\1" + atom(b"erl.calls.objects") + atom(b"call") + flagged
        own = b"\x83h\5" + atom(b"C") + b"a\1" + atom(b"lane_calls") + atom(b"add") + b"k\0\2\1\2"
        frames += [wrapped, wrapped, own, own]
    assert out_of(frames) == [answer(1, 3)] * 16


def test_calls_nest_in_a_call_of_the_lane_that_asks_erlang() -> None:
    frames = [py_func(1, "ask", [1]), answer(1)]
    for number in range(2, 40):
        tiny = py_func(1000 + number, "add", [number, 1])
        frames += [
            py_func(number, "ask", [1]),
            tiny,
            py_func(number + 500, "reference", []),
            tiny,
            answer(number),
            tiny,
        ]
    out = out_of(frames)
    assert out.index(answer(1039, 40)) < len(out) - 2
    assert out[-2:] == [answer(39, Atom("ok")), answer(1039, 40)]


def test_calls_nest_where_a_decoder_or_an_encoder_asks_erlang() -> None:
    frames = [py_call(1, "register", [])]
    for asked in range(1, 60, 3):
        tiny, reference = py_func(1000 + asked, "add", [asked, 1]), py_func(2000 + asked, "reference", [])
        frames += [py_func(asked, "echo", [(terms.Tag("asking"), [1])]), tiny, reference, answer(asked), tiny]
        frames += [py_func(asked + 1, "asked", []), tiny, reference, answer(asked + 1), tiny]
        frames += [py_call(asked + 2, "asked", []), answer(asked + 2), tiny]
    out = out_of(frames)
    assert sum(frame.startswith(b"\x83h\3w\1r") for frame in out) == len(frames) - 60


def test_large_frame_in_the_middle_of_small_ones() -> None:
    tiny = py_func(1, "add", [1, 2])
    large = py_func(2, "echo", [b"x" * 3_000_000, list(range(100_000))])
    out_of([tiny, tiny, large, tiny, large, tiny, tiny])


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "Python"])
def test_running_is_the_call_whose_user_code_runs(lane: bool) -> None:
    nested = [py_func(20, "running", []), answer(3)]
    frames = [py_func(1, "running", []), py_func(2, "running", [])]
    frames += [
        py_func(3, "running_while_asking", []),
        answer(1),
        py_func(4, "running_while_asking", []),
        answer(2),
    ]
    frames += [
        py_func(5, "running_while_asking", []),
        *nested,
        py_func(6, "fail", []),
        py_func(7, "fail", []),
    ]
    run = Run(b"".join(map(framed, frames)), TAGGED, lane)
    values = [codec.decode(frame, TAGGED) for frame in run.serve()]
    results = {value[1]: value[2] for value in values if value[0] == "r"}  # type: ignore[index]
    assert results == {1: 1, 2: 2, 3: [3, 3], 4: [4, 4], 20: 20, 5: [5, 5]}
    assert run.server.running == 0


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "Python"])
def test_begun_calls_are_counted_before_they_run(lane: bool) -> None:
    page = mmap.mmap(-1, mmap.PAGESIZE)
    counts: list[int] = []
    lane_calls.Loud.seen = counts  # type: ignore[attr-defined]
    junk = [b"junk", encoded((Atom("M"), 1))]
    frames = [py_func(number, "add", [1, 2]) for number in range(10)]
    frames += [
        *junk,
        py_func(11, "fail", []),
        py_func(12, "missing", []),
        py_func(13, "ask", []),
        frames[0],
        answer(1),
    ]
    run = Run(b"".join(map(framed, frames)), TAGGED, lane)
    run.server.count_begun(memoryview(page)[:8])
    run.serve()
    assert struct.unpack("Q", page[:8]) == (14,)
    run.server.count_begun(None)
    with pytest.raises(ValueError, match="8 bytes"):
        run.server.count_begun(memoryview(page)[:4])


def test_page_says_how_long_short_calls_take() -> None:
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page[8:16] = b"\xff" * 8  # every call may begin
    frames = [py_func(number, "add", [1, 2]) for number in range(100)]
    frames += [py_func(100 + number, "add", [b"x" * 2048, b"y"]) for number in range(50)]
    frames += [py_func(200, "fail", [])]
    run = Run(b"".join(map(framed, frames)), TAGGED, lane=True)
    run.server.count_begun(memoryview(page)[:64])
    run.serve()
    begun, _, _, short, nanoseconds, *unused = struct.unpack("8Q", page[:64])
    run.server.count_begun(None)
    assert begun == 151
    assert 0 < short <= 100  # neither the large ones nor the one that fails
    assert 0 < nanoseconds <= short * 100_000
    assert unused == [0, 0, 0]


def test_lane_stands_aside_while_a_call_is_cancelled() -> None:
    frames = [py_func(number, "add", [1, 2]) for number in range(100)]
    run = Run(b"".join(map(framed, frames)), TAGGED, lane=True)
    run.server._state.cancelled.add(1_000_000)
    assert len(run.serve()) == 100
    assert run.left_to_the_server == 100


def test_lane_is_for_the_packet_length_of_four_and_uncompressed_answers() -> None:
    with tempfile.TemporaryFile() as file:
        assert Server(Port(file.fileno(), file.fileno(), 2), TAGGED)._state.lane is None
        assert Server(Port(file.fileno(), file.fileno(), 4), TAGGED, compressed=6)._state.lane is None


@pytest.fixture
def server() -> Iterator[Server]:
    with open(os.devnull, "r+b", buffering=0) as null:
        made = Server(Port(null.fileno(), null.fileno(), 4, 65536), TAGGED, scope=Scope())
        with clean_slate(made):
            yield made


def read_from(server: Server, stream: bytes) -> None:
    """Have the port read these bytes."""
    inward, outward = os.pipe()
    os.write(outward, stream)
    assert server._port.frames.read(inward) == len(stream)
    os.close(inward)
    os.close(outward)


def feed(server: Server, stream: bytes) -> None:
    """Have the stream served as far as the lane goes, and throw away what comes out."""
    read_from(server, stream)
    while server._state.lane.run():
        server._port.pending.clear()
    assert server._port.frames.next() is None
    server._port.pending.clear()


@needs_proc
def test_300_000_calls_leave_nothing_behind(server: Server) -> None:
    names: list[tuple[str, list[Any]]] = [
        *[("add", [1, 2.5])] * 20,
        ("add", [1, "x"]),
        ("echo", [{"k": [1]}, "text", (1, 2**70)]),
        ("unencodable", []),
        ("big", [3000]),
        ("say", [1]),
    ]
    calls = [py_func(number, name, args) for number, (name, args) in enumerate(names)]
    calls += [
        py_call(0, "add", [1, "x"]),
        py_func(0, "echo", [1], ((Atom("k"), 2),)),
        py_func(0, "add", Atom("x")),
    ]
    calls += [calls[0][:-1], calls[0] + b"j"]
    for name in ("add", "echo", "unencodable", "big", "say"):  # so all of them are known, and fast
        lookup.function("lane_calls", name)
        server._doubts.left[Atom("lane_calls"), Atom(name)] = 0
    server._was_slow = lambda key: None  # type: ignore[method-assign]  # the machine may be busy
    server._state.lane = server._open_lane()
    stream = b"".join(map(framed, calls))
    for _ in range(200):
        feed(server, stream)
    gc.collect()
    counts = [
        sys.getrefcount(thing) for thing in (lane_calls.add, None, Atom("lane_calls"), Atom("add"), server)
    ]
    blocks, resident = sys.getallocatedblocks(), resident_bytes()
    for _ in range(300_000 // len(calls)):
        feed(server, stream)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 100
    assert resident_bytes() - resident < 1 << 20
    after = [
        sys.getrefcount(thing) for thing in (lane_calls.add, None, Atom("lane_calls"), Atom("add"), server)
    ]
    assert [abs(one - other) < 50 for one, other in zip(counts, after, strict=True)] == [True] * 5


def test_call_that_was_slow_is_the_servers_next_time(server: Server) -> None:
    lookup.function("lane_calls", "slow")
    key = (Atom("lane_calls"), Atom("slow"))
    server._doubts.left[key] = 0
    feed(server, framed(py_func(1, "slow", [])))
    assert server._doubts.left[key] == 20
    with pytest.raises(AssertionError):
        feed(server, framed(py_func(2, "slow", [])))  # it is still in the buffer
    with clean_slate(server):
        server._run(2, lane_calls.slow, [], None, key)
    assert server._doubts.left[key] == 1000


def test_many_callables_share_the_lanes_slots(server: Server) -> None:
    for number in range(3000):
        name = f"made_{number}"
        setattr(lane_calls, name, lambda value, number=number: value + number)
        lookup.function("lane_calls", name)
        server._doubts.left[Atom("lane_calls"), Atom(name)] = 0
    server._was_slow = lambda key: None  # type: ignore[method-assign]
    server._state.lane = server._open_lane()
    for number in [*range(3000), *range(2999, -1, -1)]:
        read_from(server, framed(py_func(1, f"made_{number}", [1])))
        server._state.lane.run()
        assert server._port.pending == [framed(answer(1, 1 + number))]
        server._port.pending.clear()
    for number in range(3000):
        delattr(lane_calls, f"made_{number}")


# The real process


def test_process_answers_many_writes_of_many_calls() -> None:
    with Conversation("--py") as python:
        for start in range(0, 20_000, 1000):
            calls = [py_func(start + number, "add", [start, number]) for number in range(1000)]
            python.send_frames(*calls)
            assert [python.answer(start + number) for number in range(1000)] == list(
                range(start, start + 1000)
            )


def test_slow_call_after_fast_ones_holds_back_no_answer() -> None:
    with Conversation("--py") as python:
        for id_ in (1, 2):
            python.send_frames(py_func(id_, "add", [1, 1]))
            python.answer(id_)
        start = time.monotonic()
        python.send_frames(py_func(3, "add", [1, 1]), py_func(4, "sleep", [60], module="time"))
        assert python.answer(3) == 2
        assert time.monotonic() - start < 30


def test_call_that_was_slow_in_the_lane_holds_back_no_answer_again() -> None:
    with Conversation("--py") as python:
        for id_, seconds in enumerate([0, 0, 0, 0.01]):
            python.send_frames(py_func(id_, "sleep", [seconds], module="time"), py_func(9, "add", [1, 1]))
            assert python.answer(id_) is None
            assert python.answer(9) == 2
        start = time.monotonic()
        python.send_frames(py_func(10, "add", [1, 1]), py_func(11, "sleep", [60], module="time"))
        assert python.answer(10) == 2
        assert time.monotonic() - start < 30


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "reference"])
def test_call_that_goes_on_after_its_answer_holds_back_none_that_nested_in_it(compiled: bool) -> None:
    with Conversation("--py", compiled=compiled) as python:
        python.send_frames(py_func(1, "ask_and_sleep", [60]))
        question = python.receive()
        answer = codec.encode((Atom("r"), question[1], None), python.options)
        # In one write: nothing is waited for between the two.
        python.send_frames(py_func(2, "add", [1, 1]), answer)
        assert python.answer(2) == 2


def test_process_forked_in_the_lane_runs_no_other_call() -> None:
    with Conversation("--py") as python:
        for id_ in range(1, 4):
            python.send_frames(py_func(id_, "fork_and_return", []), py_func(id_ + 100, "add", [1, 1]))
            assert python.answer(id_) == 1
            assert python.answer(id_ + 100) == 2


def test_process_leaves_while_the_lane_runs_user_code() -> None:
    with Conversation("--py") as python:
        python.send_frames(*[py_func(id_, "sleep", [0], module="time") for id_ in range(1, 4)])
        for id_ in range(1, 4):
            python.answer(id_)
        python.send_frames(py_func(4, "sleep", [60], module="time"))
        assert python.process.stdin is not None
        python.process.stdin.close()
        assert python.process.wait(10) == 0


def test_signal_reaches_a_call_of_the_lane() -> None:
    with Conversation("--py") as python:
        python.send_frames(*[py_func(id_, "wait_for_alarm", [0]) for id_ in range(1, 4)])
        for id_ in range(1, 4):
            assert python.answer(id_) is None
        python.send_frames(py_func(4, "wait_for_alarm", [60]))
        kind, id_, error = python.receive()
        assert (kind, id_, error[1]) == ("e", 4, "builtins.TimeoutError")  # type: ignore[index]
        assert "".join(map(chr, error[2])) == "in call 4"  # type: ignore[index]
