"""Sets of items."""

from __future__ import annotations

from erl.dataflow import TSet

__all__ = ["TSet"]
