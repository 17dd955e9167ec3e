"""A node with a directory of its own, for the tests of a module."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

import erl
from erl import functions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def own_node(state_dir: Path) -> Iterator[erl.Node]:
    if shutil.which("erl") is None:
        pytest.skip("Erlang is not on PATH")
    with erl.start({"default": {"size": 2}}, name=str(state_dir), state_dir=state_dir) as running:
        yield running


@pytest.fixture
def project(own_node: erl.Node, state_dir: Path) -> Any:
    # Said again, it is the one that is meant where none is named.
    assert erl.start({"default": {"size": 2}}, name=str(state_dir), state_dir=state_dir) is own_node
    return functions.get_or_create_project("demo")
