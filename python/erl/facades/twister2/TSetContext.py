"""What a function is told of where it runs."""

from __future__ import annotations

from erl.dataflow import TSetContext

__all__ = ["TSetContext"]
