"""Deaths, and others who misbehave: what becomes of a program's tasks, and what is left behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from waiting import eventually

import erl
from erl.errors import WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = 100


@pytest.fixture
def pair() -> Iterator[erl.Node]:
    """A node of the test's own, to be treated badly."""
    with erl.start({"default": {"size": 2}}, name="faults") as running:
        yield running


def test_a_death_costs_no_task_that_was_over(pair: erl.Node) -> None:
    executor = pair.executor()
    for _ in range(12):
        for future in [executor.submit(pow, 2, 2) for _ in range(5 * TASKS)]:
            assert future.result() == 4  # from now on workers have many of them at a time
        fast = [executor.submit(pow, 2, each) for each in range(TASKS)]
        deadly = executor.submit(os._exit, 3)
        with pytest.raises(WorkerLostError, match="exit status 3"):
            deadly.result()
        # They were answered before a function began that nobody knew.
        assert [each.result() for each in fast] == [2**each for each in range(TASKS)]
        eventually(
            lambda: all(each["state"] == "serving" for each in pair.status()["pools"]["default"]["workers"])
        )
