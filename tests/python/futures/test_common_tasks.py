"""Common tasks are sent and settled in C: they come to what the code in Python makes of them."""

from __future__ import annotations

import concurrent.futures
import operator
import pickle
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erl import codec, errors
from erl.futures import PoolExecutor, functions
from erl.futures.future import Future
from erl.link import protocol
from erl.link.lanes import Lane
from erl.terms import Atom
from erl.values import steps
from erl.values.scope import Scope

compiled = pytest.mark.skipif(codec.Intake is None, reason="the codec is not compiled here")

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from([0, 255, 256, -1, 65535, 65536, 2**31 - 1, -(2**31)]),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.binary(max_size=300),
)


class Number(int):
    """No plain one."""


@compiled
@given(st.lists(PLAIN, max_size=5))
def test_a_plain_call_is_the_pickle_of_its_parts(args: list[Any]) -> None:
    known: dict[Any, Any] = {abs: functions.named(abs, False)}
    made = codec.plain_call(known, abs, tuple(args))  # type: ignore[misc]
    function, head, memory, path = pickle.loads(made)  # type: ignore[arg-type]
    assert (function, memory, path) == (None, None, None)
    found = pickle.loads(head)
    assert found == (abs, *args, {})
    assert list(map(type, found[1:-1])) == list(map(type, args))


@compiled
@pytest.mark.parametrize(
    "arg", [2**31, -(2**31) - 1, 2**70, "\ud800", "x" * 1001, b"x" * 1001, [1], Number(3), print]
)
def test_what_is_not_plain_is_left_to_pickle(arg: Any) -> None:
    known: dict[Any, Any] = {abs: functions.named(abs, False)}
    assert codec.plain_call(known, abs, (arg,)) is None  # type: ignore[misc]
    assert codec.plain_call(known, abs, (1, arg, 2)) is None  # type: ignore[misc]


def test_functions_without_a_name_that_leads_to_them_are_none() -> None:
    def inner() -> None: ...

    for function in (inner, lambda: None, [].append, int, "math.sqrt", Future.kill, operator.itemgetter(1)):
        assert functions.named(function, False) is None
    assert functions.named(given, True) is not None


@compiled
def test_a_name_that_leads_elsewhere_now_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[Any, Any] = {operator.index: functions.named(operator.index, False)}
    assert codec.plain_call(known, operator.index, (1,)) is not None  # type: ignore[misc]
    monkeypatch.setattr("_operator.index", abs)
    assert codec.plain_call(known, operator.index, (1,)) is None  # type: ignore[misc]


class Conversation:
    """The part of a link that a future asks."""

    down = None

    def __init__(self) -> None:
        self.scope = Scope()
        self.scope.pickles.set_key(b"k" * 32)
        self.is_awaited = False

    def check_wait(self) -> None:
        self.is_awaited = True


class Task:
    """What `Lane` and `Intake` ask of a task."""

    payload_bytes = 1

    def __init__(self, link: Conversation, opened: set[Any]) -> None:
        self.future: Future[Any] = Future()
        self.future._link = link
        self.opened = opened
        self.memory = None
        self.id = 0
        self.sent = 0.0
        self.ended = 0

    def begin(self) -> bool:
        return self.future.begin()

    def frame(self, id_: int) -> bytes:
        return protocol.submit(id_, b"t\0\0\0\0", b"payload")

    def _over(self, future: Any) -> None:
        self.ended += 1


def done(id_: int, said: bytes, trust: str = "trusted") -> bytes:
    """The answer of a task, as a node spells it (`py_gateway_wire:done/3`)."""
    frame = codec.encode((Atom("r"), 7, said), protocol.OPTIONS)
    head = b"\x83h\x04w\x04doneb" + id_.to_bytes(4, "big") + b"w" + bytes([len(trust)]) + trust.encode()
    return protocol.framed(head + b"m" + len(frame).to_bytes(4, "big") + frame)


class Wire:
    """A lane, what it sends, and what is made of what comes."""

    def __init__(self) -> None:
        self.link = Conversation()
        self.out: list[bytes] = []
        number = count(1).__next__
        self.lane = Lane(2, 100, number, lambda frame: steps.each(self.out.append, frame), lambda: True)
        lanes = {"default": self.lane}
        self.opened: set[Any] = set()
        self.failures = 0
        self.protocol = protocol.Protocol()
        self.protocol.receive(protocol.message("hello", 1, {}))
        self.intake: Any = codec.Intake(lanes, self.protocol.event, self.failed)  # type: ignore[misc]
        self.sender: Any = codec.Sender(  # type: ignore[misc]
            self.lane, self.out, lanes, {}, [], 100, number, protocol.TASK
        )

    def failed(self) -> None:
        self.failures += 1

    def sent(self) -> Task:
        task = Task(self.link, self.opened)
        assert self.sender.send(task, task.future, b"t\0\0\0\0", b"payload", self.opened)
        return task

    def answer(self, id_: int, said: bytes, trust: str = "trusted") -> bytes:
        return done(id_, self.link.scope.pickles.signed(said), trust)

    def events(self, data: bytes) -> list[Any]:
        self.intake.add(data)
        return list(iter(lambda: self.intake.next(1 << 20), None))


@compiled
def test_what_is_sent_is_what_the_code_in_python_sends() -> None:
    wire = Wire()
    task = wire.sent()
    assert wire.out == [task.frame(task.id)]
    assert wire.lane.open == {task.id: task}
    assert wire.opened == {task.future}
    assert task.future.running()
    assert not task.future.cancel()


@compiled
def test_nothing_is_sent_where_others_wait_or_the_window_is_full() -> None:
    wire = Wire()
    for _ in range(3):
        wire.sent()
    more = Task(wire.link, wire.opened)
    assert not wire.sender.send(more, more.future, b"t\0\0\0\0", b"payload", wire.opened)
    wire.lane.window = 50
    wire.lane.put(more)
    other = Task(wire.link, wire.opened)
    assert not wire.sender.send(other, other.future, b"t\0\0\0\0", b"payload", wire.opened)
    assert len(wire.out) == 3
    assert not other.future.running()


@compiled
def test_a_cancelled_future_is_not_sent() -> None:
    wire = Wire()
    task = Task(wire.link, wire.opened)
    task.future.cancel()
    assert not wire.sender.send(task, task.future, b"t\0\0\0\0", b"payload", wire.opened)
    assert not wire.out
    assert not wire.opened
    assert not wire.lane.open


VALUES = [
    None,
    True,
    False,
    0,
    255,
    256,
    65535,
    65536,
    -1,
    2**31 - 1,
    -(2**31),
    2**31,
    2**70,
    1.5,
    -0.0,
    float("inf"),
]


@compiled
@pytest.mark.parametrize(
    "value", [*VALUES, "", "x" * 255, "x" * 256, "\u00e4", b"", b"x", [1, 2], {"a": (1,)}, ValueError("x")]
)
@pytest.mark.parametrize("protocol_number", [2, 4, 5])
def test_a_result_is_what_its_pickle_says(value: Any, protocol_number: int) -> None:
    wire = Wire()
    task = wire.sent()
    assert wire.events(wire.answer(task.id, b"R" + pickle.dumps(value, protocol_number))) == []
    assert task.future.done()
    assert not wire.opened
    assert task.ended == 1
    assert not wire.lane.open
    found = task.future.result()
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    assert task.future.result() is found
    assert task.future.exception() is None


@compiled
@pytest.mark.parametrize("said", [b"R" + pickle.dumps(5, 5), b"R" + pickle.dumps([5], 5)])
def test_a_result_that_others_have_signed_is_none(said: bytes) -> None:
    wire = Wire()
    task = wire.sent()
    assert wire.events(done(task.id, said + b"\0" * 32)) == []
    for _ in range(2):
        with pytest.raises(errors.DecodeError):
            task.future.result(1)
    assert isinstance(task.future.exception(), errors.DecodeError)


@compiled
def test_what_is_rare_is_an_event_in_its_order() -> None:
    wire = Wire()
    tasks = [wire.sent() for _ in range(3)]
    fine = b"R" + pickle.dumps(5, 5)
    told = wire.events(
        wire.answer(tasks[0].id, fine)
        + protocol.message("print", "tea\n")
        + wire.answer(tasks[1].id, fine, "box")
    )
    assert [event[:2] for event in told] == [("print", b"tea\n"), ("done", tasks[1].id)]
    assert tasks[0].future.done()
    assert not tasks[1].future.done()
    for said in (b"E" + fine, b"M" + fine, b"W" + fine, b"X", b""):
        assert [event[0] for event in wire.events(wire.answer(tasks[2].id, said))] == ["done"]
    assert [event[0] for event in wire.events(wire.answer(99, fine))] == ["done"]
    assert wire.lane.open.keys() == {tasks[1].id, tasks[2].id}


@compiled
def test_one_that_somebody_watches_is_an_event() -> None:
    wire = Wire()
    wire.lane.window = 9
    answered = b"R" + pickle.dumps(5, 5)
    watched, called, both = wire.sent(), wire.sent(), wire.sent()
    both.memory = object()  # type: ignore[assignment]
    called.future.add_done_callback(print)
    with watched.future._condition:
        pass
    for task in (watched, called, both):
        assert [event[0] for event in wire.events(wire.answer(task.id, answered))] == ["done"]
        assert not task.future.done()


@compiled
@given(st.lists(st.integers(0, 600), max_size=8))
def test_any_cut_of_the_bytes_is_the_same(cuts: list[int]) -> None:
    wire = Wire()
    tasks = [wire.sent() for _ in range(3)]
    data = b"".join(wire.answer(task.id, b"R" + pickle.dumps(task.id, 5)) for task in tasks)
    data += protocol.message("print", "tea\n")
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    told = [
        event for start, end in zip([0, *ends], ends, strict=False) for event in wire.events(data[start:end])
    ]
    assert [event[0] for event in told] == ["print"]
    assert [task.future.result(1) for task in tasks] == [task.id for task in tasks]
    assert wire.failures == 0


@compiled
@pytest.mark.parametrize(
    "frame", [b"\0\0\0\0", b"\xff\xff\xff\xff", protocol.framed(b"no term"), protocol.message("done", 1)]
)
def test_what_is_no_message_ends_the_link(frame: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        Wire().events(frame)


@compiled
def test_one_who_waits_already_is_woken() -> None:
    wire = Wire()
    for round_ in range(200):
        task = wire.sent()
        found: list[Any] = []
        waiter = threading.Thread(target=lambda task=task, found=found: found.append(task.future.result(60)))
        waiter.start()
        wire.events(wire.answer(task.id, b"R" + pickle.dumps(round_, 5)))
        waiter.join(60)
        assert found == [round_]


@compiled
def test_who_begins_to_watch_while_it_is_settled_is_told() -> None:
    wire = Wire()
    for _ in range(200):
        task = wire.sent()
        found: list[Any] = []
        waiter = threading.Thread(
            target=lambda task=task, found=found: found.extend(
                concurrent.futures.as_completed([task.future], 60)
            )
        )
        waiter.start()
        for event in wire.events(wire.answer(task.id, b"R" + pickle.dumps(1, 5))):
            wire.lane.answered(event[1])
            task.future.settle(1)
        waiter.join(60)
        assert found == [task.future]


def test_common_tasks_of_an_executor(executor: PoolExecutor) -> None:
    futures = [executor.submit(divmod, number, 7) for number in range(500)]
    numbers = [executor.submit(abs, -number) for number in range(500)]
    assert {each.result(60) for each in concurrent.futures.as_completed(numbers)} == set(range(500))
    assert [each.result(60) for each in futures] == [divmod(number, 7) for number in range(500)]
    assert not executor._open


WITHOUT = """
import sys
sys.modules["erl.codec.native"] = None
import concurrent.futures
import erl
from erl import codec
from erl.futures import PoolExecutor
if __name__ == "__main__":
    assert codec.implementation == "reference" and codec.Promise is None
    with erl.start({"default": {"size": 1}}) as node, PoolExecutor(node=node) as executor:
        futures = [executor.submit(abs, -number) for number in range(50)]
        assert {each.result(60) for each in concurrent.futures.as_completed(futures)} == set(range(50))
        failed = executor.submit(int, "seven")
        assert type(failed.exception(60)) is ValueError
    print("fine")
"""


def test_a_driver_whose_codec_is_not_compiled(node: Any, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WITHOUT, encoding="utf-8")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("fine\n"), done.stderr
