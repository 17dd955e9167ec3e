"""Twister2's names for the classes of `erl.dataflow`."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import erl.dataflow

MODULES = {
    "twister2.Twister2Environment": "Twister2Environment",
    "twister2.TSetContext": "TSetContext",
    "twister2.data.DataObject": "DataObject",
    "twister2.data.DataPartition": "DataPartition",
    "twister2.tset.TSet": "TSet",
    "twister2.tset.KeyedTSet": "KeyedTSet",
    "twister2.tset.TLink": "TLink",
    "twister2.tset.fn.SourceFunc": "SourceFunc",
    "twister2.tset.fn.PartitionFunc": "PartitionFunc",
}


@pytest.mark.parametrize("module", MODULES)
def test_each_module_has_the_class_of_its_name_which_is_the_one_of_dataflow(module: str) -> None:
    found = getattr(import_module(module), MODULES[module])
    assert found is getattr(erl.dataflow, MODULES[module])


def test_bare_directory_of_the_name_is_none(tmp_path: Path) -> None:
    (tmp_path / "twister2" / "tset").mkdir(parents=True)
    (tmp_path / "twister2" / "own.py").write_text("real = True\n")
    program = (
        "import erl, twister2.own; from twister2.TSetContext import TSetContext; "
        "from twister2.tset.fn.SourceFunc import SourceFunc; print(twister2.own.real, SourceFunc.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout.startswith("True erl.dataflow"), done.stderr
