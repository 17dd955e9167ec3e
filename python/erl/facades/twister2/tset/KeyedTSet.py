"""Sets of pairs."""

from __future__ import annotations

from erl.dataflow import KeyedTSet

__all__ = ["KeyedTSet"]
