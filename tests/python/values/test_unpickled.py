"""Values and errors of a sandboxed Python, in the program that takes them."""

from __future__ import annotations

import sys
import types

import pytest

from erl import errors
from erl.values import unpickled


def test_an_errors_class_is_looked_up_without_code_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("lazy_tea")
    asked: list[str] = []
    module.__getattr__ = asked.append  # type: ignore[method-assign, assignment]
    module.TeaError = type("TeaError", (Exception,), {"__module__": "lazy_tea"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lazy_tea", module)
    assert type(unpickled.error_together("lazy_tea.Milk", "cold", [b"cold"])) is errors.RemoteError
    assert asked == []
    found = unpickled.error_together("lazy_tea.TeaError", "cold", [b"cold"])
    assert (type(found).__name__, found.args) == ("TeaError", ("cold",))
