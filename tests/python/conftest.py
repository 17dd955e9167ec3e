"""What the tests share: a BEAM to ask, values compared to the last type, and a clean slate for each test."""

from __future__ import annotations

import faulthandler
import os
import shutil
import struct
import subprocess
from collections import ChainMap, UserDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

import erl
from erl.futures import PoolExecutor
from erl.haystack import Grid, Uri
from erl.terms import ImproperList
from erl.values import plain
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

_SECONDS_TO_END = 10
_SECONDS_FOR_A_TEST = 300


@pytest.fixture(autouse=True)
def _deadline() -> Iterator[None]:
    """A test that hangs shows where, and ends the run."""
    faulthandler.dump_traceback_later(_SECONDS_FOR_A_TEST, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


class Beam:
    """A running BEAM that answers questions about terms (`term_server.escript`)."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("term_server.escript")
        self._process = subprocess.Popen(
            ["escript", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1
        )

    def ask(self, operation: str, operand: bytes) -> bytes:
        """The answer; ValueError with Erlang's reason where it refuses the operand."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(struct.pack(">I", len(operand) + 1) + operation.encode() + operand)
        pipe_in.flush()
        (size,) = struct.unpack(">I", pipe_out.read(4))
        answer = pipe_out.read(size)
        if answer[:1] == b"-":
            raise ValueError(answer[1:].decode())
        return answer[1:]

    def echo(self, term: bytes, spelling: str = "t") -> bytes:
        """The term as Erlang writes it; `spelling` is an operation of the script's: t, 0, 2 or z."""
        return self.ask(spelling, term)

    def same(self, one: bytes, other: bytes) -> bool:
        """Whether Erlang holds the two for the same term (`=:=`)."""
        return self.ask("=", struct.pack(">I", len(one)) + one + other) == b"true"

    def evaluate(self, text: str) -> bytes:
        """The term of an Erlang expression, which ends in a full stop."""
        return self.ask("e", text.encode())

    def text(self, term: bytes) -> str:
        """The term as `~tw` prints it."""
        return self.ask("p", term).decode()

    def end(self) -> None:
        """Close its input and wait for it; a BEAM that stays is killed, by its own pid."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


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


def exact(value: Any) -> Any:
    """Something to compare that tells apart what `==` does not: types at every depth, signs of zero, kinds
    of NaN.
    """
    kind = type(value)
    if kind is float or kind is complex:
        return kind, repr(value)
    if kind in (list, tuple, plain.List):
        return kind, [exact(item) for item in value]
    if kind in (ImproperList, plain.ImproperList):
        return kind, [exact(item) for item in value], exact(value.tail)
    if isinstance(value, (dict, UserDict, ChainMap)):
        pairs = [(exact(key), exact(item)) for key, item in value.items()]
        return kind, sorted(pairs, key=repr)
    if kind in (set, frozenset):
        return kind, sorted((exact(item) for item in value), key=repr)
    if kind.__module__ == "erl.haystack.values" and kind is not Uri:
        return kind, [exact(getattr(value, name)) for name in kind.__slots__]
    if kind is Grid:
        cols = [(exact(col.name), exact(dict(col.meta))) for col in value.cols]
        return kind, exact(dict(value.meta)), cols, exact([list(row.cells) for row in value])
    if kind.__module__.partition(".")[0] == "numpy":
        return kind, repr(value.dtype), value.shape, value.tobytes()
    if hasattr(value, "tzinfo"):
        return kind, value, repr(value.tzinfo)
    return kind, repr(value) if kind.__name__ == "Decimal" else value
