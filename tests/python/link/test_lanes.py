"""Tasks on their way to a node, without a node: how many, in which order, and that none is lost or sent twice."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from erl.link.lanes import Lane
from erl.values import steps

if TYPE_CHECKING:
    from collections.abc import Callable


class Task:
    def __init__(self, name: str, is_wanted: bool = True, payload_bytes: int = 10) -> None:
        self.name = name
        self.id = 0
        self.sent = 0.0
        self.payload_bytes = payload_bytes
        self.is_wanted = is_wanted
        self.on_begin: Callable[[], object] = int

    def begin(self) -> bool:
        self.on_begin()
        return self.is_wanted

    def frame(self, id_: int) -> bytes:
        return f"{self.name}:{id_}".encode()

    def done(self, is_trusted: bool, frame: bytes) -> None: ...

    def failed(self, reason: Any, text: str) -> None: ...

    def lost(self, error: BaseException) -> None: ...


class Wire:
    def __init__(self, workers: int = 2, most: int = 100) -> None:
        self.sent: list[bytes] = []
        self.lane = Lane(
            workers, most, count(1).__next__, lambda frame: steps.each(self.sent.append, frame), lambda: True
        )

    def put(self, *tasks: Task) -> None:
        for task in tasks:
            self.lane.put(task)
        self.lane.feed()


def test_one_task_more_than_workers_is_on_its_way() -> None:
    wire = Wire()
    wire.put(*(Task(name) for name in "abcdef"))
    assert wire.sent == [b"a:1", b"b:2", b"c:3"]
    assert wire.lane.waiting == 3


def test_an_answer_makes_room_and_short_tasks_make_more() -> None:
    wire = Wire()
    wire.put(*(Task(name) for name in "abcdef"))
    assert wire.lane.answered(1).name == "a"  # type: ignore[union-attr]
    wire.lane.feed()
    assert wire.sent[3:] == [b"d:4", b"e:5"]


def test_slow_tasks_narrow_the_window_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    wire.lane.window = 64
    wire.put(*(Task(str(number)) for number in range(64)))
    now = wire.lane.open[1].sent
    monkeypatch.setattr("erl.link.lanes.monotonic", lambda: now + 1.0)
    for id_ in range(1, 10):
        wire.lane.answered(id_)
    assert wire.lane.window == 3


def test_a_task_that_is_not_wanted_any_more_is_not_sent() -> None:
    wire = Wire()
    wire.put(Task("a"), Task("b", is_wanted=False), Task("c"))
    assert wire.sent == [b"a:1", b"c:2"]


def test_an_exception_in_the_middle_loses_no_task_and_sends_none_twice() -> None:
    wire = Wire()
    first = Task("a")

    def interrupt() -> None:
        first.on_begin = int
        raise KeyboardInterrupt

    first.on_begin = interrupt
    wire.lane.put(first)
    wire.lane.put(Task("b"))
    with pytest.raises(KeyboardInterrupt):
        wire.lane.feed()
    assert wire.lane.waiting == 2
    wire.lane.feed()
    assert wire.sent == [b"a:1", b"b:2"]


def test_a_task_submitted_while_one_is_sent_waits_for_its_turn() -> None:
    wire = Wire()
    first = Task("a")
    first.on_begin = lambda: wire.put(Task("b")) if not wire.lane.waiting > 1 else None
    wire.put(first)
    assert wire.sent == [b"a:1", b"b:2"]


def test_large_tasks_are_not_piled_up() -> None:
    wire = Wire()
    wire.lane.window = 50
    wire.put(*(Task(str(number), payload_bytes=1 << 20) for number in range(10)))
    assert len(wire.sent) == 3


def test_closing_gives_every_task_once() -> None:
    wire = Wire()
    wire.put(*(Task(name) for name in "abcdef"))
    assert [task.name for task in wire.lane.close()] == list("abcdef")  # type: ignore[attr-defined]
    assert wire.lane.close() == []
