"""Batches of a stream: how many items, in what order, and how they end; what a source's term is, and where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from typing import Any

import pytest
from conversation import Conversation

from erl import codec, decoders, errors
from erl.calls import streams, worker
from erl.calls.streams import Stream
from erl.codec import Options
from erl.terms import Atom


def numbers(most: int, ended: list[str] | None = None) -> Iterator[int]:
    try:
        yield from range(most)
    finally:
        if ended is not None:
            ended.append("finally")


async def numbers_async(most: int, ended: list[str] | None = None) -> AsyncIterator[int]:
    try:
        for number in range(most):
            await asyncio.sleep(0)
            yield number
    finally:
        await asyncio.sleep(0)
        if ended is not None:
            ended.append("finally")


BOTH = pytest.mark.parametrize("made", [numbers, numbers_async])


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch ends because its time is over."""
    monkeypatch.setattr(streams, "_BATCH_SECONDS", 60.0)


def batches(stream: Stream, most: int = 1000) -> list[list[object]]:
    """All that is left; an end without items is no batch."""
    found: list[list[object]] = []
    ended = False
    while not ended:
        items, ended = stream.take(most)
        assert items or ended
        if items:
            found.append(items)
    return found


@BOTH
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_each_item_is_in_one_batch(made: Callable[..., Any], count: int) -> None:
    assert list(chain(*batches(Stream(made(count))))) == list(range(count))
    stream = Stream(made(count))
    assert all(len(batch) <= 3 for batch in batches(stream, 3))
    assert stream.take(3) == ([], True)


@pytest.mark.usefixtures("unhurried")
def test_batches_of_a_fast_iterator_grow_from_one_item() -> None:
    assert [len(batch) for batch in batches(Stream(range(63)))] == [1, 2, 4, 8, 16, 32]


@pytest.mark.usefixtures("unhurried")
def test_a_batch_after_a_slow_item_is_one_item(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(range(100))
    assert [len(stream.take(1000)[0]) for _ in range(4)] == [1, 2, 4, 8]
    # From here on the time of a batch is over when it begins.
    monkeypatch.setattr(streams, "_BATCH_SECONDS", -1.0)
    assert [len(stream.take(1000)[0]) for _ in range(4)] == [1, 1, 1, 1]


@BOTH
@pytest.mark.usefixtures("unhurried")
def test_an_error_comes_after_the_items_before_it(made: Callable[..., Any]) -> None:
    def failing() -> Iterator[int]:
        yield from range(5)
        raise ValueError("half way")

    async def failing_async() -> AsyncIterator[int]:
        async for number in numbers_async(5):
            yield number
        raise ValueError("half way")

    stream = Stream(failing() if made is numbers else failing_async())
    assert [stream.take(2)[0] for _ in range(3)] == [[0], [1, 2], [3, 4]]
    with pytest.raises(ValueError, match="half way"):
        stream.take(2)
    assert stream.take(2) == ([], True)


@pytest.mark.usefixtures("unhurried")
def test_a_batch_that_is_put_back_comes_once_more_one_by_one() -> None:
    stream = Stream(range(4))
    stream.take(2)
    assert stream.take(2) == ([1, 2], False)
    stream.put_back()
    assert [stream.take(9) for _ in range(4)] == [([1], False), ([2], False), ([3], True), ([], True)]
    stream = Stream(range(3))
    stream.take(9)
    assert stream.take(9) == ([1, 2], False)
    assert stream.take(9) == ([], True)
    ended = Stream(range(2))
    ended.take(9)
    assert ended.take(9) == ([1], True)
    ended.put_back()
    assert ended.take(9) == ([1], True)


@BOTH
def test_closing_runs_finally_once(made: Callable[..., Any]) -> None:
    ended: list[str] = []
    stream = Stream(made(1000, ended))
    stream.take(1)
    assert ended == []
    stream.close()
    stream.close()
    assert ended == ["finally"]
    assert stream.take(1) == ([], True)


@BOTH
def test_what_nothing_refers_to_is_closed(made: Callable[..., Any]) -> None:
    ended: list[str] = []
    stream = Stream(made(1000, ended))
    stream.take(1)
    del stream
    assert ended == ["finally"]


def test_an_iterator_that_is_no_generator_stays_open() -> None:
    with open(__file__, encoding="utf-8") as file:
        stream = Stream(file)
        assert stream.take(1) == (['"""' + str(__doc__).splitlines()[0] + '"""\n'], False)
        stream.close()
        assert not file.closed


def test_closing_within_a_batch_waits_for_its_end() -> None:
    ended: list[str] = []

    def closing() -> Iterator[int]:
        try:
            yield 1
            stream.close()
            yield 2
            yield 3
        finally:
            ended.append("finally")

    stream = Stream(closing())
    assert stream.take(1) == ([1], False)
    assert stream.take(1) == ([2], False)
    assert ended == ["finally"]
    assert stream.take(1) == ([], True)


def test_a_cancelled_batch_is_not_an_error_for_later() -> None:
    def cancelled() -> Iterator[int]:
        yield from range(2)
        raise errors.CallCancelled

    stream = Stream(cancelled())
    assert stream.take(2) == ([0], False)
    with pytest.raises(errors.CallCancelled):
        stream.take(9)


def test_what_an_asynchronous_generator_leaves_is_cancelled_with_it() -> None:
    left: list[asyncio.Task[None]] = []

    async def starting() -> AsyncIterator[int]:
        left.append(asyncio.ensure_future(asyncio.sleep(60)))
        yield 1

    stream = Stream(starting())
    assert stream.take(1) == ([1], False)
    stream.close()
    assert left[0].cancelled()


def test_what_a_failed_run_of_the_loop_has_left_does_not_end_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There was no memory to look for events, when the error of the generator was on its way."""

    async def failing() -> AsyncIterator[int]:
        yield 1
        yield 2
        selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]

        def select(_timeout: object) -> list[object]:
            monkeypatch.undo()
            raise MemoryError("no room for events")

        monkeypatch.setattr(selector, "select", select)
        raise MemoryError("grown")

    def all_of(stream: Stream, seen: list[object]) -> None:
        while True:
            seen += stream.take(10)[0]

    seen: list[object] = []
    with pytest.raises(MemoryError):
        all_of(Stream(failing()), seen)
    assert seen == [1, 2]


def test_asynchronous_streams_nest() -> None:
    async def outer() -> AsyncIterator[object]:
        inner = Stream(numbers_async(2))
        task = asyncio.current_task()
        for _ in range(2):
            yield inner.take(1)[0][0]
            assert asyncio.current_task() is task
        inner.close()

    assert list(chain(*batches(Stream(outer())))) == [0, 1]


@pytest.mark.parametrize("value", [1, None, object()])
def test_what_can_not_be_iterated_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError):
        Stream(value)


def test_the_term_of_a_source_is_a_tuple_in_erlports_mapping() -> None:
    decoders.register(Atom("$py.source"), worker.source)
    term = codec.encode((Atom("$py.source"), (1, 0)), Options.from_flags(20))
    assert codec.decode(term, Options.from_flags(20)) == (Atom("$py.source"), (1, 0))


def test_a_source_is_asked_and_closed_by_messages_to_erlang() -> None:
    with Conversation("--py") as python:
        python.call(1, "builtins", "next", [(Atom("$py.source"), (Atom("somebody"), 0))])
        kind, id_, module, function, args, _ = python.receive()
        assert (kind, module, function, args) == ("C", "py_source", "take", [Atom("somebody"), 256])
        items = codec.encode([b"a", b"b"], Options.from_flags(4))
        python.send((Atom("r"), id_, (Atom("more"), items)))
        # The iterator is over with its call.
        messages = [python.receive(), python.receive()]
        assert (Atom("M"), Atom("somebody"), Atom("close")) in messages
        assert (Atom("r"), 1, list(b"a")) in messages
        python.call(2, "operator", "add", [1, 2])
        assert python.answer(2) == 3


def test_streams_are_imported_with_the_first_one() -> None:
    with Conversation("--py") as python:
        python.call(1, "builtins", "eval", [b"'erl.calls.streams' in __import__('sys').modules"])
        assert python.answer(1) is False
