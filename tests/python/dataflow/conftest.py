"""One environment on each kind of executor, and what a set holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import erl
from erl.dataflow import Environment
from erl.executors import ConcurrentExecutor, Executor, InlineExecutor, OtpExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def flow_node() -> Iterator[erl.Node]:
    """A node with two workers that the tests of a module may kill."""
    with erl.start({"default": {"size": 2}}, name="flows") as running:
        yield running


@pytest.fixture(params=["inline", "threads", "pool"])
def env(request: pytest.FixtureRequest, flow_node: erl.Node) -> Iterator[Environment]:
    """An environment of the test's own, on each kind of executor in turn."""
    if request.param == "inline":
        executor: Executor = InlineExecutor()
    elif request.param == "threads":
        executor = ConcurrentExecutor.make_local(2)
    else:
        executor = OtpExecutor(flow_node, "default")
    with executor:
        made = Environment(executor=executor, config={"sample_config": 123})
        try:
            yield made
        finally:
            made.close()
