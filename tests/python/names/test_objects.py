"""Names and objects as the Erlang side asks for them."""

from __future__ import annotations

import datetime
import importlib
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from erl.calls import objects
from erl.names import lookup, traces
from erl.terms import Atom


def run(wrapper: str, *arguments: object) -> Any:
    """What the server would run."""
    _, function, args, keywords = lookup.WRAPPERS[wrapper](*arguments)
    return function(*args, **(keywords or {}))


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("os", "getcwd", os.getcwd),
        (b"os", b"getcwd", os.getcwd),
        (Atom("os.path"), Atom("isdir"), os.path.isdir),
        ("os.path.isdir", None, os.path.isdir),
        ("math.pi", None, math.pi),
        ("datetime.datetime.now", None, datetime.datetime.now),
        ("datetime", "datetime.now", datetime.datetime.now),
        ("functools", "lru-cache", __import__("functools").lru_cache),
        (math.sqrt, None, math.sqrt),
    ],
)
def test_a_target_is_found(path: object, name: object, expected: object) -> None:
    assert lookup.target(path, name) == expected


def test_a_submodule_is_found_before_anyone_imported_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "freshly_made"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("def one():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert lookup.target("freshly_made.inner.one")() == 1


def test_an_attribute_wins_over_a_submodule_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "both_named"
    package.mkdir()
    (package / "__init__.py").write_text("from both_named.thing import thing\n")
    (package / "thing.py").write_text("def thing():\n    return 'function'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert lookup.target("both_named", "thing")() == "function"
    assert lookup.target("both_named.thing")() == "function"


def test_a_reloaded_or_patched_module_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "changing.py"
    source.write_text("def f():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert run("call", "changing", "f", [], []) == 1
    source.write_text("def f():\n    return 2\n")
    importlib.reload(sys.modules["changing"])
    assert run("call", "changing", "f", [], []) == 2
    monkeypatch.setattr(sys.modules["changing"], "f", lambda: 3)
    assert run("call", "changing", "f", [], []) == 3
    source.write_text("def f():\n    return 4\n")
    del sys.modules["changing"]
    assert run("call", "changing", "f", [], []) == 4


def test_a_module_that_misses_another_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "incomplete.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        lookup.target("incomplete", "f")


def test_a_missing_module_and_a_missing_attribute_are_pythons_errors() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        lookup.target("no_such_module", "f")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        lookup.target("no_such_module.part.f")
    with pytest.raises(AttributeError, match="nope"):
        lookup.target("os", "nope")


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="name"):
        lookup.name_of(12)


def test_calls_take_keywords_with_any_text_for_a_name() -> None:
    assert run("call", "builtins", "dict", [], [(b"a-b", 1), ("c", 2)]) == {"a-b": 1, "c": 2}
    assert run("method", [3, 1], "sort", [], [("reverse", True)]) is None


def test_a_constant_is_converted_by_a_type() -> None:
    assert run("const", "math", "pi", None) == math.pi
    assert run("const", "math.pi", None, Atom("int")) == 3
    assert run("const", "math", "pi", "fractions.Fraction").denominator > 1


def test_analogs_leave_their_argument_unchanged() -> None:
    before = [1, 2, 3]
    assert objects.setitem(before, 0, 9) == [9, 2, 3]
    assert objects.delitem(before, 0) == [2, 3]
    assert before == [1, 2, 3]
    with pytest.raises(TypeError):
        objects.setitem((1,), 0, 2)


def test_help_is_text() -> None:
    assert "square root" in objects.help("math.sqrt")


def test_a_trace_begins_in_user_code_and_ends_at_the_cause() -> None:
    def outer() -> None:
        try:
            {}["key"]
        except KeyError as error:
            raise ValueError("outer") from error

    try:
        run("call", outer, None, [], [])
    except ValueError as error:
        trace = traces.trace_of(error)
    innermost, cause = trace[0], trace[-1]
    assert innermost[0] == __file__  # type: ignore[index]
    assert innermost[2:] == ("outer", 'raise ValueError("outer") from error')  # type: ignore[index]
    assert cause[:3] == ("cause", "builtins.KeyError", "'key'")  # type: ignore[index]
    assert "erl.calls.objects" in sys.modules


def test_a_trace_of_a_deep_recursion_is_cut() -> None:
    def recurse() -> None:
        recurse()

    with pytest.raises(RecursionError) as caught:
        recurse()
    assert len(traces.trace_of(caught.value)) == 100
