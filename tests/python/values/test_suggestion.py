"""The nearest name to one that is missing, which CPython prints and keeps out of the exception's text."""

from __future__ import annotations

import collections
import json
import math
import sys
from typing import Any

import pytest

from erl.codec import Options, decode
from erl.names import lookup, traces
from erl.values import suggestion
from erl.wire import messages


class Tea:
    colour = "green"
    __slots__ = ("__dict__", "leaves")

    def __init__(self) -> None:
        self.temperature = 80


class Loud:
    """One that must not be asked."""

    def __dir__(self) -> list[str]:
        raise SystemExit

    def __getattr__(self, name: str) -> None:
        raise AttributeError(name, name=name, obj=self)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        raise SystemExit


def caught(fail: Any) -> Exception:
    with pytest.raises(Exception) as info:  # noqa: PT011 (each is looked at)
        fail()
    return info.value


def local() -> None:
    temperature = 80
    del temperature
    return temprature  # type: ignore[name-defined]  # noqa: F821


SUGGESTED: list[tuple[Any, str]] = [
    (lambda: math.sqr, "module 'math' has no attribute 'sqr'. Did you mean: 'sqrt'?"),  # type: ignore[attr-defined]
    (lambda: json.laods, "module 'json' has no attribute 'laods'. Did you mean: 'loads'?"),  # type: ignore[attr-defined]
    (lambda: [].apend, "'list' object has no attribute 'apend'. Did you mean: 'append'?"),  # type: ignore[attr-defined]
    (lambda: Tea().color, "'Tea' object has no attribute 'color'. Did you mean: 'colour'?"),  # type: ignore[attr-defined]
    (lambda: Tea().temprature, "'Tea' object has no attribute 'temprature'. Did you mean: 'temperature'?"),  # type: ignore[attr-defined]
    (lambda: Tea().leafs, "'Tea' object has no attribute 'leafs'. Did you mean: 'leaves'?"),  # type: ignore[attr-defined]
    (lambda: Tea.colours, "type object 'Tea' has no attribute 'colours'. Did you mean: 'colour'?"),  # type: ignore[attr-defined]
    (
        lambda: collections.OrderedDict().itms,
        "'collections.OrderedDict' object has no attribute 'itms'. Did you mean: 'items'?",
    ),  # type: ignore[attr-defined]
    (lambda: prnt, "name 'prnt' is not defined. Did you mean: 'print'?"),  # type: ignore[name-defined]  # noqa: F821
    (local, "name 'temprature' is not defined"),
    (lambda: math.nothing_like_it, "module 'math' has no attribute 'nothing_like_it'"),  # type: ignore[attr-defined]
    (lambda: getattr(math, "x" * 5000), f"module 'math' has no attribute '{'x' * 5000}'"),
    (lambda: getattr(math, ""), "module 'math' has no attribute ''"),
    (lambda: Loud().loud, "loud"),
    (lambda: {}["sqr"], "'sqr'"),
    (lambda: int("sqr"), "invalid literal for int() with base 10: 'sqr'"),
]


@pytest.mark.parametrize(("fail", "text"), SUGGESTED)
def test_text_has_the_nearest_name(fail: Any, text: str) -> None:
    assert messages.text_of(caught(fail), True) == text


class Dumb:
    """Has no text."""

    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        (None, "tea"),
        ([], "tea"),
        (["one", "two"], "tea\none\ntwo"),
        (("one", 2), "tea\none\n2"),
        ("one", "tea\n'one'"),
        (7, "tea\n7"),
        (0, "tea\n0"),
        (["one", Dumb()], "tea\none\n<note str() failed with SystemExit>"),
    ],
)
def test_text_has_the_notes_whatever_they_are(notes: Any, text: str) -> None:
    error = ValueError("tea")
    error.__notes__ = notes  # type: ignore[attr-defined]
    assert messages.text_of(error) == text


def test_text_of_erlports_users_is_as_it_was() -> None:
    error = caught(lambda: math.sqr)  # type: ignore[attr-defined]
    assert messages.text_of(error) == "module 'math' has no attribute 'sqr'"
    for flags, expected in ((0, "Did you mean"), (20, "attribute 'sqr'")):
        options = Options.from_flags(flags)
        (_, _, (_, _, text, _)) = decode(messages.failure(1, error, [], options), options)
        assert expected in "".join(map(chr, text))


def test_exception_of_the_users_own_says_what_it_says() -> None:
    class Mine(AttributeError):
        pass

    assert messages.text_of(Mine("sqr", name="sqr", obj=math), True) == "sqr"
    assert (
        messages.text_of(AttributeError("no sqr", name="sqr", obj=math), True)
        == "no sqr. Did you mean: 'sqrt'?"
    )
    assert (
        messages.text_of(AttributeError("no. Did you mean: 'x'?", name="sqr", obj=math), True).count(
            "Did you mean"
        )
        == 1
    )
    assert messages.text_of(AttributeError("no name"), True) == "no name"
    assert messages.text_of(AttributeError("odd", name=1, obj=math), True) == "odd"
    assert messages.text_of(AttributeError("odd", name="sqr", obj=None), True) == "odd"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python says from 3.12 on which name was asked for")
def test_import_of_a_missing_name_has_the_nearest() -> None:
    def fail() -> None:
        from math import sqr  # type: ignore[attr-defined]  # noqa: F401

    assert messages.text_of(caught(fail), True).endswith("Did you mean: 'sqrt'?")


@pytest.mark.parametrize("path", [("math", "sqr"), ("math.sqr", None), ("json", "decoder.JSONDecoder.decod")])
def test_missing_function_is_told_without_the_search_for_a_submodule(path: tuple[str, str | None]) -> None:
    error = caught(lambda: lookup.target(*path))
    assert type(error) is AttributeError
    assert "Did you mean: " in messages.text_of(error, True)
    assert not [entry for entry in traces.trace_of(error) if entry[0] == "cause"]  # type: ignore[index]


def test_submodule_that_fails_says_why(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tea_package").mkdir()
    (tmp_path / "tea_package" / "__init__.py").write_text("")
    (tmp_path / "tea_package" / "green.py").write_text("import nothing_of_that_name")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = caught(lambda: lookup.target("tea_package", "green.leaf"))
    assert messages.text_of(error, True) == "No module named 'nothing_of_that_name'"


def test_many_names_are_not_compared() -> None:
    assert suggestion.nearest("sqr", [f"n{number}" for number in range(10_000)]) is None
    assert suggestion.nearest("sqr", ["sqrt", *[f"n{number}" for number in range(100)]]) == "sqrt"
