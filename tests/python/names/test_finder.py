"""Modules by their former names: an application and pickles of the version before find them."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conversation import Conversation

from erl.names.finder import FORMER, Finder
from erl.terms import Atom
from erl.values import plain

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def finder() -> Iterator[None]:
    before = dict(sys.modules)
    sys.meta_path.insert(0, Finder)
    yield
    sys.meta_path.remove(Finder)
    for name in FORMER.keys() - before.keys():
        sys.modules.pop(name, None)
        vars(sys.modules["erl"]).pop(name.partition(".")[2], None)


@pytest.mark.usefixtures("finder")
@pytest.mark.parametrize(("former", "name"), FORMER.items())
def test_a_module_by_its_former_name_is_the_same_one(former: str, name: str) -> None:
    module = importlib.import_module(former)
    assert module is importlib.import_module(name)
    assert module.__name__ == module.__spec__.name == name


@pytest.mark.usefixtures("finder")
def test_a_pickle_of_the_version_before_is_read() -> None:
    atom = plain.Atom(b"a")
    pickled = pickle.dumps([atom, plain.List([1])], 2).replace(b"erl.values.plain", b"erl.plain")
    assert b"erl.plain\n" in pickled
    assert pickle.loads(pickled) == [atom, plain.List([1])]


@pytest.mark.parametrize("compiled", [True, False])
def test_calls_of_an_application_of_the_version_before_are_served(compiled: bool) -> None:
    with Conversation("--py", compiled=compiled) as python:
        for id_ in range(1, 40):  # by the server, and by the lane, if it has one
            python.call(id_, "erl.objects", "call", [4, Atom("operator"), Atom("add"), [id_, 2], []])
            assert python.answer(id_) == id_ + 2
        python.call(40, "erl.objects", "attr", [4, 3, Atom("numerator")])
        assert python.answer(40) == 3
        python.call(41, "erl.objects", "setitem", [[1, 2], 0, 3])
        assert python.answer(41) == [3, 2]
        python.call(42, "erl.references", "release", [[1]])
        assert python.answer(42) is None
        python.call(43, "erl.parallel", "combine", [Atom("operator"), Atom("add"), [1, 2]])
        assert python.answer(43) == 3


def test_a_start_imports_nothing_by_a_former_name() -> None:
    program = (
        "import erl.__main__, sys; sys.argv = ['erl', '--check']; erl.__main__.main(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not FORMER.keys() & set(done.stdout.split())
