"""One partition of a set."""

from __future__ import annotations

from erl.dataflow import DataPartition

__all__ = ["DataPartition"]
