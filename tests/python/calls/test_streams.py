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
from erl.calls.streams import AsyncStream, Stream
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


LOOP = asyncio.new_event_loop()
"""Stands for the loop of a worker's coroutines."""


def stream_of(iterable: Any) -> Any:
    return AsyncStream(iterable) if hasattr(iterable, "__aiter__") else Stream(iterable)


def take(stream: Any, most: int) -> Any:
    taken = stream.take(most)
    return LOOP.run_until_complete(taken) if asyncio.iscoroutine(taken) else taken


def close(stream: Any) -> None:
    closed = stream.close()
    if asyncio.iscoroutine(closed):
        LOOP.run_until_complete(closed)


def batches(stream: Any, most: int = 1000) -> list[list[object]]:
    """All that is left; an end without items is no batch."""
    found: list[list[object]] = []
    ended = False
    while not ended:
        items, ended = take(stream, most)
        assert items or ended
        if items:
            found.append(items)
    return found


@BOTH
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_each_item_is_in_one_batch(made: Callable[..., Any], count: int) -> None:
    assert list(chain(*batches(stream_of(made(count))))) == list(range(count))
    stream = stream_of(made(count))
    assert all(len(batch) <= 3 for batch in batches(stream, 3))
    assert take(stream, 3) == ([], True)


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

    stream = stream_of(failing() if made is numbers else failing_async())
    assert [take(stream, 2)[0] for _ in range(3)] == [[0], [1, 2], [3, 4]]
    with pytest.raises(ValueError, match="half way"):
        take(stream, 2)
    assert take(stream, 2) == ([], True)


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
    stream = stream_of(made(1000, ended))
    take(stream, 1)
    assert ended == []
    close(stream)
    close(stream)
    assert ended == ["finally"]
    assert take(stream, 1) == ([], True)


@BOTH
def test_what_nothing_refers_to_is_closed(made: Callable[..., Any]) -> None:
    ended: list[str] = []
    stream = stream_of(made(1000, ended))
    take(stream, 1)
    del stream
    LOOP.run_until_complete(asyncio.sleep(0.01))
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


def test_asynchronous_streams_share_a_loop() -> None:
    async def meeting(number: int) -> AsyncIterator[tuple[int, object]]:
        for _ in range(3):
            arrived.append(number)
            while len(arrived) % 20:
                await asyncio.sleep(0)
            yield number, asyncio.get_running_loop()

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(all_of(AsyncStream(meeting(number))) for number in range(20)))

    async def all_of(stream: AsyncStream) -> list[object]:
        seen: list[object] = []
        ended = False
        while not ended:
            items, ended = await stream.take(1)
            seen += items
        return seen

    arrived: list[int] = []
    found = LOOP.run_until_complete(asyncio.wait_for(all_of_them(), 20))
    assert found == [[(number, LOOP)] * 3 for number in range(20)]


def test_what_an_asynchronous_stream_raises_ends_no_loop() -> None:
    async def leaving(error: BaseException) -> AsyncIterator[int]:
        yield 1
        raise error

    for error in (
        SystemExit(3),
        KeyboardInterrupt(),
        errors.CallCancelled(),
        MemoryError(),
        asyncio.CancelledError(),
    ):
        stream = AsyncStream(leaving(error))
        assert take(stream, 1) == ([1], False)

        async def raised(stream: AsyncStream = stream) -> BaseException | None:
            try:
                await stream.take(1)
            except BaseException as found:
                return found
            return None

        assert LOOP.run_until_complete(raised()) is error


def test_a_batch_that_is_cancelled_ends_the_stream() -> None:
    async def stuck() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            ended.append("finally")

    ended: list[str] = []
    stream = AsyncStream(stuck())
    assert take(stream, 1) == ([1], False)
    with pytest.raises(asyncio.TimeoutError):
        LOOP.run_until_complete(asyncio.wait_for(stream.take(1), 0.05))
    assert ended == ["finally"]
    assert take(stream, 1) == ([], True)


def test_closing_fails_as_the_end_of_the_generator_does() -> None:
    async def failing() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("at the end")

    stream = AsyncStream(failing())
    take(stream, 1)
    with pytest.raises(ValueError, match="at the end"):
        close(stream)
    close(stream)


def test_the_loop_goes_on_where_its_code_waits_without_await() -> None:
    from erl.calls.async_streams import wait_within

    async def outer(answer: Any) -> Any:
        task = asyncio.current_task()
        found = wait_within(LOOP, answer)
        assert asyncio.current_task() is task
        return found

    async def answered() -> Any:
        answer = LOOP.create_future()
        LOOP.call_later(0.01, answer.set_result, 7)
        return await outer(asyncio.wait_for(answer, 20))

    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        LOOP.call_later(0.01, task.cancel)
        await outer(asyncio.sleep(60))

    assert LOOP.run_until_complete(answered()) == 7
    with pytest.raises(asyncio.CancelledError):
        LOOP.run_until_complete(cancelled())


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
