"""The trace that a program is in goes with its tasks; without OpenTelemetry, which is no dependency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from erl import tracing

if TYPE_CHECKING:
    from erl.futures import PoolExecutor

HEADERS = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}


def test_a_task_is_in_the_trace_that_it_was_submitted_in(executor: PoolExecutor) -> None:
    def where() -> dict[str, str]:
        from erl import tracing

        return tracing.current()

    with tracing.using(HEADERS):
        futures = [executor.submit(task) for task in (where, "erl.tracing.current")]
    assert [future.result(60) for future in futures] == [HEADERS] * 2
    assert executor.submit(where).result(60) == {}


def test_arguments_and_exceptions_of_a_traced_task_are_its_own(executor: PoolExecutor) -> None:
    with tracing.using(HEADERS):
        assert executor.submit(int, "101", base=2).result(60) == 5
        error = executor.submit(int, "tea").exception(60)
    assert isinstance(error, ValueError)


def test_a_trace_ends_with_its_block() -> None:
    with tracing.using(HEADERS):
        with tracing.using({}):
            assert tracing.current() == {}
        assert tracing.current() == HEADERS
    assert tracing.current() == {}
