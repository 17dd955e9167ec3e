"""What the tests share: a BEAM to ask, nodes, and a clean slate for each test."""

from __future__ import annotations

import faulthandler
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from beams import Beam
from hypothesis import HealthCheck, settings

import erl
from erl.futures import PoolExecutor
from erl.values.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from erl.dataflow import Environment

settings.register_profile("dev", deadline=None, max_examples=200)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=500,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

_SECONDS_FOR_A_TEST = 300


@pytest.fixture(autouse=True)
def _deadline() -> Iterator[None]:
    """A test that hangs shows where, and ends the run."""
    faulthandler.dump_traceback_later(_SECONDS_FOR_A_TEST, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def beam() -> Iterator[Beam]:
    """One BEAM for the whole run."""
    if shutil.which("escript") is None:
        pytest.skip("Erlang's escript is not on PATH")
    running = Beam()
    yield running
    running.end()


@pytest.fixture(scope="session")
def node() -> Iterator[erl.Node]:
    """A node of this process's own, with two workers, for all tests that do it no harm."""
    if shutil.which("erl") is None:
        pytest.skip("Erlang is not on PATH")
    with erl.start({"default": {"size": 2}}, name="tests") as running:
        yield running


@pytest.fixture
def executor(node: erl.Node) -> Iterator[PoolExecutor]:
    """One on that node's pool."""
    with PoolExecutor(node=node, pool="default") as made:
        yield made


@pytest.fixture(scope="module")
def flow_node() -> Iterator[erl.Node]:
    """A node with two workers, for the data flows of a module."""
    if shutil.which("erl") is None:
        pytest.skip("Erlang is not on PATH")
    with erl.start({"default": {"size": 2}}, name="flows") as running:
        yield running


@pytest.fixture(params=["inline", "threads", "pool"])
def env(request: pytest.FixtureRequest, flow_node: erl.Node) -> Iterator[Environment]:
    """An environment of data flows, the test's own, on each kind of executor in turn."""
    from erl import dataflow, executors

    if request.param == "inline":
        executor: executors.Executor = executors.InlineExecutor()
    elif request.param == "threads":
        executor = executors.ConcurrentExecutor.make_local(2)
    else:
        executor = executors.OtpExecutor(flow_node, "default")
    with executor:
        made = dataflow.Environment(executor=executor, config={"sample_config": 123})
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def scope() -> Iterator[Scope]:
    """A conversation of the test's own: nothing that it sets is left behind it."""
    own = Scope()
    entered = own.enter()
    yield own
    own.leave(entered)


@pytest.fixture
def key(scope: Scope) -> bytes:
    """A key for pickles, for the length of a test."""
    secret = b"the key of this test"
    scope.pickles.set_key(secret)
    return secret


@pytest.fixture
def registered(scope: Scope) -> Scope:
    """Encoders and decoders of a test are forgotten after it."""
    return scope
