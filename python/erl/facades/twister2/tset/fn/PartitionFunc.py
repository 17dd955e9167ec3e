"""Where items go to."""

from __future__ import annotations

from erl.dataflow import PartitionFunc

__all__ = ["PartitionFunc"]
