"""The partitions of a set."""

from __future__ import annotations

from erl.dataflow import DataObject

__all__ = ["DataObject"]
