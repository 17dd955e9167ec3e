"""Haxall's names for Haystack's kinds: how they are found, and that they are the same classes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from erl import haystack
from erl.names.finder import Finder


@pytest.fixture
def finder() -> Iterator[None]:
    """As a worker has it."""
    sys.meta_path.insert(0, Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(Finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "hxpy"]:
            del sys.modules[name]


NAMES = [
    ("hxpy.haystack.grid", "Grid"),
    ("hxpy.haystack.grid", "GridBuilder"),
    ("hxpy.haystack.marker", "Marker"),
    ("hxpy.haystack.na", "NA"),
    ("hxpy.haystack.remove", "Remove"),
    ("hxpy.haystack.ref", "Ref"),
    ("hxpy.haystack", "Grid"),
    ("hxpy.haystack", "Number"),
]


@pytest.mark.usefixtures("finder")
@pytest.mark.parametrize(("module", "name"), NAMES)
def test_kind_is_found_under_haxalls_name(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is getattr(haystack, name)


@pytest.mark.usefixtures("finder")
def test_one_that_is_installed_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hxpy").mkdir()
    (tmp_path / "hxpy" / "__init__.py").write_text("mine = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.import_module("hxpy").mine


def test_nobody_finds_it_without() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("hxpy")
