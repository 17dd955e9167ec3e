"""Sessions in Python: blocks, tracebacks, awaits, snapshots."""

from __future__ import annotations

import itertools
import json
import linecache
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from erl import errors
from erl.calls import session
from erl.names import traces
from erl.values.scope import current

PACKAGE = Path(__file__).parents[3] / "python"

_tokens = itertools.count(1)


@pytest.fixture
def token() -> Iterator[int]:
    """A new namespace; `__main__` is what it was when the test is over."""
    main = sys.modules["__main__"]
    number = next(_tokens)
    session.start(number)
    yield number
    sys.modules["__main__"] = main


def value_of(token: int, source: str) -> Any:
    found, value = session.run(token, [("eval", source)])
    assert found
    return value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("", None),
        ("# tea", None),
        ("1", 1),
        ("x = 1", None),
        ("x = 1\nx", 1),
        ("x = 1; x + 1", 2),
        ("if True:\n    1", None),
        ("    x = 3\n    x", 3),
        ("\n\n\tx = 4\n\tx\n", 4),
        ("'''\n  tea\n'''", "\n  tea\n"),
        ("(1,\n 2)", (1, 2)),
        ("def f(): return 5\nf()", 5),
        ("[y for y in range(2)]", [0, 1]),
        ("__name__", "__main__"),
        ("def f(x: int): pass\nf.__annotations__", {"x": int}),
        ("\ufeffx = 5\nx", 5),
    ],
)
def test_a_block_has_the_value_of_its_last_expression(token: int, source: str, value: object) -> None:
    assert value_of(token, source) == value


def test_blocks_run_in_order_in_one_namespace(token: int) -> None:
    blocks = [
        ("define", "a", 100),
        ("define", b"b-c", 2),
        ("exec", "a += 1"),
        ("exec", b"a"),
        ("eval", "a * b_c"),
    ]
    assert session.run(token, blocks) == (True, 202)
    assert session.run(token, []) == (True, None)
    assert session.run(token, [("exec", "a")]) == (True, None)


def test_nothing_runs_under_another_token(token: int) -> None:
    assert session.run(token + 1000, [("exec", "1 / 0")]) == (False, None)
    assert session.snapshot(token + 1000) == (False, None, [])


@pytest.mark.parametrize("name", ["class", "1st", "a b", "", "a.b"])
def test_what_is_no_name_is_refused(token: int, name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a variable"):
        session.run(token, [("define", name, 1)])


def failure_of(token: int, source: str) -> list[Any]:
    try:
        session.run(token, [("eval", source)])
    except Exception as error:
        return [frame for frame in traces.trace_of(error) if frame[0] == "<session>"]
    return []


def test_a_traceback_marks_the_line_of_the_block_that_failed(token: int) -> None:
    session.run(token, [("exec", "def first(x):\n    y = x\n    return 1 / y\n")])
    session.run(token, [("exec", "def second(x):\n    return first(x)  # here\n")])
    assert failure_of(token, "\nsecond(0)") == [
        ("<session>", 3, "first", "return 1 / y"),
        ("<session>", 2, "second", "return first(x)  # here"),
        ("<session>", 2, "<module>", "second(0)"),
    ]


def test_a_syntax_error_names_its_line(token: int) -> None:
    assert failure_of(token, "x = 1\nx = = 2") == [("<session>", 2, "<module>", "x = = 2")]
    with pytest.raises(SyntaxError, match=r"\(<session>, line 1\)"):
        value_of(token, "return 1")


def test_a_task_that_evaluates_one_line_for_years_keeps_one(token: int) -> None:
    for number in range(3000):
        session.run(token, [("define", "v", number), ("eval", "v + 1")])
    for number in range(1500):
        session.run(token, [("exec", f"x = {number}")])
    assert len([name for name in linecache.cache if name.startswith("<session ")]) <= 1000 + 10


def test_an_await_at_the_top_runs_on_a_loop_that_stays(token: int) -> None:
    session.run(token, [("exec", "import asyncio\nasync def tea(): await asyncio.sleep(0); return 'green'")])
    assert value_of(token, "await tea()") == "green"
    assert value_of(token, "tea()") == "green"
    value_of(token, "async def begin(): return asyncio.ensure_future(tea())\nlater = await begin()")
    assert value_of(token, "await later") == "green"
    assert failure_of(token, "async def bad():\n    1 / 0\nawait bad()") == [
        ("<session>", 2, "bad", "1 / 0"),
        ("<session>", 3, "<module>", "await bad()"),
    ]


def test_what_is_defined_can_be_found_by_its_module(token: int) -> None:
    source = """
    import pickle, typing
    from dataclasses import dataclass
    @dataclass
    class Cup:
        size: "int" = 3
    (pickle.loads(pickle.dumps(Cup(4))).size, typing.get_type_hints(Cup), Cup.__module__)
    """
    assert value_of(token, source) == (4, {"size": int}, "__main__")


MADE = """
import math, threading
from dataclasses import dataclass; from functools import lru_cache; from typing import NewType
k = 3
names = same = [1]
lock = threading.Lock()
held = [lock]
generator = (i for i in names)
def times(x): return x * k
def locked():
    with lock: return 1
def fact(n): return 1 if n < 2 else n * fact(n - 1)
def counter():
    def inner(n): return 0 if n == 0 else 1 + inner(n - 1)
    return inner
inner = counter()
def later():
    def use(): return unset
    return use
    unset = 1
empty = later()
def with_defaults(a, b=2, *, c: int = 3): "doc"; return a + b + c
with_defaults.mark = 1
@lru_cache(maxsize=7, typed=True)
def cached(x): return x * k
Size = NewType("Size", int)
class Cup:
    def __init__(self, size): self.size = size
    def twice(self): return times(self.size)
@dataclass
class Pot:
    size: int = 1
cup, pot = Cup(4), Pot(2)
"""


@pytest.fixture
def key() -> Iterator[bytes]:
    current().pickles.set_key(b"tea")
    yield b"tea"
    current().pickles.set_key(None)


def test_a_snapshot_that_nobody_signed_is_not_read(token: int, key: bytes) -> None:
    pytest.importorskip("cloudpickle")
    session.run(token, [("exec", "x = 1")])
    _, data, _ = session.snapshot(token)
    assert isinstance(data, bytes)
    for wrong in (data[:-32], data[:-1] + bytes([data[-1] ^ 1]), b""):
        with pytest.raises(errors.DecodeError, match="no worker of this application signed it"):
            session.restore(next(_tokens), wrong)
    current().pickles.set_key(b"of another box")
    with pytest.raises(errors.DecodeError, match="no worker of this application signed it"):
        session.restore(next(_tokens), data)
    # What came from a box is read in one.
    copy = next(_tokens)
    session.restore(copy, data, True)
    assert value_of(copy, "x") == 1


def test_a_snapshot_is_read_by_another_interpreter(token: int, key: bytes, tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    session.run(token, [("exec", MADE)])
    found, data, left = session.snapshot(token)
    assert found
    assert [name for name, _ in left] == ["lock", "held", "generator"]
    assert all("cannot pickle" in why for _, why in left)
    assert isinstance(data, bytes)
    (tmp_path / "snapshot").write_bytes(data)
    program = """
import sys
from erl.calls import session
from erl.names import traces
from erl.values.scope import current
current().pickles.set_key(b"tea")
session.restore(7, open(sys.argv[1], 'rb').read())
run = lambda source: session.run(7, [("eval", source)])[1]
run("k = 10; same.append(2)")
assert run("(times(2), cup.twice(), fact(5), inner(4), math.pi > 3, names)") == (20, 40, 120, 4, True, [1, 2])
assert run("(with_defaults(1), with_defaults.__doc__, with_defaults.mark)") == (6, "doc", 1)
assert run("with_defaults.__annotations__") == {"c": int}
assert run("(cached(2), cached.cache_parameters())") == (20, {"maxsize": 7, "typed": True})
assert run("(Size(3), Size.__supertype__)") == (3, int)
assert run("(isinstance(cup, Cup), pot == Pot(2), times.__globals__ is globals())") == (True, True, True)
try:
    run("locked()")
except NameError as error:
    assert traces.trace_of(error)[0][:4] == ("<session>", 11, "locked", "with lock: return 1"), traces.trace_of(error)
else:
    raise AssertionError
found, again, left = session.snapshot(7)
session.restore(8, again)
assert session.run(8, [("eval", "times(2)")]) == (True, 20)
"""
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "snapshot")],
        check=True,
        timeout=60,
        env={"PYTHONPATH": str(PACKAGE)},
    )


FAILING = """
import functools
div = lambda x: 1 / x
class Cup:
    def plain(self, x): return 1 / x
    @staticmethod
    def static(x): return 1 / x
    @classmethod
    def of(cls, x): return 1 / x
    @property
    def size(self): return 1 / 0
    class Inner:
        def deep(self, x): return 1 / x
def outer(y):
    def inner(x):
        return y / x
    return inner
closure = outer(1)
def in_comprehension(x): return [1 / y for y in [x]]
def in_generator(x): return sum(1 / y for y in [x])
def in_nested(x): return (lambda: (lambda: 1 / x)())()
def generates(x):
    yield 1 / x
def wrap(f):
    @functools.wraps(f)
    def wrapped(*args):
        return f(*args)  # wrapped
    return wrapped
@wrap
def decorated(x): return 1 / x
@functools.lru_cache
def cached(x): return 1 / x
part = functools.partial(div, 0)
async def later(x): return 1 / x
def with_default(f=lambda x: 1 / x): return f(0)
def with_class(x):
    class Local:
        def method(self): return 1 / x
    return Local().method()
held = {"key": [lambda x: 1 / x]}
def chained(x):
    try: return 1 / x
    except ZeroDivisionError as error: raise ValueError from error
"""


@pytest.mark.usefixtures("key")
def test_what_was_defined_in_a_session_shows_its_lines_after_a_copy(token: int, tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    calls = {
        "div(0)": ["div = lambda x: 1 / x"],
        "Cup().plain(0)": ["def plain(self, x): return 1 / x"],
        "Cup.static(0)": ["def static(x): return 1 / x"],
        "Cup.of(0)": ["def of(cls, x): return 1 / x"],
        "Cup().size": ["def size(self): return 1 / 0"],
        "Cup.Inner().deep(0)": ["def deep(self, x): return 1 / x"],
        "closure(0)": ["return y / x"],
        "outer(2)(0)": ["return y / x"],
        "in_comprehension(0)": ["def in_comprehension(x): return [1 / y for y in [x]]"],
        "in_generator(0)": ["def in_generator(x): return sum(1 / y for y in [x])"],
        "in_nested(0)": ["def in_nested(x): return (lambda: (lambda: 1 / x)())()"],
        "next(generates(0))": ["yield 1 / x"],
        "decorated(0)": ["def decorated(x): return 1 / x", "return f(*args)  # wrapped"],
        "cached(0)": ["def cached(x): return 1 / x"],
        "part()": ["div = lambda x: 1 / x"],
        "await later(0)": ["async def later(x): return 1 / x"],
        "with_default()": ["def with_default(f=lambda x: 1 / x): return f(0)"],
        "with_class(0)": ["def method(self): return 1 / x", "return Local().method()"],
        "held['key'][0](0)": ['held = {"key": [lambda x: 1 / x]}'],
        "chained(0)": ["except ZeroDivisionError as error: raise ValueError from error"],
    }
    session.run(token, [("exec", FAILING)])
    found, data, left = session.snapshot(token)
    assert (found, left) == (True, [])
    assert isinstance(data, bytes)
    (tmp_path / "snapshot").write_bytes(data)
    program = """
import json, sys
from erl.calls import session
from erl.names import traces
from erl.values.scope import current
current().pickles.set_key(b"tea")
session.restore(7, open(sys.argv[1], 'rb').read())
lines = {}
for call in json.loads(sys.argv[2]):
    try:
        session.run(7, [("eval", call)])
    except Exception as error:
        lines[call] = [frame[3] for frame in traces.trace_of(error) if frame[0] == "<session>"][:-1]
print(json.dumps(lines))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "snapshot"), json.dumps(list(calls))],
        check=True,
        capture_output=True,
        timeout=60,
        env={"PYTHONPATH": str(PACKAGE)},
    )
    # A comprehension has a frame of its own before Python 3.12: one line more, and the same.
    lines = {call: list(dict.fromkeys(found)) for call, found in json.loads(done.stdout).items()}
    assert lines == calls


def test_a_reduce_that_raises_is_left_out(token: int) -> None:
    pytest.importorskip("cloudpickle")
    source = "class Bad:\n    def __reduce__(self): raise RuntimeError('no')\nbad = Bad()\nx = 1"
    session.run(token, [("exec", source)])
    found, _, left = session.snapshot(token)
    assert (found, left) == (True, [("bad", "RuntimeError: no")])


def test_a_copy_needs_cloudpickle(token: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(errors.NotPicklableError, match="cloudpickle, which is not installed"):
        session.snapshot(token)


def test_what_is_known_by_its_name_only_is_left_out(token: int) -> None:
    pytest.importorskip("cloudpickle")

    class ByName:
        __module__ = "tea"

        def __reduce__(self) -> str:
            return "by_name"

    by_name: Any = ByName()
    by_name.__dict__["__module__"] = "__main__"
    session.run(token, [("define", "by_name", by_name)])
    found, _, left = session.snapshot(token)
    assert found
    assert [name for name, _ in left] == ["by_name"]


def test_a_name_is_the_one_that_python_reads(token: int) -> None:
    session.run(token, [("define", "\ufb01g", 3)])
    assert value_of(token, "fig") == 3
    assert value_of(token, "\ufb01g") == 3


def test_a_loop_that_was_closed_is_made_anew(token: int) -> None:
    value_of(token, "import asyncio\nasync def get(): return asyncio.get_running_loop()\nloop = await get()")
    value_of(token, "loop.close()")
    assert value_of(token, "await asyncio.sleep(0, 4)") == 4
    assert value_of(token, "await asyncio.sleep(0, 5)") == 5


def test_long_blocks_are_not_kept_for_ever(token: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_MOST_CHARACTERS", 1000)
    blocks = [f"def f{number}():\n    1 / 0  # {'x' * 300}\n" for number in range(10)]
    for block in blocks:
        session.run(token, [("exec", block)])
    kept = current().session
    assert kept is not None
    assert sum(map(len, kept.sources().values())) <= 1000
    assert len(kept._codes) == len(kept.sources()) == 3
    assert len([name for name in linecache.cache if name.startswith("<session ")]) >= 3
    # The newest is there, however long it is.
    session.run(token, [("exec", "def g():\n    1 / 0\n" + "#" * 5000)])
    with pytest.raises(ZeroDivisionError) as failure:
        session.run(token, [("eval", "g()")])
    assert failure.value.__traceback__ is not None
